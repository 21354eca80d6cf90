"""The connector over scripted answers: what each one means for orders, legs, heirs and fills."""

import threading

import pytest
import stamina

from mqd.adapters.alpaca.errors import NotSent, VenueRefused, VenueUnreachable
from mqd.core.execution_report import ReportKind
from mqd.core.order import OrderClass, OrderType
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.adapters.alpaca_bench import (
    GONE,
    activity,
    bracket,
    connector_over,
    fill,
    kinds,
    leg_records,
    live,
    order,
    record,
    update,
)

LIMIT = order("mq1-new", kind=OrderType.LIMIT, limit_ticks=9_900)


@pytest.fixture(autouse=True)
def brief_pauses():
    """Let repeated questions follow each other at once."""
    with stamina.set_testing(True, attempts=3):
        yield


# --- submit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, record(status="pending_new")), ReportKind.ACK),
        ((403, {"code": 40310000, "message": "insufficient buying power"}),
         ReportKind.DEFINITE_REJECT),
        ((401, "<html>nginx</html>"), ReportKind.DEFINITE_REJECT),
        ((422, {"code": 40010001, "message": "client_order_id must be unique"}),
         ReportKind.DUPLICATE_ID),
        ((429, ""), ReportKind.RATE_LIMITED),
        ((504, "<html>"), ReportKind.OUTCOME_UNKNOWN),
        ((500, {"code": 50010000, "message": "internal"}), ReportKind.OUTCOME_UNKNOWN),
        ((301, ""), ReportKind.OUTCOME_UNKNOWN),
        ((200, "<html>maintenance</html>"), ReportKind.OUTCOME_UNKNOWN),
        ((200, ""), ReportKind.OUTCOME_UNKNOWN),
        ((200, []), ReportKind.OUTCOME_UNKNOWN),
        ((200, {}), ReportKind.OUTCOME_UNKNOWN),
        ((200, {"id": None, "status": "new"}), ReportKind.OUTCOME_UNKNOWN),
        ((200, record(client_id="somebody-else")), ReportKind.OUTCOME_UNKNOWN),
        (ConnectionResetError("cut"), ReportKind.OUTCOME_UNKNOWN),
        (TimeoutError("slow"), ReportKind.OUTCOME_UNKNOWN),
    ],
)  # fmt: skip
def test_one_answer_is_one_report_and_a_post_is_sent_once(answer, kind):
    connector, script = connector_over(answer)
    connector.submit(order())
    (report,) = connector.reports()
    assert (report.kind, report.client_order_id, report.symbol) == (kind, "mq1-a", "AAA")
    assert script.calls == [("POST", "/v2/orders")]
    assert connector.reports() == []


def test_a_refusal_speaks_for_every_member_of_a_group():
    connector, _ = connector_over((403, {"code": 40310000, "message": "insufficient buying power"}))
    connector.submit(*bracket())
    reports = connector.reports()
    assert [one.client_order_id for one in reports] == ["mq1-b", "mq1-b-tp", "mq1-b-sl"]
    assert {one.kind for one in reports} == {ReportKind.DEFINITE_REJECT}
    assert all(one.text == "insufficient_funds: insufficient buying power" for one in reports)


def test_what_cannot_be_said_is_a_refusal_and_nothing_is_sent():
    connector, script = connector_over()
    connector.submit(order(), (order("leg", kind=OrderType.TRAILING_STOP, trail_ticks=5),))
    reports = connector.reports()
    assert [one.kind for one in reports] == [ReportKind.DEFINITE_REJECT] * 2
    assert "Nothing was sent" in reports[0].text
    assert script.calls == []


def test_a_call_that_did_not_leave_is_a_definite_no(monkeypatch):
    connector, script = connector_over()

    def used_up(*_, **__):
        raise NotSent("POST /v2/orders", "the rate budget is used up")

    monkeypatch.setattr(connector._session, "send", used_up)
    connector.submit(order())
    (report,) = connector.reports()
    assert report.kind is ReportKind.DEFINITE_REJECT
    assert "was not sent" in report.text
    assert script.calls == []


# --- legs ----------------------------------------------------------------------------------------


def test_legs_are_found_by_what_they_are_not_by_their_place():
    answer = record("v0", "mq1-b", "new", order_class="bracket", legs=leg_records())
    connector, _ = connector_over((200, answer))
    connector.submit(*bracket())
    acks = {report.client_order_id: report.venue_order_id for report in connector.reports()}
    assert acks == {"mq1-b": "v0", "mq1-b-tp": "v-tp", "mq1-b-sl": "v-sl"}
    connector.take_update(update("new", leg_records()[1]))
    assert kinds(connector) == [(ReportKind.ACCEPTED, "mq1-b-tp")]


def test_updates_of_legs_wait_for_the_answer_that_names_them():
    stop, target = leg_records()
    filled = {**target, "status": "filled", "filled_qty": "10"}
    answer = record("v0", "mq1-b", "new", legs=[stop, target])
    connector, _ = connector_over((200, answer))
    entry, legs = bracket()
    connector.adopt(entry, legs)
    connector.take_update(update("new", record("v0", "mq1-b")))
    connector.take_update(update("new", target))
    connector.take_update(fill(filled, "10", "110"))
    connector.take_activities([activity("v-tp", "10", "10", "110", side="sell")])
    assert kinds(connector) == [(ReportKind.ACCEPTED, "mq1-b")]
    connector.submit(entry, legs)
    assert kinds(connector) == [
        (ReportKind.ACK, "mq1-b"), (ReportKind.ACK, "mq1-b-sl"), (ReportKind.ACK, "mq1-b-tp"),
        (ReportKind.ACCEPTED, "mq1-b-tp"), (ReportKind.FILL, "mq1-b-tp"),
        (ReportKind.FILL, "mq1-b-tp"),
    ]  # fmt: skip
    assert connector.foreign == {}


def test_a_leg_without_an_id_is_asked_for_in_its_parent():
    bare = record("v0", "mq1-b", "new")
    whole = {**bare, "legs": leg_records()}
    connector, script = connector_over((200, bare), (200, whole))
    connector.submit(*bracket())
    assert kinds(connector) == [(ReportKind.ACK, "mq1-b")]
    connector.query("mq1-b-sl")
    assert sorted(kinds(connector)) == [
        (ReportKind.FOUND, "mq1-b"), (ReportKind.FOUND, "mq1-b-sl"), (ReportKind.FOUND, "mq1-b-tp")
    ]  # fmt: skip
    assert script.calls[1] == ("GET", "/v2/orders/v0")


def test_a_group_in_doubt_is_asked_for_by_its_own_id_and_then_for_its_legs():
    whole = record("v0", "mq1-b", "new", legs=leg_records())
    connector, script = connector_over(TimeoutError(), (200, {**whole, "legs": None}), (200, whole))
    connector.submit(*bracket())
    assert {kind for kind, _ in kinds(connector)} == {ReportKind.OUTCOME_UNKNOWN}
    connector.query("mq1-b-tp")
    assert len(kinds(connector)) == 3
    assert script.calls[1:] == [("GET", "/v2/orders:by_client_order_id"), ("GET", "/v2/orders/v0")]
    assert script.asked[1][2]["client_order_id"] == "mq1-b"


def test_legs_of_an_oco_are_mapped_with_their_parent_as_the_target():
    _, (target, stop) = bracket()
    pair = [one._replace(order_class=OrderClass.OCO, parent="") for one in (target, stop)]
    answer = record("v-tp", "mq1-b-tp", "new", side="sell", type="limit", legs=[leg_records()[0]])
    connector, _ = connector_over((200, answer))
    connector.submit(pair[0], (pair[1],))
    acks = {report.client_order_id: report.venue_order_id for report in connector.reports()}
    assert acks == {"mq1-b-tp": "v-tp", "mq1-b-sl": "v-sl"}


def test_the_rest_of_a_leg_that_the_other_leg_has_shrunk_is_over_when_the_venue_says_filled():
    answer = record("v0", "mq1-b", "filled", "10", legs=leg_records())
    connector, _ = connector_over((200, answer))
    connector.submit(*bracket())
    connector.reports()
    stop = {**leg_records()[0], "qty": "6", "filled_qty": "6", "status": "filled"}
    connector.take_update(fill(stop, "6", "90"))
    reports = connector.reports()
    assert [(one.kind, one.cum_lots) for one in reports] == [
        (ReportKind.PARTIAL_FILL, 6), (ReportKind.CANCELED, 6)
    ]  # fmt: skip
    odd = {**stop, "qty": "10"}  # the venue contradicts itself: nothing is made up
    connector.take_update(fill(odd, "6", "90"))
    assert [one.kind for one in connector.reports()] == [ReportKind.PARTIAL_FILL]


# --- fills ---------------------------------------------------------------------------------------


def test_a_fill_told_by_stream_and_by_activity_counts_once():
    connector, _ = live()
    machine = OrderStateMachine()
    machine.open(order())
    four = record(filled="4", status="partially_filled")
    connector.take_update(fill(four, "4", "100.25", "partial_fill"))
    connector.take_activities([activity("v1", "4", "4"), activity("v1", "6", "10", "100.26")])
    connector.take_update(fill(record(filled="10", status="filled"), "6", "100.26"))
    reports = connector.reports()
    assert [one.execution_id for one in reports] == ["v1/4", "v1/4", "v1/10", "v1/10"]
    assert [one.ts_fill for one in reports] == [1_772_461_801_000_000_001] * 4
    booked = [machine.apply(one).fill for one in reports]
    assert [one and one.lots for one in booked] == [4, None, 6, None]
    assert machine.state("mq1-a").notional == 4 * 10_025 + 6 * 10_026


@pytest.mark.parametrize("missing", ["qty", "price", "cum", "nonsense", "negative"])
def test_a_fill_that_does_not_say_enough_is_not_completed_by_a_guess(missing):
    connector, _ = live()
    frame = fill(record(filled="10", status="filled"), "10")
    match missing:
        case "cum":
            frame["order"]["filled_qty"] = None
        case "nonsense":
            frame["qty"] = "ten"
        case "negative":
            frame["price"] = "-1"
        case name:
            del frame[name]
    connector.take_update(frame)
    (report,) = connector.reports()
    assert (report.execution_id, report.last_lots) == ("", 0)
    assert report.cum_lots == (-1 if missing == "cum" else 10)
    connector.take_activities([activity("v1", "10", "10")])
    (report,) = connector.reports()
    assert (report.kind, report.last_lots, report.last_ticks) == (ReportKind.FILL, 10, 10_025)


def test_a_fill_of_an_order_whose_answer_was_lost_is_booked_when_the_order_is_found():
    connector, _ = connector_over(TimeoutError(), (200, record(status="filled", filled="10")))
    connector.submit(order())
    connector.take_activities([activity("v1", "10", "10")])
    assert list(connector.foreign) == ["v1"]
    assert kinds(connector) == [(ReportKind.OUTCOME_UNKNOWN, "mq1-a")]
    connector.query("mq1-a")
    assert kinds(connector) == [(ReportKind.FOUND, "mq1-a"), (ReportKind.FILL, "mq1-a")]
    assert connector.foreign == {}


def test_a_price_between_two_ticks_is_taken_against_us_and_said():
    connector, _ = live()
    connector.take_update(fill(record(filled="10", status="filled"), "10", "100.2512"))
    (report,) = connector.reports()
    assert (report.last_ticks, report.text) == (10_026, "filled at 100.2512")


@pytest.mark.parametrize(
    "frame",
    [
        {}, {"event": "fill"}, {"event": "fill", "order": None}, {"event": "fill", "order": []},
        {"event": "fill", "order": {}}, {"order": {"id": 5}}, {"event": ["x"], "order": record()},
        {"event": {"a": 1}, "order": record("v9", "else")}, update(None, record(status=None)),
        update("fill", record(filled="1e999999"), qty="1e99999", price="0"),
        update("new", record(side=["x"], type=None, legs={"a": 1}, replaces=3)),
        fill(record(client_id=None, filled="10"), [], {}),
    ],
)  # fmt: skip
def test_no_frame_stops_the_stream(frame):
    connector, _ = live()
    connector.take_update(frame)
    connector.take_update(update("new", record()))
    assert kinds(connector)[-1] == (ReportKind.ACCEPTED, "mq1-a")


def test_unknown_words_reach_the_desk_as_they_are():
    connector, _ = live()
    connector.take_update(update("audited", record(status="audited", new_field={"a": [1]})))
    (report,) = connector.reports()
    assert (report.kind, report.status, report.cum_lots) == (ReportKind.STATUS, "audited", 0)


# --- counting updates ----------------------------------------------------------------------------


def test_numbered_updates_are_counted_by_their_number():
    connector, _ = live()
    connector.take_update(update("new", record()))
    assert connector.n_updates == 1
    for seq in (7, 6, 7):
        connector.take_update(update("new", record(), seq=seq))
    connector.take_update(update("pending_cancel", record()))
    assert connector.n_updates == 7
    connector.take_update(update("new", record("x", "not-ours"), seq=9))
    assert connector.n_updates == 9


# --- cancel --------------------------------------------------------------------------------------


def test_a_cancel_is_repeated_until_it_is_answered():
    connector, script = live((503, ""), TimeoutError(), (204, ""))
    connector.cancel("mq1-a")
    assert script.calls[1:] == [("DELETE", "/v2/orders/v1")] * 3
    assert connector.reports() == []


def test_a_refused_or_unanswered_cancel_is_said():
    over = {"code": 42210000, "message": 'order is already in "filled" state'}
    connector, _ = live((422, over), *[(429, "")] * 3)
    connector.cancel("mq1-a")
    (report,) = connector.reports()
    assert report.kind is ReportKind.CANCEL_REJECTED
    assert report.text == 'not_cancelable: order is already in "filled" state'
    connector.cancel("mq1-a")
    (report,) = connector.reports()
    assert report.kind is ReportKind.CANCEL_REJECTED
    assert "HTTP 429" in report.text


def test_a_cancel_of_an_order_without_an_id_asks_for_it_first():
    connector, script = connector_over(TimeoutError(), (200, record()), (204, ""))
    connector.submit(order())
    connector.cancel("mq1-a")
    assert [kind for kind, _ in kinds(connector)] == [ReportKind.OUTCOME_UNKNOWN, ReportKind.FOUND]
    assert script.calls[-1] == ("DELETE", "/v2/orders/v1")
    lost, _ = connector_over(TimeoutError(), GONE)
    lost.submit(order())
    lost.cancel("mq1-a")
    assert [kind for kind, _ in kinds(lost)][1:] == [
        ReportKind.NOT_FOUND, ReportKind.CANCEL_REJECTED
    ]  # fmt: skip


def test_the_kill_switch_cancels_all_or_says_that_it_did_not():
    connector, script = connector_over((504, ""), (207, []), *[TimeoutError()] * 3, (403, ""))
    connector.cancel_everything()
    assert script.calls == [("DELETE", "/v2/orders")] * 2
    with pytest.raises(VenueUnreachable):
        connector.cancel_everything()
    with pytest.raises(VenueRefused):
        connector.cancel_everything()


# --- replace -------------------------------------------------------------------------------------


def test_a_replace_gives_a_new_order_and_ends_the_old_one_once():
    shown = record("v2", "mq1-new", "accepted", replaces="v1")
    connector, script = live((200, shown))
    connector.replace("mq1-a", LIMIT)
    method, path, _, body = script.asked[-1]
    assert (method, path) == ("PATCH", "/v2/orders/v1")
    assert (body["qty"], body["limit_price"], body["client_order_id"]) == ("10", "99", "mq1-new")
    connector.take_update(update("new", {**shown, "status": "new"}))
    connector.take_update(update("replaced", record(status="replaced", replaced_by="v2")))
    reports = connector.reports()
    assert [(one.kind, one.client_order_id) for one in reports] == [
        (ReportKind.ACK, "mq1-new"), (ReportKind.REPLACED, "mq1-a"),
        (ReportKind.ACCEPTED, "mq1-new"),
    ]  # fmt: skip
    assert reports[1].replaced_by == "v2"


def test_a_replace_is_known_by_what_it_replaces_when_the_venue_makes_the_id():
    connector, _ = live((200, record("v2", "made-up", "accepted", replaces="v1")))
    heir = record("v2", "made-up", "new", replaces="v1")
    connector.replace("mq1-a", LIMIT)
    assert kinds(connector) == [(ReportKind.ACK, "mq1-new")]
    connector.take_update(update("new", heir))
    assert kinds(connector) == [(ReportKind.REPLACED, "mq1-a"), (ReportKind.ACCEPTED, "mq1-new")]
    other, _ = live((200, record("v9", "made-up", "accepted", replaces="v7")))
    other.replace("mq1-a", LIMIT)
    assert kinds(other) == [(ReportKind.OUTCOME_UNKNOWN, "mq1-new")]


def test_a_refused_replace_ends_the_wish_and_frees_the_old_order():
    refused = (422, {"code": 40010001, "message": "unable to replace order, order isn't sent to"
                     " exchange yet"})  # fmt: skip
    connector, _ = live(refused, GONE)
    connector.replace("mq1-a", LIMIT)
    assert kinds(connector) == [
        (ReportKind.REPLACE_REJECTED, "mq1-a"), (ReportKind.DEFINITE_REJECT, "mq1-new")
    ]  # fmt: skip


def test_a_replace_refused_by_words_and_done_in_fact_is_found_out():
    connector, _ = live((422, {"message": "no"}), (200, record("v2", "mq1-new", replaces="v1")))
    connector.replace("mq1-a", LIMIT)
    assert kinds(connector) == [(ReportKind.ACK, "mq1-new")]
    doubtful, _ = live((422, {"message": "no"}), *[TimeoutError()] * 3)
    doubtful.replace("mq1-a", LIMIT)
    assert kinds(doubtful) == [(ReportKind.OUTCOME_UNKNOWN, "mq1-new")]


def test_a_replace_in_doubt_that_never_was_frees_the_old_order():
    connector, _ = live((504, ""), GONE)
    connector.replace("mq1-a", LIMIT)
    assert kinds(connector) == [(ReportKind.OUTCOME_UNKNOWN, "mq1-new")]
    connector.query("mq1-new")
    assert kinds(connector) == [
        (ReportKind.NOT_FOUND, "mq1-new"), (ReportKind.REPLACE_REJECTED, "mq1-a")
    ]  # fmt: skip


def test_an_order_that_has_begun_to_fill_is_not_replaced():
    connector, script = live()
    connector.take_update(fill(record(filled="4"), "4", event="partial_fill"))
    connector.reports()
    connector.replace("mq1-a", LIMIT)
    assert [kind for kind, _ in kinds(connector)] == [
        ReportKind.REPLACE_REJECTED, ReportKind.DEFINITE_REJECT
    ]  # fmt: skip
    assert script.calls == [("POST", "/v2/orders")]


# --- orders that the venue replaces by itself ----------------------------------------------------


@pytest.mark.parametrize("first", ["replaced", "new", "query"])
def test_an_order_that_the_venue_replaces_goes_on_under_its_name(first):
    old = record(status="replaced", filled="4", replaced_by="v2")
    heir = record("v2", "made-up", "new", qty="6", replaces="v1")
    connector, script = live(*([(200, old), (200, heir)] if first == "query" else []), (204, ""))
    connector.take_update(fill(record(filled="4"), "4", event="partial_fill"))
    connector.reports()
    match first:
        case "replaced":
            connector.take_update(update("replaced", old))
            connector.take_update(update("new", heir))
        case "new":
            connector.take_update(update("new", heir))
            connector.take_update(update("replaced", old))
        case _:
            connector.query("mq1-a")
    told = connector.reports()
    assert {one.client_order_id for one in told} == {"mq1-a"}
    assert {one.kind for one in told} <= {ReportKind.ACCEPTED, ReportKind.FOUND}
    connector.take_update(fill({**heir, "filled_qty": "6", "status": "filled"}, "6"))
    connector.take_activities([activity("v2", "6", "6")])
    fills = connector.reports()
    assert [(one.kind, one.cum_lots, one.execution_id) for one in fills] == [
        (ReportKind.FILL, 10, "v2/6")
    ] * 2  # fmt: skip
    connector.cancel("mq1-a")
    assert script.calls[-1] == ("DELETE", "/v2/orders/v2")
    assert connector.name_of("v2") == connector.name_of("v1") == "mq1-a"


def test_a_submit_in_doubt_is_followed_to_its_heir_with_what_had_filled():
    old = record(status="replaced", filled="4", replaced_by="v2")
    heir = record("v2", "made-up", "new", qty="6", replaces="v1")
    connector, _ = connector_over(TimeoutError(), (200, old), (200, heir))
    connector.submit(order())
    connector.take_activities([activity("v1", "4", "4"), activity("v2", "6", "6")])
    connector.reports()
    connector.query("mq1-a")
    fills = [one for one in connector.reports() if one.execution_id]
    assert [(one.cum_lots, one.last_lots, one.kind) for one in fills] == [
        (4, 4, ReportKind.PARTIAL_FILL), (10, 6, ReportKind.FILL)
    ]  # fmt: skip


def test_threads_may_tell_and_ask_at_once():
    n_threads, n_orders = 8, 40
    connector, _ = connector_over()

    def tell(part):
        for number in range(part, n_orders, 2):
            shown = record(f"w{number}", f"mq1-{number}", "filled", "10")
            connector.take_update(fill(shown, "10"))
            connector.take_activities([activity(f"w{number}", "10", "10")])

    for number in range(n_orders):
        connector.adopt(order(f"mq1-{number}"))
    threads = [threading.Thread(target=tell, args=(n % 2,)) for n in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports = connector.reports()
    assert {one.kind for one in reports} == {ReportKind.FILL}
    assert {(one.client_order_id, one.execution_id) for one in reports} == {
        (f"mq1-{n}", f"w{n}/10") for n in range(n_orders)
    }
    assert len(reports) == n_orders * n_threads
