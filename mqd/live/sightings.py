"""What the market data socket showed of each symbol: quote, last trade, halts, price bands.

The stream's thread puts frames in, the desk's thread reads. Ages are real time since a message
came, plus how old it was by then; what was never seen stays unknown, and the controls refuse it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from mqd.core.bar import TradeChange
from mqd.core.clock import LiveClock
from mqd.core.money import Scale
from mqd.market_data.health import (
    Unusable,
    change_of,
    decimal_of,
    quote_of,
    symbol_of,
    trade_of,
)
from mqd.risk.live_state import UNKNOWN, SymbolLive

HALTS: Final = frozenset({"2", "H", "P"})
"""Status codes that stop trading: a halt (tapes A and B: 2, tape C: H) and a volatility pause."""
RESUMPTIONS: Final = frozenset({"3", "T"})
MARKET_WIDE: Final = "MWC"
"""How the reason of a market-wide breaker begins (MWC1, MWC2, MWC3)."""


@dataclass(slots=True)
class _Sight:
    """One symbol; prices in ticks, instants on the monotonic clock, 0 for never."""

    bid_ticks: int = UNKNOWN
    ask_ticks: int = UNKNOWN
    quote_mono_ns: int = 0
    crossed_mono_ns: int = 0
    trade_ticks: int = UNKNOWN
    trade_mono_ns: int = 0
    trade_id: int = 0
    halted: bool = False
    told_mono_ns: int = 0
    resumed_mono_ns: int = 0
    low_band_ticks: int = 0
    high_band_ticks: int = 0


class Sightings:
    """Takes the frames of the data socket; ``scales`` are of the plan's symbols.

    ``n_bad`` counts messages that nobody can read.
    """

    def __init__(self, scales: Mapping[str, Scale], clock: LiveClock) -> None:
        self._scales, self._clock = dict(scales), clock
        self._sights = {symbol: _Sight() for symbol in scales}
        self._lock = threading.Lock()
        self._breaker = False
        self.n_bad = 0

    def put(self, messages: Sequence[dict[str, Any]]) -> None:
        """Take a frame's messages; called on the stream's thread."""
        with self._lock:
            for message in messages:
                try:
                    self._one(message)
                except Unusable:
                    self.n_bad += 1

    def forget(self) -> None:
        """Know nothing of halts and trades any more: the socket was away, and missed some."""
        with self._lock:
            for sight in self._sights.values():
                sight.told_mono_ns = sight.trade_mono_ns = 0

    @property
    def market_halted(self) -> int:
        """1 after a market-wide breaker, until a status says that a symbol trades again."""
        return int(self._breaker)

    def look(self, symbols: Iterable[str], *, watched: bool) -> dict[str, SymbolLive]:
        """Return what is known of symbols now. ``watched``: the socket tells of halts and bands;
        without it nobody knows whether a symbol is halted."""
        mono_ns = self._clock.monotonic_ns()
        with self._lock:
            return {s: _live(self._sights[s], mono_ns, watched=watched) for s in symbols}

    def _one(self, message: dict[str, Any]) -> None:
        kind = message.get("T")
        if kind not in ("q", "t", "s", "l", "c", "x"):
            return
        symbol = symbol_of(message)
        sight = self._sights.get(symbol)
        if sight is None:
            return
        if kind == "q":
            self._quote(sight, message)
        elif kind == "t":
            trade = trade_of(message, self._clock.now_ns())
            sight.trade_ticks = self._ticks(symbol, trade.px)
            sight.trade_mono_ns, sight.trade_id = self._since(trade.ts_ns), trade.id
        elif kind in ("c", "x"):
            self._change(sight, change_of(message, self._clock.now_ns()))
        elif kind == "s":
            self._status(sight, message)
        else:
            sight.high_band_ticks = self._ticks(symbol, decimal_of(message, "u", zero=True))
            sight.low_band_ticks = self._ticks(symbol, decimal_of(message, "d", zero=True))

    def _quote(self, sight: _Sight, message: dict[str, Any]) -> None:
        quote = quote_of(message, self._clock.now_ns())
        sight.bid_ticks = self._ticks(quote.symbol, quote.bid_px)
        sight.ask_ticks = self._ticks(quote.symbol, quote.ask_px)
        sight.quote_mono_ns = self._since(quote.ts_ns)
        crossed = sight.bid_ticks >= sight.ask_ticks
        since = sight.crossed_mono_ns or self._clock.monotonic_ns()
        sight.crossed_mono_ns = since if crossed else 0

    def _status(self, sight: _Sight, message: dict[str, Any]) -> None:
        code, reason = str(message.get("sc")), str(message.get("rc"))
        if code not in HALTS | RESUMPTIONS:
            return
        now = self._clock.monotonic_ns()
        if code in RESUMPTIONS and sight.halted:
            sight.resumed_mono_ns = now
        sight.halted, sight.told_mono_ns = code in HALTS, now
        self._breaker = sight.halted and (self._breaker or reason.startswith(MARKET_WIDE))

    def _change(self, sight: _Sight, change: TradeChange) -> None:
        """Mend the last trade when it is the one taken back; without it nothing is known of it."""
        if sight.trade_id != change.id:
            return
        if change.corrected is None:
            sight.trade_ticks, sight.trade_mono_ns, sight.trade_id = UNKNOWN, 0, 0
        else:
            sight.trade_ticks = self._ticks(change.symbol, change.corrected.px)
            sight.trade_id = change.corrected.id

    def _since(self, ts_ns: int) -> int:
        """Return the monotonic instant of ``ts_ns``: how late a message is counts into its age."""
        late_ns = max(0, self._clock.now_ns() - ts_ns) / self._clock.factor
        return max(1, self._clock.monotonic_ns() - int(late_ns))

    def _ticks(self, symbol: str, px: Decimal) -> int:
        return int(px / self._scales[symbol].tick)


def _live(sight: _Sight, mono_ns: int, *, watched: bool) -> SymbolLive:
    return SymbolLive(
        bid_ticks=sight.bid_ticks, ask_ticks=sight.ask_ticks,
        quote_age_ns=_age(sight.quote_mono_ns, mono_ns),
        crossed_ns=mono_ns - sight.crossed_mono_ns if sight.crossed_mono_ns else 0,
        trade_ticks=sight.trade_ticks, trade_age_ns=_age(sight.trade_mono_ns, mono_ns),
        halted=_halted(sight) if watched else UNKNOWN,
        limit_state=_at_band(sight) if watched else UNKNOWN,
        resumed_ns=mono_ns - sight.resumed_mono_ns if sight.resumed_mono_ns else 0,
        two_sided=int(sight.quote_mono_ns > sight.resumed_mono_ns and sight.ask_ticks > 0),
    )  # fmt: skip


def _age(since_mono_ns: int, mono_ns: int) -> int:
    return mono_ns - since_mono_ns if since_mono_ns else UNKNOWN


def _halted(sight: _Sight) -> int:
    """Return 1 in a halt, 0 when a status or a trade since we watch says that it trades."""
    if sight.told_mono_ns:
        return int(sight.halted)
    return 0 if sight.trade_mono_ns else UNKNOWN


def _at_band(sight: _Sight) -> int:
    """Return 1 while the bid stands at the upper band or the ask at the lower one."""
    high, low = sight.high_band_ticks, sight.low_band_ticks
    at_high = 0 < high <= sight.bid_ticks
    return int(at_high or 0 < sight.ask_ticks <= low)
