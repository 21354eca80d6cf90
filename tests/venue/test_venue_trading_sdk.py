"""alpaca-py's own clients against the venue: every response is parsed by its typed models."""

import asyncio
import json
import threading
import time
import warnings
from decimal import Decimal

import pytest
from websockets.asyncio.client import connect

from tests.venue.venue_bench import (
    ACCOUNT,
    KEY,
    OTHER_KEY,
    OTHER_SECRET,
    SECRET,
    TOKEN,
    Switch,
    ask,
    http,
    limit,
    listening,
    market,
    served,
    step,
    venue_by_hand,
)

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.trading import requests as wish
    from alpaca.trading.client import TradingClient
    from alpaca.trading.enums import (
        OrderClass,
        OrderSide,
        OrderStatus,
        OrderType,
        PositionSide,
        QueryOrderStatus,
        TimeInForce,
        TradeEvent,
    )
    from alpaca.trading.stream import TradingStream


@pytest.fixture(scope="module")
def server():
    switch = Switch()
    with listening(switch) as port:
        yield switch, port


@pytest.fixture
def desk(server):
    """A venue after its first step, and alpaca-py's client of it."""
    switch, port = server
    venue = switch.put(venue_by_hand())
    step(venue)
    client = TradingClient(KEY, SECRET, url_override=f"http://127.0.0.1:{port}")
    yield venue, client
    client._session.close()


BUY = {"symbol": "AAA", "qty": 10, "side": OrderSide.BUY, "time_in_force": TimeInForce.DAY}
LEGS = {
    "take_profit": wish.TakeProfitRequest(limit_price=110),
    "stop_loss": wish.StopLossRequest(stop_price=85),
}
WISHES = {
    "market": (wish.MarketOrderRequest(**BUY), OrderType.MARKET, 1),
    "limit": (wish.LimitOrderRequest(**BUY, limit_price=95.5), OrderType.LIMIT, 1),
    "stop": (wish.StopOrderRequest(**BUY, stop_price=120), OrderType.STOP, 1),
    "stop limit": (
        wish.StopLimitOrderRequest(**BUY, stop_price=120, limit_price=121), OrderType.STOP_LIMIT, 1,
    ),
    "trail in price": (
        wish.TrailingStopOrderRequest(**BUY, trail_price=3), OrderType.TRAILING_STOP, 1,
    ),
    "trail in hundredths": (
        wish.TrailingStopOrderRequest(**BUY, trail_percent=2.5), OrderType.TRAILING_STOP, 1,
    ),
    "bracket": (
        wish.MarketOrderRequest(**BUY, order_class=OrderClass.BRACKET, **LEGS), OrderType.MARKET, 3,
    ),
    "oto": (
        wish.MarketOrderRequest(
            **BUY, order_class=OrderClass.OTO, stop_loss=wish.StopLossRequest(stop_price=85)
        ), OrderType.MARKET, 2,
    ),
    "notional": (
        wish.MarketOrderRequest(
            symbol="BBB", notional=75, side=OrderSide.BUY, time_in_force=TimeInForce.DAY
        ), OrderType.MARKET, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WISHES)
def test_every_type_and_class_is_taken_and_parsed(desk, name):
    venue, client = desk
    request, kind, n_open = WISHES[name]
    order = client.submit_order(request)
    assert (order.type, order.status) == (kind, OrderStatus.PENDING_NEW)
    assert len(venue.books[ACCOUNT].broker.open_orders()) == n_open
    assert all(leg.status is OrderStatus.HELD for leg in order.legs or [])
    assert client.get_order_by_id(order.id).client_order_id == order.client_order_id
    assert client.get_order_by_client_id(order.client_order_id).id == order.id


def test_an_oco_closes_a_position_by_its_target_or_its_stop(desk):
    venue, client = desk
    client.submit_order(wish.MarketOrderRequest(**BUY))
    step(venue)
    oco = client.submit_order(
        wish.LimitOrderRequest(
            symbol="AAA", qty=10, side=OrderSide.SELL, time_in_force=TimeInForce.GTC,
            order_class=OrderClass.OCO, take_profit=wish.TakeProfitRequest(limit_price=109),
            stop_loss=wish.StopLossRequest(stop_price=85),
        )
    )  # fmt: skip
    assert oco.limit_price == "109"
    assert [leg.stop_price for leg in oco.legs] == ["85"]
    while not step(venue)["ends_session"]:
        continue
    done = client.get_order_by_id(oco.id, wish.GetOrderByIdRequest(nested=True))
    assert (done.status, done.filled_avg_price) == (OrderStatus.FILLED, "109")
    assert [leg.status for leg in done.legs] == [OrderStatus.CANCELED]
    assert client.get_all_positions() == []
    assert venue.books[ACCOUNT].broker.open_orders() == []


def test_a_bracket_works_its_legs_once_the_entry_has_filled(desk):
    venue, client = desk
    bracket = client.submit_order(
        wish.MarketOrderRequest(**BUY, order_class=OrderClass.BRACKET, **LEGS)
    )
    step(venue)
    after = client.get_order_by_id(bracket.id, wish.GetOrderByIdRequest(nested=True))
    assert after.status is OrderStatus.FILLED
    assert [leg.status for leg in after.legs] == [OrderStatus.NEW, OrderStatus.HELD]
    assert client.get_open_position("AAA").qty_available == "0"
    client.cancel_order_by_id(after.legs[0].id)
    legs = client.get_order_by_id(bracket.id, wish.GetOrderByIdRequest(nested=True)).legs
    assert [leg.status for leg in legs] == [OrderStatus.CANCELED] * 2
    assert client.get_open_position("AAA").qty_available == "10"


def test_a_replaced_order_lives_on_under_a_new_id(desk):
    venue, client = desk
    old = client.submit_order(wish.LimitOrderRequest(**BUY, limit_price=90))
    new = client.replace_order_by_id(old.id, wish.ReplaceOrderRequest(qty=5, limit_price=91))
    gone = client.get_order_by_id(old.id)
    assert (gone.status, gone.replaced_by) == (OrderStatus.REPLACED, new.id)
    assert (new.replaces, new.qty, new.limit_price) == (old.id, "5", "91")
    assert new.client_order_id != old.client_order_id
    assert new.created_at == old.created_at
    assert [one.limit_px for one in venue.books[ACCOUNT].broker.open_orders()] == [Decimal(91)]


def test_positions_account_and_history_are_parsed(desk):
    venue, client = desk
    client.submit_order(wish.MarketOrderRequest(**BUY))
    step(venue)
    position = client.get_open_position("AAA")
    assert (position.side, position.qty, position.cost_basis) == (PositionSide.LONG, "10", "1000")
    account = client.get_account()
    assert (account.cash, account.equity, account.multiplier) == ("99000", "100000", "4")
    assert account.buying_power == "399000"
    history = client.get_portfolio_history(
        wish.GetPortfolioHistoryRequest(period="1D", timeframe="1Min")
    )
    assert history.equity == [100000.0, 100000.0]
    order = client.close_position("AAA", wish.ClosePositionRequest(percentage="50"))
    assert (order.side, order.qty) == (OrderSide.SELL, "5")
    assert [one.status for one in client.cancel_orders()] == [200]
    assert [one.status for one in client.close_all_positions(cancel_orders=True)] == [200]
    step(venue)
    assert client.get_all_positions() == []


def test_clock_calendar_assets_and_configuration_are_parsed(desk):
    _, client = desk
    clock = client.get_clock()
    assert clock.is_open
    assert clock.next_close.isoformat() == "2024-03-04T16:00:00-05:00"
    days = client.get_calendar(wish.GetCalendarRequest(start="2023-11-23", end="2023-11-24"))
    assert [day.close.isoformat() for day in days] == ["2023-11-24T13:00:00"]
    assert {one.symbol for one in client.get_all_assets()} == {"AAA", "BBB"}
    assert client.get_asset("BBB").fractionable
    settings = client.get_account_configurations()
    settings.no_shorting = True
    assert client.set_account_configurations(settings).no_shorting


def test_orders_are_listed_as_asked(desk):
    _, client = desk
    for price in (90, 91, 92):
        client.submit_order(wish.LimitOrderRequest(**BUY, limit_price=price))
    newest = client.get_orders(wish.GetOrdersRequest(limit=2))
    assert [one.limit_price for one in newest] == ["92", "91"]
    client.cancel_order_by_id(newest[0].id)
    closed = client.get_orders(wish.GetOrdersRequest(status=QueryOrderStatus.CLOSED))
    assert [one.id for one in closed] == [newest[0].id]


def test_an_error_carries_status_code_and_message(desk):
    venue, client = desk
    with pytest.raises(APIError) as refused:
        client.submit_order(wish.LimitOrderRequest(**BUY, limit_price=95.001))
    assert (refused.value.status_code, refused.value.code) == (422, 42210000)
    assert "sub-penny" in refused.value.message
    assert venue.books[ACCOUNT].orders == {}


def test_accounts_do_not_see_each_other(server, desk):
    venue, client = desk
    client.submit_order(wish.LimitOrderRequest(**BUY, limit_price=90, client_order_id="same"))
    other = TradingClient(OTHER_KEY, OTHER_SECRET, url_override=f"http://127.0.0.1:{server[1]}")
    assert other.get_orders() == []
    other.submit_order(wish.LimitOrderRequest(**BUY, limit_price=90, client_order_id="same"))
    assert [len(book.working()) for book in venue.books.values()] == [1, 1]
    other._session.close()
    second = TradingClient("PKSECOND", "second-secret",
                           url_override=f"http://127.0.0.1:{server[1]}")  # fmt: skip
    assert [one.client_order_id for one in second.get_orders()] == ["same"]
    second._session.close()


# --- trade updates ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
@pytest.mark.parametrize("raw", [False, True])
def test_alpaca_pys_stream_hears_a_bracket_from_start_to_end(raw):
    venue = venue_by_hand()
    step(venue)
    heard, all_heard = [], threading.Event()
    with served(venue) as port:
        stream = TradingStream(
            KEY, SECRET, raw_data=raw, url_override=f"ws://127.0.0.1:{port}/stream"
        )

        async def take(update):
            heard.append(update)
            if len(heard) == 6:
                all_heard.set()

        stream.subscribe_trade_updates(take)
        thread = threading.Thread(target=stream.run)
        thread.start()
        wait_for(lambda: stream._running)
        with http(port) as client:
            assert client.get("/v2/account").status_code == 200
            body = market(qty="10", order_class="bracket", take_profit={"limit_price": "105"},
                          stop_loss={"stop_price": "80"})  # fmt: skip
            assert client.post("/v2/orders", json=body).status_code == 200
            token = {"X-Control-Token": TOKEN}
            while not client.post("/_control/begin", headers=token).json()["done"]:
                if client.post("/_control/close", headers=token).json()["ends_session"]:
                    break
        assert all_heard.wait(10)
        stream.stop()
        thread.join(15)
    shown = [one["data"] if raw else one.model_dump() for one in heard]
    assert [one["event"] for one in shown] == [
        TradeEvent.PENDING_NEW, TradeEvent.NEW, TradeEvent.FILL, TradeEvent.NEW, TradeEvent.FILL,
        TradeEvent.CANCELED,
    ]  # fmt: skip
    fill, last = shown[2], shown[4]
    assert (float(fill["price"]), float(fill["qty"]), float(fill["position_qty"])) == (100, 10, 10)
    assert (float(last["price"]), float(last["position_qty"])) == (105, 0)


def wait_for(true, seconds=10.0):
    for _ in range(int(seconds / 0.02)):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def test_the_stream_speaks_as_alpaca_does():
    venue = venue_by_hand()
    step(venue)

    async def talk(port):
        async with connect(f"ws://127.0.0.1:{port}/stream", proxy=None) as socket:

            async def say(message):
                await socket.send(json.dumps(message))
                frame = await asyncio.wait_for(socket.recv(), 5)
                assert isinstance(frame, bytes)
                return json.loads(frame)

            listen = {"action": "listen", "data": {"streams": ["trade_updates", "other"]}}
            early = await say(listen)
            wrong = await say({"action": "auth", "key": KEY, "secret": "no"})
            right = await say(
                {"action": "authenticate", "data": {"key_id": KEY, "secret_key": SECRET}}
            )
            listening_to = await say(listen)
            ask(venue, "POST", "/v2/orders", limit("90"))
            update = json.loads(await asyncio.wait_for(socket.recv(), 5))
            return early, wrong, right, listening_to, update

    with served(venue) as port:
        early, wrong, right, listening_to, update = asyncio.run(talk(port))
    assert early["data"] == {"status": "unauthorized", "action": "listen"}
    assert wrong["data"]["status"] == "unauthorized"
    assert right == {
        "stream": "authorization", "data": {"status": "authorized", "action": "authenticate"},
    }  # fmt: skip
    assert listening_to == {"stream": "listening", "data": {"streams": ["trade_updates"]}}
    assert update["stream"] == "trade_updates"
    assert update["data"]["event"] == "pending_new"
    assert "execution_id" not in update["data"]
    assert update["data"]["seq"] == 1
