"""The connector against the venue over HTTP: what it reports is what the venue's broker holds."""

from decimal import Decimal

import pytest
import stamina

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import WallClock
from mqd.core.execution_report import OrderCommand, ReportKind
from mqd.core.money import Scale
from mqd.core.order import (
    Order,
    OrderClass,
    OrderStatus,
    OrderType,
    Pending,
    Reason,
    Side,
    TimeInForce,
)
from mqd.orders.state_machine import OrderStateMachine
from mqd.venue.faults import FaultPlan
from tests.venue.venue_bench import (
    ACCOUNT,
    KEY,
    SECRET,
    Switch,
    ask,
    limit,
    listening,
    step,
    venue_by_hand,
)

QUANTUM = Decimal("1e-8")
SCALES = {
    "AAA": Scale.of(Decimal("0.0001"), Decimal(1), QUANTUM),
    "BBB": Scale.of(Decimal("0.0001"), Decimal("0.001"), QUANTUM),
}


@pytest.fixture(scope="module")
def server():
    switch = Switch()
    with listening(switch) as port, stamina.set_testing(True, attempts=2):
        yield switch, port


class Desk:
    """A venue after its first step, a connector to it, and an order machine that hears it."""

    def __init__(self, server, *faults, stream=True):
        switch, port = server
        plan = FaultPlan.from_dict({"faults": [{"name": one} for one in faults]})
        self.venue = switch.put(venue_by_hand(faults=plan))
        self.book = self.venue.books[ACCOUNT]
        keys = Keys(Secret(KEY), Secret(SECRET))
        self.session = AlpacaSession(f"http://127.0.0.1:{port}", keys, WallClock())
        self.connector = AlpacaBrokerConnector(self.session, SCALES, WallClock(), QUANTUM)
        self.machine = OrderStateMachine()
        self.heard = []
        if stream:
            self.venue.on_update(self._update)
        step(self.venue)

    def _update(self, account_id, frame, _):
        if account_id == ACCOUNT:
            self.connector.take_update(frame["data"])

    def hear(self):
        """Take in all reports; return (id, kind) of each."""
        reports = self.connector.reports()
        for report in reports:
            transition = self.machine.apply(report)
            assert not transition.anomaly, transition.anomaly
        self.heard += reports
        return [(one.client_order_id, one.kind) for one in reports]

    def send(self, order, legs=()):
        for one in (order, *legs):
            self.machine.open(one)
            self.machine.command(one.client_order_id, OrderCommand.SEND)
        self.connector.submit(order, legs)
        return self.hear()

    def step(self):
        step(self.venue)
        return self.hear()

    def state(self, name):
        return self.machine.state(name)

    def record(self, name):
        return self.book.by_client_id[name]


@pytest.fixture
def desk(server):
    made = []

    def build(*faults, **words):
        made.append(Desk(server, *faults, **words))
        return made[-1]

    yield build
    for one in made:
        one.session.close()


def order(name="mq1-a", lots=10, side=Side.BUY, kind=OrderType.MARKET, symbol="AAA", **more):
    words = {"time_in_force": TimeInForce.DAY, "reason": Reason.EVENT, **more}
    return Order(
        name, "s", symbol, side, lots, kind, words.pop("time_in_force"), 0, SCALES[symbol],
        words.pop("reason"),
    )._replace(**words)  # fmt: skip


def px(price):
    return int(Decimal(price) / Decimal("0.0001"))


GTC = TimeInForce.GTC


def simple(kind, **prices):
    return order(f"mq1-{kind}", kind=kind, time_in_force=GTC, **prices)


def held(desk, lots=10):
    """Buy, so that there is something to protect."""
    desk.send(order("mq1-held", lots))
    desk.step()
    assert desk.state("mq1-held").status is OrderStatus.FILLED


def group(name, kind, entry=(), lots=10):
    """Return a bracket or oto with its legs at 110 and 90.5."""
    parent = order(name, lots, order_class=kind, group=name, time_in_force=GTC, **dict(entry))
    leg = parent._replace(
        side=Side(-parent.side), parent=name, reducing=True, type=OrderType.LIMIT, limit_ticks=0
    )
    target = leg._replace(client_order_id=f"{name}-tp", limit_ticks=px("109"))
    stop = leg._replace(client_order_id=f"{name}-sl", type=OrderType.STOP, stop_ticks=px("90.5"))
    return parent, (target, stop)


# --- types ---------------------------------------------------------------------------------------

TYPES = [
    (order(), OrderStatus.FILLED),
    (simple(OrderType.LIMIT, limit_ticks=px("80")), OrderStatus.ACCEPTED),
    (simple(OrderType.LIMIT, limit_ticks=px("100.5")), OrderStatus.FILLED),
    (simple(OrderType.STOP, stop_ticks=px("120")), OrderStatus.ACCEPTED),
    (simple(OrderType.STOP_LIMIT, stop_ticks=px("120"), limit_ticks=px("121")),
     OrderStatus.ACCEPTED),
    (simple(OrderType.TRAILING_STOP, trail_ticks=px("30")), OrderStatus.ACCEPTED),
    (simple(OrderType.TRAILING_STOP, trail_units=30_000_000), OrderStatus.ACCEPTED),
    (order(symbol="BBB", lots=300), OrderStatus.FILLED),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "status"), TYPES, ids=[f"{o.type}-{s}" for o, s in TYPES])
def test_each_type_arrives_as_it_was_meant_and_lives_as_the_venue_says(desk, wanted, status):
    desk = desk()
    assert (wanted.client_order_id, ReportKind.ACK) in desk.send(wanted)
    shown = desk.record(wanted.client_order_id).order
    terms = ("symbol", "side", "lots", "type", "time_in_force", "limit_ticks", "stop_ticks",
             "trail_ticks", "trail_units")  # fmt: skip
    assert [getattr(shown, one) for one in terms] == [getattr(wanted, one) for one in terms]
    desk.step()
    state = desk.state(wanted.client_order_id)
    assert state.status is status
    assert state.venue_order_id == desk.record(wanted.client_order_id).id
    working = desk.connector.open_orders()
    assert working == ([] if state.is_terminal else [wanted])
    if status is OrderStatus.FILLED:
        (told,) = [one for one in desk.book.activities if one["activity_type"] == "FILL"]
        assert state.avg_px == Decimal(told["price"])
        assert state.filled_qty == Decimal(told["qty"])


@pytest.mark.parametrize("kind", [OrderClass.BRACKET, OrderClass.OTO])
def test_a_group_is_filled_leg_by_leg(desk, kind):
    desk = desk()
    entry, legs = group("mq1-g", kind)
    legs = legs if kind is OrderClass.BRACKET else legs[1:]
    acks = [name for name, what in desk.send(entry, legs) if what is ReportKind.ACK]
    assert sorted(acks) == sorted(one.client_order_id for one in (entry, *legs))
    assert desk.connector.open_orders() == [entry, *legs]
    for _ in range(3):
        desk.step()
    # The fourth bar runs from 110 to 90: the stop at 90.5 goes before the target.
    assert desk.state("mq1-g").status is OrderStatus.FILLED
    assert desk.state("mq1-g-sl").status is OrderStatus.FILLED
    if kind is OrderClass.BRACKET:
        assert desk.state("mq1-g-tp").status is OrderStatus.CANCELED
    assert desk.connector.open_orders() == []
    assert desk.connector.positions() == {}


def test_the_legs_of_a_filled_entry_are_among_the_open_orders(desk):
    desk = desk()
    entry, legs = group("mq1-g", OrderClass.BRACKET)
    desk.send(entry, legs)
    desk.step()
    assert desk.state("mq1-g").status is OrderStatus.FILLED
    assert desk.connector.open_orders() == list(legs)
    assert desk.connector.foreign == {}


def test_an_oco_protects_what_is_held(desk):
    desk = desk()
    held(desk)
    _, (target, stop) = group("mq1-o", OrderClass.OCO)
    target = target._replace(client_order_id="mq1-o-tp", group="mq1-o-tp", parent="")
    stop = stop._replace(group="mq1-o-tp", parent="")
    desk.send(target, (stop,))
    assert desk.connector.open_orders() == [target, stop]
    shown = {one.order.type: one for one in desk.book.working()}
    assert desk.connector.name_of(shown[OrderType.LIMIT].id) == "mq1-o-tp"
    assert desk.connector.name_of(shown[OrderType.STOP].id) == "mq1-o-sl"
    desk.step()
    desk.step()
    assert desk.state("mq1-o-sl").status is OrderStatus.FILLED
    assert desk.state("mq1-o-tp").status is OrderStatus.CANCELED
    assert desk.connector.positions() == {}


def test_a_trailing_stop_sells_what_is_held(desk):
    desk = desk()
    held(desk)
    away = order("mq1-t", side=Side.SELL, kind=OrderType.TRAILING_STOP, time_in_force=GTC)
    desk.send(away._replace(trail_ticks=px("9"), reducing=True))
    desk.step()
    assert desk.state("mq1-t").status is OrderStatus.ACCEPTED
    desk.step()
    assert desk.state("mq1-t").status is OrderStatus.FILLED


# --- cancel, replace, query ----------------------------------------------------------------------


def test_a_cancel_and_a_cancel_that_comes_too_late(desk):
    desk = desk()
    desk.send(simple(OrderType.LIMIT, limit_ticks=px("80")))
    desk.machine.command("mq1-limit", OrderCommand.CANCEL)
    desk.connector.cancel("mq1-limit")
    desk.hear()
    assert desk.state("mq1-limit").status is OrderStatus.CANCELED
    desk.connector.cancel("mq1-limit")
    (report,) = desk.connector.reports()
    assert report.kind is ReportKind.CANCEL_REJECTED
    assert report.text == 'not_cancelable: order is already in "canceled" state'


def test_a_cancel_of_an_entry_cancels_its_legs(desk):
    desk = desk()
    entry = {"kind": OrderType.LIMIT, "limit_ticks": px("95")}
    desk.send(*group("mq1-g", OrderClass.BRACKET, entry.items()))
    desk.connector.cancel("mq1-g")
    desk.hear()
    ends = {name: desk.state(name).status for name in ("mq1-g", "mq1-g-tp", "mq1-g-sl")}
    assert set(ends.values()) == {OrderStatus.CANCELED}


def test_a_replace_takes_the_old_ones_place(desk):
    desk = desk()
    old = simple(OrderType.LIMIT, limit_ticks=px("80"))
    new = old._replace(client_order_id="mq1-n", lots=12, limit_ticks=px("81"))
    desk.send(old)
    desk.machine.command("mq1-limit", OrderCommand.REPLACE)
    desk.machine.open(new)
    desk.machine.command("mq1-n", OrderCommand.SEND)
    desk.connector.replace("mq1-limit", new)
    desk.hear()
    assert desk.state("mq1-limit").status is OrderStatus.REPLACED
    assert desk.state("mq1-limit").replaced_by == desk.record("mq1-n").id
    assert desk.state("mq1-n").status is OrderStatus.ACCEPTED
    assert desk.connector.open_orders() == [new]
    assert desk.record("mq1-n").order.limit_ticks == px("81")
    replaced = [one for one in desk.heard if one.kind is ReportKind.REPLACED]
    assert len(replaced) == 1


def test_a_refused_replace_leaves_the_old_one(desk):
    desk = desk()
    old = simple(OrderType.LIMIT, limit_ticks=px("80"))
    desk.send(old)
    new = old._replace(client_order_id="mq1-n")
    desk.machine.command("mq1-limit", OrderCommand.REPLACE)
    desk.machine.open(new)
    desk.machine.command("mq1-n", OrderCommand.SEND)
    desk.connector.replace("mq1-limit", new)  # the same terms: "order parameters are not changed"
    desk.hear()
    state = desk.state("mq1-limit")
    assert (state.status, state.pending) == (OrderStatus.ACCEPTED, Pending.NONE)
    assert desk.state("mq1-n").status is OrderStatus.REJECTED
    assert desk.connector.open_orders() == [old]


def test_a_query_finds_an_order_with_its_fills(desk):
    desk = desk(stream=False)
    desk.send(order())
    step(desk.venue)
    desk.connector.query("mq1-a")
    assert desk.hear() == [("mq1-a", ReportKind.FOUND)]
    state = desk.state("mq1-a")
    assert (state.status, state.booked_lots, state.cum_lots) == (OrderStatus.FILLED, 0, 10)
    desk.connector.take_activities(desk.connector.activities())
    desk.hear()
    assert desk.state("mq1-a").booked_lots == 10
    assert desk.state("mq1-a").fills[0].ts_fill > 0


def test_an_order_that_was_never_sent_is_not_found(desk):
    desk = desk()
    desk.connector.adopt(order("mq1-never"))
    desk.connector.query("mq1-never")
    (report,) = desk.connector.reports()
    assert (report.kind, report.client_order_id) == (ReportKind.NOT_FOUND, "mq1-never")


# --- refusals ------------------------------------------------------------------------------------


def test_an_order_beyond_the_money_is_refused_and_rests_nowhere(desk):
    desk = desk()
    desk.send(order(lots=100_000))
    report = desk.heard[-1]
    assert report.kind is ReportKind.DEFINITE_REJECT
    assert report.text == "insufficient_funds: insufficient buying power"
    assert desk.state("mq1-a").status is OrderStatus.REJECTED
    assert desk.book.orders == {}


def test_an_id_that_is_used_is_looked_up_and_found_to_be_ours(desk):
    desk = desk()
    first = simple(OrderType.LIMIT, limit_ticks=px("80"))
    desk.send(first)
    desk.connector.submit(first)
    (report,) = desk.connector.reports()
    assert report.kind is ReportKind.DUPLICATE_ID
    desk.connector.query("mq1-limit")
    assert desk.hear() == [("mq1-limit", ReportKind.FOUND)]
    assert len(desk.book.orders) == 1


@pytest.mark.parametrize(
    "fault",
    ["gateway_timeout_after_accept", "html_after_accept", "drop_tcp_after_accept"],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_submit_in_doubt_is_found_and_there_is_one_order(desk, fault, stream):
    desk = desk(fault, stream=stream)
    entry, legs = group("mq1-g", OrderClass.BRACKET)
    desk.send(entry, legs)
    kinds = {one.kind for one in desk.heard if one.client_order_id == "mq1-g-tp"}
    assert kinds == {ReportKind.OUTCOME_UNKNOWN}
    assert desk.state("mq1-g-tp").status is OrderStatus.UNKNOWN
    desk.connector.query("mq1-g-tp")
    desk.hear()
    assert desk.state("mq1-g").status is OrderStatus.ACCEPTED
    assert desk.state("mq1-g-tp").status is OrderStatus.ACCEPTED
    assert desk.state("mq1-g-sl").status is OrderStatus.ACCEPTED
    assert len(desk.book.orders) == 3
    assert desk.connector.open_orders() == [entry, *legs]


@pytest.mark.parametrize(
    ("fault", "end"),
    [("replace_reject", OrderStatus.ACCEPTED), ("replace_lies", OrderStatus.REPLACED)],
)
def test_what_became_of_a_replace_is_found_out(desk, fault, end):
    desk = desk(fault)
    old = simple(OrderType.LIMIT, limit_ticks=px("80"))
    new = old._replace(client_order_id="mq1-n", limit_ticks=px("81"))
    desk.send(old)
    desk.machine.command("mq1-limit", OrderCommand.REPLACE)
    desk.machine.open(new)
    desk.machine.command("mq1-n", OrderCommand.SEND)
    desk.connector.replace("mq1-limit", new)
    desk.hear()
    assert desk.state("mq1-limit").status is end
    lives = end is OrderStatus.REPLACED
    assert desk.state("mq1-n").status is (OrderStatus.ACCEPTED if lives else OrderStatus.REJECTED)
    assert desk.connector.open_orders() == [new if lives else old]


@pytest.mark.parametrize("stream", [True, False])
def test_an_order_that_the_venue_replaces_goes_on(desk, stream):
    desk = desk("broker_replace", stream=stream)
    desk.send(simple(OrderType.LIMIT, limit_ticks=px("98.5")))
    first = desk.record("mq1-limit").id
    step(desk.venue)  # the venue replaces it, its price one tick away
    heir = desk.record("mq1-limit").replaced_by
    assert heir
    desk.connector.query("mq1-limit")
    assert desk.connector.open_orders()[:1] == [desk.state("mq1-limit").order]
    step(desk.venue)
    step(desk.venue)
    desk.connector.take_activities(desk.connector.activities())
    desk.hear()
    state = desk.state("mq1-limit")
    assert (state.status, state.booked_lots) == (OrderStatus.FILLED, 10)
    assert desk.connector.name_of(heir) == desk.connector.name_of(first) == "mq1-limit"
    assert desk.connector.positions()["AAA"].lots == 10


# --- the account ---------------------------------------------------------------------------------


def test_the_account_is_the_venues_to_the_last_quantum(desk):
    desk = desk()
    held(desk, 37)
    desk.send(order("mq1-b", 1234, symbol="BBB", side=Side.BUY))
    desk.step()
    mine, theirs = desk.connector.account(), desk.book.broker.account()
    assert mine.cash == theirs.cash
    assert mine.equity == theirs.equity
    found = desk.connector.positions()
    assert {name: one.qty for name, one in found.items()} == {
        name: one.qty for name, one in desk.book.broker.positions().items()
    }
    assert found["BBB"].qty == Decimal("1.234")
    assert found["AAA"].avg_px == desk.state("mq1-held").avg_px
    assert desk.connector.clock_ns() == desk.venue.now_ns


def test_activities_are_read_on_from_the_last_one(desk):
    desk = desk()
    held(desk)
    first = desk.connector.activities()
    assert [one["activity_type"] for one in first] == ["JNLC", "FILL"]
    desk.send(order("mq1-b", side=Side.SELL))
    desk.step()
    (new,) = desk.connector.activities(first[-1]["id"])
    mine = desk.connector.fill_activity(new)
    assert (mine.client_order_id, mine.signed_lots, mine.cum_lots) == ("mq1-b", -10, 10)


def test_an_order_placed_by_hand_is_foreign_until_it_is_gone(desk):
    desk = desk()
    by_hand = ask(desk.venue, "POST", "/v2/orders", limit("80")).body
    (found,) = desk.connector.open_orders()
    assert (found.client_order_id, found.strategy) == (by_hand["client_order_id"], "")
    assert found.type is OrderType.LIMIT
    assert list(desk.connector.foreign) == [by_hand["id"]]
    assert desk.connector.name_of(by_hand["id"]) == ""
    assert desk.connector.client_id(by_hand["id"]) == by_hand["client_order_id"]
    assert desk.connector.client_id("b5a3c1d2-0000-4000-8000-000000000000") == ""
    assert desk.hear() == []
    desk.connector.cancel_everything()
    assert desk.connector.open_orders() == []
    assert desk.connector.foreign == {}


def test_all_pages_of_many_orders_come_in_order(desk, monkeypatch):
    monkeypatch.setattr("mqd.adapters.alpaca.reader.PAGE_ORDERS", 4)
    desk = desk()
    wanted = [
        simple(OrderType.LIMIT, limit_ticks=px("80"))._replace(client_order_id=f"mq1-{n}", lots=1)
        for n in range(11)
    ]
    for one in wanted:
        desk.send(one)
    assert desk.connector.open_orders() == wanted


def test_a_restarted_connector_knows_its_orders_from_a_log(desk):
    desk = desk()
    entry, legs = group("mq1-g", OrderClass.BRACKET)
    desk.send(entry, legs)
    desk.step()
    again = AlpacaBrokerConnector(desk.session, SCALES, WallClock(), QUANTUM)
    again.adopt(entry, legs)
    again.know("mq1-g", desk.state("mq1-g").venue_order_id)
    assert again.open_orders() == list(legs)  # the ids of the legs were not in the log
    assert {one.client_order_id for one in again.reports()} == {"mq1-g", "mq1-g-tp", "mq1-g-sl"}
    again.take_activities(again.activities())
    (report,) = again.reports()
    assert (report.client_order_id, report.last_lots) == ("mq1-g", 10)
