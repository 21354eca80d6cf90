"""Alpaca's words against the tables in tests/tables and alpaca-py's own enums: none is missing."""

import csv
import warnings
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.errors import OrderNotExpressible
from mqd.adapters.alpaca.mapping import event_kind, refusal_word, submit_outcome
from mqd.adapters.alpaca.session import Reply, _reply
from mqd.core.execution_report import OrderCommand, ReportKind
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import OrderClass, OrderStatus, OrderType, Pending, Reason, Side, TimeInForce
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.adapters.alpaca_bench import (
    FINE,
    QUANTUM,
    bracket,
    connector_over,
    fill,
    order,
    record,
    update,
)

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.trading import enums

TABLES = Path(__file__).parents[2] / "tables"


def rows(name):
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


STATUSES, EVENTS, ERRORS = (rows(f"alpaca_{name}.csv") for name in ("statuses", "events", "errors"))
FILLED = {"partially_filled": "4", "filled": "10"}


def told(*frames, found=None):
    """Return what the order machine makes of an accepted order after updates, or an answer."""
    connector, _ = connector_over(
        (200, record(status="pending_new")), *([] if found is None else [(200, found)])
    )
    machine = OrderStateMachine()
    machine.open(order())
    machine.command("mq1-a", OrderCommand.SEND)
    connector.submit(order())
    for frame in frames:
        connector.take_update(frame)
    if found is not None:
        connector.query("mq1-a")
    reports = connector.reports()
    transitions = [machine.apply(report) for report in reports]
    return reports[-1], machine, transitions[-1]


@pytest.mark.parametrize("row", STATUSES, ids=[row["status"] for row in STATUSES])
def test_every_status_leads_where_the_table_says(row):
    status = row["status"]
    shown = record(status=status, filled=FILLED.get(status, "0"))
    report, machine, last = told(found=shown)
    state = machine.state("mq1-a")
    assert report.kind is ReportKind.FOUND
    assert state.status is OrderStatus(row["after"])
    assert state.pending is Pending(row["pending"])
    assert state.quarantined is (row["quarantined"] == "yes")
    assert last.query is (row["query"] == "yes")


@pytest.mark.parametrize("row", EVENTS, ids=[row["event"] for row in EVENTS])
def test_every_event_leads_where_the_table_says(row):
    event = row["event"]
    cum = {"fill": "10", "partial_fill": "4"}.get(event)
    shown = record(status="new", filled=cum or "0", replaced_by="v2" if event == "replaced" else "")
    frame = fill(shown, cum, event=event) if cum else update(event, shown)
    report, machine, _ = told(frame) if event != "replaced" else told_of_our_replace(frame)
    state = machine.state("mq1-a")
    assert report.kind is event_kind(event) is ReportKind(row["kind"])
    assert state.status is OrderStatus(row["after"])
    assert state.pending is Pending(row["pending"])
    assert state.quarantined is (row["quarantined"] == "yes")


def told_of_our_replace(frame):
    """Return what comes of "replaced" after we asked for it."""
    new = order("mq1-new", kind=OrderType.LIMIT, limit_ticks=9_900)
    connector, _ = connector_over((200, record()), (200, record("v2", "mq1-new", replaces="v1")))
    machine = OrderStateMachine()
    machine.open(order())
    machine.command("mq1-a", OrderCommand.SEND)
    connector.submit(order())
    connector.replace("mq1-a", new)
    connector.reports()
    connector.take_update(frame)
    (report,) = connector.reports()
    return report, machine, machine.apply(report)


def test_the_tables_name_every_word_of_the_sdk_and_of_the_specification():
    assert {one.value for one in enums.OrderStatus} <= {row["status"] for row in STATUSES}
    assert {one.value for one in enums.TradeEvent} <= {row["event"] for row in EVENTS}
    documented = (
        "new fill partial_fill canceled expired done_for_day replaced accepted rejected"
        " pending_new stopped pending_cancel pending_replace calculated suspended"
        " order_replace_rejected order_cancel_rejected"
    )
    assert set(documented.split()) <= {row["event"] for row in EVENTS}


def test_order_words_are_those_of_the_sdk():
    types = {one.value for one in enums.OrderType}
    assert {str(one) for one in OrderType} <= types
    assert {str(one) for one in TimeInForce} == {one.value for one in enums.TimeInForce}
    assert {str(one) for one in OrderClass} <= {one.value for one in enums.OrderClass}
    assert {one.value for one in enums.OrderSide} <= set(wire.SIDES)


@pytest.mark.parametrize(
    "row", ERRORS, ids=[f"{r['status']}-{r['code']}-{r['word']}" for r in ERRORS]
)
def test_every_error_leads_where_the_table_says(row):
    status, code = int(row["status"]), int(row["code"])
    outcome = submit_outcome(status, code, row["message"], readable=True)
    assert outcome is ReportKind(row["outcome"])
    assert refusal_word(status, code, row["message"]) == row["word"]


@given(st.integers(100, 599), st.integers(0, 10**9), st.text(max_size=40), st.booleans())
def test_no_answer_is_without_a_meaning(status, code, message, readable):
    outcome = submit_outcome(status, code, message, readable=readable)
    if not 200 <= status < 300:
        assert outcome is not ReportKind.ACK
    elif readable:
        assert outcome is ReportKind.ACK
    if status >= 500 and code != 42910000:
        assert outcome is ReportKind.OUTCOME_UNKNOWN
    assert refusal_word(status, code, message)


def test_an_answer_with_2xx_that_is_no_order_is_unknown():
    assert submit_outcome(200, 0, "", readable=False) is ReportKind.OUTCOME_UNKNOWN


# --- errors that are no errors of Alpaca's -------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "code", "readable"),
    [
        ("", "", 0, True),
        ("  \n", "", 0, True),
        ('{"code":40310000,"message":"insufficient buying power"}', "insufficient buying power",
         40310000, True),
        ('{"message":"forbidden."}', "forbidden.", 0, True),
        ('{"code":"40410000","message":"gone"}', "gone", 40410000, True),
        ('{"code":true,"message":null}', "", 0, True),
        ('{"code":4.5,"message":7}', "7", 0, True),
        ('{"code":1e999999999,"message":["a","b"]}', '["a", "b"]', 0, True),
        ('{"code":[],"message":{"why":1.5}}', '{"why": "1.5"}', 0, True),
        ("[1]", "[1]", 0, True),
        ('"nope"', '"nope"', 0, True),
        ("null", "null", 0, True),
        ("<html>\n<h1>502</h1>\n</html>", "<html> <h1>502</h1> </html>", 0, False),
        ('{"code": NaN}', '{"code": NaN}', 0, False),
        ('{"code": 4', '{"code": 4', 0, False),
        ("[" * 100_000, "[" * 300, 0, False),
    ],
)  # fmt: skip
def test_any_body_of_an_error_is_read_safely(text, message, code, readable):
    reply = _reply(422, text, {})
    assert (reply.message, reply.code, reply.readable) == (message, code, readable)


@given(st.text(max_size=200))
def test_a_message_is_one_line_of_bounded_length(text):
    reply = Reply(500, {"message": text * 3}, "", {}, readable=True)
    assert len(reply.message) <= 300
    assert "\n" not in reply.message
    assert "\r" not in reply.message


def test_numbers_of_an_answer_are_exact():
    reply = _reply(200, '{"qty": 0.30000000000000000001, "n": 3}', {})
    assert reply.body == {"qty": Decimal("0.30000000000000000001"), "n": 3}


# --- orders on the wire --------------------------------------------------------------------------


def test_quantities_are_decimal_strings():
    third = order(symbol="BBB", lots=300)  # 0.1 + 0.2 shares, in thousandths
    body = wire.order_body(third, (), price_steps=False)
    assert body == {
        "symbol": "BBB", "qty": "0.3", "side": "buy", "type": "market", "time_in_force": "day",
        "client_order_id": "mq1-a",
    }  # fmt: skip


@given(st.integers(1, 10**12), st.sampled_from(["0.01", "0.0001", "0.000000001"]))
def test_amounts_on_the_wire_come_back_to_the_last_digit(lots, step):
    value = lots * Decimal(step)
    text = wire.plain(value)
    assert Decimal(text) == value
    assert set(text) <= set("0123456789.")
    assert text == "0" or not text.endswith("." if "." not in text else ("0", "."))


def test_every_type_says_its_prices():
    steps = {"price_steps": False}
    limit = order(kind=OrderType.LIMIT, limit_ticks=10_001)
    assert wire.order_body(limit, (), **steps)["limit_price"] == "100.01"
    both = order(kind=OrderType.STOP_LIMIT, limit_ticks=9_900, stop_ticks=10_000)
    body = wire.order_body(both, (), **steps)
    assert (body["limit_price"], body["stop_price"], body["type"]) == ("99", "100", "stop_limit")
    away = order(kind=OrderType.TRAILING_STOP, trail_ticks=150)
    assert wire.order_body(away, (), **steps)["trail_price"] == "1.5"
    share = order(kind=OrderType.TRAILING_STOP, trail_units=BPS_UNITS // 40)
    assert wire.order_body(share, (), **steps)["trail_percent"] == "2.5"


def test_groups_say_their_legs():
    entry, legs = bracket()
    body = wire.order_body(entry, legs, price_steps=False)
    assert body["order_class"] == "bracket"
    assert body["take_profit"] == {"limit_price": "110"}
    assert body["stop_loss"] == {"stop_price": "90"}
    target, stop = (leg._replace(order_class=OrderClass.OCO, parent="") for leg in legs)
    pair = wire.order_body(target, (stop._replace(limit_ticks=8_900),), price_steps=False)
    assert (pair["order_class"], pair["type"], pair["side"]) == ("oco", "limit", "sell")
    assert pair["take_profit"] == {"limit_price": "110"}
    assert pair["stop_loss"] == {"stop_price": "90", "limit_price": "89"}
    assert "limit_price" not in pair
    assert pair["client_order_id"] == "mq1-b-tp"


@pytest.mark.parametrize(
    ("wanted", "legs"),
    [
        (order(kind=OrderType.TRAILING_STOP, trail_ticks=5, stop_ticks=9_000), ()),
        (order(kind=OrderType.TRAILING_STOP, trail_ticks=5), (order("leg"),)),
        (order(), (order("leg", kind=OrderType.TRAILING_STOP, trail_ticks=5),)),
        (order(kind=OrderType.STOP, stop_ticks=9_000, order_class=OrderClass.OCO),
         (order("leg", kind=OrderType.LIMIT, limit_ticks=1),)),
    ],
)  # fmt: skip
def test_what_alpaca_has_no_words_for_is_refused(wanted, legs):
    with pytest.raises(OrderNotExpressible, match="Nothing was sent"):
        wire.order_body(wanted, legs, price_steps=False)


@pytest.mark.parametrize(
    ("side", "ticks", "tick", "sent"),
    [
        (Side.SELL, 1_000_012, "0.0001", "100.01"),  # 100.0012: a selling stop works sooner
        (Side.BUY, 1_000_012, "0.0001", "100"),
        (Side.SELL, 99_991, "0.00001", "1"),  # 0.99991, in steps of 0.0001 below one dollar
        (Side.BUY, 99_991, "0.00001", "0.9999"),
        (Side.SELL, 1_000_000, "0.0001", "100"),
    ],
)
def test_protective_prices_move_to_the_step_against_us(side, ticks, tick, sent):
    scale = Scale.of(Decimal(tick), Decimal(1), QUANTUM)
    stop = order(kind=OrderType.STOP, side=side, stop_ticks=ticks, reason=Reason.STOP_LOSS)
    stop = stop._replace(scale=scale)
    assert wire.order_body(stop, (), price_steps=True)["stop_price"] == sent
    asked = stop._replace(reason=Reason.EVENT)
    exact = wire.plain(ticks * Decimal(tick))
    assert wire.order_body(asked, (), price_steps=True)["stop_price"] == exact
    assert wire.order_body(stop, (), price_steps=False)["stop_price"] == exact


def test_a_replace_sends_all_terms_of_a_group_member_too():
    _, (target, _) = bracket()
    body = wire.replace_body(target._replace(client_order_id="n"), price_steps=False)
    assert body == {
        "qty": "10", "time_in_force": "day", "limit_price": "110", "client_order_id": "n"
    }  # fmt: skip
    trail = order(kind=OrderType.TRAILING_STOP, trail_units=BPS_UNITS // 50)
    assert wire.replace_body(trail, price_steps=False)["trail"] == "2"


# --- amounts and instants of the wire ------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("1.5", "1.5"), (7, "7"), (Decimal("0.1"), "0.1"), ("-3", "-3"), ("1e2", "100"),
        (None, None), ("", None), ("x", None), (True, None), (1.5, None), ("NaN", None),
        ("Infinity", None), ("1e999999999", None), ([], None), ({"a": 1}, None),
    ],
)  # fmt: skip
def test_only_amounts_are_numbers(said, number):
    assert wire.number(said) == (None if number is None else Decimal(number))
    assert wire.amount(said) == Decimal(number or 0)


def test_quantities_between_two_lots():
    assert wire.lots_of("1.2345", FINE) == 1234
    assert wire.cum_lots(None, FINE) == wire.cum_lots("-1", FINE) == -1
    assert wire.cum_lots("0", FINE) == 0
    assert wire.held_lots(Decimal("0.0001"), FINE) == 1  # a crumb is not flat
    assert wire.held_lots(Decimal("-0.0001"), FINE) == -1
    assert wire.held_lots(Decimal(2), FINE) == 2000


def test_prices_between_two_ticks_go_against_us_and_say_so():
    px = Decimal("100.2549")
    assert wire.fill_ticks(px, Side.BUY, FINE) == (10_026, "filled at 100.2549")
    assert wire.fill_ticks(px, Side.SELL, FINE) == (10_025, "filled at 100.2549")
    assert wire.fill_ticks(Decimal("100.25"), Side.BUY, FINE) == (10_025, "")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2026-03-02T14:30:01.123456789Z", 1_772_461_801_123_456_789),
        ("2026-03-02T09:30:01.1234567-05:00", 1_772_461_801_123_456_700),
        ("2026-03-02T14:30:01Z", 1_772_461_801_000_000_000),
        ("2026-03-02T14:30:01", 0), ("2026-03-02", 0), ("soon", 0), ("", 0), (None, 0), (12, 0),
        ("2026-13-02T14:30:01Z", 0), ("2026-03-02T14:30:01.Z", 0),
    ],
)  # fmt: skip
def test_instants_keep_nine_digits_and_need_a_zone(text, ns):
    assert wire.stamp_ns(text) == ns
