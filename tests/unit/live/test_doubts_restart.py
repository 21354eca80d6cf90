"""Orders that an earlier run gave up are watched on after a restart."""

from __future__ import annotations

from types import SimpleNamespace

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE
from mqd.core.order import OrderStatus
from mqd.execution.inquiry import WATCH_MAX_NS, Inquiry
from mqd.live.doubts import Doubts

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
