"""A desk in real time from its start to its end: opened, reconciled, driven, closed."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mqd.adapters.alpaca.budget import Budget
from mqd.core.clock import NS_PER_S, LiveClock, WallClock
from mqd.core.order import Order, Reason
from mqd.core.protocols import BarListener
from mqd.desk.listening import tell_bars
from mqd.desk.loop import Desk
from mqd.execution.executor import EventDrivenExecutor, MaySend, fresh
from mqd.execution.inquiry import Inquiry, to_next_session_end
from mqd.live.activities import Booked
from mqd.live.books import OpenBooks
from mqd.live.builder import DeskPlan, build_desk, plan_scales, recover, write_first_records
from mqd.live.catching_up import CatchingUp
from mqd.live.chores import AskBack, Heartbeat, Latches, Reconciler
from mqd.live.closing import close_books
from mqd.live.control import Control
from mqd.live.doubts import Doubts
from mqd.live.errors import DeskRefused
from mqd.live.folder import StateFolder
from mqd.live.link import Link, VenueAddress, bars_between, history_of
from mqd.live.market import GrowingMarket
from mqd.live.paced_run import PacedDone
from mqd.live.post_trade import PostTrade
from mqd.live.realtime import RealtimeBroker
from mqd.live.recovery import Recovered
from mqd.live.session import Chore, LiveSession
from mqd.live.sightings import Sightings
from mqd.live.steps import Arrivals
from mqd.live.view import DeskView
from mqd.live.warming import WarmUp, compile_rules
from mqd.live.watcher import RECONCILE_S, Watcher
from mqd.risk.kill_switch import KillSwitch, LatchLevel

START_ROUNDS = 30
ROUND_S = 0.5
DOUBT_ROUNDS = 240
"""Two minutes: an order that may have been sent is given up after a minute at the least, and two
questions (`mqd.execution.inquiry`)."""
REAL_GRACE_S = 0.25
SWITCH_S = 0.0001
"""How long a thread may hold the interpreter while another waits: a worker with an order does."""
VENUE_GRACE_NS = 3 * NS_PER_S
CLOCK_ATTEMPTS = 3
CLOCK_TOOK_NS = NS_PER_S // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a session differs from others: its pace, its patience, and who ends it.

    ``factor`` is the venue's speed; ``preload``: history since the market's first instant comes
    first; ``price_steps`` as the connector's; ``over`` is asked between steps. ``make_view``
    makes what the live controls read; a rehearsal has none, and is judged as a replay is.
    ``listener`` is given each closed bar, the history first. ``checkpoints``: a restart reads
    what follows the last one, and lists no fills from before.
    """

    factor: float = 1.0
    preload: bool = True
    price_steps: bool = True
    checkpoints: bool = False
    budget: Budget | None = None
    over: Callable[[], bool] = lambda: False
    make_view: Callable[[RealtimeRun, Reconciler], DeskView] | None = None
    listener: BarListener | None = None


class RealtimeRun:
    """One session of a desk against a venue that runs by itself."""

    def __init__(
        self,
        plan: DeskPlan,
        address: VenueAddress,
        folder: StateFolder,
        books: OpenBooks,
        terms: Terms,
    ) -> None:
        self._plan, self._folder, self._books, self._terms = plan, folder, books, terms
        self.clock, self._wake = LiveClock(terms.factor), threading.Event()
        scales = plan_scales(plan.market)
        self.market = GrowingMarket(plan.market, scales)
        self._arrivals = Arrivals(self.market, self._wake)
        self.quantum = plan.quantum
        self.sightings = Sightings(scales, self.clock)
        self.session: LiveSession | None = None
        self._stopped = ""
        self.link = Link(
            address, scales, plan.quantum, self.clock, on_data=self._on_data,
            on_update=self._wake.set, on_gap=self._gap, price_steps=terms.price_steps,
            budget=terms.budget,
        )  # fmt: skip
        between = bars_between(self.link.history(), plan.market)
        self._catching_up = CatchingUp(self._arrivals, between)
        every_s = max(RECONCILE_S / terms.factor, ROUND_S)
        self.watcher = Watcher(self.link.connector, WallClock(), self._wake, every_s=every_s)
        may_send = self.link.connector.may_send = _may_send(folder.latches)
        self.executor = EventDrivenExecutor(self.link.connector, WallClock(), may_send=may_send)
        self.broker = RealtimeBroker(self.executor, self.market, self.clock)
        inquiry = Inquiry(lambda: to_next_session_end(self.clock.now_ns(), self._closes()))
        self.doubts = Doubts(
            inquiry, self.clock, self.watcher.ask_order, lambda: self.watcher.healthy
        )
        self.broker.reports = lambda: self.doubts.judged(self.executor.reports())

    def _closes(self) -> list[int]:
        closes: list[int] = list(self.market.session_closes)
        return closes

    def _gap(self, kind: str) -> None:
        if kind == "data":
            self.sightings.forget()
        self.watcher.ask_snapshot()

    def _on_data(self, messages: Sequence[dict[str, Any]]) -> None:
        self._arrivals.put(messages)
        if self._terms.make_view is not None:
            self.sightings.put(messages)

    @property
    def closed_a_session(self) -> bool:
        """True when the last bar that this run decided on was its session's last."""
        return self.session is not None and self.session.n_closed > 0 and self.broker.ends_session

    def stop(self, why: str) -> None:
        """End the session at its next turn, or before it begins; from any thread."""
        self._stopped = self._stopped or why
        if self.session is not None:
            self.session.stop(why)

    def run(self) -> PacedDone:
        """Open, reconcile, go on until the end, compare the books."""
        with ExitStack() as stack:
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(SWITCH_S)
            stack.callback(self.link.close)
            stack.push(self._close_executor)
            self._set_clock()
            guarded = self._terms.make_view is not None
            compile_rules(self._plan.named, self.market)
            self.link.open(
                self._plan.market.symbols, self._plan.market.timeframe_ns, prints=guarded
            )
            desk, reconciler = self._start()
            view = self._guard(desk, reconciler)
            self.watcher.start()
            stack.callback(self.watcher.stop)
            latches = Latches(self._folder, self.watcher, self.link.connector.cancel_everything)
            self._catching_up.start()
            stack.callback(self._catching_up.stop)
            session = self.session = self._session(desk, reconciler, latches, view)
            clean = self._reconcile(session, reconciler)
            if view is not None:
                self._refuse_unclean(reconciler, clean=clean)
                view.started = True
            if self._stopped:
                session.stop(self._stopped)
            session.run(self._terms.over)
            self._finish(session, reconciler)
            connector = self.link.connector
            closing = close_books(
                desk, connector, self.watcher.account.all(), connector.name_of, connector.client_id
            )
            stats = self.executor.stats()
        latency = {"submit_p50": float(stats.p50_ns), "submit_p99": float(stats.p99_ns)}
        return PacedDone(desk, closing, latency, latches.killed)

    def _set_clock(self) -> None:
        """Start from the venue's clock, by the quickest of a few answers: a slow one says little
        of when the venue said it."""
        wall, answers = WallClock(), list[tuple[int, int, int]]()
        for _ in range(CLOCK_ATTEMPTS):
            asked = wall.monotonic_ns()
            venue_ns = self.link.connector.clock_ns()
            told = wall.monotonic_ns()
            answers.append((told - asked, venue_ns, told))
            if told - asked <= CLOCK_TOOK_NS:
                break
        took, venue_ns, told = min(answers)
        age_ns = wall.monotonic_ns() - told + took // 2
        self.clock.tell(venue_ns, age_ns=age_ns, adopt=True)

    def _close_executor(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the executor; of a desk that died of an error no order leaves any more."""
        if kind is not None:
            self.executor.halt(f"the desk died of {kind.__name__}", 0.0)
        self.executor.close()

    def _session(
        self, desk: Desk, reconciler: Reconciler, latches: Latches, view: DeskView | None
    ) -> LiveSession:
        chores: list[Chore] = [Heartbeat(self._folder), latches, reconciler, AskBack(self.doubts)]
        if view is not None:
            chores.append(view.refresh)
        grace_ns = max(VENUE_GRACE_NS, int(REAL_GRACE_S * NS_PER_S * self._terms.factor))
        warm_up = WarmUp(desk, self.market)
        warm_up.first()
        gc.freeze()
        return LiveSession(
            desk, self.market, self.broker, self.clock, self._arrivals, self._wake, chores,
            grace_ns=grace_ns, catching_up=self._catching_up, warm_up=warm_up,
        )  # fmt: skip

    def _guard(self, desk: Desk, reconciler: Reconciler) -> DeskView | None:
        """Put the live controls on, before anything can be sent."""
        if self._terms.make_view is None:
            return None
        view = self._terms.make_view(self, reconciler)
        desk.parts.risk.live = view
        PostTrade(desk)
        self.watcher.also(view.rounds.errands())
        return view

    def _refuse_unclean(self, reconciler: Reconciler, *, clean: bool) -> None:
        """Refuse to trade on books that the venue contradicts, or could not be held against."""
        if clean:
            return
        found = reconciler.last
        if found is None or found.ok:
            why = self.watcher.failure or "orders are in doubt, ask the venue about them"
            raise DeskRefused(f"books and venue could not be compared ({why})")
        breaks = "; ".join(f"{one.kind} {one.symbol}: {one.what}" for one in found.breaks)
        raise DeskRefused(f"books and venue differ: {breaks}. See 'mqd reconcile'")

    # --- start -------------------------------------------------------------------------------

    def _start(self) -> tuple[Desk, Reconciler]:
        plan, journal = self._plan, self._books.journal
        if self._terms.preload or self._books.resumed:
            self._preload()
        if self._terms.listener is not None:
            teller = tell_bars(journal.bus, self._terms.listener, self.market.known)
            teller.history(self.market.symbols)
        desk = build_desk(plan, self.market, self.broker, self.clock, journal, self._folder.latches)
        ledger = desk.parts.valuation.ledger
        self.broker.account_book.settled_quanta = ledger.cash
        self.doubts.watch(desk)
        booked = self._resume(desk) if self._books.resumed else self._begin()
        if self.market.n_steps:
            desk.resume()
        reconciler = Reconciler(
            self.watcher, self.link.connector, self.broker, self._folder, plan.quantum, booked
        )
        return desk, reconciler

    def _preload(self) -> None:
        plan, now = self._plan.market, self.clock.now_ns()
        bars = history_of(self.link.history(), plan, plan.first_ns, now)
        if bars is not None:
            closes = [int(ts) for s in bars.symbols for ts in bars[s].ts_close if ts <= now]
            if closes:
                self.market.preload(bars.between(None, max(closes)))

    def _begin(self) -> Booked:
        """Write a new log's first records; what the account did before is none of this desk's."""
        journal = self._books.journal
        write_first_records(self._plan, journal)
        journal.now_ns = self.clock.now_ns()
        self.watcher.since(journal.now_ns)
        journal.write("account.since", {"ns": journal.now_ns})
        return Booked()

    def _resume(self, desk: Desk) -> Booked:
        """Rebuild a desk from its log; decisions from before are dead."""
        found: Recovered = recover(
            desk, self.market, self._books.journal, checkpoints=self._terms.checkpoints
        )
        desk.parts.journal.now_ns = self.clock.now_ns()
        words = {"open_orders": len(found.open_orders), "records": found.n_records}
        desk.parts.journal.write("run.resume", words)
        self.link.know(desk)
        self.doubts.take_over(found.open_orders)
        self.doubts.watch_given_up(desk.parts.machine.states())
        self.watcher.since(found.since_ns, found.last_ns)
        n_unnamed = found.n_charges - len(found.charges)
        return Booked(found.charges, n_unnamed, flows=found.since_ns is not None)

    def _reconcile(self, session: LiveSession, reconciler: Reconciler) -> bool:
        """Hear and compare until the books agree with the venue's, before anything is decided;
        False when they did not."""
        clean = self._settle(
            session, lambda: _agrees(reconciler) and not self._in_doubt(session), DOUBT_ROUNDS
        )
        for state in session.desk.parts.machine.working():
            if state.order.reason is Reason.TARGET:
                session.desk.parts.gate.cancel(state.order.client_order_id)
        return clean

    def _settle(
        self, session: LiveSession, settled: Callable[[], bool], doubt_rounds: int = 0
    ) -> bool:
        """Hear and ask for snapshots, one each half second, until it is ``settled``; as many rounds
        more as ``doubt_rounds`` while an order is in doubt: its fate takes that long to learn."""
        wall = WallClock()
        for number in range(START_ROUNDS + doubt_rounds):
            if number >= START_ROUNDS and (self._stopped or not self._in_doubt(session)):
                return False
            self.watcher.ask_snapshot()
            until_ns = wall.monotonic_ns() + int(ROUND_S * NS_PER_S)
            while (left_ns := until_ns - wall.monotonic_ns()) > 0:
                self._wake.wait(left_ns / NS_PER_S)
                self._wake.clear()
                session.hear()
                if settled():
                    return True
        return False

    def _in_doubt(self, session: LiveSession) -> bool:
        return bool(self.doubts.inquiry.open_ids or session.desk.parts.hearing.doubts)

    def _finish(self, session: LiveSession, reconciler: Reconciler) -> None:
        """Hear what is still on its way, until a comparison asked for from here on is clean."""
        since_ns = WallClock().monotonic_ns()
        self._settle(
            session,
            lambda: (
                _agrees(reconciler) and (reconciler.last_mono_ns or 0) > since_ns
                and not self._in_doubt(session) and self._sent_all()
            ),
        )  # fmt: skip

    def _sent_all(self) -> bool:
        stats = self.executor.stats()
        return stats.queued == 0 and stats.in_flight == 0


def _agrees(reconciler: Reconciler) -> bool:
    return reconciler.last is not None and reconciler.last.ok


def _may_send(latches: KillSwitch) -> MaySend:
    """Return what is asked just before an order goes out: the latches, then its age."""

    def may_send(order: Order, waited_ns: int) -> str:
        level = latches.level
        if level is LatchLevel.KILL:
            return "the kill switch is set"
        if level is not LatchLevel.CLEAR and not order.reducing:
            return f"the latch {level.name} was set meanwhile"
        return fresh(order, waited_ns)

    return may_send


def rehearsal_terms(control: Control, factor: float, listener: BarListener | None) -> Terms:
    """Return the terms of a rehearsal at ``factor``: it is over when the venue has no step left."""
    return Terms(
        factor=factor, price_steps=False, over=lambda: control.stand().over, listener=listener
    )
