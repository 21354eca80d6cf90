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

from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.backtesting import Strategies, backtest, name_strategies
from mqd.core.instrument import AssetClass
from mqd.core.protocols import BarListener
from mqd.desk.harvest import harvest
from mqd.desk.names import SIMULATED_ACCOUNT
from mqd.desk.source import Terms
from mqd.errors import RunFolderExists, UsageError
from mqd.kernel.settings import Settings, settings_of
from mqd.live.books import open_books
from mqd.live.builder import DeskPlan, refuse_exits
from mqd.live.compare import causes, compare
from mqd.live.control import Control
from mqd.live.decision_hash import decision_sha256
from mqd.live.faults import fault_words
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.link import VenueAddress
from mqd.live.paced import PATIENCE_S
from mqd.live.paced_run import PacedDone, PacedRun
from mqd.live.plan import plan_of
from mqd.live.realtime_run import RealtimeRun, rehearsal_terms
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess
from mqd.market_data.bars import Bars, load_bars
from mqd.result import Named

FASTEST = 3600.0
FAULTY_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a rehearsal goes: ``factor`` times real time, None for as fast as the desk."""

    factor: float | None = None

    @staticmethod
    def of(text: str) -> Pace:
        """Return the pace of ``max``, ``1x`` or ``60x``."""
        if text == "max":
            return Pace()
        try:
            factor = float(text.removesuffix("x")) if text.endswith("x") else 0.0
        except ValueError:
            factor = 0.0
        if not 0 < factor <= FASTEST:
            raise UsageError(f"--speed {text!r}: write max, 1x or a factor such as 60x.")
        return Pace(factor)


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
    asked, and ``causes`` counts the orders by what sets them apart (see ``causes``);
    ``latency_ns`` has the durations from bar to wire and from call to answer. ``log_sha256`` names
    this run's log; ``decision_sha256`` is equal for equal runs (``decision_hash``).
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    breaks: tuple[str, ...]
    duplicates: int
    lost_fills: int
    log_sha256: str
    decision_sha256: str
    run: Path | None
    latency_ns: Mapping[str, float]
    equal: bool | None
    differences: tuple[str, ...]
    causes: Mapping[str, int]
    killed: bool

    @property
    def clean(self) -> bool:
        """True when nothing was lost or sent twice and the books agree with the venue's."""
        return not (self.breaks or self.duplicates or self.lost_fills)

    def summary(self) -> dict[str, Any]:
        """Return the counts as one JSON-ready document."""
        return {
            "orders": len(self.orders), "fills": len(self.fills), "breaks": len(self.breaks),
            "duplicates": self.duplicates, "lost_fills": self.lost_fills,
            "log_sha256": self.log_sha256, "decision_sha256": self.decision_sha256,
            "run": None if self.run is None else str(self.run),
            "equal": self.equal, "differences": list(self.differences),
            "named_breaks": list(self.breaks), "latency_ns": dict(self.latency_ns),
            "causes": dict(self.causes), "killed": self.killed,
        }  # fmt: skip


def rehearse(
    strategy: Strategies,
    data: DataSpec,
    *,
    out: str | Path | None = None,
    pace: Pace = Pace(),
    faults: str | Path | None = None,
    seed: int = 0,
    replay: bool = True,
    listener: BarListener | None = None,
    **words: Any,
) -> Rehearsal:
    """Rehearse ``strategy`` on the local venue over the bars of ``data``; return what came of it.

    ``words`` are those of ``backtest``: cash, sizer, costs, fills, limits, rules, multiplier,
    rebalance_band_frac. ``out`` is the run folder (it must not exist). ``faults`` is "all",
    "random" or a TOML file; ``seed`` is theirs. ``replay=True`` runs the same in the desk's
    replay and compares order by order. ``listener`` is given each closed bar, and changes nothing.

    Raises what ``backtest`` raises, and ``VenueNotStarted``.
    """
    bars = data.load()
    settings = settings_of(bars, **words)
    named = name_strategies(strategy)
    _refuse(settings, bars, named)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqd-rehearsal-")))
        venue_words = _venue_words(data, bars, settings) | {
            "pace": "step" if pace.factor is None else pace.factor,
            "faults": fault_words(faults, seed),
        }
        venue = stack.enter_context(VenueProcess(scratch, venue_words))
        place = scratch / "run" if out is None else Path(out)
        if place.exists():
            raise RunFolderExists(str(place))
        folder = stack.enter_context(
            StateFolder.open(place, account=account_sha256(ACCOUNT_ID), mode="rehearsal")
        )
        plan = plan_desk(named, bars, settings)
        patience_s = PATIENCE_S if faults is None else FAULTY_PATIENCE_S
        done, log_sha256 = run_desk(
            plan, local_address(venue), Control(venue.port, venue.token), folder, pace, patience_s,
            listener,
        )  # fmt: skip
        decisions = decision_sha256(folder.path)
    terms = Terms.of(settings, done.desk.parts.valuation.quantum)
    left = harvest(done.desk, terms)
    equal: bool | None = None
    differences: tuple[str, ...] = ()
    by_cause: dict[str, int] = {}
    if replay:
        told = backtest(strategy, bars, engine="event", **words)
        equal, differences = compare((left.orders, told.orders), (left.fills, told.fills))
        by_cause = causes(left.orders, told.orders, bars.timeframe_ns)
    closing = done.closing
    return Rehearsal(
        left.orders, left.fills, closing.breaks, closing.duplicates, closing.lost_fills,
        log_sha256, decisions, None if out is None else Path(out), done.latency_ns, equal,
        differences, by_cause, done.killed,
    )  # fmt: skip


def plan_desk(named: Named, bars: Bars, settings: Settings) -> DeskPlan:
    """Return what a rehearsal's desk trades; no price of ``bars`` goes with it."""
    market = plan_of(bars, settings.fills.participation_frac)
    return DeskPlan(named=named, settings=settings, market=market, account=SIMULATED_ACCOUNT)


def local_address(venue: VenueProcess) -> VenueAddress:
    """Return the address of a venue process with its keys."""
    return VenueAddress.local(venue.port, Keys(Secret(venue.key_id), Secret(venue.secret)))


def run_desk(
    plan: DeskPlan,
    address: VenueAddress,
    control: Control,
    folder: StateFolder,
    pace: Pace,
    patience_s: float = PATIENCE_S,
    listener: BarListener | None = None,
) -> tuple[PacedDone, str]:
    """Run a desk in ``folder``, from its log on when it has one; return it and its log's hash."""
    books = open_books(
        folder, mode="rehearsal", account=account_sha256(ACCOUNT_ID), config=plan.sha256
    )
    reason = "failed"
    try:
        if pace.factor is None:
            run = PacedRun(
                plan, address, control, folder, books, patience_s=patience_s, listener=listener
            )
            done = run.run()
        else:
            terms = rehearsal_terms(control, pace.factor, listener)
            done = RealtimeRun(plan, address, folder, books, terms).run()
        reason = "killed" if done.killed else "done"
    finally:
        control.close()
        books.close(reason)
    return done, books.journal.log.sha256


def _refuse(settings: Settings, bars: Bars, named: Named) -> None:
    """Refuse what the venue cannot hold as a replay does."""
    if settings.account != "margin":
        raise UsageError("A rehearsal runs on a margin account, as Alpaca's paper accounts are.")
    if bars.adjust == "none" and any(bars[symbol].actions for symbol in bars.symbols):
        raise UsageError(
            "These bars hold splits or dividends that are not adjusted for: rehearse on"
            " adjust='split'."
        )
    if len(named) > 1:
        raise UsageError("One strategy at a time: a rehearsal, as a paper account, runs one.")
    kind = AssetClass.CRYPTO if bars.calendar == "24/7" else AssetClass.EQUITY
    refuse_exits(named[0][1], kind)


def _venue_words(data: DataSpec, bars: Bars, settings: Settings) -> dict[str, Any]:
    return {
        "data": str(data.path.resolve()),
        **{k: v for k, v in data.words.items() if v is not None},
        "symbols": list(bars.symbols), "cash": str(settings.cash),
        "costs": asdict(settings.costs), "fills": asdict(settings.fills),
        "multiplier": settings.multiplier,
    }  # fmt: skip
