"""``rehearse``: a strategy against the local venue, over Alpaca's own interface.

The venue runs as a process of its own; the desk talks to it through the adapter, as it will talk
to Alpaca. At ``speed="max"`` the venue waits for the desk at each phase of a step, and orders and
fills equal those of a replay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.backtesting import Strategies, backtest, name_strategies
from mqd.core.clock import SimulatedClock, WallClock
from mqd.core.money import to_units
from mqd.desk.ground import Ground
from mqd.desk.harvest import harvest
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.desk.source import Terms
from mqd.desk.start_record import write_start
from mqd.desk.wiring import Wiring
from mqd.errors import UsageError
from mqd.event_bus import OrderEventBus
from mqd.kernel.settings import Settings, scales_of, settings_of
from mqd.live.closing import Closing, close_books
from mqd.live.compare import compare
from mqd.live.control import Control
from mqd.live.market import GrowingMarket, plan_of
from mqd.live.paced import BarInbox, PacedBroker
from mqd.live.runners import make_live_runner
from mqd.live.venue_process import VenueProcess
from mqd.market_data.bars import Bars, load_bars
from mqd.positions.store import PositionStore
from mqd.result import Named
from mqd.transaction_log import TransactionLog, new_run_folder

READY_S = 20.0
REHEARSAL_ACCOUNT = "sim0"


@dataclass(frozen=True, slots=True)
class DataSpec:
    """A file of bars and how it is read: the words of ``load_bars``."""

    path: Path
    words: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Bars:
        """Return the bars."""
        return load_bars(self.path, **self.words)


class Rehearsal(NamedTuple):
    """What came of a rehearsal.

    ``orders`` and ``fills`` are frames as in ``Result``; ``breaks`` names each difference of our
    books from the venue's at the end; ``duplicates`` counts orders that the venue holds twice
    for one decision, ``lost_fills`` executions at the venue that our log has not. ``equal``
    says whether the replay of the same bars gave the same orders and fills, None when it was not
    asked; ``latency_ns`` has the durations from decision to answer.
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    breaks: tuple[str, ...]
    duplicates: int
    lost_fills: int
    log_sha256: str
    run: Path | None
    latency_ns: Mapping[str, float]
    equal: bool | None
    differences: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return the counts as one JSON-ready document."""
        return {
            "orders": len(self.orders), "fills": len(self.fills), "breaks": len(self.breaks),
            "duplicates": self.duplicates, "lost_fills": self.lost_fills,
            "log_sha256": self.log_sha256, "run": None if self.run is None else str(self.run),
            "equal": self.equal, "differences": list(self.differences),
            "named_breaks": list(self.breaks), "latency_ns": dict(self.latency_ns),
        }  # fmt: skip


def rehearse(
    strategy: Strategies,
    data: DataSpec,
    *,
    out: str | Path | None = None,
    replay: bool = True,
    **words: Any,
) -> Rehearsal:
    """Rehearse ``strategy`` on the local venue over the bars of ``data``; return what came of it.

    ``words`` are those of ``backtest``: cash, sizer, costs, fills, limits, rules, multiplier,
    rebalance_band_frac. ``out`` is the run folder (it must not exist). ``replay=True`` runs the
    same in the desk's replay and compares order by order.

    Raises what ``backtest`` raises, and ``VenueNotStarted``.
    """
    bars = data.load()
    settings = settings_of(bars, **words)
    _refuse(settings, bars)
    named = name_strategies(strategy)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqd-rehearsal-")))
        venue = stack.enter_context(VenueProcess(scratch, _venue_words(data, bars, settings)))
        folder = None if out is None else new_run_folder(out)
        done, desk, log_sha256 = _Rehearsing(named, bars, settings, venue, folder).run(stack)
    terms = Terms.of(settings, desk.parts.valuation.quantum)
    left = harvest(desk, terms)
    equal, differences = None, ()
    if replay:
        told = backtest(strategy, bars, engine="event", **words)
        equal, differences = compare((left.orders, told.orders), (left.fills, told.fills))
    return Rehearsal(
        left.orders, left.fills, done.breaks, done.duplicates, done.lost_fills, log_sha256,
        folder, done.latency_ns, equal, differences,
    )  # fmt: skip


def _refuse(settings: Settings, bars: Bars) -> None:
    """Refuse what the venue cannot hold as a replay does."""
    if settings.account != "margin":
        raise UsageError("A rehearsal runs on a margin account, as Alpaca's paper accounts are.")
    if bars.adjust == "none" and any(bars[symbol].actions for symbol in bars.symbols):
        raise UsageError(
            "These bars hold splits or dividends that are not adjusted for: rehearse on"
            " adjust='split'."
        )


def _venue_words(data: DataSpec, bars: Bars, settings: Settings) -> dict[str, Any]:
    costs = asdict(settings.costs)
    fills = asdict(settings.fills)
    return {
        "data": str(data.path.resolve()), "symbols": list(bars.symbols),
        **{k: v for k, v in data.words.items() if k != "symbols" and v is not None},
        "cash": str(settings.cash), "costs": costs, "fills": fills,
        "multiplier": settings.multiplier, "pace": "step", "faults": None,
    }  # fmt: skip


class _Rehearsing:
    """One rehearsal while it runs."""

    def __init__(
        self,
        named: Named,
        bars: Bars,
        settings: Settings,
        venue: VenueProcess,
        folder: Path | None,
    ) -> None:
        self._named, self._settings, self._venue = named, settings, venue
        self._folder, self._bars = folder, bars
        self._clock = SimulatedClock()
        scales, self._quantum = scales_of(bars, settings.cash)
        self._market = GrowingMarket(plan_of(bars, settings.fills.participation_frac), scales)
        self._scales = scales

    def run(self, stack: ExitStack) -> tuple[Closing, Desk, str]:
        """Go through all steps; return the comparison of the books, the desk and the log's hash."""
        venue, settings = self._venue, self._settings
        keys = Keys(Secret(venue.key_id), Secret(venue.secret))
        session = AlpacaSession(venue.url, keys, WallClock())
        connector = AlpacaBrokerConnector(session, self._scales, self._clock, self._quantum)
        inbox = BarInbox()
        streams = AlpacaStreams(
            f"ws://127.0.0.1:{venue.port}", key_id=keys.key_id, secret=keys.secret,
            on_update=connector.take_update, on_data=inbox.put, clock=WallClock(),
        )  # fmt: skip
        streams.subscribe(bars=["*"], daily_bars=["*"])
        streams.start()
        stack.callback(streams.stop)
        streams.wait_ready(READY_S)
        control = Control(venue.port, venue.token)
        stack.callback(control.close)
        broker = PacedBroker(connector, control, self._market, inbox, self._quantum)
        ground = Ground(
            self._market, broker, self._clock, self._scales, self._quantum,
            to_units(settings.cash, self._quantum, "cash"), REHEARSAL_ACCOUNT, make_live_runner,
        )  # fmt: skip
        journal = self._journal()
        reason = "failed"
        try:
            desk = self._drive(ground, journal, broker)
            closing = close_books(desk, connector)
            reason = "done"
        finally:
            journal.bus.close()
            journal.log.close(reason)
            if journal.store is not None:
                journal.store.close()
        return closing, desk, journal.log.sha256

    def _journal(self) -> Journal:
        folder = self._folder
        header = {"run_id": folder.name if folder else "memory", "mode": "rehearsal"}
        durable = folder is not None
        log = TransactionLog.create(
            folder, header, durable=durable, clock=WallClock() if durable else None
        )
        store = None if folder is None else PositionStore.create(folder, tip=log.tip)
        return Journal(log, store, OrderEventBus())

    def _drive(self, ground: Ground, journal: Journal, broker: PacedBroker) -> Desk:
        wiring = Wiring(self._named, self._market.bars, self._settings, journal, ground)
        desk = wiring.build()
        ledger = desk.parts.valuation.ledger
        broker.account_book.settled = lambda: ledger.cash
        plan = self._market.plan
        write_start(
            journal, self._named, self._settings, self._scales, ground.cash_quanta,
            data=plan.words(), first_ns=plan.first_ns, folder=self._folder,
        )  # fmt: skip
        desk.start()
        while (ts_close := broker.next_step()) is not None:
            desk.step(self._market.announce(ts_close))
        desk.stop()
        return desk
