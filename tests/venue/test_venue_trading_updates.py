"""What an account tells: trade updates and activities, event by event, worked out by hand."""

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars
from mqd.venue.errors import PhaseWrong
from tests.venue.venue_bench import (
    ACCOUNT,
    OTHER_ACCOUNT,
    ask,
    limit,
    market,
    step,
    venue_by_hand,
)

HALF_CENT = Costs(fee_per_share=0.005)
EXIT = {"take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "80"}}


class Heard:
    """A venue after its first step, and what its accounts have told."""

    def __init__(self, **words):
        self.venue = venue_by_hand(**words)
        self.frames = []
        self.venue.on_update(lambda account, frame, seq: self.frames.append((account, frame, seq)))
        step(self.venue)
        self.book = self.venue.books[ACCOUNT]

    def post(self, body):
        answer = ask(self.venue, "POST", "/v2/orders", body)
        assert answer.status == 200, answer.body
        return answer.body

    def data(self):
        return [frame["data"] for account, frame, _ in self.frames if account == ACCOUNT]

    def events(self, order_id=None):
        return [
            one["event"] for one in self.data() if order_id in (None, one["order"]["id"])
        ]  # fmt: skip

    def order(self, order_id):
        return ask(self.venue, "GET", f"/v2/orders/{order_id}").body

    def activities(self, kind):
        return [one for one in self.book.activities if one["activity_type"] == kind]


def test_a_large_order_fills_in_parts_of_a_tenth_of_the_volume():
    heard = Heard(costs=HALF_CENT)
    order = heard.post(market(qty="2500", time_in_force="gtc"))
    for _ in range(3):
        step(heard.venue)
    fills = [one for one in heard.data() if "price" in one]
    assert [(one["event"], one["qty"], one["position_qty"]) for one in fills] == [
        ("partial_fill", "1000", "1000"), ("partial_fill", "1000", "2000"), ("fill", "500", "2500"),
    ]  # fmt: skip
    assert [one["commission"] for one in fills] == ["5", "5", "2.5"]
    assert [one["order"]["filled_qty"] for one in fills] == ["1000", "2000", "2500"]
    assert [one["timestamp"] for one in fills] == [
        "2024-03-04T14:31:00Z", "2024-03-04T14:32:00Z", "2024-03-04T20:58:00Z",
    ]  # fmt: skip
    assert len({one["execution_id"] for one in fills}) == 3
    assert {one["settle_date"] for one in fills} == {"2024-03-06"}
    assert [one["leaves_qty"] for one in heard.activities("FILL")] == ["1500", "500", "0"]
    assert [one["type"] for one in heard.activities("FILL")] == [
        "partial_fill", "partial_fill", "fill",
    ]  # fmt: skip
    assert heard.order(order["id"])["filled_avg_price"] == "100"


def test_the_numbers_of_an_accounts_updates_have_no_gap():
    heard = Heard()
    for body in (market(), limit("95"), limit("94")):
        heard.post(body)
    step(heard.venue)
    ask(heard.venue, "DELETE", "/v2/orders")
    assert [one["seq"] for one in heard.data()] == list(range(1, heard.book.n_updates + 1))
    assert heard.venue.state()["updates"] == heard.book.n_updates == 9
    assert heard.venue.books[OTHER_ACCOUNT].n_updates == 0


def test_a_day_order_expires_at_the_sessions_close():
    heard = Heard()
    order = heard.post(limit("90", time_in_force="day"))
    while not step(heard.venue)["ends_session"]:
        assert heard.order(order["id"])["status"] == "new"
    assert heard.events() == ["pending_new", "new", "expired"]
    shown = heard.order(order["id"])
    assert (shown["status"], shown["expired_at"]) == ("expired", "2024-03-04T21:00:00Z")
    assert shown["expires_at"] == "2024-03-04T21:00:00Z"


def test_an_order_of_the_night_reaches_the_market_at_the_open():
    heard = Heard()
    while not step(heard.venue)["ends_session"]:
        continue
    order = heard.post(market())
    assert order["status"] == "accepted"
    assert heard.events() == ["accepted"]
    heard.venue.begin()
    assert heard.order(order["id"])["status"] == "new"
    heard.venue.open()
    assert heard.events() == ["accepted", "new", "fill"]
    assert heard.data()[-1]["timestamp"] == "2024-03-05T14:30:00Z"


def test_a_replaced_event_carries_the_old_order():
    heard = Heard()
    old = heard.post(limit("90"))
    new = ask(heard.venue, "PATCH", f"/v2/orders/{old['id']}", {"limit_price": "91"}).body
    told = heard.data()[2:]
    assert [(one["event"], one["order"]["id"]) for one in told] == [
        ("replaced", old["id"]), ("new", new["id"]),
    ]  # fmt: skip
    assert told[0]["order"]["replaced_by"] == new["id"]
    assert told[1]["order"]["replaces"] == old["id"]


def test_replacing_a_part_filled_order_counts_what_has_filled():
    heard = Heard()
    old = heard.post(limit("101", qty="2500"))
    step(heard.venue)
    assert heard.order(old["id"])["filled_qty"] == "1000"
    path = f"/v2/orders/{old['id']}"
    low = ask(heard.venue, "PATCH", path, {"qty": "1000"})
    assert (low.status, low.body["message"]) == (422, "qty must exceed the filled quantity")
    new = ask(heard.venue, "PATCH", path, {"qty": "1400", "limit_price": "101"}).body
    assert (new["qty"], new["filled_qty"]) == ("400", "0")
    step(heard.venue)
    assert heard.order(new["id"])["status"] == "filled"
    assert heard.book.broker.account_book.lots("AAA") == 1400


def legs_of(heard, order):
    query = {"nested": "true"}
    return ask(heard.venue, "GET", f"/v2/orders/{order['id']}", query=query).body["legs"]


def test_legs_are_held_until_the_entry_has_filled_completely():
    heard = Heard(fills=FillModel(participation_frac=0.004))
    entry = heard.post(market(qty="80", order_class="bracket", **EXIT))
    step(heard.venue)
    assert heard.order(entry["id"])["filled_qty"] == "40"
    assert [one["status"] for one in legs_of(heard, entry)] == ["held", "held"]
    step(heard.venue)
    assert [one["status"] for one in legs_of(heard, entry)] == ["new", "held"]


def test_a_partly_filled_target_shrinks_its_stop():
    heard = Heard(fills=FillModel(participation_frac=0.004))
    entry = heard.post(market(qty="80", order_class="bracket", **EXIT))
    for _ in range(3):
        step(heard.venue)
    target, stop = legs_of(heard, entry)
    assert (target["status"], target["qty"], target["filled_qty"]) == (
        "partially_filled", "80", "40",
    )  # fmt: skip
    assert (stop["status"], stop["qty"]) == ("held", "40")
    assert ask(heard.venue, "GET", "/v2/positions/AAA").body["qty_available"] == "0"


def test_cancelling_a_part_filled_entry_ends_its_group():
    heard = Heard(fills=FillModel(participation_frac=0.004))
    entry = heard.post(market(qty="80", order_class="bracket", **EXIT))
    step(heard.venue)
    assert ask(heard.venue, "DELETE", f"/v2/orders/{entry['id']}").status == 204
    shown = heard.order(entry["id"])
    assert (shown["status"], shown["filled_qty"]) == ("canceled", "40")
    assert [one["status"] for one in legs_of(heard, entry)] == ["canceled", "canceled"]
    assert heard.events()[-3:] == ["canceled"] * 3
    assert heard.book.broker.open_orders() == []


def test_legs_of_an_entry_that_was_trimmed_protect_what_filled():
    heard = Heard(refuses_unpayable=False, multiplier=1, fills=FillModel(participation_frac=1.0))
    entry = heard.post(market(qty="1500", order_class="bracket", **EXIT))
    step(heard.venue)
    assert heard.order(entry["id"])["filled_qty"] == "1000"
    assert [(one["status"], one["qty"]) for one in legs_of(heard, entry)] == [
        ("new", "1000"), ("held", "1000"),
    ]  # fmt: skip


def test_a_fill_beyond_buying_power_is_trimmed_where_nothing_refuses_it():
    heard = Heard(refuses_unpayable=False, multiplier=1, fills=FillModel(participation_frac=1.0))
    order = heard.post(market(qty="1500"))
    step(heard.venue)
    last = heard.data()[-1]
    assert (last["event"], last["reason"]) == ("canceled", "trimmed to buying power")
    assert heard.order(order["id"])["filled_qty"] == "1000"
    assert heard.order(order["id"])["status"] == "canceled"


def test_a_replacement_may_use_what_the_old_order_reserved():
    heard = Heard()
    old = heard.post(limit("90", qty="4000"))
    path = f"/v2/orders/{old['id']}"
    assert ask(heard.venue, "PATCH", path, {"limit_price": "91"}).status == 200
    assert ask(heard.venue, "GET", "/v2/account").body["buying_power"] == "36000"


def test_both_exits_of_a_pair_hold_the_same_shares():
    heard = Heard()
    heard.post(market())
    step(heard.venue)
    pair = limit("130", side="sell", qty="60", order_class="oco",
                 take_profit={"limit_price": "130"}, stop_loss={"stop_price": "80"})  # fmt: skip
    heard.post(pair)
    assert ask(heard.venue, "GET", "/v2/positions/AAA").body["qty_available"] == "40"


def test_a_cash_account_spends_what_has_settled():
    heard = Heard(account="cash", multiplier=1)
    for side in ("buy", "sell"):
        heard.post(market(side))
        step(heard.venue)
    free = []
    for _ in range(2, 11):
        step(heard.venue)
        free.append(ask(heard.venue, "GET", "/v2/account").body["non_marginable_buying_power"])
    # sold on 4 March 2024, T+2: settled before the first bar of 6 March
    assert free == ["90000"] * 7 + ["100000"] * 2
    short = ask(heard.venue, "POST", "/v2/orders", market("sell", "1"))
    assert (short.status, short.body["message"]) == (403, "account is not allowed to short")


def test_fees_and_borrow_are_activities_with_exact_amounts():
    heard = Heard(costs=Costs(regulatory=True, borrow_bps_per_year=360.0))
    heard.post(market("sell", "100"))
    while not step(heard.venue)["ends_session"]:
        continue
    fee, interest = heard.activities("FEE"), heard.activities("INT")
    # 10,000 x 0.0000278 = 0.278 -> 0.28; 100 x 0.000166 -> 0.02; 100 x 0.000003 -> 0.01
    assert [one["net_amount"] for one in fee] == ["-0.31"]
    # 10,000 x 360 bp / 360 for one day
    assert [(one["net_amount"], one["activity_sub_type"]) for one in interest] == [("-1", "BORROW")]
    assert interest[0]["symbol"] == "AAA"
    assert interest[0]["date"] == "2024-03-04"
    assert ask(heard.venue, "GET", "/v2/account").body["cash"] == "109998.69"


def actions_bars():
    days = pd.to_datetime(["2024-03-04", "2024-03-05", "2024-03-06", "2024-03-07"])
    px = [100.0, 100.0, 50.0, 50.0]
    frame = pd.DataFrame({
        "symbol": "AAA", "session": days.date, "open": px, "high": [p + 1 for p in px],
        "low": [p - 1 for p in px], "close": px, "volume": 1e6,
    })  # fmt: skip
    actions = pd.DataFrame({
        "symbol": ["AAA", "AAA"], "ex_date": [days[2].date(), days[3].date()],
        "kind": ["split", "dividend"], "ratio": [2.0, 1.0], "amount": [0.0, 0.25],
    })  # fmt: skip
    return Bars.from_pandas(frame, actions=actions, adjust="none")


def test_a_split_drops_resting_orders_and_a_dividend_is_paid():
    heard = Heard(bars=actions_bars())
    heard.post(market(qty="30"))
    order = heard.post(limit("40"))
    step(heard.venue)
    step(heard.venue)
    assert heard.order(order["id"])["status"] == "canceled"
    assert ask(heard.venue, "GET", "/v2/positions/AAA").body["qty"] == "60"
    assert [one["qty"] for one in heard.activities("SPLIT")] == ["30"]
    step(heard.venue)
    assert [one["net_amount"] for one in heard.activities("DIV")] == ["15"]
    heard.post(market("sell", "60"))
    assert ask(heard.venue, "GET", "/v2/account").body["cash"] == "97015"


def test_a_trailing_stop_shows_the_best_price():
    heard = Heard()
    heard.post(market())
    step(heard.venue)
    trail = {"symbol": "AAA", "side": "sell", "qty": "100", "type": "trailing_stop",
             "time_in_force": "gtc", "trail_price": "30"}  # fmt: skip
    order = heard.post(trail)
    assert order["hwm"] == "100"
    step(heard.venue)
    assert heard.order(order["id"])["hwm"] == "102"


def test_daily_bars_go_out_stamped_at_new_yorks_midnight():
    venue = venue_by_hand(bars=actions_bars())
    sent = []
    venue.on_data(sent.append)
    step(venue)
    bar = sent[0][0]
    assert (bar["T"], bar["S"], bar["o"], bar["v"]) == ("d", "AAA", 100, 1e6)
    assert pd.Timestamp(bar["t"]) == pd.Timestamp("2024-03-04 05:00")


def test_all_bars_and_bands_of_a_step_go_out_at_its_close_in_one_call():
    venue = venue_by_hand()
    sent = []
    venue.on_data(sent.append)
    venue.begin()
    venue.open()
    venue.within()
    assert sent == []
    assert venue.close()["bars"] == 2
    assert [[(one["T"], one["S"]) for one in call] for call in sent] == [
        [("b", "AAA"), ("b", "BBB"), ("l", "AAA"), ("l", "BBB")]
    ]
    assert [(one["u"], one["d"]) for one in sent[0][2:]] == [(105, 95), (52.5, 47.5)]
    assert pd.Timestamp(sent[0][0]["t"]) == pd.Timestamp("2024-03-04 14:30")


def test_phases_have_their_order():
    venue = venue_by_hand()
    for early in (venue.open, venue.within, venue.close):
        with pytest.raises(PhaseWrong, match="last phase was 'close'"):
            early()
    venue.begin()
    with pytest.raises(PhaseWrong, match="step 0 is not closed"):
        venue.begin()
    venue.open()
    venue.open()
    venue.within()
    with pytest.raises(PhaseWrong):
        venue.open()
    venue.close()


def test_requests_beyond_the_rate_are_refused_until_the_next_minute():
    venue = venue_by_hand(rate_max=3)
    left = [
        ask(venue, "GET", "/v2/clock").headers["X-RateLimit-Remaining"] for _ in range(3)
    ]  # fmt: skip
    assert left == ["2", "1", "0"]
    over = ask(venue, "GET", "/v2/clock")
    assert (over.status, over.body["code"]) == (429, 42910000)
    assert int(over.headers["X-RateLimit-Reset"]) * 10**9 == venue.now_ns + 60 * 10**9
    step(venue)
    assert ask(venue, "GET", "/v2/clock").status == 200


ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]), st.integers(1, 300), st.sampled_from(["AAA", "BBB"]),
        st.sampled_from([None, "85", "99.5", "101", "109"]), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(orders=ORDERS)
def test_cash_is_what_the_activities_and_commissions_sum_to(orders):
    """The account can be rebuilt from what it told, to the last quantum."""
    heard = Heard(
        costs=Costs(fee_bps=1.5, regulatory=True, borrow_bps_per_year=50.0, slippage_bps=1.0),
        refuses_unpayable=False,
    )
    for side, qty, symbol, price, cancels in orders:
        more = {"limit_price": price, "type": "limit"} if price else {"type": "market"}
        body = {"symbol": symbol, "side": side, "qty": str(qty), "time_in_force": "day", **more}
        ask(heard.venue, "POST", "/v2/orders", body)
        if cancels:
            ask(heard.venue, "DELETE", "/v2/orders")
        step(heard.venue)
    cash = positions = Decimal(0)
    for one in heard.book.activities:
        if one["activity_type"] == "FILL":
            sign = 1 if one["side"] == "buy" else -1
            cash -= sign * Decimal(one["price"]) * Decimal(one["qty"])
            positions += sign * Decimal(one["qty"])
        else:
            cash += Decimal(one["net_amount"])
    cash -= sum(Decimal(one["commission"]) for one in heard.data() if "commission" in one)
    assert Decimal(ask(heard.venue, "GET", "/v2/account").body["cash"]) == cash
    held = ask(heard.venue, "GET", "/v2/positions").body
    assert sum(Decimal(one["qty"]) for one in held) == positions
    fills = [one for one in heard.data() if "price" in one]
    assert len(fills) == len(heard.activities("FILL"))


def coin_bars():
    at = pd.date_range("2024-03-02 00:00", periods=6, freq="1h", tz="UTC")
    frame = pd.DataFrame({
        "symbol": "BTC/USD", "timestamp": at, "open": 60_000.0, "high": 60_100.0, "low": 59_900.0,
        "close": 60_000.0, "volume": 10.0,
    })  # fmt: skip
    return Bars.from_pandas(frame, calendar="24/7")


def test_coins_trade_in_fractions_at_all_hours_without_stops():
    heard = Heard(bars=coin_bars(), multiplier=1)
    body = market(qty="0.12345678", symbol="BTC/USD", time_in_force="gtc")
    heard.post(body)
    step(heard.venue)
    held = ask(heard.venue, "GET", "/v2/positions/BTCUSD").body
    assert (held["symbol"], held["qty"], held["asset_class"]) == ("BTC/USD", "0.12345678", "crypto")
    assert ask(heard.venue, "GET", "/v2/positions/BTC/USD").body == held
    stop = {**body, "side": "sell", "type": "stop", "stop_price": "50000"}
    assert ask(heard.venue, "POST", "/v2/orders", stop).status == 422
    pair = ask(heard.venue, "POST", "/v2/orders", {**body, "order_class": "bracket",
        "take_profit": {"limit_price": "70000"}, "stop_loss": {"stop_price": "50000"}})  # fmt: skip
    assert (pair.status, pair.body["message"]) == (422, "crypto orders must be simple")
    day = ask(heard.venue, "POST", "/v2/orders", {**body, "time_in_force": "day"})
    assert (day.status, day.body["code"]) == (422, 42210000)
    asset = ask(heard.venue, "GET", "/v2/assets/BTC/USD").body
    assert (asset["class"], asset["min_order_size"]) == ("crypto", "0.00000001")
    assert ask(heard.venue, "GET", "/v2/clock").body["is_open"]
    closed = ask(heard.venue, "DELETE", "/v2/positions/BTCUSD").body
    assert (closed["time_in_force"], closed["qty"]) == ("gtc", "0.12345678")
    step(heard.venue)
    assert heard.book.broker.positions() == {}
