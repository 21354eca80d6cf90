"""Paper and live trading: a configuration becomes a desk on an account, or a refusal that says why.

The order is that of the runbook: keys, state folder and latches, the account's binding, the
watchdog, then log, market and session.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

from mqd import logs
from mqd.adapters.alpaca.binding import Bound, bind
from mqd.adapters.alpaca.budget import Budget
from mqd.adapters.alpaca.errors import BindingRefused, VenueUnreachable
from mqd.adapters.alpaca.keys import Keys, read_keys
from mqd.adapters.alpaca.session import AlpacaSession, objects
from mqd.adapters.alpaca.wire import number
from mqd.backtesting import name_strategies
from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.instrument import AssetClass
from mqd.core.money import run_quantum
from mqd.core.protocols import BarListener, Clock
from mqd.errors import UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel.settings import Settings
from mqd.live.books import open_books
from mqd.live.builder import DeskPlan, refuse_exits
from mqd.live.chores import Reconciler
from mqd.live.config import LOOPBACK, LiveConfig
from mqd.live.errors import DeskRefused
from mqd.live.folder import Mode, StateFolder
from mqd.live.link import VenueAddress
from mqd.live.paced_run import PacedDone
from mqd.live.plan import MarketPlan
from mqd.live.realtime_run import RealtimeRun, Terms
from mqd.live.rounds import Rounds
from mqd.live.status import open_orders
from mqd.live.view import DeskView
from mqd.live.watchdog import WatchdogProcess
from mqd.log_reader import read
from mqd.market_data.calendar import calendar_for, sessions_per_year
from mqd.market_data.loading import timeframe_ns
from mqd.risk.kill_switch import LatchLevel

SIGNALS: Final = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
ACCOUNT_CHARS: Final = 8
PATIENCE_S: Final = (5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0)


class Traded(NamedTuple):
    """What came of a session: the run, the hash of its log, and why it stopped."""

    done: PacedDone
    log_sha256: str
    stopped: str


def trade(
    config: LiveConfig,
    *,
    factor: float | None = None,
    until_close: bool = False,
    listener: BarListener | None = None,
) -> Traded:
    """Trade ``config`` until it is stopped; the promotion record was looked at before.

    ``factor`` is for the venue on this machine alone: how many times faster than real time it
    runs (None: the endpoint is Alpaca's). ``until_close``: end after the session's last bar.
    ``listener`` is given each closed bar, the history first, and changes nothing.

    Raises ``DeskRefused``, ``KeysRefused``, ``BindingRefused``, ``StateFolderTaken`` and what a
    configuration or a log raises; nothing was sent then.
    """
    rehearsal = factor is not None
    _refuse(config)
    environment = dict(os.environ)
    keys = read_keys(config.keys_file, config.keys_env)
    with ExitStack() as stack:
        mode: Mode = "rehearsal" if rehearsal else config.mode
        folder = stack.enter_context(
            StateFolder.open(config.state, account=config.account_sha256, mode=mode)
        )
        logs.configure(config.state, run_id=config.state.name)
        stack.callback(logs.close)
        _refuse_latches(folder)
        plan = _plan(config, folder, _opening(config, keys, folder, rehearsal=rehearsal))
        folder.beat(WallClock().now_ns(), state="starting")
        dog = stack.enter_context(WatchdogProcess(config, environment, rehearsal=rehearsal))
        if not dog.wait_ready():
            raise DeskRefused("its watchdog does not run; its reason stands above")
        return _driven(
            config, keys, plan, folder, dog, factor, until_close=until_close, listener=listener
        )


def _refuse(config: LiveConfig) -> None:
    """Refuse what Alpaca cannot hold, or what this desk does not speak."""
    if config.calendar == "24/7":
        raise UsageError("Coins cannot be traded yet: this desk hears the stock streams alone.")
    refuse_exits(config.make_strategy(), AssetClass.EQUITY)


def _refuse_latches(folder: StateFolder) -> None:
    """Refuse to start on KILL and HALT; REDUCE_ONLY starts, and reduces.

    With KILL a desk whose log has open orders starts all the same: it hears what became of them,
    cancels what is left and ends. Without that neither start nor rearm would be possible.
    """
    level = folder.latches.level
    if level < LatchLevel.HALT:
        return
    said = "; ".join(f"{k.name}: {why}" for k, why in folder.latches.reasons.items())
    left = len(open_orders(folder.path))
    if not left:
        raise DeskRefused(f"a latch is set ({said}); find out why, then 'mqd rearm'")
    if level is not LatchLevel.KILL:
        raise DeskRefused(
            f"a latch is set ({said}) and {left} order(s) are open in the log; 'mqd kill', then"
            " start again: the desk cancels them and ends. Then 'mqd rearm'"
        )
    logs.get_logger("start").warning("settles_only", open_orders=left, latches=said)


class _Opening(NamedTuple):
    """What the account holds before the desk begins."""

    cash: Decimal
    held: tuple[str, ...]


def _opening(config: LiveConfig, keys: Keys, folder: StateFolder, *, rehearsal: bool) -> _Opening:
    """Return what the account holds. A desk that goes on with a log waits minutes for a venue that
    does not answer: its positions are not to lie there alone because a network was away."""
    for wait_s in PATIENCE_S if folder.has_log else ():
        try:
            return _account(config, keys, rehearsal=rehearsal)
        except BindingRefused as refused:
            if not isinstance(refused.__cause__, VenueUnreachable):
                raise
            logs.get_logger("start").warning("venue_unreachable", why=str(refused), again_s=wait_s)
        threading.Event().wait(wait_s)
    return _account(config, keys, rehearsal=rehearsal)


def _account(config: LiveConfig, keys: Keys, *, rehearsal: bool) -> _Opening:
    """Bind the account and return what it holds; raise ``BindingRefused``."""
    session = AlpacaSession(config.endpoint, keys, WallClock())
    try:
        bind_account(config, keys, session, rehearsal=rehearsal)
        cash = number(session.ask("/v2/account").get("cash"))
        if cash is None:
            raise DeskRefused("the account does not say its cash")
        positions = objects(session, "/v2/positions")
        orders = objects(session, "/v2/orders", {"status": "open", "limit": 500})
        held = {str(one.get("symbol")) for one in (*positions, *orders)}
        return _Opening(cash, tuple(sorted(held)))
    finally:
        session.close()


def bind_account(
    config: LiveConfig, keys: Keys, session: AlpacaSession, *, rehearsal: bool
) -> Bound:
    """Bind the account of a configuration to a session; raise ``BindingRefused``."""
    return bind(
        session, mode="rehearsal" if rehearsal else config.mode, key_id=keys.key_id,
        account_sha256=config.account_sha256, equity_usd=config.equity_usd, clock=WallClock(),
    )  # fmt: skip


def _plan(config: LiveConfig, folder: StateFolder, opening: _Opening) -> DeskPlan:
    """Return what trades. A new desk begins with the account's cash, and on a flat account."""
    cash = logged_deposit(folder.path)
    if cash is None:
        if opening.held:
            raise DeskRefused(
                f"this is its first start, and the account holds positions or open orders"
                f" ({', '.join(opening.held)}) that no log of ours explains; close them first"
            )
        quantum = run_quantum([(config.tick, config.lot)])
        cash = opening.cash.quantize(quantum, rounding=ROUND_DOWN)
    return plan_of_config(config, cash, WallClock().now_ns())


def plan_of_config(config: LiveConfig, cash: Decimal, now_ns: int) -> DeskPlan:
    """Return what a configuration trades, from a first deposit of ``cash`` USD."""
    settings = Settings(
        cash=cash, sizer=config.make_sizer(), costs=Costs.alpaca(), fills=FillModel(),
        limits=config.limits, account="margin", multiplier=config.multiplier,
        rebalance_band_frac=config.rebalance_band_frac,
    )  # fmt: skip
    return DeskPlan(
        named=name_strategies([(config.make_strategy(), config.allocation)]), settings=settings,
        market=market_plan(config, now_ns), account=config.account_sha256[:ACCOUNT_CHARS],
    )  # fmt: skip


def market_plan(config: LiveConfig, now_ns: int) -> MarketPlan:
    """Return the market of a configuration: it begins with the anchor's session."""
    day = datetime(config.anchor.year, config.anchor.month, config.anchor.day, tzinfo=UTC)
    anchor_ns = int(day.timestamp()) * NS_PER_S
    opens = calendar_for(config.calendar, anchor_ns, now_ns).opens
    first = int(opens[opens.searchsorted(anchor_ns)])
    return MarketPlan(
        symbols=config.symbols, calendar=config.calendar,
        timeframe_ns=timeframe_ns(config.timeframe),
        ticks=dict.fromkeys(config.symbols, config.tick),
        lots=dict.fromkeys(config.symbols, config.lot), first_ns=first, last_ns=now_ns,
        sessions_per_year=sessions_per_year(config.calendar, now_ns), feed=config.feed,
        extras=("vwap", "trade_count"),
    )  # fmt: skip


def logged_deposit(folder: Path) -> Decimal | None:
    """Return what the desk of a log began with, None when no desk has begun there."""
    begun = any((folder / "log").glob("*.ndjson"))
    for record in read(folder) if begun else ():
        if record.kind == "cash":
            return Decimal(record.payload["amount"])
    return None


def _driven(
    config: LiveConfig,
    keys: Keys,
    plan: DeskPlan,
    folder: StateFolder,
    dog: WatchdogProcess,
    factor: float | None,
    *,
    until_close: bool,
    listener: BarListener | None,
) -> Traded:
    """Run the desk on its books until it is stopped; they are sealed whatever happens."""
    books = open_books(
        folder, mode=config.mode if factor is None else "rehearsal",
        account=config.account_sha256, config=config.sha256,
    )  # fmt: skip
    reason = "failed"
    try:
        run: RealtimeRun
        terms = Terms(
            factor=factor or 1.0, checkpoints=True,
            budget=Budget(WallClock()) if factor is None else None,
            over=lambda: until_close and run.closed_a_session, listener=listener,
            make_view=lambda run, reconciler: _view(
                config, keys, run, reconciler, dog, rehearsal=factor is not None
            ),
        )  # fmt: skip
        run = RealtimeRun(plan, address_of(config, keys), folder, books, terms)
        dog.traded = lambda: run.session is not None
        with _stopped_by_signals(run):
            done = run.run()
        reason = "killed" if done.killed else "done"
    finally:
        books.close(reason)
        folder.beat(WallClock().now_ns(), state="stopped")
    stopped = "" if run.session is None else run.session.stopped
    return Traded(done, books.journal.log.sha256, stopped)


def address_of(config: LiveConfig, keys: Keys) -> VenueAddress:
    """Return where the venue of a configuration is."""
    if LOOPBACK.fullmatch(config.endpoint):
        return VenueAddress.local(int(config.endpoint.rsplit(":", 1)[1]), keys, config.feed)
    return VenueAddress.alpaca(
        config.mode, config.endpoint, config.data_endpoint, config.feed, keys
    )


def _view(
    config: LiveConfig,
    keys: Keys,
    run: RealtimeRun,
    reconciler: Reconciler,
    dog: WatchdogProcess,
    *,
    rehearsal: bool,
) -> DeskView:
    """Return what the live controls read; the line that trades is bound here."""
    bound = bind_account(config, keys, run.link.session, rehearsal=rehearsal)
    ours: Clock = run.clock if rehearsal else WallClock()
    market, quantum = run.market, run.quantum
    rounds = Rounds(
        run.link.connector, bound, market.symbols, market.calendar, ours, run.clock.factor
    )
    low, high = (int(edge / quantum) for edge in config.equity_usd)
    return DeskView(
        clock=run.clock, calendar=market.calendar, symbols=market.symbols,
        streams=run.link.streams, sightings=run.sightings, rounds=rounds, watcher=run.watcher,
        reconciler=reconciler, doubts=run.doubts, equity_quanta=(low, high),
        watchdog_ns=dog.silent_ns,
    )  # fmt: skip


@contextmanager
def _stopped_by_signals(run: RealtimeRun) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the session at its next turn: log sealed, books compared."""

    def stop(number: int, _frame: FrameType | None) -> None:
        run.stop(SIGNALS[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
