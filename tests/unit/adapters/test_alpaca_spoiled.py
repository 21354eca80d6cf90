"""What a broken server or an unusual fill must not do: stop us, leak a key, lose a quantity."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.adapters.alpaca import wire
from mqd.core.execution_report import OrderCommand, ReportKind
from mqd.core.order import OrderStatus
from mqd.log_files import encode
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.adapters.alpaca_bench import (
    FINE,
    KEY,
    SECRET,
    activity,
    connector_over,
    fill,
    order,
    record,
    update,
)


def sent(*frames, wanted=None):
    """Return a connector, and the machine that heard what it made of an order and its updates."""
    wanted = wanted or order()
    connector, _ = connector_over((200, record()))
    machine = OrderStateMachine()
    machine.open(wanted)
    machine.command(wanted.client_order_id, OrderCommand.SEND)
    connector.submit(wanted)
    for frame in frames:
        connector.take_update(frame)
    return connector, machine, [machine.apply(report) for report in connector.reports()]


@pytest.mark.parametrize("status", [200, 500])
def test_an_exponent_that_no_decimal_holds_is_an_unknown_outcome(status):
    said = '{"id":"v1","client_order_id":"mq1-a","qty":1e9999999999999999999}'
    connector, _ = connector_over((status, said))
    connector.submit(order())
    (report,) = connector.reports()
    assert report.kind is ReportKind.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    "spelt",
    [SECRET.replace("/", "\\/"), SECRET.replace("+", "\\u002b"), KEY.replace("P", "\\u0050")],
)
def test_a_key_that_an_error_spells_with_escapes_is_hidden(spelt):
    connector, _ = connector_over((403, f'{{"code":40310000,"message":"no such key {spelt}"}}'))
    connector.submit(order())
    (report,) = connector.reports()
    assert report.text.endswith("no such key ***")
    assert report.kind is ReportKind.DEFINITE_REJECT


def test_words_that_utf8_cannot_hold_can_still_be_logged():
    half = "\ud800"
    frames = [
        update("new", record(), reason=half), update(half, record()),
        update("canceled", record(status="canceled", replaced_by=half)),
    ]  # fmt: skip
    connector, _ = connector_over((422, '{"message":"\\ud800"}'), (200, record(status=half)))
    connector.submit(order())
    connector.query("mq1-a")
    for frame in frames:
        connector.take_update(frame)
    reports = connector.reports()
    assert len(reports) == 2 + len(frames)
    assert all(encode(report._asdict()) for report in reports)


@pytest.mark.parametrize("event", ["fill", "partial_fill"])
@pytest.mark.parametrize("cum", [None, "", "x", "-1"])
def test_a_fill_without_the_total_is_asked_for(event, cum):
    _, machine, told = sent(fill(record(filled=cum), "4", event=event))
    assert told[-1].query
    assert "without filled_qty" in told[-1].anomaly
    assert machine.state("mq1-a").cum_lots == 0


def test_parts_of_a_lot_add_up():
    """3.5 + 6.5 shares at a lot of one: 3 lots, then 7 (worked by hand)."""
    half = fill(record(filled="3.5"), "3.5", event="partial_fill")
    whole = fill(record(filled="10", status="filled"), "6.5")
    _, machine, told = sent(half, whole)
    state = machine.state("mq1-a")
    assert [one.fill.lots for one in told[1:]] == [3, 7]
    assert (state.status, state.booked_lots, told[-1].query) == (OrderStatus.FILLED, 10, False)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=12))
def test_any_parts_of_an_order_come_to_the_order(parts):
    """Executions of nine decimals (an account of fractions) come to the lots of their sum."""
    total, lots = Decimal(0), 0
    for part in parts:
        qty = part * Decimal("0.000001")
        total += qty
        lots += wire.execution_lots(qty, total, FINE)
    assert lots == int(total / FINE.lot)


def test_parts_told_by_activities_and_by_the_stream_are_the_same_executions():
    half, whole = record(filled="3.5"), record(filled="10", status="filled")
    connector, machine, _ = sent(fill(half, "3.5", event="partial_fill"))
    connector.take_activities([activity("v1", "3.5", "3.5"), activity("v1", "6.5", "10")])
    connector.take_update(fill(whole, "6.5"))
    told = [machine.apply(report) for report in connector.reports()]
    assert not any(one.anomaly for one in told)
    assert machine.state("mq1-a").booked_lots == 10
