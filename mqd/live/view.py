"""``DeskView``: the ``LiveState`` of a trading desk, put together from what each part knows.

It is asked once an order, on the desk's thread. Each number is the freshest that a part holds;
what a part does not know stays unknown, and the live controls refuse what they do not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import LiveClock
from mqd.live.chores import Reconciler
from mqd.live.doubts import Doubts
from mqd.live.rounds import Asset, Rounds, hours_at
from mqd.live.sightings import Sightings
from mqd.live.watcher import Watcher
from mqd.market_data.calendar import TradingCalendar
from mqd.risk.live_state import UNKNOWN, LiveState, SymbolLive

STATUSES: Final = "statuses"
NO_ASSET: Final = Asset(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0)


@dataclass(slots=True, kw_only=True)
class DeskView:
    """The parts that know something. ``equity_quanta`` is the band (least, most) of the account;
    ``watchdog_ns`` tells how long ago the watchdog was alive, None when it never was.
    ``started`` is set once books and venue have agreed at the start."""

    clock: LiveClock
    calendar: TradingCalendar
    symbols: tuple[str, ...]
    streams: AlpacaStreams
    sightings: Sightings
    rounds: Rounds
    watcher: Watcher
    reconciler: Reconciler
    doubts: Doubts
    equity_quanta: tuple[int, int]
    watchdog_ns: Callable[[], int | None]
    started: bool = False

    def __call__(self) -> LiveState:
        """Return what is known now."""
        rounds, now_ns = self.rounds, self.clock.now_ns()
        hours = hours_at(self.calendar, now_ns)
        latest, watchdog_ns = self.watcher.latest, self.watchdog_ns()
        return LiveState(
            now_ns=now_ns,
            clock_age_ns=self._age(rounds.clock_mono_ns), skew_ns=rounds.skew_ns,
            sources_agree=rounds.agree,
            open_ns=hours.open_ns, close_ns=hours.close_ns, last_close_ns=hours.last_close_ns,
            status_age_ns=self._statuses_ns(), market_halted=self.sightings.market_halted,
            stream_silent_ns=self._silent_ns("trading"),
            api_silent_ns=self._age(max(
                rounds.clock_mono_ns or 0, self.watcher.last_ok_mono_ns or 0
            )),
            heartbeat_ns=UNKNOWN if watchdog_ns is None else watchdog_ns,
            bound=rounds.bound, bound_age_ns=self._age(rounds.bound_mono_ns),
            equity_quanta=UNKNOWN if latest is None else latest.account_.equity_quanta,
            equity_low_quanta=self.equity_quanta[0], equity_high_quanta=self.equity_quanta[1],
            started=int(self.started),
            reconciled_age_ns=self._age(self.reconciler.last_mono_ns),
            n_unknown=len(self.doubts.inquiry.open_ids),
            symbols=self._symbols(),
        )  # fmt: skip

    def refresh(self, session: object) -> None:  # noqa: ARG002 - a chore of the session
        """Look at the watchdog's file between reports, when that is due: no order waits for it."""
        self.watchdog_ns()

    def _symbols(self) -> dict[str, SymbolLive]:
        watched = self._statuses_ns() >= 0
        compared = self.reconciler.last is not None
        seen = self.sightings.look(self.symbols, watched=watched)
        return {symbol: self._with_asset(symbol, one, compared) for symbol, one in seen.items()}

    def _with_asset(self, symbol: str, seen: SymbolLive, compared: bool) -> SymbolLive:
        asset = self.rounds.assets.get(symbol, NO_ASSET)
        return seen._replace(
            tradable=asset.tradable, fractionable=asset.fractionable, shortable=asset.shortable,
            easy_to_borrow=asset.easy_to_borrow, asset_age_ns=self._age(asset.asked_mono_ns),
            open_break=int(symbol in self.reconciler.frozen) if compared else UNKNOWN,
        )  # fmt: skip

    def _statuses_ns(self) -> int:
        """Return how long the feed of statuses showed no life: it is quiet while nothing halts, so
        the socket's life counts, once the server has confirmed the channel."""
        confirmed = STATUSES in self.streams.state["data"].channels
        return self._silent_ns("data") if confirmed else UNKNOWN

    def _silent_ns(self, kind: str) -> int:
        state = self.streams.state[kind]
        return self._age(state.last_alive_mono_ns) if state.listening else UNKNOWN

    def _age(self, since_mono_ns: int | None) -> int:
        return self.clock.monotonic_ns() - since_mono_ns if since_mono_ns else UNKNOWN
