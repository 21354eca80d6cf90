"""What a bar of a feed must be before a market takes it: where it lies in time, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.core.clock import NS_PER_DAY, iso
from mqd.errors import DataError
from mqd.live.plan import LiveBar
from mqd.market_data.calendar import TradingCalendar
from mqd.market_data.loading import on_grid

TICKS_MAX = 2**53
"""Prices in ticks beyond this are no float's whole numbers any more."""
VOLUME_MAX = 2.0**62


def located(calendar: TradingCalendar, width_ns: int, stamps: Ints) -> tuple[Ints, Ints, Ints]:
    """Return session (place in the calendar), open and close of bars by their stamps.

    The session is -1 for a stamp outside of all.
    """
    if width_ns >= NS_PER_DAY:
        row = calendar.daily_index(stamps)
        return row, calendar.opens[row], calendar.closes[row]
    row = calendar.index_at(stamps)
    late = stamps >= calendar.break_ends[row]
    ends = np.where(late, calendar.closes[row], calendar.break_starts[row])
    return row, stamps, np.minimum(stamps + width_ns, ends)


def close_of(calendar: TradingCalendar, width_ns: int, bar: LiveBar) -> int:
    """Return when a bar closes; raise ``DataError`` outside of sessions and off the bars' grid."""
    stamps = np.array([bar.ts_open], dtype=np.int64)
    row, _, closes = located(calendar, width_ns, stamps)
    refuse_outside([bar], row)
    if width_ns < NS_PER_DAY:
        start, _ = calendar.buckets(stamps, row, width_ns)
        if int(start[0]) != bar.ts_open:
            raise DataError(
                f"{bar.symbol}: the bar of {iso(bar.ts_open)} begins inside the bar of"
                f" {iso(int(start[0]))}. Ask the feed for bars of the run's time frame."
            )
    return int(closes[0])


def refuse_outside(arrived: Sequence[LiveBar], row: Ints) -> None:
    """Raise ``DataError`` for a bar outside of all sessions."""
    for bar, place in zip(arrived, row.tolist(), strict=True):
        if place < 0:
            raise DataError(f"{bar.symbol}: the bar of {iso(bar.ts_open)} lies in no session.")


def sound_prices(bar: LiveBar, tick: Decimal) -> Floats:
    """Return open, high, low and close on the tick grid.

    Raises ``DataError`` for what ``load_bars`` would refuse in a file, and for numbers that no
    tape holds.
    """
    told = np.array([bar.open, bar.high, bar.low, bar.close])
    finite = bool(np.isfinite(told).all()) and bool(np.isfinite(bar.volume))
    if not finite or float(told.max()) > TICKS_MAX * float(tick) or bar.volume > VOLUME_MAX:
        raise DataError(f"{bar.symbol}: {bar} is no bar.")
    prices = on_grid(told, tick)
    opened, high, low, close = prices.tolist()
    if low <= 0 or bar.volume < 0 or high < max(opened, close, low):
        raise DataError(f"{bar.symbol}: {bar} is no bar.")
    if low > min(opened, close):
        raise DataError(f"{bar.symbol}: the low of {bar} lies above its open or close.")
    return prices
