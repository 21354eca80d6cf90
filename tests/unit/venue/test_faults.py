"""FaultPlan: every switch does what it says, at its occasion, and twice the same."""

import copy
import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.errors import UsageError
from mqd.venue.answer import Answer
from mqd.venue.fault_catalogue import BY_NUMBER, CATALOGUE
from mqd.venue.faults import Action, Fault, FaultPlan, Request

OK = {"id": "o1", "client_order_id": "c1", "symbol": "MSFT", "status": "new", "qty": "10",
      "filled_qty": "0", "limit_price": "99.5", "side": "buy", "hwm": None, "legs": None,
      "created_at": "2026-10-01T13:30:00Z", "updated_at": "2026-10-01T13:30:00.1Z",
      "submitted_at": "2026-10-01T13:30:00Z"}  # fmt: skip


def plan(name, at=1, **parameters):
    return FaultPlan([Fault(CATALOGUE[name].number, name, at=at, parameters=parameters)])


def order(**changed):
    return {**OK, **changed}


def fill(qty="10", filled="10", seq=1, **changed):
    data = {"event": "fill", "execution_id": f"e{seq}", "price": "100.01", "qty": qty,
            "position_qty": filled, "seq": seq, "commission": "0.02", "at": "x",
            "timestamp": "2026-10-01T13:31:00Z",
            "order": order(status="filled", filled_qty=filled)}  # fmt: skip
    return {"stream": "trade_updates", "data": {**data, **changed}}


def frames(one, *sent):
    return [one.updates(copy.deepcopy(frame)) for frame in sent]


BEFORE = [
    ("hang", "GET", "/v2/account", Action("hang", None, 8.0)),
    ("drop_tcp", "POST", "/v2/orders", Action("drop")),
    ("server_error", "GET", "/v2/clock", 500),
    ("bad_gateway", "GET", "/v2/stocks/bars", 502),
    ("html_with_ok", "GET", "/v2/positions", 200),
    ("replace_reject", "PATCH", "/v2/orders/o1", 422),
    ("halted_symbol", "POST", "/v2/orders", 403),
    ("rate_limit", "GET", "/v2/account", 429),
]


@pytest.mark.parametrize(("name", "method", "path", "expected"), BEFORE)
def test_a_request_meets_its_fault_once(name, method, path, expected):
    one = plan(name, at=2, times=1)
    assert one.rest_before(method, path, None) is None
    action = one.rest_before(method, path, None)
    if isinstance(expected, int):
        assert (action.kind, action.answer.status) == ("answer", expected)
    else:
        assert action == expected
    assert one.rest_before(method, path, None) is None
    assert one.fired == {name: 1}


def test_a_storm_of_429_has_the_reset_in_unix_seconds():
    one = plan("rate_limit_storm", reset_s=3)
    answers = [one.rest_before("GET", "/v2/orders", None, 5 * 10**9).answer for _ in range(5)]
    assert [answer.status for answer in answers] == [429] * 5
    assert answers[0].headers["X-RateLimit-Reset"] == "8"
    assert answers[0].body == {"code": 42910000, "message": "rate limit exceeded"}
    assert one.rest_before("GET", "/v2/orders", None) is None


def test_html_is_text_with_its_content_type():
    answer = plan("html_with_ok").rest_before("GET", "/v2/clock", None).answer
    assert answer.body.startswith("<html>")
    assert answer.headers["Content-Type"] == "text/html"


AFTER = [
    ("gateway_timeout_after_accept", 504),
    ("html_after_accept", 200),
    ("drop_tcp_after_accept", Action("drop")),
]


@pytest.mark.parametrize(("name", "expected"), AFTER)
def test_an_accepted_order_gets_no_true_answer(name, expected):
    one = plan(name)
    refused = Answer(422, {"code": 40010001, "message": "no"}, {})
    assert one.rest_after("POST", "/v2/orders", refused) is refused
    assert isinstance(one.rest_after("GET", "/v2/orders", Answer(200, [], {})), Answer)
    result = one.rest_after("POST", "/v2/orders", Answer(200, order(), {}))
    if isinstance(expected, int):
        assert result.status == expected
        assert result.body != order()
    else:
        assert result == expected


def test_the_answer_is_held_while_the_event_goes_out():
    answer = Answer(200, order(), {})
    result = plan("event_before_response", seconds=0.3).rest_after("POST", "/v2/orders", answer)
    assert result == Action("hold", answer, 0.3)


def test_updates_are_dropped_doubled_delayed_and_swapped():
    sent = [fill(seq=n) for n in (1, 2, 3, 4)]
    seqs = {
        "drop_event": [[1], [], [3], [4]],
        "duplicate_event": [[1], [2, 2], [3], [4]],
        "delay_event": [[1], [], [3], [4, 2]],
        "reorder_event": [[1], [], [3, 2], [4]],
    }
    for name, expected in seqs.items():
        out = frames(plan(name, at=2), *sent)
        assert [[frame["data"]["seq"] for frame in part] for part in out] == expected, name


def test_a_delayed_update_comes_at_the_next_step_at_the_latest():
    one = plan("delay_event")
    assert frames(one, fill()) == [[]]
    assert one.step(1).frames == [fill()]
    assert one.step(2).frames == []


def test_a_mute_stream_heals_and_a_half_open_one_only_by_connecting_anew():
    sent = [fill(seq=n) for n in range(1, 6)]
    assert [len(part) for part in frames(plan("mute_stream", events=3), *sent)] == [0, 0, 0, 1, 1]
    asleep = plan("half_open")
    assert [len(part) for part in frames(asleep, *sent)] == [0] * 5
    assert asleep.connect("trading") is None
    assert len(asleep.updates(fill())) == 1


def test_market_data_fall_silent_for_a_while():
    one = plan("mute_data", at=2, frames=2)
    bar = {"T": "b", "S": "MSFT"}
    assert [one.data([bar]) for _ in range(4)] == [[bar], [], [], [bar]]


@pytest.mark.parametrize(
    ("name", "stream", "code"),
    [("connection_limit", "data", 406), ("insufficient_subscription", "data", 409),
     ("auth_failed", "trading", 402)],
)  # fmt: skip
def test_a_socket_is_refused_once(name, stream, code):
    one = plan(name)
    if stream == "data":
        assert one.connect("trading") is None
    assert [one.connect(stream) for _ in range(2)] == [code, None]


def test_a_large_frame_exceeds_a_mebibyte():
    [[frame]] = frames(plan("large_frame"), fill())
    assert len(json.dumps(frame)) > 2**20
    assert frame["data"]["execution_id"] == "e1"


def test_a_fill_in_two_parts_adds_up():
    [[part, rest]] = frames(plan("partial_fill"), fill(qty="7", filled="10"))
    assert part["data"]["event"] == "partial_fill"
    assert part["data"]["order"]["status"] == "partially_filled"
    assert Decimal(part["data"]["qty"]) + Decimal(rest["data"]["qty"]) == 7
    assert Decimal(part["data"]["order"]["filled_qty"]) == 10 - Decimal(rest["data"]["qty"])
    assert Decimal(part["data"]["position_qty"]) == 10 - Decimal(rest["data"]["qty"])
    assert part["data"]["execution_id"] != rest["data"]["execution_id"] == "e1"
    assert "commission" not in part["data"]
    assert rest["data"]["commission"] == "0.02"
    assert rest["data"]["order"]["filled_qty"] == "10"


def test_the_activities_tell_a_split_fill_as_the_stream_did():
    one = plan("partial_fill")
    whole = fill(qty="7", filled="10")
    [[part, rest]] = frames(one, whole)
    entry = {
        "id": "a1", "activity_type": "FILL", "type": "fill", "qty": "7", "cum_qty": "10",
        "leaves_qty": "2", "order_id": whole["data"]["order"]["id"], "order_status": "filled",
        "commission": "0.02", "price": "100.01",
    }  # fmt: skip
    other = {**entry, "id": "a0", "qty": "3", "cum_qty": "3", "leaves_qty": "9"}
    cash = {"id": "c1", "activity_type": "FEE", "net_amount": "-0.01"}
    path = "/v2/account/activities"
    told = one.rest_after("GET", path, Answer(200, [other, entry, cash], {})).body
    assert [told[0], told[3]] == [other, cash]
    for activity, update in zip(told[1:3], (part, rest), strict=True):
        data = update["data"]
        assert activity["qty"] == data["qty"]
        assert activity["cum_qty"] == data["order"]["filled_qty"]
        assert activity["type"] == data["event"]
        assert activity.get("commission") == data.get("commission")
    assert [one["leaves_qty"] for one in told[1:3]] == ["5", "2"]
    assert told[1]["id"] != told[2]["id"] == "a1"
    orders = one.rest_after("GET", "/v2/orders", Answer(200, [entry], {})).body
    assert len(orders) == 1


def test_a_fill_of_one_share_waits_for_a_larger_one():
    one = plan("partial_fill")
    assert [len(part) for part in frames(one, fill(qty="1"), fill(qty="2"))] == [1, 2]


def test_unknown_missing_and_fine_grained_fields():
    [[strange, true]] = frames(plan("unknown_enum"), fill())
    assert strange["data"]["event"] not in {"fill", "new"}
    assert "seq" not in strange["data"]
    assert true == fill()
    [[sparse]] = frames(plan("missing_field"), fill())
    assert set(fill()["data"]) - set(sparse["data"]) == {"position_qty", "commission", "at"}
    assert set(OK) - set(sparse["data"]["order"]) == {"hwm", "legs"}
    [[fine]] = frames(plan("nanoseconds"), fill())
    assert fine["data"]["order"]["updated_at"] == "2026-10-01T13:30:00.123456789Z"
    assert fine["data"]["timestamp"] == fill()["data"]["timestamp"]


def test_answers_lie_about_positions_account_status_and_clock():
    def after(name, path, body):
        return plan(name).rest_after("GET", path, Answer(200, body, {})).body

    assert after("empty_positions", "/v2/positions", [{"symbol": "MSFT"}]) == []
    assert after("account_blocked", "/v2/account", {"account_blocked": False})["account_blocked"]
    assert after("unknown_status", "/v2/orders/o1", order())["status"] == "under_review"
    assert after("unknown_status", "/v2/orders", [order()])[0]["status"] == "under_review"
    assert set(after("unknown_field", "/v2/clock", {"is_open": True})) > {"is_open"}
    clock = {"timestamp": "2026-10-01T09:30:55.123456789-04:00", "is_open": True}
    ahead = after("clock_off", "/v2/clock", clock)
    assert ahead == {"timestamp": "2026-10-01T09:31:05.123456789-04:00", "is_open": True}
    plain = after("clock_off", "/v2/clock", {"timestamp": "2026-10-01T13:30:00Z"})
    assert plain == {"timestamp": "2026-10-01T13:30:10Z"}


def test_a_cancel_is_acknowledged_and_carried_out_later():
    one = plan("stuck_pending_cancel", steps=3)
    one.step(4)
    one.updates(fill(event="new", order=order()))
    action = one.rest_before("DELETE", "/v2/orders/o1", None)
    assert (action.kind, action.answer.status) == ("answer", 204)
    seen = one.rest_after("GET", "/v2/orders/o1", Answer(200, order(), {}))
    assert seen.body["status"] == "pending_cancel"
    due = one.step(5)
    assert [frame["data"]["event"] for frame in due.frames] == ["pending_cancel"]
    assert [one.step(6).requests, one.step(7).requests] == [
        [], [Request("DELETE", "/v2/orders/o1", None)]
    ]  # fmt: skip
    seen = one.rest_after("GET", "/v2/orders/o1", Answer(200, order(), {}))
    assert seen.body["status"] == "new"


def test_a_new_order_stays_pending_new_until_its_step():
    one = plan("stuck_pending_new", steps=2)
    one.step(1)
    answer = one.rest_after("POST", "/v2/orders", Answer(200, order(), {}))
    assert answer.body["status"] == "pending_new"
    assert one.updates(fill(event="new", order=order())) == []
    assert one.step(2).frames == []
    [told] = one.step(3, "2026-10-01T13:33:00Z").frames
    assert (told["data"]["event"], told["data"]["order"]["status"]) == ("new", "new")


def test_orders_of_others_come_from_nowhere_known():
    for name, kind in (("foreign_order", "limit"), ("hand_trade", "market")):
        one = plan(name)
        assert one.step(1).requests == []
        one.updates(fill())
        [request] = one.step(2).requests
        assert request[:2] == ("POST", "/v2/orders")
        assert (request.body["type"], request.body["symbol"]) == (kind, "MSFT")
        assert request.body["client_order_id"] != OK["client_order_id"]
        assert one.step(3).requests == []


def test_the_broker_replaces_what_rests():
    one = plan("broker_replace")
    one.updates(fill(event="new", order=order()))
    assert one.step(1).requests == [
        Request("PATCH", "/v2/orders/o1", {"qty": "10", "limit_price": "99.51"})
    ]


def test_both_sockets_are_cut_at_a_step():
    one = plan("socket_drop", at=3)
    assert [one.step(k).cut for k in range(1, 5)] == [False, False, True, False]


def traffic(one):
    """Drive a plan as a venue would for 100 steps; return all that came out."""
    out = []
    for step in range(100):
        out.append(one.step(step, "2026-10-01T13:30:00Z"))
        for method, path, body in (
            ("GET", "/v2/account", {"account_blocked": False}),
            ("GET", "/v2/positions", [{"symbol": "MSFT"}]),
            ("GET", "/v2/clock", {"timestamp": "2026-10-01T13:30:00Z"}),
            ("GET", "/v2/orders", [order()]),
            ("POST", "/v2/orders", order()),
            ("PATCH", "/v2/orders/o1", order()),
            ("DELETE", "/v2/orders/o1", None),
        ):
            out.append(one.rest_before(method, path, None))
            out.append(one.rest_after(method, path, Answer(200, body, {})))
        out.append(one.updates(fill(event="new", order=order())))
        done = order(id="o2", client_order_id="c2", status="filled", filled_qty="10")
        out.append(one.updates(fill(seq=step, order=done)))
        out.append(one.data([{"T": "b"}]))
        if step in {0, 50, 51, 52}:
            out.append([one.connect("trading"), one.connect("data")])
    return out


@pytest.mark.parametrize("seed", [0, 7, 4711])
def test_a_plan_of_all_faults_fires_each_in_a_hundred_steps_and_repeats(seed):
    first, second = FaultPlan.all(seed), FaultPlan.all(seed)
    assert traffic(first) == traffic(second)
    assert set(first.fired) == set(CATALOGUE)
    assert first.unfired == []


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_a_random_plan_repeats_by_seed_and_travels_as_a_dict(seed):
    one = FaultPlan.random(seed)
    again = FaultPlan.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.faults == one.faults == FaultPlan.random(seed).faults
    assert traffic(again) == traffic(one)


def test_an_empty_plan_changes_nothing():
    one = FaultPlan.from_dict(None)
    answer = Answer(200, order(), {})
    assert one.rest_before("POST", "/v2/orders", {}) is None
    assert one.rest_after("POST", "/v2/orders", answer) == answer
    assert one.updates(fill()) == [fill()]
    assert one.step(1) == ([], [], False)


def test_every_number_is_one_switch_without_a_hole():
    assert sorted(BY_NUMBER) == list(range(1, len(CATALOGUE) + 1))
    assert FaultPlan.from_dict({"faults": [{"number": 12}]}).faults[0].name == "drop_event"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"alll": 7}, "no 'alll'"),
        ({"faults": [{"name": "drop_events"}]}, "Did you mean 'drop_event'"),
        ({"faults": [{"name": "drop_event", "at": 0}]}, "count from 1"),
        ({"faults": [{"name": "hang", "parameters": {"second": 1}}]}, "no parameter 'second'"),
        ({"faults": [{"number": 999}]}, "There is no fault 999"),
        ({"faults": [{"number": 12, "name": "hang"}]}, "is 'drop_event', not 'hang'"),
        ({"faults": [{"name": "hang", "when": 1}]}, "no 'when'"),
    ],
)
def test_a_plan_with_unknown_words_is_refused(words, said):
    with pytest.raises(UsageError, match=said):
        FaultPlan.from_dict(words)
