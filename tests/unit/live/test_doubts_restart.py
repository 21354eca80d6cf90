"""What is asked about orders in doubt: also those of an earlier run, and none without end."""

from __future__ import annotations

from types import SimpleNamespace

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.core.event import Topic
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import OrderStatus, Pending
from mqd.execution.inquiry import WATCH_MAX_NS, Inquiry
from mqd.live.doubts import Doubts
from tests.unit.adapters.alpaca_bench import order

NOW = 10**18


def state(name, status, age_ns):
    order = SimpleNamespace(client_order_id=name, decided_ns=NOW - age_ns)
    return SimpleNamespace(order=order, status=status)


def test_what_was_given_up_is_asked_for_until_its_time_is_over():
    clock = SimpleNamespace(now_ns=lambda: NOW, monotonic_ns=lambda: 5 * NS_PER_DAY)
    doubts = Doubts(Inquiry(), clock, lambda name: None)
    doubts.watch_given_up(
        [
            state("late", OrderStatus.ABANDONED, NS_PER_DAY),
            state("old", OrderStatus.ABANDONED, WATCH_MAX_NS),
            state("filled", OrderStatus.FILLED, NS_PER_DAY),
        ]
    )
    inquiry = doubts.inquiry
    assert inquiry.watched_ids == ["late"]
    assert inquiry.open_ids == []
    begun = clock.monotonic_ns()
    assert "late" in inquiry.due(begun + 30 * NS_PER_MINUTE)
    inquiry.due(begun + WATCH_MAX_NS)
    assert inquiry.watched_ids == []


def test_a_venue_that_answers_at_once_is_asked_no_more_often_than_the_schedule_says():
    """After 1, 2, 4, 8, 16, 30 and 60 s: an order in doubt must leave calls for the others."""
    clock, asked, subscribed = SimpleNamespace(ns=5 * NS_PER_DAY), [], {}
    clock.monotonic_ns = clock.now_ns = lambda: clock.ns
    doubts = Doubts(Inquiry(), clock, lambda name: asked.append(clock.ns))
    hearing = SimpleNamespace(doubts={}, orphans={})
    doubtful = SimpleNamespace(status=OrderStatus.UNKNOWN, pending=Pending.NONE, is_terminal=False)
    bus = SimpleNamespace(subscribe=lambda topic, on, name: subscribed.update({topic: on}))
    parts = SimpleNamespace(
        hearing=hearing, machine=SimpleNamespace(state=lambda name: doubtful),
        journal=SimpleNamespace(bus=bus),
    )  # fmt: skip
    doubts.watch(SimpleNamespace(parts=parts))
    began_ns = clock.ns
    subscribed[Topic.ORDER](SimpleNamespace(payload=order("a")))

    def told(kind):
        """Hear a report as the desk does: the stage notes the doubt first."""
        hearing.doubts["a"] = None
        report = ExecutionReport(kind, "a", "AAA", clock.ns)
        subscribed[Topic.REPORT](SimpleNamespace(payload=report))

    told(ReportKind.OUTCOME_UNKNOWN)
    while clock.ns < began_ns + 59 * NS_PER_S:
        n_asked = len(asked)
        doubts.work()
        clock.ns += NS_PER_S // 50
        for _ in asked[n_asked:]:
            told(ReportKind.NOT_FOUND_YET)
    waits = [round((at_ns - began_ns) / NS_PER_S) for at_ns in asked]
    assert waits == [0, 1, 2, 4, 8, 16, 30]
