"""Laws: whatever order a venue's messages come in, and however often, orders end the same."""

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.execution_report import OrderCommand
from mqd.core.order import OrderStatus
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.adapters.alpaca_bench import (
    activity,
    bracket,
    connector_over,
    fill,
    leg_records,
    order,
    record,
    update,
)

MODEST = settings(max_examples=120, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def brief_pauses():
    """Let repeated questions follow each other at once."""
    with stamina.set_testing(True, attempts=3):
        yield


def ending(machine, name):
    """Return what must not depend on the order of arrival."""
    state = machine.state(name)
    return (
        state.status, state.cum_lots, state.booked_lots, state.notional,
        sorted((one.lots, one.ticks) for one in state.fills), state.quarantined,
    )  # fmt: skip


def run(answer, orders, messages, others=()):
    """Give the machine what a connector makes of messages; "answer" is where the POST returns."""
    connector, _ = connector_over((200, answer))
    machine = OrderStateMachine()
    for one in orders:
        machine.open(one)
        machine.command(one.client_order_id, OrderCommand.SEND)
    entry, *legs = orders
    connector.adopt(entry, legs)
    for message in (*messages, *others):
        if message == "answer":
            connector.submit(entry, legs)
        elif "activity_type" in message:
            connector.take_activities([message])
        else:
            connector.take_update(message)
        for report in connector.reports():
            machine.apply(report)
    return connector, machine


@st.composite
def lives(draw):
    """Draw one order's life: executions that add up, told by both ways, and its end."""
    parts = draw(st.lists(st.integers(1, 4), min_size=0, max_size=3))
    prices = [f"100.{draw(st.integers(10, 99))}" for _ in parts]
    cum, told = 0, [update("pending_new", record(status="pending_new")), update("new", record())]
    for lots, px in zip(parts, prices, strict=True):
        cum += lots
        shown = record(filled=str(cum), status="filled" if cum == 10 else "partially_filled")
        told.append(fill(shown, str(lots), px, "fill" if cum == 10 else "partial_fill"))
        told.append(activity("v1", str(lots), str(cum), px))
    end = draw(st.sampled_from(["canceled", "expired", "none"])) if cum < 10 else "none"
    if end != "none":
        told.append(update(end, record(status=end, filled=str(cum))))
    whole = sum(parts) if sum(parts) <= 10 else None
    return told, (
        whole,
        end,
        sum(n * round(float(p) * 100) for n, p in zip(parts, prices, strict=True)),
    )


@given(lives().filter(lambda life: life[1][0] is not None), st.data())
@MODEST
def test_any_order_of_arrival_and_any_repetition_ends_in_one_state(life, data):
    told, (lots, end, notional) = life
    messages = [*told, "answer"]
    again = data.draw(st.lists(st.sampled_from(told), max_size=5))
    mixed = data.draw(st.permutations(messages + again))
    answer = record(status=data.draw(st.sampled_from(["pending_new", "new", "accepted"])))
    _, straight = run(answer, [order()], messages)
    _, machine = run(answer, [order()], mixed)
    state = machine.state("mq1-a")
    assert ending(machine, "mq1-a") == ending(straight, "mq1-a")
    assert (state.booked_lots, state.notional) == (lots, notional)
    if lots == 10:
        assert state.status is OrderStatus.FILLED
    elif end != "none":
        assert state.status is OrderStatus(end)
    assert not machine.quarantined


def group_life():
    """Return a bracket whose entry fills in two parts, then its target, and the stop's end."""
    stop, target = leg_records()
    entry = {"order_class": "bracket"}
    part = record("v0", "mq1-b", "partially_filled", "4", **entry)
    whole = record("v0", "mq1-b", "filled", "10", **entry)
    hit = {**target, "status": "filled", "filled_qty": "10"}
    over = {**stop, "status": "canceled"}
    return [
        update("new", record("v0", "mq1-b", **entry)),
        fill(part, "4", "100.01", "partial_fill"), fill(whole, "6", "100.02"),
        update("new", {**target, "status": "new"}), fill(hit, "10", "110"),
        update("canceled", over), activity("v0", "4", "4", "100.01"),
        activity("v0", "6", "10", "100.02"), activity("v-tp", "10", "10", "110", side="sell"),
        "answer",
    ]  # fmt: skip


@given(st.permutations(group_life()), st.booleans())
@MODEST
def test_legs_end_the_same_whether_the_answer_or_the_updates_come_first(messages, turned):
    legs = leg_records()
    answer = record("v0", "mq1-b", "pending_new", legs=legs[::-1] if turned else legs)
    entry, exits = bracket()
    connector, machine = run(answer, [entry, *exits], messages)
    assert ending(machine, "mq1-b") == (
        OrderStatus.FILLED, 10, 10, 4 * 10_001 + 6 * 10_002, [(4, 10_001), (6, 10_002)], False
    )  # fmt: skip
    assert ending(machine, "mq1-b-tp")[:4] == (OrderStatus.FILLED, 10, 10, 110_000)
    assert ending(machine, "mq1-b-sl")[:3] == (OrderStatus.CANCELED, 0, 0)
    assert connector.foreign == {}


def heir_life():
    """Return an order that fills in part and is then replaced by the venue, twice."""
    first = record(status="replaced", filled="4", replaced_by="v2")
    second = record("v2", "made-1", "new", qty="6", replaces="v1")
    gone = {**second, "status": "replaced", "filled_qty": "1", "replaced_by": "v3"}
    third = record("v3", "made-2", "filled", "5", qty="5", replaces="v2")
    return [
        "answer", fill(record(filled="4"), "4", "100.01", "partial_fill"),
        update("replaced", first), update("new", second),
        fill({**second, "filled_qty": "1"}, "1", "100.02", "partial_fill"),
        update("replaced", gone), fill(third, "5", "100.03"),
    ]  # fmt: skip


@given(st.permutations(range(7)))
@MODEST
def test_heirs_of_an_order_lose_no_fill_in_whatever_order_they_are_heard(places):
    life = heir_life()
    mixed = [life[place] for place in places]
    acts = [
        activity("v1", "4", "4", "100.01"), activity("v2", "1", "1", "100.02"),
        activity("v3", "5", "5", "100.03"),
    ]  # fmt: skip
    _, machine = run(record(status="new"), [order()], mixed, [*acts, *acts])
    state = machine.state("mq1-a")
    assert (state.booked_lots, state.notional) == (10, 4 * 10_001 + 10_002 + 5 * 10_003)
    assert state.status is OrderStatus.FILLED
