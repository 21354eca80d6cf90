"""``QuoteAggregator``: the best bid and offer of each symbol, and bars out of trades.

Quotes may come from several sources (exchanges); the best of their latest ones counts. A locked
or crossed market is marked, never mended. Prices are exact decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from mqd.core.bar import Bar, Quote, Trade, TradeChange
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.market_data.calendar import TradingCalendar

STALE_NS: Final = 5 * NS_PER_S
BPS: Final = Decimal(10_000)
TWO: Final = Decimal(2)


class QuoteState(StrEnum):
    """How bid and ask stand to each other."""

    NORMAL = "normal"
    LOCKED = "locked"
    CROSSED = "crossed"
    ONE_SIDED = "one-sided"


class Nbbo(NamedTuple):
    """Best bid and offer of a symbol; a missing side is None. ``ts_ns`` is the newest quote's."""

    symbol: str
    ts_ns: int
    bid_px: Decimal | None
    bid_qty: Decimal
    ask_px: Decimal | None
    ask_qty: Decimal
    state: QuoteState

    @property
    def spread(self) -> Decimal | None:
        """Ask less bid: 0 when locked, negative when crossed, None with a side missing."""
        if self.bid_px is None or self.ask_px is None:
            return None
        return self.ask_px - self.bid_px

    @property
    def mid(self) -> Decimal | None:
        """The mean of bid and ask; None when a side is missing or the market is crossed."""
        if self.bid_px is None or self.ask_px is None or self.state is QuoteState.CROSSED:
            return None
        return (self.bid_px + self.ask_px) / TWO

    @property
    def spread_bps(self) -> Decimal | None:
        """The spread in basis points of the mid; None where there is no mid."""
        mid, spread = self.mid, self.spread
        return None if mid is None or spread is None else spread / mid * BPS


@dataclass
class _Growing:
    """A bar that still grows; opens and closes go by the trades' own time."""

    start_ns: int
    end_ns: int
    first_ns: int
    last_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: list[Trade]

    @classmethod
    def begin(cls, start_ns: int, end_ns: int, trade: Trade) -> _Growing:
        px, at = trade.px, trade.ts_ns
        return cls(start_ns, end_ns, at, at, px, px, px, px, trade.qty, [trade])

    def add(self, trade: Trade) -> None:
        self.trades.append(trade)
        if trade.ts_ns < self.first_ns:
            self.first_ns, self.open = trade.ts_ns, trade.px
        if trade.ts_ns >= self.last_ns:
            self.last_ns, self.close = trade.ts_ns, trade.px
        self.high, self.low = max(self.high, trade.px), min(self.low, trade.px)
        self.volume += trade.qty

    def without(self, number: int, instead: Trade | None) -> _Growing | None:
        """Return the bar anew without a trade, or with another in its place; None when empty."""
        kept = [one for one in self.trades if one.id != number]
        if instead is not None:
            gone = next(one for one in self.trades if one.id == number)
            kept.insert(self.trades.index(gone), instead._replace(ts_ns=gone.ts_ns))
        if not kept:
            return None
        anew = _Growing.begin(self.start_ns, self.end_ns, kept[0])
        for trade in kept[1:]:
            anew.add(trade)
        return anew

    def bar(self, symbol: str) -> Bar:
        prices = (float(self.open), float(self.high), float(self.low), float(self.close))
        return Bar(symbol, self.start_ns, self.end_ns, *prices, float(self.volume))


class QuoteAggregator:
    """Holds the latest quotes and the growing bars; one thread at a time.

    ``stale_ns`` is how old a quote may be (by its own time); ``bar_ns`` the width of the bars
    built from trades, cut along the sessions when there is a ``calendar`` (trades outside are
    counted in ``n_outside``), along the clock without one. ``n_late`` counts quotes older than
    their source's last one (left out), trades of bars that were closed already, and trades taken
    back that stand in no growing bar; ``n_changed`` those taken back in one.
    """

    def __init__(
        self,
        *,
        stale_ns: int = STALE_NS,
        bar_ns: int = NS_PER_MINUTE,
        calendar: TradingCalendar | None = None,
    ) -> None:
        self.stale_ns, self.bar_ns = stale_ns, bar_ns
        self.n_late = self.n_outside = self.n_crossed = self.n_locked = self.n_changed = 0
        self._calendar = calendar
        self._quotes: dict[str, dict[str, Quote]] = {}
        self._best: dict[str, Nbbo] = {}
        self._growing: dict[str, _Growing] = {}
        self._closed_ns: dict[str, int] = {}

    def on_quote(self, quote: Quote, source: str = "") -> Nbbo:
        """Take a quote of one source and return the symbol's best bid and offer.

        A price of 0 or below, or a quantity of 0, means that the source has no such side.
        """
        sources = self._quotes.setdefault(quote.symbol, {})
        known = sources.get(source)
        if known is not None and quote.ts_ns < known.ts_ns:
            self.n_late += 1
            return self._best[quote.symbol]
        sources[source] = quote
        best = self._best[quote.symbol] = _best(quote.symbol, list(sources.values()))
        self.n_crossed += best.state is QuoteState.CROSSED
        self.n_locked += best.state is QuoteState.LOCKED
        return best

    def nbbo(self, symbol: str) -> Nbbo | None:
        """Return a symbol's best bid and offer, None before its first quote."""
        return self._best.get(symbol)

    def is_stale(self, symbol: str, now_ns: int) -> bool:
        """Return True without a quote, or when the newest is older than ``stale_ns``."""
        best = self._best.get(symbol)
        return best is None or now_ns - best.ts_ns > self.stale_ns

    def on_trade(self, trade: Trade) -> Bar | None:
        """Take a trade; return the bar before its own when that one is complete now."""
        span = self._span(trade.ts_ns)
        if span is None:
            self.n_outside += 1
            return None
        start_ns, end_ns = span
        growing = self._growing.get(trade.symbol)
        if end_ns <= self._closed_ns.get(trade.symbol, 0) or (
            growing is not None and start_ns < growing.start_ns
        ):
            self.n_late += 1
            return None
        if growing is not None and start_ns == growing.start_ns:
            growing.add(trade)
            return None
        self._growing[trade.symbol] = _Growing.begin(start_ns, end_ns, trade)
        return None if growing is None else self._close(trade.symbol, growing)

    def on_change(self, change: TradeChange) -> bool:
        """Build a growing bar anew without a trade that was taken back, or with its correction.

        A bar that has closed stays as it is (False): its source sends the changed bar itself.
        """
        growing = self._growing.get(change.symbol)
        if growing is None or all(one.id != change.id for one in growing.trades):
            self.n_late += 1
            return False
        self.n_changed += 1
        anew = growing.without(change.id, change.corrected)
        if anew is None:
            del self._growing[change.symbol]
        else:
            self._growing[change.symbol] = anew
        return True

    def close_until(self, now_ns: int) -> list[Bar]:
        """Return and forget the growing bars that end at or before ``now_ns``, by symbol."""
        done = sorted(s for s, one in self._growing.items() if one.end_ns <= now_ns)
        return [self._close(symbol, self._growing.pop(symbol)) for symbol in done]

    def _close(self, symbol: str, growing: _Growing) -> Bar:
        self._closed_ns[symbol] = growing.end_ns
        return growing.bar(symbol)

    def _span(self, ts_ns: int) -> tuple[int, int] | None:
        """Return start and end of the bar that an instant belongs to, None outside sessions."""
        if self._calendar is None:
            start_ns = ts_ns // self.bar_ns * self.bar_ns
            return start_ns, start_ns + self.bar_ns
        at = np.array([ts_ns], np.int64)
        row = self._calendar.index_at(at)
        if row[0] < 0:
            return None
        start, end = self._calendar.buckets(at, row, self.bar_ns)
        return int(start[0]), int(end[0])


def _best(symbol: str, quotes: list[Quote]) -> Nbbo:
    """Return the highest bid and the lowest ask; sizes at a shared price add up."""
    if len(quotes) == 1:
        one = quotes[0]
        if 0 < one.bid_px < one.ask_px and one.bid_qty > 0 and one.ask_qty > 0:
            return Nbbo(*one, QuoteState.NORMAL)
    bids = [one for one in quotes if one.bid_px > 0 and one.bid_qty > 0]
    asks = [one for one in quotes if one.ask_px > 0 and one.ask_qty > 0]
    bid_px = max((one.bid_px for one in bids), default=None)
    ask_px = min((one.ask_px for one in asks), default=None)
    bid_qty = sum((one.bid_qty for one in bids if one.bid_px == bid_px), Decimal(0))
    ask_qty = sum((one.ask_qty for one in asks if one.ask_px == ask_px), Decimal(0))
    if bid_px is None or ask_px is None:
        state = QuoteState.ONE_SIDED
    elif bid_px == ask_px:
        state = QuoteState.LOCKED
    else:
        state = QuoteState.CROSSED if bid_px > ask_px else QuoteState.NORMAL
    newest_ns = max(one.ts_ns for one in quotes)
    return Nbbo(symbol, newest_ns, bid_px, bid_qty, ask_px, ask_qty, state)
