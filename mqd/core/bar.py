"""Market data values: Bar, Quote, Trade, one symbol's columns and rows, and corporate actions."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Bar(NamedTuple):
    """One bar, known at ``ts_close``. Prices in currency units, volume in shares or coins."""

    symbol: str
    ts_open: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Quote(NamedTuple):
    """Best bid and offer of one symbol at ``ts_ns``."""

    symbol: str
    ts_ns: int
    bid_px: Decimal
    bid_qty: Decimal
    ask_px: Decimal
    ask_qty: Decimal


class Trade(NamedTuple):
    """One print of the tape at ``ts_ns``; ``id`` is its source's number for it, 0 without one."""

    symbol: str
    ts_ns: int
    px: Decimal
    qty: Decimal
    id: int = 0


class TradeChange(NamedTuple):
    """A print taken back at ``ts_ns``: trade ``id`` is void, or ``corrected`` stands for it."""

    symbol: str
    ts_ns: int
    id: int
    corrected: Trade | None = None


class ActionKind(StrEnum):
    """What a corporate action does."""

    SPLIT = "split"
    DIVIDEND = "dividend"


class CorporateAction(NamedTuple):
    """A split or dividend on the basis of the bars it came with.

    ``ts_ex`` is the open of the ex-date's session. A split multiplies quantities by
    ``numerator / denominator``. ``amount`` is the dividend a share, 0 for a split.
    """

    symbol: str
    ts_ex: int
    kind: ActionKind
    numerator: int
    denominator: int
    amount: Decimal


@dataclass(frozen=True, slots=True, eq=False)
class SymbolBars:
    """One symbol's bars as read-only columns of one length.

    Prices are float64, already rounded to ``tick``; ``ts_open`` and ``ts_close`` are int64
    nanoseconds UTC. ``session`` is the session's date as days since 1970. ``session_index``
    counts the sessions of the run from 0; ``minutes_from_open`` (trading minutes, breaks left
    out) and ``minutes_to_close`` are taken at the bar's close from the calendar. ``vwap`` and
    ``trade_count`` are None where the source has none. ``shown_splits`` are the splits that the
    prices before them already show (adjusted on read or by the source): ``(ts_ex, ratio)``.
    """

    symbol: str
    tick: Decimal
    lot: Decimal
    ts_open: Ints
    ts_close: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    session: Ints
    session_index: Floats
    minutes_from_open: Floats
    minutes_to_close: Floats
    vwap: Floats | None = None
    trade_count: Floats | None = None
    shown_splits: tuple[tuple[int, float], ...] = field(default=())
    actions: tuple[CorporateAction, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ts_close)

    def bar(self, row: int) -> Bar:
        """Return row ``row`` as a ``Bar``."""
        return Bar(
            self.symbol, int(self.ts_open[row]), int(self.ts_close[row]), float(self.open[row]),
            float(self.high[row]), float(self.low[row]), float(self.close[row]),
            float(self.volume[row]),
        )  # fmt: skip

    def rows(self, part: slice) -> SymbolBars:
        """Return some bars that stand one after another; splits and actions stay as they are."""
        columns = {one.name: getattr(self, one.name) for one in fields(self)}
        cut: dict[str, Any] = {
            name: one[part] for name, one in columns.items() if isinstance(one, np.ndarray)
        }
        return replace(self, **cut)

    def ticks(self, column: str) -> Ints:
        """Return a price column as int64 ticks (exact: the prices are on the grid)."""
        prices: Floats = getattr(self, column)
        return np.rint(prices / float(self.tick)).astype(np.int64)


class BarRow(NamedTuple):
    """A closed bar with its place in the session: what a listener beside the desk is given.

    ``session`` is the session's date as days since 1970; the minutes are those of ``SymbolBars``.
    """

    symbol: str
    ts_open: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    session: int
    minutes_from_open: float
    minutes_to_close: float


def bar_row(bars: SymbolBars, row: int) -> BarRow:
    """Return row ``row`` of one symbol's bars as a ``BarRow``."""
    return BarRow(
        *bars.bar(row), int(bars.session[row]), float(bars.minutes_from_open[row]),
        float(bars.minutes_to_close[row]),
    )  # fmt: skip
