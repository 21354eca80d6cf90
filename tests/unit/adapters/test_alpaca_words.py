"""What the adapter says, and what it keeps quiet: errors of the data socket, NaN, the SDK."""

import json
import subprocess
import sys

import msgpack
import pytest

from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.adapters.alpaca.stream_state import StreamNotReady
from mqd.core.clock import SimulatedClock
from mqd.errors import MqdError
from tests.unit.adapters.test_streams_client import Heard, Server, streams, update

ADVICE = [
    # alpaca.md 8.2: what the code means, and what a user can do
    (405, "we ask for trades and quotes of 2 symbols, and the free plan of market data gives 30"),
    (406, "another connection with this account's keys is open"),
    (409, 'write feed = "iex"'),
]


@pytest.mark.parametrize(("code", "words"), ADVICE)
def test_an_error_of_the_data_socket_says_what_to_do(code, words):
    async def handler(server, socket, _n):
        await socket.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await server.hear(socket)
        await socket.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
        await server.hear(socket)
        await socket.send(msgpack.packb([{"T": "error", "code": code, "msg": "no"}]))
        await socket.wait_closed()

    with Server(handler) as server:
        client = streams(server, on_data=Heard(), backoff_s=(5.0, 5.0))
        client.subscribe(trades=["A", "B"], quotes=["A"], bars=["C"])
        client.start()
        with pytest.raises(StreamNotReady) as refused:
            client.wait_ready(1)
        assert client.stop()
    assert f"answered {code} (no): " in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("kind", [bytes, str])
def test_an_update_with_no_number_is_counted_and_the_next_one_is_heard(word, kind):
    text = '{"stream":"trade_updates","data":{"seq":1,"price":' + word + "}}"

    async def handler(server, socket, _n):
        await server.open_trading(socket)
        await socket.send(text.encode() if kind is bytes else text)
        await socket.send(json.dumps(update(2)).encode())
        await socket.wait_closed()

    heard = Heard()
    with Server(handler) as server:
        client = streams(server, on_update=heard)
        client.start()
        assert [one["seq"] for one in heard.wait(1)] == [2]
        state = client.state["trading"]
        assert (state.n_bad_frames, state.n_connects, state.listening) == (1, 1, True)
        assert client.stop()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_an_answer_with_no_number_is_no_answer(word):
    def transport(*_):
        return 200, '{"equity":' + word + "}", {}

    session = AlpacaSession(
        "http://127.0.0.1:1",
        Keys(Secret("PKTEST"), Secret("s" * 40)),
        SimulatedClock(),
        transport=transport,
    )
    assert not session.send("GET", "/v2/account").readable
    with pytest.raises(MqdError, match="no JSON"):
        session.ask("/v2/account")


QUIET = """
import mqd.adapters.alpaca.connector, mqd.adapters.alpaca.streams, sys
from mqd.adapters.alpaca.history import AlpacaHistory
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import SimulatedClock
keys, url = Keys(Secret("PKTEST"), Secret("s" * 40)), "http://127.0.0.1:1"
%s
assert "websockets.legacy" in sys.modules
import warnings
try:
    warnings.warn("another", DeprecationWarning)
except DeprecationWarning:
    print("others are still told")
"""
MADE = {
    "session": "AlpacaSession(url, keys, SimulatedClock())",
    "history": "AlpacaHistory(url, keys.key_id, keys.secret, SimulatedClock())",
}


@pytest.mark.parametrize("made", MADE)
def test_a_user_who_treats_warnings_as_errors_can_use_the_adapter(made):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", QUIET % MADE[made]],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "others are still told\n"
