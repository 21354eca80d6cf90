"""A rehearsal at full speed from its first step, or from where a killed desk left it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from mqd.core.clock import NS_PER_MINUTE, SimulatedClock
from mqd.core.order import Reason
from mqd.core.protocols import BarListener
from mqd.desk.listening import tell_bars
from mqd.desk.loop import Desk
from mqd.execution.inquiry import Inquiry
from mqd.live.books import OpenBooks
from mqd.live.builder import DeskPlan, build_desk, plan_scales, recover, write_first_records
from mqd.live.closing import Closing, close_books
from mqd.live.control import Control, Stand
from mqd.live.doubts import Doubts
from mqd.live.folder import StateFolder
from mqd.live.link import Link, VenueAddress, backfill_of, history_of
from mqd.live.market import GrowingMarket
from mqd.live.paced import PATIENCE_S, BarInbox, PacedBroker, insist
from mqd.live.pulse import Pulse
from mqd.live.recovery import Recovered

SETTLE_ROUNDS = 5


class PacedDone(NamedTuple):
    """What came of it. ``killed``: the kill switch ended it, open orders were cancelled."""

    desk: Desk
    closing: Closing
    latency_ns: dict[str, float]
    killed: bool


class PacedRun:
    """Drives a desk against a venue on this machine that waits for it.

    ``connect`` makes the line to it: over sockets, or to a venue in this process.
    """

    def __init__(
        self,
        plan: DeskPlan,
        address: VenueAddress,
        control: Control,
        folder: StateFolder,
        books: OpenBooks,
        *,
        patience_s: float = PATIENCE_S,
        connect: Callable[..., Link] = Link,
        listener: BarListener | None = None,
    ) -> None:
        self._listener = listener
        self._plan, self._control, self._folder, self._books = plan, control, folder, books
        self._patience_s, self._pulse = patience_s, Pulse(folder)
        self._clock = SimulatedClock()
        self._market = GrowingMarket(plan.market, plan_scales(plan.market))
        self._inbox = BarInbox()
        self._link = connect(
            address, plan_scales(plan.market), plan.quantum, self._clock, on_data=self._inbox.put
        )
        self._broker = PacedBroker(
            self._link.connector, control, self._market, self._inbox, plan.quantum,
            patience_s=patience_s, backfill=backfill_of(self._link.history(), plan.market),
            reconnect=self._link.reopen,
        )  # fmt: skip
        self._doubts = Doubts(Inquiry(), self._clock, self._link.connector.query)
        self._broker.judge = self._doubts.judged

    def run(self) -> PacedDone:
        """Go through all steps that are left, then compare the books."""
        with ExitStack() as stack:
            stack.callback(self._link.close)
            self._link.open(["*"], self._plan.market.timeframe_ns)
            desk = self._start()
            killed = self._drive(desk)
            self._settle(desk)
            activities, connector = self._broker.all_activities(), self._link.connector
            closing = insist(
                lambda: close_books(
                    desk, connector, activities, connector.name_of, connector.client_id
                ),
                self._patience_s,
            )
        return PacedDone(desk, closing, self._broker.latency_ns(), killed)

    # --- start -------------------------------------------------------------------------------

    def _start(self) -> Desk:
        plan, journal = self._plan, self._books.journal
        stand = self._control.stand()
        self._inbox.total = stand.bars
        self._link.connector.n_updates = stand.updates
        if self._books.resumed and stand.ts_close:
            self._preload(stand)
        if self._listener is not None:
            teller = tell_bars(journal.bus, self._listener, self._market.known)
            teller.history(self._market.symbols)
        desk = build_desk(
            plan, self._market, self._broker, self._clock, journal, self._folder.latches
        )
        self._broker.account_book.settled = lambda: desk.parts.valuation.ledger.cash
        self._doubts.watch(desk)
        if not self._books.resumed:
            write_first_records(plan, journal)
            desk.start()
            return desk
        self._clock.advance(max(stand.now_ns, plan.market.first_ns))
        self._resume(desk, recover(desk, self._market, journal))
        if stand.phase != "close":
            self._broker.rejoin(stand)
            self._step(desk, stand.ts_close)
        return desk

    def _preload(self, stand: Stand) -> None:
        """Take in the bars of the steps that the venue has closed; one that is under way, even
        when its time has come, is taken by the step that the desk goes on with."""
        plan = self._plan.market
        over = stand.phase == "close"
        start_ns = plan.first_ns - NS_PER_MINUTE
        end_ns = stand.now_ns + 1 if over else stand.ts_close - plan.timeframe_ns
        if end_ns <= start_ns:
            return
        bars = insist(
            lambda: history_of(self._link.history(), plan, start_ns, end_ns), self._patience_s
        )
        if bars is not None:
            self._market.preload(bars)

    def _resume(self, desk: Desk, found: Recovered) -> None:
        """Learn what the venue did meanwhile; give up the decisions from before."""
        connector, hearing = self._link.connector, desk.parts.hearing
        self._link.know(desk)
        desk.parts.journal.now_ns = self._clock.now_ns()
        words = {"open_orders": len(found.open_orders), "records": found.n_records}
        desk.parts.journal.write("run.resume", words)
        self._doubts.take_over(found.open_orders)
        self._doubts.watch_given_up(desk.parts.machine.states())
        hearing.listen()
        connector.take_activities(self._broker.all_activities())
        hearing.listen()
        for activity in self._broker.charges_after(found.n_charges):
            desk.book(activity)
        desk.resume()
        for state in desk.parts.machine.working():
            if state.order.reason is Reason.TARGET:
                desk.parts.gate.cancel(state.order.client_order_id)
        self._settle(desk)

    # --- steps -------------------------------------------------------------------------------

    def _drive(self, desk: Desk) -> bool:
        """Take the steps; True when the kill switch ended them."""
        latches = self._folder.latches
        while not latches.tripped:
            ts_close = self._broker.next_step()
            if ts_close is None:
                desk.stop()
                return False
            self._step(desk, ts_close)
        self._kill(desk)
        return True

    def _step(self, desk: Desk, ts_close: int) -> None:
        desk.step(self._market.announce(ts_close))
        self._doubts.work()
        desk.parts.hearing.listen()
        if _owed(desk):
            self._broker.ask_fills()
            desk.parts.hearing.listen()
        self._pulse.beat(self._market.n_steps, desk.parts.blotter.n_open())

    def _kill(self, desk: Desk) -> None:
        """Cancel everything that works; nothing else passes the latch."""
        desk.parts.journal.write("kill", {"reasons": list(self._folder.latches.reasons.values())})
        for state in desk.parts.machine.working():
            desk.parts.gate.cancel(state.order.client_order_id)
        self._link.connector.cancel_everything()
        self._settle(desk)

    def _settle(self, desk: Desk) -> None:
        """Hear what is still on its way: answers of queries, late updates, fills told by REST."""
        connector, hearing = self._link.connector, desk.parts.hearing
        for _ in range(SETTLE_ROUNDS):
            self._broker.hear_all()
            heard = hearing.listen()
            open_orders = desk.parts.machine.working()
            if not heard and not hearing.doubts and not open_orders and not _owed(desk):
                return
            for state in open_orders:
                connector.query(state.order.client_order_id)
            connector.take_activities(self._broker.all_activities())
            hearing.listen()
            hearing.doubts.clear()


def _owed(desk: Desk) -> bool:
    """Whether the venue counts lots as filled whose executions were not told: an update was lost,
    and a later one hid that."""
    return any(state.provisional_lots for state in desk.parts.blotter.open_orders())
