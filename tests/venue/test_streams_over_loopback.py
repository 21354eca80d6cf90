"""Our streams and alpaca-py's against the venue's server on loopback; nothing is simulated."""

import asyncio
import json
import queue
import threading
import warnings
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import msgpack
import pytest
from websockets.asyncio.client import connect

from mqd.adapters.alpaca.history import AlpacaHistory
from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.stream_state import StreamNotReady
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.bar import Trade
from mqd.core.clock import SimulatedClock, WallClock
from mqd.market_data.bars import load_bars
from mqd.market_data.errors import ProviderFailed, ProviderRefused
from mqd.market_data.pipeline import read_all
from mqd.market_data.providers import DataQuery, Kind
from mqd.market_data.quotes import QuoteAggregator
from mqd.market_data.realtime import RealtimeDataHandler
from mqd.venue.faults import FaultPlan
from tests.venue import venue_bench
from tests.venue.venue_bench import HEADERS, KEY, SECRET, TOKEN, venue_by_hand

with warnings.catch_warnings():  # the SDK imports what websockets deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.data.enums import DataFeed
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.live import StockDataStream
    from alpaca.data.requests import StockBarsRequest
    from alpaca.data.timeframe import TimeFrame

WAIT_S = 10


@pytest.fixture(scope="module")
def minute_bars():
    return load_bars(
        "datasets/equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-19"
    )


class Venue:
    """A served venue and its control path."""

    def __init__(self, url):
        self.url, self.ws = url, url.replace("http", "ws")
        self.http = httpx.Client(base_url=url, headers={"X-Control-Token": TOKEN}, trust_env=False)

    def step(self, n=1):
        for _ in range(n):
            for phase in ("begin", "open", "within", "close"):
                assert self.http.post(f"/_control/{phase}").status_code == 200

    def order(self, **words):
        body = {"symbol": "AAA", "qty": "5", "side": "buy", "type": "market",
                "time_in_force": "day", "client_order_id": "c1", **words}  # fmt: skip
        return self.http.post("/v2/orders", json=body, headers=HEADERS)


@contextmanager
def served(**words):
    with venue_bench.served(venue_by_hand(**words)) as port:
        one = Venue(f"http://127.0.0.1:{port}")
        try:
            yield one
        finally:
            one.http.close()


@contextmanager
def listening(venue, *, secret=SECRET, backoff_s=(0.05, 0.2), **subscribed):
    updates, frames, gaps = queue.Queue(), queue.Queue(), queue.Queue()
    streams = AlpacaStreams(
        venue.ws, key_id=Secret(KEY), secret=Secret(secret), clock=WallClock(),
        on_update=updates.put, on_data=frames.put, on_gap=gaps.put, backoff_s=backoff_s,
    )  # fmt: skip
    streams.subscribe(**subscribed or {"bars": ["*"]})
    streams.updates, streams.frames, streams.gaps = updates, frames, gaps
    streams.start()
    try:
        yield streams
    finally:
        assert streams.stop()


def test_bars_and_trade_updates_of_a_step_arrive(minute_bars):
    with served() as venue, listening(venue) as streams:
        streams.wait_ready(WAIT_S)
        venue.step()
        assert venue.order().status_code == 200
        venue.step()
        frame = streams.frames.get(timeout=WAIT_S)
        assert [(one["T"], one["S"], one["c"], one["v"]) for one in frame] == [
            ("b", "AAA", 100, 10_000), ("b", "BBB", 50, 10_000)
        ]  # fmt: skip
        assert type(frame[0]["t"]) is int
        events = [streams.updates.get(timeout=WAIT_S) for _ in range(2)]
        events += [streams.updates.get(timeout=WAIT_S)] if events[-1]["event"] == "new" else []
        assert events[-1]["event"] == "fill"
        assert Decimal(events[-1]["qty"]) == 5
        assert [one["seq"] for one in events] == list(range(1, len(events) + 1))


def test_trades_of_the_stream_rebuild_the_bars_of_the_stream(minute_bars):
    book, bars = QuoteAggregator(calendar=minute_bars.trading_calendar), []
    with served(bars=minute_bars) as venue:
        wanted = {"bars": ["MSFT"], "trades": ["MSFT"], "quotes": ["MSFT"]}
        with listening(venue, **wanted) as streams:
            streams.wait_ready(WAIT_S)
            venue.step(30)
            messages = [one for _ in range(30) for one in streams.frames.get(timeout=WAIT_S)]
    told = [one for one in messages if one["T"] == "b"]
    assert [one["T"] for one in messages[:9]] == ["q", "t"] * 4 + ["b"]
    for one in messages:
        if one["T"] == "t":
            px, size = Decimal(repr(one["p"])), Decimal(repr(one["s"]))
            bars.append(book.on_trade(Trade("MSFT", one["t"], px, size)))
    bars = [bar for bar in bars if bar is not None] + book.close_until(2**62)
    assert len(bars) == 30
    assert [(b.ts_open, *b[3:]) for b in bars] == [
        tuple(one[name] for name in ("t", "o", "h", "l", "c", "v")) for one in told
    ]


def test_alpaca_py_hears_typed_bars_trades_and_quotes(minute_bars):
    heard, ready = queue.Queue(), threading.Event()

    async def put(item):
        heard.put(item)

    with served(bars=minute_bars) as venue:
        stream = StockDataStream(KEY, SECRET, url_override=f"{venue.ws}/v2/iex")
        stream.subscribe_bars(put, "MSFT")
        stream.subscribe_trades(put, "MSFT")
        stream.subscribe_quotes(put, "MSFT")
        start = stream._start_ws

        async def started():
            await start()
            ready.set()

        stream._start_ws = started
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            thread = threading.Thread(target=stream.run, daemon=True)
            thread.start()
            assert ready.wait(WAIT_S)
            while not venue.http.get("/_control/state").is_success:
                continue
            threading.Event().wait(0.5)
            venue.step()
            items = [heard.get(timeout=WAIT_S) for _ in range(9)]
            stream.stop()
            thread.join(WAIT_S)
    assert not thread.is_alive()
    one = minute_bars["MSFT"].bar(0)
    assert [type(item).__name__ for item in items] == ["Quote", "Trade"] * 4 + ["Bar"]
    bar = items[-1]
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == one[3:]
    assert bar.timestamp == datetime.fromtimestamp(one.ts_open // 10**9, UTC)
    assert all(item.timestamp.tzinfo is not None for item in items)


def test_alpaca_py_reads_history_over_http(minute_bars):
    with served(bars=minute_bars) as venue:
        venue.step(25)
        client = StockHistoricalDataClient(KEY, SECRET, url_override=venue.url)
        client._session.trust_env = False
        request = StockBarsRequest(
            symbol_or_symbols="MSFT", timeframe=TimeFrame.Minute, feed=DataFeed.IEX,
            start=datetime(2022, 5, 19, tzinfo=UTC),
        )  # fmt: skip
        found = client.get_stock_bars(request)["MSFT"]
        client._session.close()
    assert [bar.close for bar in found] == minute_bars["MSFT"].close[:25].tolist()


def test_our_history_reads_pages_over_http_and_keeps_what_is_known(minute_bars):
    with served(bars=minute_bars) as venue:
        venue.step(40)
        history = AlpacaHistory(venue.url, Secret(KEY), Secret(SECRET), SimulatedClock())
        query = DataQuery(Kind.BARS, ("MSFT",), minute_bars.first, minute_bars.last)
        table = read_all(history, query)
        assert table.column("close").to_pylist() == minute_bars["MSFT"].close[:40].tolist()
        wrong = AlpacaHistory(venue.url, Secret(KEY), Secret("wrong"), SimulatedClock())
        with pytest.raises(ProviderRefused, match="HTTP 401"):
            wrong.page(query, "")
    with pytest.raises(ProviderFailed, match=r"cannot be reached .* \(tried 4 times\)"):
        AlpacaHistory(
            venue.url, Secret(KEY), Secret(SECRET), SimulatedClock(), wait=lambda _: None
        ).page(query, "")


def test_a_dropped_socket_loses_no_bar_for_the_handler(minute_bars):
    """Both sockets are cut, a step passes unheard, and history gives the bars back."""
    clock = SimulatedClock(minute_bars.first)
    bars = []
    plan = FaultPlan.from_dict({"faults": [{"name": "socket_drop", "at": 4}]})
    with served(bars=minute_bars, faults=plan) as venue:
        history = AlpacaHistory(venue.url, Secret(KEY), Secret(SECRET), clock)
        handler = RealtimeDataHandler(["MSFT"], clock, bars.append, history=history)
        streams = AlpacaStreams(
            venue.ws, key_id=Secret(KEY), secret=Secret(SECRET), clock=WallClock(),
            on_data=handler.take, on_gap=handler.gap, backoff_s=(0.2, 0.2),
        )  # fmt: skip
        streams.subscribe(bars=["MSFT"])
        streams.start()
        streams.wait_ready(WAIT_S)
        venue.step(6)
        state = streams.state["data"]
        for _ in range(200):
            if state.n_gaps:
                break
            threading.Event().wait(0.05)
        venue.step(1)
        clock.advance(int(minute_bars["MSFT"].ts_close[6]))
        for _ in range(200):
            handler.pump()
            if len(bars) == 7:
                break
            threading.Event().wait(0.05)
        assert streams.stop()
    assert state.n_gaps == 1
    assert bars == [minute_bars["MSFT"].bar(row) for row in range(7)]
    assert handler.health.counts["backfilled"] >= 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("connection_limit", "data"), ("insufficient_subscription", "data"),
     ("auth_failed", "trading")],
)  # fmt: skip
def test_a_refusal_at_the_door_is_told_and_passes(fault, kind):
    plan = FaultPlan.from_dict({"faults": [{"name": fault}]})
    with served(faults=plan) as venue, listening(venue) as streams:
        for _ in range(200):
            if streams.listening:
                break
            threading.Event().wait(0.05)
        assert streams.listening
        assert plan.fired == {fault: 1}
        assert sum(state.n_connects for state in streams.state.values()) == 3
        assert kind in streams.state


def test_a_second_connection_is_one_too_many():
    with served() as venue, listening(venue) as first:
        first.wait_ready(WAIT_S)
        with listening(venue) as second:
            with pytest.raises(StreamNotReady, match=r"data stream .* answered 406"):
                second.wait_ready(1)
            assert first.listening


def test_wrong_keys_are_refused_on_both_sockets():
    with served() as venue, listening(venue, secret="wrong", backoff_s=(5, 5)) as streams:
        with pytest.raises(StreamNotReady, match=r"refused our keys|answered 402"):
            streams.wait_ready(WAIT_S)
        for _ in range(200):
            if all(state.refused for state in streams.state.values()):
                break
            threading.Event().wait(0.05)
        assert streams.state["trading"].refused
        assert streams.state["data"].last_error == "the server answered 402 (auth failed)"


def test_a_large_frame_and_doubled_updates_arrive():
    words = [{"name": "large_frame", "at": 1}, {"name": "duplicate_event", "at": 2}]
    plan = FaultPlan.from_dict({"faults": words})
    with served(faults=plan) as venue, listening(venue) as streams:
        streams.wait_ready(WAIT_S)
        venue.step()
        venue.order()
        venue.step()
        got = [streams.updates.get(timeout=WAIT_S) for _ in range(3)]
    assert len(got[0]["padding"]) == 2**20
    assert [one["seq"] for one in got] == [1, 2, 2]


async def talk(url, said, headers=None):
    """Send messages one after the other; return what the server answered to each."""
    answers = []
    async with connect(url, additional_headers=headers or {}, proxy=None) as socket:
        answers.append(await socket.recv())
        for one in said:
            await socket.send(one if isinstance(one, bytes | str) else json.dumps(one))
            answers.append(await asyncio.wait_for(socket.recv(), WAIT_S))
    return answers


AUTH = {"action": "auth", "key": KEY, "secret": SECRET}
ERRORS = [
    # what the client says after the greeting, and the code of the last answer (section 8.2)
    (["nonsense"], 400),
    ([{"action": "dance"}], 400),
    ([AUTH, {"action": "subscribe", "bars": "AAA"}], 400),
    ([{"action": "subscribe", "bars": ["AAA"]}], 401),
    ([{**AUTH, "secret": "wrong"}], 402),
    ([AUTH, AUTH], 403),
    ([AUTH, {"action": "subscribe", "orderbooks": ["AAA"]}], 410),
]


@pytest.fixture(scope="module")
def open_venue():
    with served() as venue:
        yield venue


@pytest.mark.parametrize(("said", "code"), ERRORS)
def test_the_error_codes_of_the_data_socket(open_venue, said, code):
    answers = asyncio.run(talk(f"{open_venue.ws}/v2/sip", said))
    assert json.loads(answers[0]) == [{"T": "success", "msg": "connected"}]
    [error] = json.loads(answers[-1])
    assert (error["T"], error["code"]) == ("error", code)


def test_a_json_client_and_a_msgpack_client_hear_the_same(open_venue):
    wanted = {"action": "subscribe", "bars": ["AAA"], "trades": ["AAA"]}
    plain = asyncio.run(talk(f"{open_venue.ws}/v2/iex", [AUTH, wanted]))
    headers = {"Content-Type": "application/msgpack"}
    said = [msgpack.packb(AUTH), msgpack.packb(wanted)]
    packed = asyncio.run(talk(f"{open_venue.ws}/v2/iex", said, headers))
    assert all(isinstance(one, str) for one in plain)
    assert all(isinstance(one, bytes) for one in packed)
    assert [json.loads(one) for one in plain] == [msgpack.unpackb(one) for one in packed]
    [subscription] = json.loads(plain[-1])
    assert subscription == {
        "T": "subscription", "trades": ["AAA"], "quotes": [], "bars": ["AAA"], "updatedBars": [],
        "dailyBars": [], "statuses": [], "lulds": [], "corrections": ["AAA"],
        "cancelErrors": ["AAA"],
    }  # fmt: skip
