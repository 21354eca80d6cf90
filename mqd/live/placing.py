"""Where one bar lies and what it weighs, in plain numbers.

Bars arrive alone, and arrays of one cost their calls ten times over. The numbers are those of
`located`, `TradingCalendar`, `on_grid` and `capacity_lots`, to the bit.
"""

from __future__ import annotations

from bisect import bisect_right
from math import floor, isfinite
from typing import NamedTuple

import numpy as np

from mqd.core.bar import Ints
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, iso
from mqd.errors import DataError
from mqd.execution.tape import CAPACITY_GUARD, LOTS_MAX
from mqd.live.plan import LiveBar, MarketPlan
from mqd.market_data.calendar import TradingCalendar

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


class Placed(NamedTuple):
    """A bar that is sound: its session (place in the calendar), stamps, and prices on ticks."""

    bar: LiveBar
    session: int
    ts_open: int
    ts_close: int
    prices: tuple[float, ...]


class Placing:
    """Places the single bars of a run's symbols; raises ``DataError`` for what is no bar of it."""

    def __init__(self, calendar: TradingCalendar, plan: MarketPlan) -> None:
        self._calendar, self._plan = calendar, plan
        self._opens: list[int] = calendar.opens.tolist()
        self._closes: list[int] = calendar.closes.tolist()
        self._break_starts: list[int] = calendar.break_starts.tolist()
        self._break_ends: list[int] = calendar.break_ends.tolist()
        self.days: list[int] = calendar.sessions.tolist()
        self._ticks = {s: plan.ticks[s].as_integer_ratio() for s in plan.symbols}
        self._tick_sizes = {s: float(plan.ticks[s]) for s in plan.symbols}
        self._lot_sizes = {s: float(plan.lots[s]) for s in plan.symbols}

    def placed(self, bar: LiveBar) -> Placed:
        """Return a bar with its place; the stamp's own place in the grid is not looked at."""
        if bar.symbol not in self._ticks:
            raise DataError(f"A bar of {bar.symbol}, which is no symbol of this run.")
        session, ts_open, ts_close = self._located(bar)
        return Placed(bar, session, ts_open, ts_close, self._sound_prices(bar))

    def checked(self, bar: LiveBar) -> Placed:
        """Return a feed's bar with its place; one that begins inside another is refused too."""
        one = self.placed(bar)
        width_ns = self._plan.timeframe_ns
        if width_ns < NS_PER_DAY:
            late = bar.ts_open >= self._break_ends[one.session]
            begun = self._break_ends[one.session] if late else self._opens[one.session]
            start = begun + (bar.ts_open - begun) // width_ns * width_ns
            if start != bar.ts_open:
                raise DataError(
                    f"{bar.symbol}: the bar of {iso(bar.ts_open)} begins inside the bar of"
                    f" {iso(start)}. Ask the feed for bars of the run's time frame."
                )
        return one

    def minutes(self, one: Placed) -> tuple[float, float]:
        """Return the trading minutes from the session's open to a bar's close, and from there to
        the session's."""
        at, ts = one.session, one.ts_close
        opened, closed = self._opens[at], self._closes[at]
        length = self._break_ends[at] - self._break_starts[at]
        in_break = min(max(ts - self._break_starts[at], 0), length)
        passed = (min(ts, closed) - opened - in_break) / NS_PER_MINUTE
        return passed, (closed - opened - length) / NS_PER_MINUTE - passed

    def ticks(self, symbol: str, px: float) -> int:
        """Return a price of the grid in ticks."""
        return round(px / self._tick_sizes[symbol])

    def capacity_lots(self, bar: LiveBar) -> int:
        """Return the share of a bar's volume that fills may take, -1 where nothing traded."""
        if not self._plan.knows_volume:
            return LOTS_MAX
        if bar.volume <= 0:
            return -1
        share = bar.volume * self._plan.participation_frac / self._lot_sizes[bar.symbol]
        return min(floor(share * CAPACITY_GUARD), LOTS_MAX)

    def _located(self, bar: LiveBar) -> tuple[int, int, int]:
        """Return a bar's session (place in the calendar), open and close."""
        stamp, width_ns = bar.ts_open, self._plan.timeframe_ns
        if width_ns >= NS_PER_DAY:
            row = int(self._calendar.daily_index(np.array([stamp], dtype=np.int64))[0])
            if row >= 0:
                return row, self._opens[row], self._closes[row]
        else:
            row = bisect_right(self._opens, stamp) - 1
            if row >= 0 and stamp < self._closes[row]:
                late = stamp >= self._break_ends[row]
                if late or stamp < self._break_starts[row]:
                    end = self._closes[row] if late else self._break_starts[row]
                    return row, stamp, min(stamp + width_ns, end)
        raise DataError(f"{bar.symbol}: the bar of {iso(stamp)} lies in no session.")

    def _sound_prices(self, bar: LiveBar) -> tuple[float, ...]:
        """Return open, high, low and close on the tick grid.

        Raises ``DataError`` for what ``load_bars`` would refuse in a file, and for numbers that
        no tape holds.
        """
        told = bar.open, bar.high, bar.low, bar.close
        finite = isfinite(bar.volume) and all(map(isfinite, told))
        most = TICKS_MAX * self._tick_sizes[bar.symbol]
        if not finite or max(told) > most or bar.volume > VOLUME_MAX:
            raise DataError(f"{bar.symbol}: {bar} is no bar.")
        numerator, denominator = self._ticks[bar.symbol]
        prices = tuple(
            float(round(px * denominator / numerator)) * numerator / denominator for px in told
        )
        opened, high, low, close = prices
        if low <= 0 or bar.volume < 0 or high < max(opened, close, low):
            raise DataError(f"{bar.symbol}: {bar} is no bar.")
        if low > min(opened, close):
            raise DataError(f"{bar.symbol}: the low of {bar} lies above its open or close.")
        return prices
