"""Faults 42 and 43: "not found" while the order is on its way, or there and not shown."""

from __future__ import annotations

import pytest

from mqd.core.clock import NS_PER_S
from mqd.venue.answer import Answer
from mqd.venue.fault_catalogue import CATALOGUE, Fault
from mqd.venue.faults import Action, FaultPlan, Request

MINUTE = 60 * NS_PER_S
T0 = 1_652_967_000 * NS_PER_S
BY_CLIENT_ID = "/v2/orders:by_client_order_id"
ORDER = {"id": "o1", "client_order_id": "c1", "symbol": "MSFT", "status": "new", "qty": "10"}
OTHER = {**ORDER, "id": "o2", "client_order_id": "c2"}
BODY = {"client_order_id": "c1", "symbol": "MSFT", "qty": "10"}


def plan(name, **parameters):
    return FaultPlan([Fault(CATALOGUE[name].number, name, parameters=parameters)])


def update(order, seq=1):
    return {"stream": "trade_updates", "data": {"event": "new", "seq": seq, "order": order}}


def begin(one, minute):
    """Begin the step of a minute; it is dated by the venue's time."""
    return one.step(minute, now_ns=T0 + minute * MINUTE)


@pytest.mark.parametrize("seconds", [0, 1, 60, 90, 300])
def test_a_late_order_arrives_as_it_was_sent_when_its_time_has_come(seconds):
    late = plan("late_accept", seconds=seconds)
    begin(late, 10)
    sent_ns = T0 + 10 * MINUTE + 30 * NS_PER_S
    assert late.rest_before("POST", "/v2/orders", BODY, sent_ns) == Action("drop")
    arrives = next(m for m in range(11, 20) if 60 * (m - 10) - 30 >= seconds)
    for minute in range(11, arrives):
        assert begin(late, minute).requests == []
    assert begin(late, arrives).requests == [Request("POST", "/v2/orders", BODY)]
    assert begin(late, arrives + 1).requests == []
    assert late.fired == {"late_accept": 1}


def test_an_order_is_there_and_not_shown():
    one = plan("late_to_show", seconds=120)
    begin(one, 1)
    assert one.rest_before("POST", "/v2/orders", BODY, T0 + MINUTE) is None  # carried out
    assert one.updates(update(ORDER)) == []
    assert one.rest_after("POST", "/v2/orders", Answer(200, ORDER, {})) == Action("drop")
    for step in (1, 2):
        hidden = one.rest_after("GET", BY_CLIENT_ID, Answer(200, ORDER, {}))
        assert (hidden.status, hidden.body["code"]) == (404, 40410000)
        assert "order not found for" in hidden.body["message"]
        assert begin(one, step).frames == []
    assert begin(one, 3).frames == [update(ORDER)]
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
    one = plan("late_to_show", seconds=1e6)
    one.rest_before("POST", "/v2/orders", BODY)
    assert one.updates(update(ORDER)) == []
    assert one.over() == [update(ORDER)]
    assert one.rest_after("GET", BY_CLIENT_ID, Answer(200, ORDER, {})).status == 200


def test_two_updates_are_kept_in_their_order():
    one = plan("late_to_show", seconds=0)
    one.rest_before("POST", "/v2/orders", BODY)
    sent = [update(ORDER, seq) for seq in (1, 2)]
    assert [one.updates(frame) for frame in sent] == [[], []]
    assert one.step(1).frames == sent
