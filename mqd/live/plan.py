"""What is known of a market before its first bar, and a bar as a feed tells it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from mqd.core.bar import SymbolBars
from mqd.market_data.bars import Bars
from mqd.market_data.loading import timeframe_text


class LiveBar(NamedTuple):
    """One bar as a feed tells it: ``ts_open`` is its start (for a daily bar any of its stamps).

    Prices in currency units, ``volume`` in shares or coins; ``vwap`` and ``trade_count`` are
    None where the feed has none.
    """

    symbol: str
    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None = None
    trade_count: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """What is known of a market before its first bar.

    ``first_ns`` and ``last_ns`` span the calendar; ``sessions_per_year`` annualises;
    ``extras`` names the optional columns that the feed always fills.
    """

    symbols: tuple[str, ...]
    calendar: str
    timeframe_ns: int
    ticks: dict[str, Decimal]
    lots: dict[str, Decimal]
    first_ns: int
    last_ns: int
    sessions_per_year: float
    participation_frac: float = 0.1
    feed: str = "file"
    adjust: str = "split"
    extras: tuple[str, ...] = ()
    knows_volume: bool = True

    def words(self) -> dict[str, Any]:
        """Return what the log says of the market data."""
        return {
            "feed": self.feed, "timeframe": timeframe_text(self.timeframe_ns),
            "adjust": self.adjust, "anchor": self.first_ns, "symbols": list(self.symbols),
        }  # fmt: skip


def plan_of(bars: Bars, participation_frac: float) -> MarketPlan:
    """Return what a desk may know of a market before it opens: no price of it."""
    first = bars[bars.symbols[0]]
    extras = ("vwap", "trade_count")
    return MarketPlan(
        symbols=bars.symbols, calendar=bars.calendar, timeframe_ns=bars.timeframe_ns,
        ticks={symbol: bars[symbol].tick for symbol in bars.symbols},
        lots={symbol: bars[symbol].lot for symbol in bars.symbols},
        first_ns=bars.first, last_ns=bars.last, sessions_per_year=bars.sessions_per_year,
        participation_frac=participation_frac, feed=bars.feed, adjust=bars.adjust,
        extras=tuple(name for name in extras if getattr(first, name) is not None),
    )  # fmt: skip


def live_bar(one: SymbolBars, row: int) -> LiveBar:
    """Return a row of bars as a feed would tell it."""
    extras = [None if c is None else float(c[row]) for c in (one.vwap, one.trade_count)]
    prices = [float(getattr(one, name)[row]) for name in ("open", "high", "low", "close", "volume")]
    return LiveBar(one.symbol, int(one.ts_open[row]), *prices, *extras)
