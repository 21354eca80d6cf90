"""The venue's data API, read by alpaca-py's own clients and by hand."""

import json
import warnings
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
import requests

from mqd.market_data.bars import Bars, load_bars
from mqd.venue.answer import Answer
from mqd.venue.market_data import MarketData

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.data.enums import Adjustment, CorporateActionsType, DataFeed
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.historical.corporate_actions import CorporateActionsClient
    from alpaca.data.requests import (
        CorporateActionsRequest,
        StockBarsRequest,
        StockLatestQuoteRequest,
        StockQuotesRequest,
        StockSnapshotRequest,
        StockTradesRequest,
    )
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

DATA = "datasets/equity_minute.parquet"
NS = 10**9


@pytest.fixture(scope="module")
def bars():
    """Two days of MSFT, and as AAPL the two days after them at the same minutes."""
    four = load_bars(DATA, symbols=["MSFT"], start="2022-05-19", end="2022-05-24").to_pandas()
    first, later = four.iloc[:780], four.iloc[780:].assign(symbol="AAPL")
    later["timestamp"] = first["timestamp"].to_numpy()
    return Bars.from_pandas(pd.concat([first, later]).drop(columns="ts_close"))


@pytest.fixture(scope="module")
def data(bars):
    return MarketData(bars)


@pytest.fixture(scope="module")
def daily():
    """A share that splits 2 for 1 on its fourth day and pays 1.00 on its sixth."""
    days = pd.bdate_range("2024-03-04", periods=8)
    close = [100.0, 102.0, 104.0, 52.0, 53.0, 50.0, 51.0, 51.5]
    frame = pd.DataFrame({
        "symbol": "ABC", "session": days.date, "open": close, "high": [c + 1 for c in close],
        "low": [c - 1 for c in close], "close": close, "volume": [1000.0] * 8,
    })  # fmt: skip
    actions = pd.DataFrame({
        "symbol": ["ABC", "ABC"], "ex_date": [days[3].date(), days[5].date()],
        "kind": ["split", "dividend"], "ratio": [2.0, 1.0], "amount": [0.0, 1.0],
    })  # fmt: skip
    return Bars.from_pandas(frame, actions=actions, adjust="none")


class InProcess(requests.adapters.BaseAdapter):
    """Answers alpaca-py's requests from `MarketData`, as the venue's process does."""

    def __init__(self, data, now_ns):
        super().__init__()
        self.data, self.now_ns, self.asked = data, now_ns, []

    def send(self, request, **_words):
        url = urlsplit(request.url)
        self.asked.append(url)
        answer = self.data.handle(url.path, dict(parse_qsl(url.query)), self.now_ns)
        response = requests.Response()
        response.status_code, response.request, response.url = answer.status, request, request.url
        response._content = json.dumps(answer.body).encode()
        return response

    def close(self):
        return None


def client_of(data, now_ns, kind=StockHistoricalDataClient):
    client = kind("key", "secret", url_override="http://127.0.0.1:1")
    client._session.mount("http://", InProcess(data, now_ns))
    return client


def instant(ns):
    return datetime.fromtimestamp(ns // NS, UTC)


def ask(data, path, now_ns, **query) -> Answer:
    return data.handle(path, query, now_ns)


def test_alpaca_py_reads_every_minute_of_every_symbol(bars, data):
    client = client_of(data, bars.last)
    request = StockBarsRequest(
        symbol_or_symbols=["MSFT", "AAPL"], timeframe=TimeFrame.Minute, limit=None,
        start=instant(bars.first), end=instant(bars.last), feed=DataFeed.SIP,
    )  # fmt: skip
    found = client.get_stock_bars(request)
    for symbol, one in bars.items():
        got = found[symbol]
        assert [int(bar.timestamp.timestamp()) * NS for bar in got] == one.ts_open.tolist()
        for field in ("open", "high", "low", "close", "volume"):
            assert [getattr(bar, field) for bar in got] == getattr(one, field).tolist()


@pytest.mark.parametrize("limit", [1, 7, 390, 391, 779, 780, 781])
@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_pages_of_any_size_hold_each_bar_once_in_order(bars, data, limit, sort):
    query = {"symbols": "MSFT,AAPL", "timeframe": "1Min", "sort": sort, "limit": str(limit),
             "start": "2022-05-19T19:00:00Z" if limit == 1 else "2022-05-19"}  # fmt: skip
    rows, token, n_pages = [], None, 0
    now_ns = int(bars["MSFT"].ts_close[389])
    while True:
        page = {**query, "page_token": token} if token else query
        body = data.handle("/v2/stocks/bars", page, now_ns).body
        rows += [(s, row["t"]) for s, part in body["bars"].items() for row in part]
        assert sum(len(part) for part in body["bars"].values()) <= limit
        token, n_pages = body["next_page_token"], n_pages + 1
        assert n_pages <= 781
        if not token:
            break
    n = 60 if limit == 1 else 390
    assert len(rows) == len(set(rows)) == 2 * n
    assert n_pages == -(-2 * n // limit)
    for symbol in ("AAPL", "MSFT"):
        stamps = [t for s, t in rows if s == symbol]
        assert stamps == sorted(stamps, reverse=sort == "desc")
    assert [s for s, _ in rows] == ["AAPL"] * n + ["MSFT"] * n


def test_nothing_is_known_before_its_time(bars, data):
    one = bars["MSFT"]
    for row in (0, 1, 200, 389):
        now_ns = int(one.ts_close[row])
        for now, n_bars in ((now_ns - 1, row), (now_ns, row + 1)):
            query = {"symbols": "MSFT", "limit": "10000", "start": "2022-05-19"}
            body = ask(data, "/v2/stocks/bars", now, timeframe="1Min", **query).body
            assert len(body["bars"].get("MSFT", [])) == n_bars
            trades = ask(data, "/v2/stocks/trades", now, **query).body["trades"]["MSFT"]
            assert len(trades) == 4 * np.count_nonzero(one.volume[: row + 1])
        latest = ask(data, "/v2/stocks/trades/latest", now_ns, symbols="MSFT").body["trades"]
        assert latest["MSFT"]["p"] == one.close[row]


def test_trades_rebuild_every_bar(bars, data):
    client = client_of(data, bars.last)
    request = StockTradesRequest(
        symbol_or_symbols="MSFT", start=instant(bars.first), end=instant(bars.last)
    )
    frame = pd.DataFrame([one.model_dump() for one in client.get_stock_trades(request)["MSFT"]])
    by_bar = frame.groupby(frame["timestamp"].dt.floor("min"))
    one, traded = bars["MSFT"], bars["MSFT"].volume > 0
    assert traded.sum() == 776
    for how, column in (("first", one.open), ("max", one.high), ("min", one.low),
                        ("last", one.close)):  # fmt: skip
        assert (by_bar["price"].agg(how).to_numpy() == column[traded]).all()
    assert (by_bar["size"].sum().to_numpy() == one.volume[traded]).all()


def test_quotes_stand_around_the_trades(bars, data):
    client = client_of(data, bars.last)
    words = {"start": instant(bars.first), "end": instant(bars.first) + timedelta(minutes=30)}
    quotes = client.get_stock_quotes(StockQuotesRequest(symbol_or_symbols="AAPL", **words))["AAPL"]
    trades = client.get_stock_trades(StockTradesRequest(symbol_or_symbols="AAPL", **words))["AAPL"]
    assert len(quotes) == len(trades) > 100
    for quote, trade in zip(quotes, trades, strict=True):
        assert quote.timestamp == trade.timestamp
        assert quote.bid_price < trade.price < quote.ask_price
        assert quote.ask_price - quote.bid_price == pytest.approx(trade.price * 2e-4, abs=2.1e-4)
    latest = client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))
    assert latest["AAPL"].bid_price < bars["AAPL"].close[-1] < latest["AAPL"].ask_price


@pytest.mark.parametrize(
    ("timeframe", "rule"),
    [(TimeFrame(5, TimeFrameUnit.Minute), "5min"), (TimeFrame.Hour, "1h"),
     (TimeFrame.Day, "1D"), (TimeFrame.Week, "W-MON")],
)  # fmt: skip
@pytest.mark.parametrize("n_known", [1, 37, 390, 500, 780])
def test_longer_bars_equal_those_of_pandas_on_the_clock_of_new_york(
    bars, data, timeframe, rule, n_known
):
    one = bars["MSFT"]
    client = client_of(data, int(one.ts_close[n_known - 1]))
    request = StockBarsRequest(
        symbol_or_symbols="MSFT", timeframe=timeframe, start=datetime(2022, 5, 1, tzinfo=UTC)
    )
    got = pd.DataFrame([bar.model_dump() for bar in client.get_stock_bars(request)["MSFT"]])
    got = got.set_index("timestamp")
    frame = bars.select(["MSFT"]).to_pandas().head(n_known)
    frame = frame.set_index(frame["timestamp"].dt.tz_convert("America/New_York"))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    label = {"label": "left", "closed": "left"}
    expected = frame.resample(rule, **label).agg(how).dropna()
    assert got.index.tolist() == expected.index.tz_convert("UTC").tolist()
    for name in how:
        np.testing.assert_array_equal(got[name].to_numpy(), expected[name].to_numpy())


def test_a_snapshot_holds_the_running_day_and_the_day_before(bars, data):
    one = bars["MSFT"]
    client = client_of(data, int(one.ts_close[400]))
    snap = client.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=["MSFT", "ZZZ"]))
    assert list(snap) == ["MSFT"]
    assert snap["MSFT"].latest_trade.price == one.close[400]
    assert snap["MSFT"].minute_bar.close == one.close[400]
    assert snap["MSFT"].daily_bar.open == one.open[390]
    assert snap["MSFT"].daily_bar.volume == one.volume[390:401].sum()
    assert snap["MSFT"].previous_daily_bar.close == one.close[389]


ADJUSTED = [
    # closes of days 1..8 by hand: split 2:1 before day 4, dividend 1.00 on day 6 after 53.00
    (Adjustment.RAW, [100, 102, 104, 52, 53, 50, 51, 51.5]),
    (Adjustment.SPLIT, [50, 51, 52, 52, 53, 50, 51, 51.5]),
    (Adjustment.DIVIDEND, [98.113208, 100.075472, 102.037736, 51.018868, 52, 50, 51, 51.5]),
    (Adjustment.ALL, [49.056604, 50.037736, 51.018868, 51.018868, 52, 50, 51, 51.5]),
]


@pytest.mark.parametrize(("adjustment", "closes"), ADJUSTED)
def test_adjusted_closes_by_hand(daily, adjustment, closes):
    client = client_of(MarketData(daily), daily.last)
    request = StockBarsRequest(
        symbol_or_symbols="ABC", timeframe=TimeFrame.Day, adjustment=adjustment,
        start=datetime(2024, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    got = client.get_stock_bars(request)["ABC"]
    assert [bar.close for bar in got] == pytest.approx(closes, abs=1e-6)
    split = adjustment in {Adjustment.SPLIT, Adjustment.ALL}
    assert [bar.volume for bar in got] == [2000.0 if split else 1000.0] * 3 + [1000.0] * 5
    assert got[0].timestamp == datetime(2024, 3, 4, 5, tzinfo=UTC)
    assert got[-1].timestamp == datetime(2024, 3, 13, 4, tzinfo=UTC)


def test_an_adjustment_is_made_only_once_its_day_has_come(daily):
    data = MarketData(daily)
    query = {"symbols": "ABC", "timeframe": "1Day", "adjustment": "all", "start": "2024-03-01"}
    third = data.handle("/v2/stocks/bars", query, int(daily["ABC"].ts_close[2])).body
    assert [row["c"] for row in third["bars"]["ABC"]] == [100, 102, 104]
    fourth = data.handle("/v2/stocks/bars", query, int(daily["ABC"].ts_close[3])).body
    assert [row["c"] for row in fourth["bars"]["ABC"]] == [50, 51, 52, 52]


def test_corporate_actions_are_read_by_alpaca_py(daily):
    client = client_of(MarketData(daily), daily.last, CorporateActionsClient)
    request = CorporateActionsRequest(
        symbols=["ABC"], start=date(2024, 3, 1), end=date(2024, 3, 31)
    )
    found = client.get_corporate_actions(request).data
    [split], [dividend] = found["forward_splits"], found["cash_dividends"]
    assert (split.new_rate, split.old_rate) == (2.0, 1.0)
    assert str(split.ex_date) == "2024-03-07"
    assert (dividend.rate, str(dividend.ex_date)) == (1.0, "2024-03-11")
    only = request.model_copy(update={"types": [CorporateActionsType.CASH_DIVIDEND]})
    assert set(client.get_corporate_actions(only).data) == {"cash_dividends"}


def test_corporate_actions_come_in_pages_and_not_before_their_day(daily):
    data = MarketData(daily)
    query = {"symbols": "ABC", "start": "2024-03-01", "end": "2024-12-31", "limit": "1"}
    first = data.handle("/v1/corporate-actions", query, daily.last).body
    query["page_token"] = first["next_page_token"]
    second = data.handle("/v1/corporate-actions", query, daily.last).body
    assert set(first["corporate_actions"]) == {"forward_splits"}
    assert set(second["corporate_actions"]) == {"cash_dividends"}
    assert second["next_page_token"] is None
    early = data.handle("/v1/corporate-actions", query, int(daily["ABC"].ts_close[2])).body
    assert early["corporate_actions"] == {}


WRONG = [
    ("/v2/stocks/bars", {"timeframe": "1Min"}, 400, "symbols is required"),
    ("/v2/stocks/bars", {"symbols": "MSFT"}, 400, "timeframe is required"),
    ("/v2/stocks/bars", {"symbols": "MSFT", "timeframe": "60Min"}, 400, "invalid timeframe"),
    ("/v2/stocks/bars", {"symbols": "MSFT", "timeframe": "2Month5"}, 400, "invalid timeframe"),
    ("/v2/stocks/bars", {"symbols": "M SFT", "timeframe": "1Min"}, 400, "invalid symbol"),
    ("/v2/stocks/trades", {"symbols": "MSFT", "limit": "10001"}, 400, "invalid limit"),
    ("/v2/stocks/trades", {"symbols": "MSFT", "limit": "0"}, 400, "invalid limit"),
    ("/v2/stocks/trades", {"symbols": "MSFT", "start": "yesterday"}, 400, "parameter start"),
    ("/v2/stocks/trades", {"symbols": "MSFT", "start": "2022-05-19T10:00:00"}, 400, "start"),
    ("/v2/stocks/trades", {"symbols": "MSFT", "page_token": "é"}, 400, "page_token"),
    ("/v2/stocks/quotes", {"symbols": "MSFT", "sort": "up"}, 400, "invalid sort"),
    ("/v2/stocks/quotes", {"symbols": "MSFT", "feed": "xyz"}, 400, "invalid feed"),
    ("/v2/stocks/quotes", {"symbols": "MSFT", "currency": "EUR"}, 400, "currency"),
    ("/v2/stocks/quotes", {"symbols": "A", "start": "2022-05-19", "end": "2022-05-18"}, 400, "end"),
    ("/v2/stocks/auctions", {"symbols": "MSFT"}, 404, "endpoint not found"),
    ("/v1/corporate-actions", {"limit": "5000"}, 400, "invalid limit"),
]


@pytest.mark.parametrize(("path", "query", "status", "said"), WRONG)
def test_a_wrong_request_is_refused_with_a_message(bars, data, path, query, status, said):
    answer = data.handle(path, query, bars.last)
    assert answer.status == status
    assert said in answer.body["message"]


def test_recent_sip_data_need_a_subscription(bars):
    free = MarketData(bars, plan="free")
    client = client_of(free, bars.last)
    request = StockBarsRequest(
        symbol_or_symbols="MSFT", timeframe=TimeFrame.Minute, start=instant(bars.first),
        end=instant(bars.last), feed=DataFeed.SIP,
    )  # fmt: skip
    with pytest.raises(APIError, match="subscription does not permit querying recent SIP data"):
        client.get_stock_bars(request)
    old = request.model_copy(update={"end": instant(bars.last) - timedelta(minutes=16)})
    assert len(client.get_stock_bars(old)["MSFT"]) == 765
    iex = request.model_copy(update={"feed": DataFeed.IEX})
    assert len(client.get_stock_bars(iex)["MSFT"]) == 780


def test_a_symbol_without_data_is_absent_and_no_map_is_null(bars, data):
    body = ask(data, "/v2/stocks/bars", bars.last, symbols="ZZZ", timeframe="1Day").body
    assert body == {"bars": {}, "next_page_token": None}
    assert ask(data, "/v2/stocks/trades/latest", 0, symbols="MSFT").body == {"trades": {}}


def test_a_shorter_time_frame_than_the_bars_is_refused(daily):
    answer = ask(MarketData(daily), "/v2/stocks/bars", daily.last, symbols="ABC", timeframe="1Min")
    assert (answer.status, "1day and longer" in answer.body["message"]) == (400, True)
