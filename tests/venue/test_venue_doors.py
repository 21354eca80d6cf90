"""How the sockets' doors close: handshakes denied, feeds that do not exist, clients too slow."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import WallClock
from mqd.venue import data_socket
from tests.venue.test_venue_notices import Told, told, until
from tests.venue.venue_bench import KEY, SECRET, served, venue_by_hand

WAIT_S = 10


def status_of(url):
    async def knock():
        async with connect(url):
            return 101

    try:
        return asyncio.run(knock())
    except InvalidStatus as denied:
        return denied.response.status_code


def test_a_feed_that_does_not_exist_is_not_found():
    with told() as one:
        assert status_of(f"{one.ws}/v2/opra") == 404
        assert [status_of(f"{one.ws}/v2/{feed}") for feed in ("iex", "sip", "test")] == [101] * 3


@pytest.mark.parametrize("status", [404, 429, 502])
def test_a_denied_handshake_is_told_and_tried_again(status):
    heard = []
    with told() as one:
        one.say("handshake", status=status, times=4)
        assert status_of(f"{one.ws}/v2/iex") == status_of(f"{one.ws}/stream") == status
        streams = AlpacaStreams(
            one.ws, key_id=Secret(KEY), secret=Secret(SECRET), clock=WallClock(),
            on_data=print, on_update=print, on_gap=heard.append, backoff_s=(0.3, 0.3),
        )  # fmt: skip
        streams.start()
        said = f"the server answered the handshake with HTTP {status}"
        states = streams.state.values()
        assert until(lambda: all(state.last_error == said for state in states))
        assert not any(state.refused for state in states)
        streams.wait_ready(WAIT_S)
        assert streams.stop()
    assert heard == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": 200},
        {"status": 429, "times": 0},
        {"status": 429, "times": True},
        {"status": 429, "for": 1},
        {"status": [429]},
    ],
)
def test_a_denial_that_makes_no_sense_is_refused(body):
    with told() as one:
        answer = one.http.post("/_control/handshake", json=body)
        assert (answer.status_code, one.venue.denials) == (422, [])
        assert answer.json()["message"]


def test_a_client_that_does_not_read_is_told_that_it_is_slow_and_is_let_go(monkeypatch):
    """Its outbox is cut to five frames; megabytes of bars fill what the sockets hold."""
    monkeypatch.setattr(data_socket, "OUTBOX_MAX", 5)
    venue = venue_by_hand()
    bars = [{"T": "b", "S": "AAA", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "n": 1, "vw": 1,
             "t": 10**18}] * 2_000  # fmt: skip

    async def listen(ws):
        async with connect(ws, max_queue=1) as socket:
            await socket.recv()
            for words in (
                {"action": "auth", "key": KEY, "secret": SECRET},
                {"action": "subscribe", "bars": ["*"]},
            ):
                await socket.send(json.dumps(words))
                await socket.recv()
            await asyncio.to_thread(flood)
            return [json.loads(frame)[0] async for frame in socket][-1]

    def flood():
        for _ in range(400):
            venue.publish(bars)

    with served(venue) as port:
        one = Told(venue, port)
        last = asyncio.run(asyncio.wait_for(listen(f"{one.ws}/v2/iex"), 60))
        one.http.close()
    assert last == {"T": "error", "code": 407, "msg": "slow client"}
