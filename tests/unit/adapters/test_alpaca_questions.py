"""Questions over scripted answers: what is found, what is missing, what is no answer at all."""

import pytest
import stamina

from mqd.adapters.alpaca import order_map
from mqd.adapters.alpaca.errors import VenueLies
from mqd.core.execution_report import ReportKind
from mqd.core.order import Side
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.adapters.alpaca_bench import (
    CENT,
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


@pytest.fixture(autouse=True)
def brief_pauses():
    """Let repeated questions follow each other at once."""
    with stamina.set_testing(True, attempts=3):
        yield


# --- questions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        [(404, "<html>404 Not Found</html>")], [(404, {"detail": "Not Found"})], [(404, "")],
        [(200, "<html>")], [(200, "")], [(200, [])], [(200, {"status": "new"})], [(401, "")],
        [TimeoutError()] * 3, [(500, "")] * 3, [(301, "")],
    ],
)  # fmt: skip
def test_only_alpacas_own_not_found_means_not_found(answers):
    connector, _ = connector_over(TimeoutError(), *answers)
    connector.submit(order())
    connector.reports()
    connector.query("mq1-a")
    assert connector.reports() == []


def test_a_question_is_repeated_and_its_answers_are_reports():
    connector, script = connector_over(TimeoutError(), (503, ""), (200, record()), GONE)
    connector.submit(order())
    connector.query("mq1-a")
    connector.query("mq1-a")
    assert [kind for kind, _ in kinds(connector)] == [
        ReportKind.OUTCOME_UNKNOWN, ReportKind.FOUND, ReportKind.NOT_FOUND
    ]  # fmt: skip
    assert script.calls[3] == ("GET", "/v2/orders/v1")


@pytest.mark.parametrize("other", [{"side": "sell"}, {"symbol": "ZZZ"}, {"qty": "11"}])
def test_an_order_of_our_id_that_is_not_ours_quarantines(other):
    connector, _ = connector_over(
        (422, {"code": 40010001, "message": "client_order_id must be unique"}),
        (200, record(**other)),
    )  # fmt: skip
    machine = OrderStateMachine()
    machine.open(order())
    connector.submit(order())
    connector.query("mq1-a")
    for report in connector.reports():
        machine.apply(report)
    assert machine.quarantined == {"AAA"}
    assert connector.name_of("v1") == ""


def test_an_order_that_nobody_knows_is_not_asked_for():
    connector, script = connector_over()
    connector.query("mq1-never-heard-of")
    assert script.asked == connector.reports() == []


def test_open_orders_are_ours_by_name_and_others_as_they_look():
    other = record("f1", "by-hand", symbol="ZZZ", qty="2.5", side="sell", type="limit")
    legs = leg_records()
    connector, script = connector_over(
        (200, record("v0", "mq1-b", "filled", "10", legs=legs)), (200, [other, *legs]), (200, [])
    )
    connector.submit(*bracket())
    found = connector.open_orders()
    assert [one.client_order_id for one in found] == ["by-hand", "mq1-b-sl", "mq1-b-tp"]
    assert (found[0].symbol, found[0].side, found[0].lots) == ("ZZZ", Side.SELL, 3)
    assert list(connector.foreign) == ["f1"]
    assert "nested" not in script.asked[1][2]  # a nested list hides the legs of a filled entry
    assert connector.open_orders() == []
    assert connector.foreign == {}


def test_foreign_updates_do_not_crowd_out_ours():
    connector, _ = live()
    for number in range(3 * order_map.WAITING_IDS_MAX):
        connector.take_update(update("new", record(f"f{number}", f"by-hand-{number}")))
    connector.take_activities(
        [activity(f"f{n}", "1", "1") for n in range(2 * order_map.FOREIGN_MAX)]
    )
    assert len(connector.foreign) == order_map.FOREIGN_MAX
    assert len(connector._news.orders._waiting) <= order_map.WAITING_IDS_MAX
    connector.take_update(fill(record(filled="10", status="filled"), "10"))
    assert kinds(connector) == [(ReportKind.FILL, "mq1-a")]


def test_orders_that_are_over_are_forgotten_at_last(monkeypatch):
    monkeypatch.setattr(order_map, "OVER_KEPT", 50)
    connector, _ = live()
    for number in range(200):
        name = f"mq1-{number}"
        connector.adopt(order(name))
        connector.know(name, f"w{number}")
        connector.take_update(fill(record(f"w{number}", name, "filled", "10"), "10"))
    assert len(connector._news.orders) == 51  # those kept, and the one that works
    assert len(connector._news.orders._names) == 51
    assert connector.name_of("v1") == "mq1-a"
    assert (connector.name_of("w199"), connector.name_of("w0")) == ("mq1-199", "")


# --- the account ---------------------------------------------------------------------------------

MONEY = {
    "cash": "60000.005", "equity": "100000.00500000001", "long_market_value": "45000",
    "short_market_value": "-4999.99999999", "non_marginable_buying_power": "12.5",
}  # fmt: skip


def test_money_is_exact():
    connector, _ = connector_over((200, MONEY))
    found = connector.account()
    assert (found.cash_quanta, found.equity_quanta) == (6_000_000_500_000, 10_000_000_500_000)
    assert found.gross_quanta == 4_999_999_999_999
    assert found.net_quanta == 4_000_000_000_001
    assert found.settled_quanta == 1_250_000_000


@pytest.mark.parametrize("name", sorted(MONEY))
@pytest.mark.parametrize("said", [None, "", "NaN", "many", True, []])
def test_an_account_without_an_amount_is_no_account(name, said):
    connector, _ = connector_over((200, {**MONEY, name: said}))
    with pytest.raises(VenueLies, match=name):
        connector.account()


def test_positions_are_signed_and_none_looks_flat():
    rows = [
        {"symbol": "AAA", "qty": "-7", "side": "short", "cost_basis": "-700.5"},
        {"symbol": "BBB", "qty": "1.2345", "side": "long", "cost_basis": "61.7"},
        {"symbol": "OTHER", "qty": "0.5", "side": "long", "cost_basis": "5"},
        {"symbol": "FLAT", "qty": "0", "side": "long", "cost_basis": "0"},
    ]
    connector, _ = connector_over((200, rows))
    found = connector.positions()
    assert {symbol: one.lots for symbol, one in found.items()} == {
        "AAA": -7, "BBB": 1235, "OTHER": 1
    }  # fmt: skip
    assert found["AAA"].cost_quanta == -70_050_000_000
    assert found["AAA"].scale == CENT


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        ("positions", [{"symbol": "AAA"}]), ("positions", [{"qty": "1"}]), ("positions", {}),
        ("positions", [{"symbol": "AAA", "qty": "many"}]), ("positions", ["AAA"]),
        ("positions", "<html>"), ("positions", ""), ("account", []), ("account", "<html>"),
        ("clock_ns", {}), ("clock_ns", {"timestamp": "noon"}), ("clock_ns", []),
        ("open_orders", {}), ("open_orders", [{"symbol": "AAA"}]), ("activities", [{"id": 7}]),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_called_a_lie(ask, body):
    connector, _ = connector_over((200, body))
    with pytest.raises(VenueLies, match="not Alpaca's interface"):
        getattr(connector, ask)()


def test_lists_are_read_to_their_last_page():
    pages = [[{"id": f"a{n}"} for n in range(start, min(start + 100, 250))]
             for start in (0, 100, 200)]  # fmt: skip
    connector, script = connector_over(*[(200, page) for page in pages])
    assert [one["id"] for one in connector.activities("before")] == [f"a{n}" for n in range(250)]
    tokens = [query.get("page_token") for _, _, query, _ in script.asked]
    assert tokens == ["before", "a99", "a199"]
    assert {query["direction"] for _, _, query, _ in script.asked} == {"asc"}


def test_a_list_that_never_ends_is_called_a_lie():
    page = [{"id": f"a{n}"} for n in range(100)]
    connector, script = connector_over(*[(200, page)] * 3)
    with pytest.raises(VenueLies, match="pages without an end"):
        connector.activities()
    assert len(script.asked) == 2


def test_fills_for_a_reconciliation_count_what_filled_before_an_heir():
    connector, _ = live()
    connector.take_update(fill(record(filled="4"), "4", event="partial_fill"))
    connector.take_update(update("replaced", record(filled="4", replaced_by="v2")))
    mine = connector.fill_activity(activity("v2", "6", "6", side="sell_short"))
    assert (mine.client_order_id, mine.signed_lots, mine.cum_lots) == ("mq1-a", -6, 10)
    other = connector.fill_activity(activity("f", "1.5", "", symbol="ZZZ"))
    assert (other.client_order_id, other.signed_lots, other.cum_lots) == ("", 1, -1)
    assert connector.fill_activity({"activity_type": "FILL"}) is None
