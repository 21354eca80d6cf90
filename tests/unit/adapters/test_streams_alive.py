"""Signs of life, confirmed channels, and frames that would break a careless reader."""

import json
import threading

import msgpack
import pytest

from mqd.adapters.alpaca import socket_link
from mqd.adapters.alpaca.stream_wire import BadFrame, decode_data, decode_trading
from mqd.core.clock import NS_PER_S
from tests.unit.adapters.test_streams_client import Heard, Server, streams, update

PING_S = 0.05


def until(holds, wait_s=5.0):
    """Wait until ``holds()``; False when it did not come."""
    pause = threading.Event()
    for _ in range(int(wait_s / 0.01)):
        if holds():
            return True
        pause.wait(0.01)
    return False


async def silent(server, socket, _n):
    await server.open_trading(socket)
    await socket.wait_closed()


def test_an_idle_socket_whose_pings_are_answered_stays_alive(monkeypatch):
    monkeypatch.setattr(socket_link, "PING_S", PING_S)
    with Server(silent) as server:
        client = streams(server, on_update=Heard())
        state = client.state["trading"]
        assert state.last_alive_mono_ns == 0
        client.start()
        client.wait_ready(5)
        heard = state.last_message_mono_ns
        later = heard + int(6 * PING_S * NS_PER_S)
        assert until(lambda: state.last_alive_mono_ns > later)
        assert state.last_message_mono_ns == heard
        assert state.n_connects == 1
        assert client.stop()
    assert state.last_alive_mono_ns == 0


def test_a_socket_whose_server_stops_answering_is_not_alive(monkeypatch):
    monkeypatch.setattr(socket_link, "PING_S", PING_S)

    async def stalls(server, socket, n):
        await server.open_trading(socket)
        if n == 1:
            socket.transport.pause_reading()
        await socket.wait_closed()

    with Server(stalls) as server:
        client = streams(server, on_update=Heard(), backoff_s=(30.0, 30.0))
        client.start()
        client.wait_ready(5)
        state = client.state["trading"]
        assert until(lambda: not state.connected)
        assert state.last_alive_mono_ns == 0
        assert "1011" in state.last_error
        assert client.stop()


def test_a_data_frame_is_a_sign_of_life():
    more = threading.Event()

    async def handler(server, socket, _n):
        await server.open_trading(socket)
        await server.loop.run_in_executor(None, more.wait, 5)
        await socket.send(json.dumps(update(1)))
        await socket.wait_closed()

    updates = Heard()
    with Server(handler) as server:
        client = streams(server, on_update=updates)
        client.start()
        client.wait_ready(5)
        before = client.state["trading"].last_alive_mono_ns
        more.set()
        updates.wait(1)
        assert client.state["trading"].last_alive_mono_ns > before > 0
        assert client.stop()


def test_channels_are_those_that_the_server_confirmed_last_and_none_without_it():
    async def handler(server, socket, n):
        await server.open_data(socket, subscribe=False)
        first = await server.hear(socket)
        if n > 1:
            await socket.wait_closed()
        told = {"T": "subscription", "bars": [], "statuses": first["statuses"], "lulds": ["MSFT"]}
        await socket.send(msgpack.packb([told]))
        await server.hear(socket)
        await socket.send(msgpack.packb([{**told, "lulds": []}]))
        await socket.wait_closed()

    with Server(handler) as server:
        client = streams(server, on_data=Heard())
        client.subscribe(bars=["MSFT"], statuses=["MSFT", "SPY"], lulds=["MSFT"])
        state = client.state["data"]
        assert state.channels == frozenset()
        client.start()
        client.wait_ready(5)
        assert state.channels == {"statuses", "lulds"}  # bars were asked for, not confirmed
        client.unsubscribe(lulds=["MSFT"])
        assert until(lambda: state.channels == {"statuses"})
        client.reconnect("data", "nothing was heard")
        assert until(lambda: server.n == 2)
        assert state.channels == frozenset()
        assert client.stop()
    assert server.heard[1:3] == [
        {
            "action": "subscribe", "bars": ["MSFT"], "statuses": ["MSFT", "SPY"],
            "lulds": ["MSFT"],
        },
        {"action": "unsubscribe", "lulds": ["MSFT"]},
    ]  # fmt: skip


OVERFLOW = '{"stream":"trade_updates","data":{"price":1e99999999999999999999}}'
DEEP = "[" * 100_000
LONG = '{"data":' + "9" * 5000 + "}"


NOT_A_NUMBER = '{"stream":"trade_updates","data":{"price":NaN,"qty":Infinity}}'


@pytest.mark.parametrize(
    "frame", [OVERFLOW, DEEP, LONG, OVERFLOW.encode(), DEEP.encode(), NOT_A_NUMBER]
)
def test_trading_frames_that_no_reader_can_hold_are_bad_frames(frame):
    with pytest.raises(BadFrame, match="trading stream is no JSON"):
        decode_trading(frame)


@pytest.mark.parametrize("frame", [DEEP, b"\x91" * 100_000])
def test_market_data_nested_without_end_is_a_bad_frame(frame):
    with pytest.raises(BadFrame, match="market data is unreadable"):
        decode_data(frame)


@pytest.mark.parametrize("frame", [OVERFLOW, DEEP])
def test_a_bad_frame_does_not_cost_the_connection(frame):
    async def handler(server, socket, _n):
        await server.open_trading(socket)
        await socket.send(frame)
        await socket.send(json.dumps(update(1)))
        await socket.wait_closed()

    updates = Heard()
    with Server(handler) as server:
        client = streams(server, on_update=updates)
        client.start()
        assert updates.wait(1)[0]["seq"] == 1
        assert client.state["trading"].n_bad_frames == 1
        assert client.state["trading"].n_connects == 1
        assert client.stop()
