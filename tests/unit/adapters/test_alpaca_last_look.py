"""What waits for the rate budget is judged again when its turn has come."""

from __future__ import annotations

import pytest

from mqd.adapters.alpaca.budget import Budget
from mqd.core.execution_report import ReportKind
from mqd.execution.freshness import fresh
from tests.unit.adapters.alpaca_bench import connector_over, kinds, live, order, record

S = 10**9


class Clock:
    """A monotonic clock that a wait moves on, and what happens meanwhile."""

    def __init__(self):
        self.ns, self.meanwhile = 10**15, lambda: None

    def monotonic_ns(self):
        return self.ns

    def now_ns(self):
        return self.ns

    def wait(self, seconds):
        self.ns += int(seconds * S)
        self.meanwhile()


@pytest.fixture
def waiting():
    """A connector whose next call, unless urgent, waits for three seconds."""
    clock = Clock()
    connector, script = connector_over((200, record()))
    budget = Budget(clock, calls_min=1, reserve=0, wait=clock.wait)
    budget.take(urgent=False)
    clock.ns += 57 * S
    connector._session._budget, connector._clock = budget, clock
    return clock, connector, script


def test_an_order_whose_turn_comes_in_time_is_sent(waiting):
    _, connector, script = waiting
    connector.submit(order())
    assert len(script.asked) == 1


def test_a_latch_that_was_set_during_the_wait_keeps_the_order_here(waiting):
    clock, connector, script = waiting
    latch = []
    clock.meanwhile = lambda: latch.append("set")
    connector.may_send = lambda _order, _waited: "the kill switch is set" if latch else ""
    connector.submit(order())
    assert script.asked == []
    (report,) = connector.reports()
    assert report.kind is ReportKind.DEFINITE_REJECT
    assert "the kill switch is set" in report.text


def test_an_order_that_grew_old_during_the_wait_is_not_sent(waiting):
    """A market order may be two seconds old; it waited for three."""
    _, connector, script = waiting
    connector.may_send = fresh
    connector.submit(order())
    assert script.asked == []
    assert kinds(connector) == [(ReportKind.DEFINITE_REJECT, "mq1-a")]


def test_a_replace_is_judged_again_too():
    connector, script = live()
    connector.may_send = lambda _order, _waited: "the kill switch is set"
    connector.replace("mq1-a", order("mq1-b"))
    assert len(script.asked) == 1
    assert next(kind for kind, _ in kinds(connector)) is ReportKind.REPLACE_REJECTED
