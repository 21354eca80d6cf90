"""Faults 42 and 43: "not found" while the order is on its way, or there and not shown."""

from __future__ import annotations

import pytest

from mqd.venue.answer import Answer
from mqd.venue.fault_catalogue import CATALOGUE, Fault
from mqd.venue.faults import Action, FaultPlan, Request

BY_CLIENT_ID = "/v2/orders:by_client_order_id"
ORDER = {"id": "o1", "client_order_id": "c1", "symbol": "MSFT", "status": "new", "qty": "10"}
OTHER = {**ORDER, "id": "o2", "client_order_id": "c2"}
BODY = {"client_order_id": "c1", "symbol": "MSFT", "qty": "10"}


def plan(name, **parameters):
    return FaultPlan([Fault(CATALOGUE[name].number, name, parameters=parameters)])


def update(order, seq=1):
    return {"stream": "trade_updates", "data": {"event": "new", "seq": seq, "order": order}}


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_late_order_arrives_as_it_was_sent(steps):
    late = plan("late_accept", steps=steps)
    late.step(10)
    assert late.rest_before("POST", "/v2/orders", BODY) == Action("drop")
    for step in range(11, 10 + steps):
        assert late.step(step).requests == []
    assert late.step(10 + steps).requests == [Request("POST", "/v2/orders", BODY)]
    assert late.step(11 + steps).requests == []
    assert late.fired == {"late_accept": 1}


def test_an_order_is_there_and_not_shown():
    one = plan("late_to_show", steps=2)
    one.step(1)
    assert one.rest_before("POST", "/v2/orders", BODY) is None  # carried out
    assert one.updates(update(ORDER)) == []
    assert one.rest_after("POST", "/v2/orders", Answer(200, ORDER, {})) == Action("drop")
    for step in (1, 2):
        hidden = one.rest_after("GET", BY_CLIENT_ID, Answer(200, ORDER, {}))
        assert (hidden.status, hidden.body["code"]) == (404, 40410000)
        assert "order not found for" in hidden.body["message"]
        assert one.step(step).frames == []
    assert one.step(3).frames == [update(ORDER)]
    shown = one.rest_after("GET", BY_CLIENT_ID, Answer(200, ORDER, {}))
    assert (shown.status, shown.body) == (200, ORDER)


def test_others_orders_are_shown_meanwhile():
    one = plan("late_to_show")
    one.rest_before("POST", "/v2/orders", BODY)
    assert one.updates(update(OTHER)) == [update(OTHER)]
    assert one.rest_after("GET", BY_CLIENT_ID, Answer(200, OTHER, {})).body == OTHER
    account = Answer(200, {"cash": "1"}, {})
    assert one.rest_after("GET", "/v2/account", account).body == account.body


def test_at_the_replays_end_everything_shows():
    one = plan("late_to_show", steps=100)
    one.rest_before("POST", "/v2/orders", BODY)
    assert one.updates(update(ORDER)) == []
    assert one.over() == [update(ORDER)]
    assert one.rest_after("GET", BY_CLIENT_ID, Answer(200, ORDER, {})).status == 200


def test_two_updates_are_kept_in_their_order():
    one = plan("late_to_show", steps=1)
    one.rest_before("POST", "/v2/orders", BODY)
    sent = [update(ORDER, seq) for seq in (1, 2)]
    assert [one.updates(frame) for frame in sent] == [[], []]
    assert one.step(1).frames == sent
