"""The engine: ids, collars, and nothing sent that is not approved and durable."""

import base64
import hashlib
import inspect
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import SimulatedClock
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import OrderType, Side
from mqd.core.verdict import Approved, approve
from mqd.errors import NotDurable, UsageError
from mqd.execution import engine as engine_module
from mqd.execution.engine import OrderExecutionEngine, client_order_id, collared
from tests.unit.execution.broker_double import ScriptedBroker, order

DECISION = ("f00dcafe", "sma_cross", "1.2", "AAPL", Side.SELL, 1_700_000_000_000_000_000, "", 3)


def test_the_id_is_the_rfc_4648_base32_of_the_sha_256_of_the_decision():
    text = "sma_cross\x1f1.2\x1fAAPL\x1f-1\x1f1700000000000000000\x1f\x1f3"
    standard = base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()
    assert client_order_id(*DECISION) == f"mq1-f00d-{standard[:26]}"
    assert len(client_order_id(*DECISION)) == 35


def test_the_id_is_the_same_in_another_process():
    code = (
        "from mqd.core.order import Side; from mqd.execution.engine import client_order_id;"
        f"print(client_order_id(*{DECISION[:4]!r}, Side.SELL, *{DECISION[5:]!r}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={}
    )
    assert told.stdout.strip() == client_order_id(*DECISION)


@pytest.mark.parametrize("place", range(1, 8))
def test_every_part_of_a_decision_changes_the_id(place):
    other = list(DECISION)
    other[place] = Side.BUY if place == 4 else other[place] + type(other[place])(1)
    assert client_order_id(*other) != client_order_id(*DECISION)


def test_parts_cannot_slide_into_each_other():
    one = client_order_id("f00d", "ab", "c", "X", Side.BUY, 1, "", 1)
    assert one != client_order_id("f00d", "a", "bc", "X", Side.BUY, 1, "", 1)
    assert one != client_order_id("f00d", "ab", "c", "X", Side.BUY, 11, "", 1)


def test_a_short_account_hash_is_refused():
    with pytest.raises(UsageError, match="shorter than 4"):
        client_order_id("abc", *DECISION[1:])


@settings(max_examples=150)
@given(
    st.sampled_from(Side),
    st.integers(1, 10**9),
    st.integers(0, 99_999_999),
)
def test_a_collared_limit_is_the_outermost_tick_inside_the_collar(side, ref, units):
    limit = collared(order(side=side), ref, units).limit_ticks
    edge = ref * (1 + side * Fraction(units, 10**8))
    if side is Side.BUY:
        assert limit <= edge < limit + 1
    else:
        assert limit - 1 < edge <= limit
    assert side * (limit - ref) >= 0
    assert limit > 0


def test_a_collar_by_hand():
    """100.01 with 0.5 %: buy at most 100.51005, so 100.51; sell at least 99.50995, so 99.51."""
    buy = collared(order(), 10_001, 500_000)
    assert (buy.type, buy.limit_ticks) == (OrderType.LIMIT, 10_051)
    sell = collared(order(side=Side.SELL), 10_001, 500_000)
    assert (sell.type, sell.limit_ticks) == (OrderType.LIMIT, 9_951)
    assert sell._replace(type=OrderType.MARKET, limit_ticks=0) == order(side=Side.SELL)


def test_a_collar_leaves_other_types_alone_and_refuses_nonsense():
    limit = order(type=OrderType.LIMIT, limit_ticks=5)
    assert collared(limit, 0, 10**9) is limit
    for ref, units in ((0, 1), (-5, 1), (100, -1), (100, 10**8)):
        with pytest.raises(UsageError, match="AAPL"):
            collared(order(), ref, units)


def test_send_cancel_replace_and_reports_reach_the_broker_once():
    told = ExecutionReport(ReportKind.ACCEPTED, "o1", "AAPL", 1)
    broker, clock = ScriptedBroker(reports=[told]), SimulatedClock(70)
    engine = OrderExecutionEngine(broker, clock)
    legs = (order("t", side=Side.SELL), order("s", side=Side.SELL))
    engine.send(approve(order(), legs), intent_seq=7, durable_seq=7)
    clock.advance(90)
    engine.replace("o1", approve(order("o2")), intent_seq=8, durable_seq=9)
    engine.cancel("o2")
    assert broker.sent == [
        ("submit", order(), legs),
        ("replace", "o1", order("o2")),
        ("cancel", "o2"),
    ]
    assert (engine.n_sent, engine.n_replaces, engine.n_cancels) == (1, 1, 1)
    assert engine.last_sent_ns == 90
    assert engine.reports() == [told]
    assert engine.reports() == []


def test_an_intent_that_is_not_durable_is_not_sent():
    broker = ScriptedBroker()
    engine = OrderExecutionEngine(broker, SimulatedClock())
    with pytest.raises(NotDurable, match=r"o1 was not sent: its intent is record 8.*up to 7"):
        engine.send(approve(order()), intent_seq=8, durable_seq=7)
    with pytest.raises(NotDurable):
        engine.replace("o0", approve(order()), intent_seq=8, durable_seq=7)
    assert broker.sent == []
    assert engine.n_sent == engine.n_replaces == 0


def test_only_an_approval_can_be_sent():
    hints = inspect.get_annotations(OrderExecutionEngine.send, eval_str=True)
    assert hints["approved"] is Approved
    broker = ScriptedBroker()
    engine = OrderExecutionEngine(broker, SimulatedClock())
    with pytest.raises(AttributeError):
        engine.send(order(), intent_seq=1, durable_seq=1)
    assert broker.sent == []


def test_the_engine_knows_no_order_state():
    assert "mqd.orders" not in inspect.getsource(engine_module)
