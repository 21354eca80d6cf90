"""When orders end by the venue's clock, and what becomes of orders for extended hours."""

import warnings

import pandas as pd
import pytest

from mqd.market_data.bars import Bars
from mqd.venue.config import read_config
from mqd.venue.errors import VenueConfigWrong
from tests.venue.test_venue_process import words_of, write
from tests.venue.venue_bench import (
    KEY,
    SECRET,
    ask,
    bars_by_hand,
    limit,
    served,
    step,
    venue_by_hand,
)

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.trading import requests as wish
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import OrderSide, OrderStatus, TimeInForce


def ns_of(text):
    return pd.Timestamp(text, tz="America/New_York").value


def daily(n_days):
    """Day bars of AAA that stand at 100, from Monday 2024-03-04 on."""
    days = pd.bdate_range("2024-03-04", periods=n_days)
    days = days[~days.isin(pd.to_datetime(["2024-03-29", "2024-05-27"]))]  # the exchange's holidays
    days = days.tz_localize("America/New_York")
    frame = pd.DataFrame(
        {"symbol": "AAA", "timestamp": days, "open": 100.0, "high": 101.0, "low": 99.0,
         "close": 100.0, "volume": 10_000.0}
    )  # fmt: skip
    return Bars.from_pandas(frame, timeframe="1day")


def heard(venue):
    events = []
    venue.on_update(lambda _, frame, __: events.append(frame["data"]))
    return events


def told(events):
    return [(one["event"], one["timestamp"], one["order"]["status"]) for one in events]


# --- until cancelled -----------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_hours", [True, False])
def test_a_gtc_order_ends_after_ninety_days_by_a_cancel_of_the_venue(keeps_hours):
    """90 days after 2024-03-04 is Sunday 2024-06-02; 16:15 of New York's summer is 20:15 UTC."""
    venue = venue_by_hand(bars=daily(70), keeps_hours=keeps_hours)
    step(venue)
    events = heard(venue)
    sent = ask(venue, "POST", "/v2/orders", limit("50")).body
    while not step(venue).get("done") and venue.first.working():
        continue
    last = told(events)[1:]
    shown = ask(venue, "GET", f"/v2/orders/{sent['id']}").body
    if keeps_hours:
        assert last[1:] == [
            ("pending_cancel", "2024-06-02T20:15:00Z", "pending_cancel"),
            ("canceled", "2024-06-02T20:15:00Z", "canceled"),
        ]
        assert sent["expires_at"] == shown["canceled_at"] == "2024-06-02T20:15:00Z"
        assert events[-1]["order"]["cancel_requested_at"] == "2024-06-02T20:15:00Z"
    else:
        assert [event for event, _, _ in last[1:]] == ["expired"]
        assert shown["status"] == "expired"
    assert not venue.first.broker.open_orders()


def test_the_exits_of_a_group_end_on_their_hour_too():
    venue = venue_by_hand(bars=daily(70), keeps_hours=True)
    step(venue)
    legs = {"take_profit": {"limit_price": "150"}, "stop_loss": {"stop_price": "50"}}
    body = limit("100", order_class="bracket", **legs)
    entry = ask(venue, "POST", "/v2/orders", body).body
    while not step(venue).get("done"):
        continue
    path = f"/v2/orders/{entry['id']}"
    shown = ask(venue, "GET", path, query={"nested": "true"}).body
    assert (shown["status"], [leg["status"] for leg in shown["legs"]]) == (
        "filled", ["canceled", "canceled"],
    )  # fmt: skip
    assert {leg["canceled_at"] for leg in shown["legs"]} == {"2024-06-02T20:15:00Z"}
    assert venue.first.broker.account_book.lots("AAA") == 10
    assert not venue.first.broker.open_orders()


# --- windows -------------------------------------------------------------------------------------


def test_on_a_half_day_the_window_of_cls_closes_ten_minutes_before_its_close():
    """2024-07-03 closed at 13:00; OPG of the next session, on the 5th, waits until 19:00."""
    at = pd.to_datetime(["2024-07-03 09:30", "2024-07-03 12:58", "2024-07-05 09:30"])
    frame = pd.DataFrame(
        {"symbol": "AAA", "timestamp": at.tz_localize("America/New_York"), "open": 100.0,
         "high": 101.0, "low": 99.0, "close": 100.0, "volume": 10_000.0}
    )  # fmt: skip
    venue = venue_by_hand(bars=Bars.from_pandas(frame, timeframe="1min"), keeps_hours=True)
    step(venue)
    found = []
    for time, tif in (("12:49", "cls"), ("12:50", "cls"), ("18:59", "opg"), ("19:00", "opg")):
        venue.pass_time(ns_of(f"2024-07-03 {time}"))
        answer = ask(venue, "POST", "/v2/orders", limit("95", time_in_force=tif))
        found.append((answer.status, answer.body.get("message", "")[:42]))
        if time == "12:50":
            step(venue)
    assert found == [
        (200, ""), (422, "cls orders are rejected from 12:50 until 1"),
        (422, "opg orders are rejected from 09:28 until 1"), (200, ""),
    ]  # fmt: skip


def test_a_day_without_a_session_has_no_windows():
    """Saturday 2024-03-09, noon."""
    venue = venue_by_hand(bars=daily(10), keeps_hours=True)
    for _ in range(5):
        step(venue)
    venue.pass_time(ns_of("2024-03-09 12:00"))
    for tif in ("opg", "cls"):
        assert ask(venue, "POST", "/v2/orders", limit("95", time_in_force=tif)).status == 200


def test_what_came_in_the_evening_fills_at_the_open_and_at_the_close():
    venue = venue_by_hand(keeps_hours=True)
    while not step(venue)["ends_session"]:
        continue
    venue.pass_time(ns_of("2024-03-04 19:00"))
    for name, tif, px in (("opg", "opg", "101"), ("low", "opg", "50"), ("cls", "cls", "101")):
        body = limit(px, time_in_force=tif, client_order_id=name)
        assert ask(venue, "POST", "/v2/orders", body).status == 200
    while not step(venue)["ends_session"]:
        continue
    orders = venue.first.by_client_id
    assert {name: one.status for name, one in orders.items()} == {
        "opg": "filled", "low": "canceled", "cls": "filled",
    }  # fmt: skip
    assert [orders[name].filled_ns for name in ("opg", "cls")] == [
        ns_of("2024-03-05 09:30"), ns_of("2024-03-05 16:00"),
    ]  # fmt: skip


# --- extended hours ------------------------------------------------------------------------------


@pytest.fixture
def evening():
    """A venue at Monday's close, and alpaca-py's client of it."""
    venue = venue_by_hand()
    while not step(venue)["ends_session"]:
        continue
    with served(venue) as port:
        client = TradingClient(KEY, SECRET, url_override=f"http://127.0.0.1:{port}")
        yield venue, client
        client._session.close()


def wished(**more):
    return wish.LimitOrderRequest(
        symbol="AAA", qty=10, side=OrderSide.BUY, time_in_force=TimeInForce.DAY,
        limit_price=101, extended_hours=True, **more,
    )  # fmt: skip


def test_an_order_for_the_evening_works_until_eight_and_is_over_before_the_next_open(evening):
    """These bars have no evening: an order that would fill at the next open has gone by then."""
    venue, client = evening
    venue.pass_time(ns_of("2024-03-04 17:30"))
    events = heard(venue)
    sent = client.submit_order(wished())
    assert (sent.extended_hours, sent.status) == (True, OrderStatus.PENDING_NEW)
    assert client.get_order_by_id(sent.id).status is OrderStatus.NEW
    step(venue)
    shown = client.get_order_by_id(sent.id)
    assert (shown.status, shown.filled_qty) == (OrderStatus.EXPIRED, "0")
    assert told(events)[-1] == ("expired", "2024-03-05T01:00:00Z", "expired")
    assert venue.first.broker.account_book.lots("AAA") == 0


def test_it_can_be_changed_and_cancelled_in_the_evening(evening):
    venue, client = evening
    venue.pass_time(ns_of("2024-03-04 17:30"))
    sent = client.submit_order(wished())
    changed = client.replace_order_by_id(sent.id, wish.ReplaceOrderRequest(limit_price=100.5))
    assert (changed.extended_hours, changed.limit_price) == (True, "100.5")
    assert str(changed.expires_at) == "2024-03-05 01:00:00+00:00"
    client.cancel_order_by_id(changed.id)
    assert client.get_order_by_id(changed.id).status is OrderStatus.CANCELED
    assert not venue.first.broker.open_orders()


def test_one_sent_at_night_waits_for_the_next_day_and_fills_in_its_session(evening):
    venue, client = evening
    venue.pass_time(ns_of("2024-03-04 20:30"))
    sent = client.submit_order(wished())
    assert sent.status is OrderStatus.ACCEPTED
    step(venue)
    shown = client.get_order_by_id(sent.id)
    assert (shown.status, shown.filled_qty) == (OrderStatus.FILLED, "10")
    assert venue.first.broker.account_book.lots("AAA") == 10


def test_one_of_the_session_outlives_the_close_and_no_day_order_does():
    venue = venue_by_hand()
    step(venue)
    path = "/v2/orders"
    for name, extended in (("plain", False), ("extended", True)):
        body = limit("50", time_in_force="day", client_order_id=name, extended_hours=extended)
        assert ask(venue, "POST", path, body).status == 200
    while not step(venue)["ends_session"]:
        continue
    assert [one.client_order_id for one in venue.first.working()] == ["extended"]
    venue.pass_time(ns_of("2024-03-04 19:59:59"))
    assert len(venue.first.broker.open_orders()) == 1
    venue.pass_time(ns_of("2024-03-04 20:00"))
    assert not venue.first.broker.open_orders()
    found = ask(venue, "GET", path, query={"status": "closed", "direction": "asc"}).body
    assert [(one["status"], one["expired_at"]) for one in found] == [
        ("expired", "2024-03-04T21:00:00Z"), ("expired", "2024-03-05T01:00:00Z"),
    ]  # fmt: skip


def test_the_process_keeps_alpacas_hours_at_a_pace_and_the_replays_by_steps(tmp_path):
    file = tmp_path / "bars.parquet"
    bars_by_hand().to_pandas().drop(columns="ts_close").to_parquet(file)
    kept = [
        read_config(write(tmp_path, words_of(file, **words))).keeps_hours
        for words in ({}, {"pace": 60}, {"hours": "alpaca"}, {"pace": 60, "hours": "replay"})
    ]
    assert kept == [False, True, True, False]
    with pytest.raises(VenueConfigWrong, match="hours is 'mine'; write replay or alpaca"):
        read_config(write(tmp_path, words_of(file, hours="mine")))
