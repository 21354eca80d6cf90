"""AlpacaStreams against a scripted server on loopback: what is asked, told, counted, retried."""

import asyncio
import gc
import json
import logging
import threading
from decimal import Decimal

import msgpack
import pytest
from websockets.asyncio.server import serve

from mqd.adapters.alpaca.stream_state import Backoff, StreamNotReady
from mqd.adapters.alpaca.stream_wire import BadFrame, decode_data, decode_trading, instant_ns
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import WallClock
from mqd.errors import UsageError

FAST = (0.02, 0.1)
CANARY = "canary-secret-4711"


class Hidden:
    def __init__(self, text):
        self._text = text

    def reveal(self):
        return self._text


class Server:
    """Runs ``handler(server, socket, n)`` for the n-th connection, on a thread."""

    def __init__(self, handler):
        self.handler, self.n, self.heard, self.headers = handler, 0, [], []
        self._up = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    async def _one(self, socket):
        self.n += 1
        self.headers.append(socket.request.headers)
        await self.handler(self, socket, self.n)

    async def _main(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self._one, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._up.set()
            await self.stop.wait()

    def __enter__(self):
        self.thread.start()
        assert self._up.wait(5)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(5)

    async def hear(self, socket):
        raw = await socket.recv()
        message = msgpack.unpackb(raw) if isinstance(raw, bytes) else json.loads(raw)
        self.heard.append(message)
        return message

    async def open_trading(self, socket):
        await self.hear(socket)
        status = {"status": "authorized", "action": "authenticate"}
        await socket.send(json.dumps({"stream": "authorization", "data": status}).encode())
        await self.hear(socket)
        streams = {"streams": ["trade_updates"]}
        await socket.send(json.dumps({"stream": "listening", "data": streams}).encode())

    async def open_data(self, socket, subscribe=True):
        await socket.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await self.hear(socket)
        await socket.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
        if subscribe:
            asked = await self.hear(socket)
            await socket.send(msgpack.packb([{"T": "subscription", "bars": asked["bars"]}]))


class Heard(list):
    """A list that one thread fills and another waits on."""

    def __init__(self):
        super().__init__()
        self.changed = threading.Condition()

    def __call__(self, value):
        with self.changed:
            self.append(value)
            self.changed.notify_all()

    def wait(self, n):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self) >= n, 5), list(self)
            return list(self)


def streams(server, **words):
    words = {"backoff_s": FAST, **words}
    return AlpacaStreams(
        f"ws://127.0.0.1:{server.port}",
        key_id=Hidden("PKTEST"), secret=Hidden(CANARY), clock=WallClock(), **words,
    )  # fmt: skip


def update(n):
    return {"stream": "trade_updates", "data": {"event": "fill", "seq": n, "price": "10.25"}}


def test_trade_updates_arrive_from_binary_and_text_frames():
    async def handler(server, socket, _n):
        await server.open_trading(socket)
        await socket.send(json.dumps(update(1)).encode())
        await socket.send('{"stream":"trade_updates","data":{"seq":2,"order":{"qty":0.1}}}')
        await socket.wait_closed()

    updates = Heard()
    with Server(handler) as server:
        client = streams(server, on_update=updates)
        client.start()
        client.wait_ready(5)
        first, second = updates.wait(2)
        assert client.state["trading"].listening
        assert client.state["trading"].n_messages == 2
        assert client.stop()
        assert not client.state["trading"].connected
    assert first == {"event": "fill", "seq": 1, "price": "10.25"}
    assert second["order"]["qty"] == Decimal("0.1")
    assert server.heard == [
        {"action": "authenticate", "data": {"key_id": "PKTEST", "secret_key": CANARY}},
        {"action": "listen", "data": {"streams": ["trade_updates"]}},
    ]


def test_market_data_comes_as_msgpack_with_int_nanoseconds():
    async def handler(server, socket, _n):
        await server.open_data(socket)
        stamp = msgpack.Timestamp(1704205800, 123456789)
        bar = {"T": "b", "S": "MSFT", "o": 370.5, "t": stamp}
        await socket.send(msgpack.packb([bar, {"T": "q", "S": "MSFT", "bp": 370.4}]))
        await socket.send(json.dumps([{"T": "b", "S": "A", "t": "2024-01-02T14:30:00.5Z"}]))
        await socket.wait_closed()

    frames = Heard()
    with Server(handler) as server:
        client = streams(server, on_data=frames, feed="sip")
        client.subscribe(bars=["MSFT"])
        client.start()
        first, second = frames.wait(2)
        assert client.stop()
    assert first[0]["t"] == 1704205800123456789
    assert first[1] == {"T": "q", "S": "MSFT", "bp": 370.4}
    assert second[0]["t"] == 1704205800500000000
    assert server.headers[0]["Content-Type"] == "application/msgpack"
    assert server.heard[1] == {"action": "subscribe", "bars": ["MSFT"]}


def test_a_lost_connection_comes_back_with_its_subscriptions_and_tells_the_gap_once():
    async def handler(server, socket, n):
        await server.open_data(socket)
        if n < 3:
            socket.transport.abort()
        await socket.wait_closed()

    gaps = Heard()
    with Server(handler) as server:
        client = streams(server, on_data=Heard(), on_gap=gaps)
        client.subscribe(bars=["MSFT", "SPY"])
        client.start()
        assert gaps.wait(2) == ["data", "data"]
        assert client.state["data"].n_connects == 3
        assert client.stop()
    asked = [one for one in server.heard if one["action"] == "subscribe"]
    assert asked == [{"action": "subscribe", "bars": ["MSFT", "SPY"]}] * 3


def test_symbols_are_added_and_given_back_while_the_socket_lives():
    async def handler(server, socket, _n):
        await server.open_data(socket)
        await server.hear(socket)
        await server.hear(socket)
        await socket.send(json.dumps([{"T": "t", "S": "SPY"}]))
        await socket.wait_closed()

    frames = Heard()
    with Server(handler) as server:
        client = streams(server, on_data=frames)
        client.subscribe(bars=["MSFT"])
        client.start()
        client.wait_ready(5)
        client.subscribe(trades=["SPY"], bars=["SPY"])
        client.unsubscribe(bars=["MSFT"])
        frames.wait(1)
        assert client.stop()
    assert server.heard[2:] == [
        {"action": "subscribe", "bars": ["SPY"], "trades": ["SPY"]},
        {"action": "unsubscribe", "bars": ["MSFT"]},
    ]


def test_wrong_keys_are_told_at_once_and_not_asked_again_in_a_hurry():
    async def handler(server, socket, _n):
        await server.hear(socket)
        status = {"status": "unauthorized", "action": "authenticate"}
        await socket.send(json.dumps({"stream": "authorization", "data": status}))
        await socket.wait_closed()

    with Server(handler) as server:
        client = streams(server, on_update=Heard(), backoff_s=(1.0, 60.0))
        client.start()
        with pytest.raises(StreamNotReady, match=r"trading stream .* refused our keys"):
            client.wait_ready(5)
        assert client.state["trading"].refused
        assert client.stop()
        assert server.n == 1


@pytest.mark.parametrize("code", [402, 405, 406, 409])
def test_an_error_of_the_data_socket_is_the_reason_given(code):
    async def handler(_server, socket, _n):
        await socket.send(msgpack.packb([{"T": "error", "code": code, "msg": "no more of this"}]))
        await socket.close()

    with Server(handler) as server:
        client = streams(server, on_data=Heard(), backoff_s=(5.0, 5.0))
        client.start()
        with pytest.raises(StreamNotReady, match=rf"answered {code} \(no more of this\)"):
            client.wait_ready(1)
        assert client.stop()
        assert client.state["data"].refused == (code in {402, 405, 409})


def test_an_absent_server_is_named():
    with Server(lambda *_: None) as server:
        port = server.port
    server.port = port
    client = streams(server, on_update=Heard())
    client.start()
    with pytest.raises(
        StreamNotReady, match=rf"127\.0\.0\.1:{port}/stream is not ready: nobody answers"
    ):
        client.wait_ready(0.3)
    assert client.stop()


def test_a_callback_that_raises_is_counted_and_later_frames_are_still_heard():
    async def handler(server, socket, _n):
        await server.open_trading(socket)
        for n in range(3):
            await socket.send(json.dumps(update(n)))
        await socket.send("no json")
        await socket.send(json.dumps(update(3)))
        await socket.wait_closed()

    updates = Heard()

    def picky(data):
        updates(data)
        if data["seq"] == 1:
            raise ValueError("a fault of the desk")

    with Server(handler) as server:
        client = streams(server, on_update=picky)
        client.start()
        assert [one["seq"] for one in updates.wait(4)] == [0, 1, 2, 3]
        assert client.stop()
    assert client.state["trading"].n_callback_errors == 1
    assert client.state["trading"].n_bad_frames == 1


def test_a_mute_socket_can_be_dropped_and_comes_back():
    async def handler(server, socket, _n):
        await server.open_trading(socket)
        await socket.wait_closed()

    gaps = Heard()
    with Server(handler) as server:
        client = streams(server, on_update=Heard(), on_gap=gaps)
        client.start()
        client.wait_ready(5)
        client.reconnect("trading", "nothing was heard for 30 s")
        assert gaps.wait(1) == ["trading"]
        assert client.stop()


def test_no_key_reaches_a_log_or_an_error_text(caplog):
    async def handler(server, socket, _n):
        await server.hear(socket)
        await socket.close(4000, f"go away {CANARY}")

    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.DEBUG)
    with Server(handler) as server:
        client = streams(server, on_update=Heard())
        client.start()
        with pytest.raises(StreamNotReady) as told:
            client.wait_ready(0.4)
        assert client.stop()
    assert "4000" in client.state["trading"].last_error
    assert CANARY not in str(told.value) + client.state["trading"].last_error
    client_records = [one for one in caplog.records if one.name != "websockets.server"]
    assert not [one for one in client_records if CANARY in one.getMessage()]


def test_an_error_that_nobody_awaits_is_logged_by_its_kind_alone(caplog):
    async def failing():
        raise ConnectionError(f"go away {CANARY}")

    async def forget():
        asyncio.ensure_future(failing())  # noqa: RUF006 - it is to be lost
        await asyncio.sleep(0.01)

    caplog.set_level(logging.DEBUG)
    with Server(lambda server, socket, n: socket.wait_closed()) as server:
        client = streams(server, on_update=Heard())
        client.start()
        asyncio.run_coroutine_threadsafe(forget(), client._loop).result(5)
        gc.collect()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), client._loop).result(5)
        assert client.stop()
    told = [one.getMessage() for one in caplog.records]
    assert any("ConnectionError" in text for text in told)
    assert not [text for text in told if CANARY in text]


@pytest.mark.parametrize("url", ["", "ws://127.0.0.1:1/", "http://127.0.0.1:1"])
def test_a_url_that_would_go_astray_is_refused(url):
    with pytest.raises(UsageError, match="without a slash at the end"):
        AlpacaStreams(url, key_id=Hidden("a"), secret=Hidden("b"), clock=WallClock())


def test_waits_grow_from_one_to_sixty_seconds_and_repeat_by_seed():
    waits = [Backoff(7).next_s()] + [0.0] * 0
    backoff = Backoff(7)
    grown = [backoff.next_s() for _ in range(12)]
    assert grown[0] == waits[0]
    assert all(1.0 <= one <= 60.0 for one in grown)
    assert all(2**n <= one <= 2 ** (n + 1) for n, one in enumerate(grown[:5]))
    assert min(grown[6:]) >= 30.0
    assert 16.0 <= Backoff(7).next_s(refused=True) <= 32.0


def test_instants_keep_nine_digits_and_frames_of_nonsense_are_refused():
    assert instant_ns("2026-10-01T13:30:00.123456789Z") == 1790861400123456789
    assert instant_ns("2026-10-01T09:30:00.1-04:00") == 1790861400100000000
    assert instant_ns("2026-10-01T13:30:00Z") == 1790861400000000000
    for frame in (b"\xc1", b"\x93\x01", "[1, 2]", "{", b"[1]"):
        with pytest.raises(BadFrame):
            decode_data(frame)
    with pytest.raises(BadFrame):
        decode_trading("[]")
