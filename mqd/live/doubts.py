"""Orders whose fate is not known: asked for, judged, and cancelled where they should not live."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mqd.core.clock import RunClock
from mqd.core.event import Event, Topic
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order, OrderStatus, Pending
from mqd.desk.loop import Desk
from mqd.desk.parts import Parts
from mqd.execution.inquiry import WATCH_MAX_NS, Inquiry
from mqd.orders.state import OrderState

_DOUBTFUL = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})


class Doubts:
    """Works off what the order machine asks for. ``ask(id)`` queries the venue, here or on
    another thread; its answer comes back as a report. ``healthy()``: the venue answers at all.
    """

    def __init__(
        self,
        inquiry: Inquiry,
        clock: RunClock,
        ask: Callable[[str], None],
        healthy: Callable[[], bool] = lambda: True,
    ) -> None:
        self.inquiry = inquiry
        self._clock, self._ask, self._healthy = clock, ask, healthy
        self._parts: Parts

    def watch(self, desk: Desk) -> None:
        """Listen to the reports and orders of a desk."""
        self._parts = desk.parts
        bus = desk.parts.journal.bus
        bus.subscribe(Topic.REPORT, self._on_report, name="doubts")
        bus.subscribe(Topic.ORDER, self._on_order, name="doubts")

    def judged(self, reports: list[ExecutionReport]) -> list[ExecutionReport]:
        """Return reports with what their "found" or "not found" is worth."""
        healthy = self._healthy()
        return [self.inquiry.judged(report, healthy) for report in reports]

    def take_over(self, states: tuple[OrderState, ...]) -> None:
        """Ask at once for the orders that a log left open."""
        now = self._clock.monotonic_ns()
        for state in states:
            name = state.order.client_order_id
            if state.status in _DOUBTFUL:
                self.inquiry.sent(name, now)
            if state.pending is Pending.CANCEL:
                self.inquiry.cancel_sent(name, now)
            self._ask(name)

    def watch_given_up(self, states: Iterable[OrderState]) -> None:
        """Go on watching the orders that an earlier run gave up: one may still turn up."""
        for state in states:
            left_ns = state.order.decided_ns + WATCH_MAX_NS - self._clock.now_ns()
            if state.status is OrderStatus.ABANDONED and left_ns > 0:
                name = state.order.client_order_id
                self.inquiry.watch(name, left_ns, self._clock.monotonic_ns())

    def work(self) -> None:
        """Ask for what is due, and cancel what lives and should not."""
        hearing, machine = self._parts.hearing, self._parts.machine
        asked = dict.fromkeys([*hearing.doubts, *self.inquiry.due(self._clock.monotonic_ns())])
        hearing.doubts.clear()
        for name in asked:
            self._ask(name)
        orphans, hearing.orphans = list(hearing.orphans), {}
        for name in orphans:
            if not machine.state(name).is_terminal:
                self._parts.gate.cancel(name)

    @property
    def alerts(self) -> list[str]:
        """What a human should look at, each told once."""
        return self.inquiry.alerts(self._clock.monotonic_ns())

    def _on_report(self, event: Event) -> None:
        report = event.payload
        assert isinstance(report, ExecutionReport)
        try:
            state = self._parts.machine.state(report.client_order_id)
        except KeyError:
            return
        now = self._clock.monotonic_ns()
        self.inquiry.heard(report.client_order_id, report.kind, state.status, state.pending, now)
        if report.kind is ReportKind.NOT_FOUND_YET and self.inquiry.asks(report.client_order_id):
            # its next question has its time: asked at once, the answers would use up the budget
            self._parts.hearing.doubts.pop(report.client_order_id, None)

    def _on_order(self, event: Event) -> None:
        order = event.payload
        assert isinstance(order, Order)
        self.inquiry.sent(order.client_order_id, self._clock.monotonic_ns())
