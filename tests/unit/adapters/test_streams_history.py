"""AlpacaHistory over a scripted transport: pages, waits, refusals, lies; nothing is repeated
blindly."""

import json

import pytest
import requests

from mqd.adapters.alpaca.history import AlpacaHistory
from mqd.adapters.alpaca.keys import Secret
from mqd.core.clock import NS_PER_S, SimulatedClock
from mqd.errors import UsageError
from mqd.market_data.errors import ProviderFailed, ProviderRefused
from mqd.market_data.pipeline import read_all
from mqd.market_data.providers import DataQuery, Kind

START, END = 1704205800 * NS_PER_S, 1704206400 * NS_PER_S


class Script(requests.adapters.BaseAdapter):
    """Answers with what it was given, one after the other, the last again and again."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.asked, self.timeouts = list(answers), [], []

    def send(self, request, timeout=None, **_words):
        self.asked.append(request)
        self.timeouts.append(timeout)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = (*answer, {})[:3]
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url
        response.headers.update(headers)
        response._content = (body if isinstance(body, str) else json.dumps(body)).encode()
        return response

    def close(self):
        return None


def history(*answers, **words):
    waits = []
    clock = SimulatedClock(1000 * NS_PER_S)
    one = AlpacaHistory(
        "http://127.0.0.1:1", Secret("PK"), Secret("canary"), clock, wait=waits.append, **words
    )
    script = Script(answers)
    for client in (one._stocks, one._actions):
        client._session.mount("http://", script)
    return one, script, waits


def query(kind=Kind.BARS, symbols=("MSFT", "SPY")):
    return DataQuery(kind, symbols, START, END)


def bar(at="2024-01-02T14:30:00Z", **more):
    return {"t": at, "o": 1, "h": 2.5, "l": 0.5, "c": 2, "v": 100, "n": 3, "vw": 1.5, **more}


OK = (200, {"bars": {"MSFT": [bar()]}, "next_page_token": None})


def test_pages_are_joined_by_their_tokens():
    first = (200, {"bars": {"MSFT": [bar(), bar("2024-01-02T14:31:00Z")]}, "next_page_token": "t1"})
    second = (200, {"bars": {"SPY": [bar("2024-01-02T14:30:00.5Z")]}, "next_page_token": None})
    one, script, _ = history(first, second, feed="sip")
    table = read_all(one, query())
    assert table.column("symbol").to_pylist() == ["MSFT", "MSFT", "SPY"]
    assert table.column("timestamp").cast("int64").to_pylist() == [
        START, START + 60 * NS_PER_S, START + NS_PER_S // 2
    ]  # fmt: skip
    urls = [one.url for one in script.asked]
    assert "symbols=MSFT%2CSPY" in urls[0]
    assert "start=2024-01-02T14%3A30%3A00Z" in urls[0]
    assert "feed=sip" in urls[0]
    assert "adjustment=raw" in urls[0]
    assert "page_token" not in urls[0]
    assert "page_token=t1" in urls[1]
    assert script.timeouts == [(3.05, 15.0)] * 2


def test_quotes_trades_and_actions_in_our_columns():
    at = "2024-01-02T14:30:00.123456789Z"
    quote = {"t": at, "ax": "V", "ap": 10.2, "as": 2, "bx": "Q", "bp": 10.1, "bs": 1, "z": "A"}
    one, _, _ = history((200, {"quotes": {"MSFT": [quote]}, "next_page_token": None}))
    [row] = read_all(one, query(Kind.QUOTES)).to_pylist()
    assert (row["bid_px"], row["ask_px"], row["bid_qty"], row["ask_exchange"]) == (
        10.1,
        10.2,
        1,
        "V",
    )
    trade = {"t": at, "x": "V", "p": 10.15, "s": 5, "c": ["@", "I"], "i": 77, "z": "A"}
    one, _, _ = history((200, {"trades": {"MSFT": [trade]}, "next_page_token": None}))
    table = read_all(one, query(Kind.TRADES))
    assert table.column("timestamp").cast("int64").to_pylist() == [START + 123456789]
    assert table.to_pylist()[0]["conditions"] == "@,I"
    split = {"symbol": "MSFT", "ex_date": "2024-01-02", "new_rate": 3, "old_rate": 2}
    dividend = {"symbol": "MSFT", "ex_date": "2024-01-02", "rate": 0.75}
    merger = {"acquirer_symbol": "X"}
    actions = {"forward_splits": [split], "cash_dividends": [dividend], "stock_mergers": [merger]}
    one, script, _ = history((200, {"corporate_actions": actions, "next_page_token": None}))
    rows = read_all(one, query(Kind.ACTIONS)).to_pylist()
    assert [(r["kind"], r["ratio"], r["amount"]) for r in rows] == [
        ("split", "3/2", "0"), ("dividend", "1", "0.75")
    ]  # fmt: skip
    assert "/v1/corporate-actions?" in script.asked[0].url


def test_a_429_waits_until_the_servers_reset():
    busy = (429, {"message": "too many requests."}, {"X-RateLimit-Reset": "1007"})
    one, script, waits = history(busy, OK)
    assert one.page(query(), "").table.num_rows == 1
    assert (len(script.asked), waits) == (2, [7.0])


def test_a_429_without_a_reset_and_5xx_wait_longer_each_time():
    one, _, waits = history((429, {"message": "no"}), (503, "<html>"), (504, ""), OK)
    assert one.page(query(), "").table.num_rows == 1
    assert waits == [2.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "said", "n_asked"),
    [
        ((500, "<html>no</html>"), r"HTTP 500: no message \(tried 4 times\)", 4),
        (requests.ConnectionError("reset"), r"cannot be reached \(ConnectionError\)", 4),
        (requests.ReadTimeout("slow"), r"cannot be reached \(ReadTimeout\)", 4),
        ((200, "<html>hello</html>"), r"is no JSON \(tried 4 times\)", 4),
        ((429, {"message": "no"}), r"HTTP 429: no \(tried 10 times\)", 10),
        ((200, [1]), "is a list, no object", 1),
        ((200, {"bars": {"MSFT": [{"t": "2024-01-02T14:30:00Z"}]}}), "KeyError", 1),
        ((200, {"bars": {"MSFT": [bar(at="noon")]}}), "ValueError", 1),
        ((418, {"message": "teapot"}), "HTTP 418: teapot", 1),
    ],
)
def test_what_fails_is_told_and_another_provider_may_be_asked(answer, said, n_asked):
    one, script, _ = history(answer)
    with pytest.raises(ProviderFailed, match=said):
        one.page(query(), "")
    assert len(script.asked) == n_asked


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_refusal_is_told_at_once(status):
    one, script, waits = history((status, {"message": "subscription does not permit"}))
    with pytest.raises(
        ProviderRefused, match=f"HTTP {status}: subscription does not permit"
    ) as told:
        one.page(query(), "")
    assert (len(script.asked), waits) == (1, [])
    assert "canary" not in str(told.value)


def test_null_maps_and_missing_counts_are_no_error():
    one, _, _ = history((200, {"bars": None, "next_page_token": None}))
    assert one.page(query(), "").table.num_rows == 0
    row = bar()
    del row["n"], row["vw"]
    one, _, _ = history((200, {"bars": {"MSFT": [{**row, "new_field": {}}], "SPY": None}}))
    [got] = one.page(query(), "").table.to_pylist()
    assert (got["trade_count"], got["vwap"], got["close"]) == (None, None, 2.0)


@pytest.mark.parametrize(
    "url",
    ["", "http://127.0.0.1:1/", "ws://127.0.0.1:1", "http://data.alpaca.markets",
     "https://id:canary@data.alpaca.markets", "http://127.0.0.1.evil.example"],
)  # fmt: skip
def test_a_wrong_address_or_feed_is_refused(url):
    with pytest.raises(UsageError, match="without a slash") as refused:
        AlpacaHistory(url, Secret("a"), Secret("b"), SimulatedClock())
    assert "canary" not in str(refused.value)
    with pytest.raises(UsageError, match="iex, sip, boats, otc"):
        AlpacaHistory("http://127.0.0.1:1", Secret("a"), Secret("b"), SimulatedClock(), feed="xyz")
