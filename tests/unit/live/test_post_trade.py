"""Control 30 on a desk's bus: a fill beyond its order or the limits is told and only reduces."""

from decimal import Decimal
from types import SimpleNamespace

import pytest

from mqd.core.event import Topic
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.money import Scale, run_quantum
from mqd.core.order import Order, OrderType, Reason, Side, TimeInForce
from mqd.event_bus import OrderEventBus
from mqd.live.post_trade import PostTrade
from mqd.risk.kill_switch import LatchLevel
from mqd.risk.limits import Limits
from mqd.risk.manager import RiskManager
from tests.unit.desk.test_revisions_and_rules import bought, say

STEPS = Decimal("0.01"), Decimal(1)
ORDER = Order(
    "one", "SmaCross", "MSFT", Side.BUY, 10, OrderType.LIMIT, TimeInForce.DAY, 1,
    Scale.of(*STEPS, run_quantum([STEPS])), Reason.TARGET, limit_ticks=10_000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("ticks", "cum", "held", "told"),
    [
        (10_000, 10, 10, ""),
        (9_990, 4, 4, ""),
        (10_001, 10, 10, "beyond the limit of 100.00"),
        (10_000, 11, 11, "11 of 10 lots have filled"),
        (0, 10, 10, "it has no price"),
    ],
)
def test_a_fill_is_held_against_its_order(ticks, cum, held, told):
    bus, risk, written = world(held)
    bus.publish(Topic.FILL, 5, (fill(ticks, cum), ORDER, None))
    bus.drain()
    assert [kind for kind, _ in written] == (["alert"] if told else [])
    assert all(told in payload["text"] for _, payload in written)
    assert risk.kill_switch.level is (LatchLevel.REDUCE_ONLY if told else LatchLevel.CLEAR)


def test_a_bust_is_no_trade_of_the_other_side():
    bus, risk, written = world(held=0)
    back = fill(9_990, 0)._replace(kind=ReportKind.BUST, last_lots=10)
    bus.publish(Topic.FILL, 5, (back, ORDER._replace(side=Side.SELL), None))
    bus.drain()
    assert written == []
    assert risk.kill_switch.level is LatchLevel.CLEAR


def test_the_desk_tells_a_bust_as_one():
    desk, _ = bought()
    heard = []
    desk.parts.journal.bus.subscribe(
        Topic.FILL, lambda event: heard.append(event.payload[:2]), name="test"
    )
    say(desk, ReportKind.BUST, ref_execution_id="x1")
    assert [(report.kind, order.side) for report, order in heard] == [(ReportKind.BUST, Side.SELL)]


def world(held):
    """Return a bus that a PostTrade listens to, its risk manager and what it writes."""
    written, bus = [], OrderEventBus()
    risk = RiskManager(Limits.research(1))
    parts = SimpleNamespace(
        journal=SimpleNamespace(bus=bus, write=lambda *record: written.append(record)),
        valuation=SimpleNamespace(ledger=SimpleNamespace(lots={"MSFT": held})),
        clock=SimpleNamespace(now_ns=lambda: 7), risk=risk,
    )  # fmt: skip
    PostTrade(SimpleNamespace(parts=parts))
    return bus, risk, written


def fill(ticks, cum):
    return ExecutionReport(
        ReportKind.FILL, "one", "MSFT", 5, execution_id="x", last_lots=cum, last_ticks=ticks,
        cum_lots=cum,
    )  # fmt: skip
