"""Halts, bands and changed bars told over the control path: the orders, the adapter, the desk."""

import json
import queue
import threading
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace

import httpx
import pytest

from mqd.adapters.alpaca.keys import Secret
from mqd.adapters.alpaca.streams import AlpacaStreams
from mqd.core.clock import SimulatedClock, WallClock
from mqd.live.sightings import Sightings
from mqd.market_data.realtime import RealtimeDataHandler
from mqd.risk.live_controls import trading_halt
from mqd.risk.live_state import LiveLimits, LiveState
from tests.venue.venue_bench import (
    HEADERS,
    KEY,
    SECRET,
    TOKEN,
    ask,
    bars_by_hand,
    limit,
    market,
    served,
    step,
    venue_by_hand,
)

WAIT_S = 10


class Told:
    """A served venue with its control path."""

    def __init__(self, venue, port):
        self.venue, self.ws = venue, f"ws://127.0.0.1:{port}"
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"X-Control-Token": TOKEN},
            trust_env=False,
        )  # fmt: skip

    def say(self, route, **body):
        answer = self.http.post(f"/_control/{route}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def step(self):
        for phase in ("begin", "open", "within", "close"):
            assert self.http.post(f"/_control/{phase}").status_code == 200


@contextmanager
def told(**words):
    venue = venue_by_hand(**words)
    with served(venue) as port:
        one = Told(venue, port)
        try:
            yield one
        finally:
            one.http.close()


@contextmanager
def heard(one, sink, **subscribed):
    """Let the adapter's own streams hear the venue; wait until they listen."""
    streams = AlpacaStreams(
        data_url=f"{one.ws}/v2/iex", key_id=Secret(KEY), secret=Secret(SECRET),
        clock=WallClock(), on_data=sink,
    )  # fmt: skip
    streams.subscribe(**subscribed)
    streams.start()
    streams.wait_ready(WAIT_S)
    try:
        yield streams
    finally:
        assert streams.stop()


def until(happens):
    """Wait until something is true; return what it is."""
    for _ in range(WAIT_S * 50):
        found = happens()
        if found:
            return found
        threading.Event().wait(0.02)
    return happens()


# --- orders in a halt ----------------------------------------------------------------------------


def statuses(venue, *names):
    path = "/v2/orders:by_client_order_id"
    return [ask(venue, "GET", path, query={"client_order_id": n}).body["status"] for n in names]


def test_a_halted_symbol_takes_orders_and_fills_none_until_it_trades_again():
    with told() as one:
        step(one.venue)
        before = ask(one.venue, "POST", "/v2/orders", limit("99.5", client_order_id="before"))
        assert before.status == 200
        one.say("status", symbol="AAA", halted=True)
        for name, tif in (("inside", "day"), ("now", "ioc"), ("all", "fok")):
            body = {**market(client_order_id=name), "time_in_force": tif}
            assert ask(one.venue, "POST", "/v2/orders", body).status == 200
        other = market(symbol="BBB", qty="1", client_order_id="other")
        assert ask(one.venue, "POST", "/v2/orders", other).status == 200
        step(one.venue)
        names = ("before", "inside", "now", "all", "other")
        assert statuses(one.venue, *names) == ["new", "new", "canceled", "canceled", "filled"]
        one.say("status", symbol="AAA", halted=False)
        step(one.venue)
        assert statuses(one.venue, "before", "inside") == ["filled", "filled"]
        assert one.venue.first.broker.account_book.lots("AAA") == 110


def test_an_order_of_a_halted_symbol_can_be_replaced_and_cancelled():
    with told() as one:
        step(one.venue)
        one.say("status", symbol="AAA", halted=True)
        ids = [
            ask(one.venue, "POST", "/v2/orders", limit("99.5", client_order_id=name)).body["id"]
            for name in ("one", "two")
        ]
        step(one.venue)
        changed = ask(one.venue, "PATCH", f"/v2/orders/{ids[0]}", {"limit_price": "99.75"})
        assert (changed.status, changed.body["limit_price"]) == (200, "99.75")
        assert ask(one.venue, "DELETE", f"/v2/orders/{ids[1]}").status == 204
        step(one.venue)
        assert statuses(one.venue, "two") == ["canceled"]
        assert one.venue.first.broker.account_book.lots("AAA") == 0


def test_a_halt_holds_for_every_account():
    with told() as one:
        step(one.venue)
        one.say("status", symbol="AAA", halted=True)
        assert [book.broker.halted for book in one.venue.books.values()] == [{"AAA"}, {"AAA"}]


# --- through the adapter to the desk -------------------------------------------------------------


def scene(one):
    """Return sightings over the venue's symbols and what control 17 says of them."""
    clock, wall = WallClock(), WallClock()
    live = SimpleNamespace(factor=1.0, now_ns=clock.now_ns, monotonic_ns=wall.monotonic_ns)
    sightings = Sightings(one.venue.scene.scales, live)
    order = SimpleNamespace(symbol="AAA", type="limit")

    def why():
        symbols = sightings.look(["AAA", "BBB"], watched=True)
        state = LiveState(
            status_age_ns=0, market_halted=sightings.market_halted, symbols=symbols
        )  # fmt: skip
        return trading_halt(order, state, False, LiveLimits())

    return sightings, why


def test_a_halt_of_the_venue_stops_a_desk_and_its_end_lets_it_on():
    with told() as one:
        sightings, why = scene(one)
        names = ["AAA", "BBB"]
        with heard(one, sightings.put, statuses=names, lulds=names, trades=names, quotes=names):
            assert "nobody knows" in why()
            one.step()
            assert until(lambda: why() == "")
            one.say("status", symbol="AAA", halted=True, reason="T1")
            assert "halted" in until(why)
            assert sightings.look(["AAA"], watched=True)["AAA"].halted == 1
            assert sightings.look(["BBB"], watched=True)["BBB"].halted == 0
            one.say("status", symbol="AAA", halted=False)
            assert "resumed" in until(lambda: "resumed" in why() and why())
            one.say("status", symbol="BBB", halted=True, reason="MWC1")
            assert "market-wide" in until(lambda: "market-wide" in why() and why())


def test_a_band_told_by_hand_is_a_limit_state_and_stays_over_the_next_bars():
    with told() as one:
        sightings, why = scene(one)
        with heard(one, sightings.put, statuses=["AAA"], lulds=["AAA"], quotes=["AAA"],
                   trades=["AAA"]):  # fmt: skip
            one.step()
            assert until(lambda: why() == "")
            one.say("luld", symbol="AAA", up="99.5", down="80")
            assert "limit band" in until(why)
            one.step()
            one.say("status", symbol="BBB", halted=False)
            assert "limit band" in why()
            one.say("luld", symbol="AAA", up=120, down=80.25)
            assert until(lambda: why() == "") is True


@pytest.mark.parametrize(
    ("reason", "code"), [("T1", "H"), ("LUDP", "P"), ("MWC2", "H"), (None, "H")]
)
def test_a_status_has_the_fields_of_alpacas_message(reason, code):
    with told() as one:
        frames = queue.Queue()
        with heard(one, frames.put, statuses=["*"]):
            words = {} if reason is None else {"reason": reason}
            answer = one.say("status", symbol="AAA", halted=True, **words)
            [message] = frames.get(timeout=WAIT_S)
    assert set(message) == {"T", "S", "sc", "sm", "rc", "rm", "z", "t"}
    assert (message["T"], message["S"], message["sc"]) == ("s", "AAA", code)
    assert message["rc"] == (reason or "T12")
    assert message["t"] == one.venue.now_ns
    assert answer["sc"] == code
    assert answer["t"].endswith("Z")


def test_a_halt_tells_nothing_of_the_bar_that_is_under_way():
    """The trades of a step are known when it closes; a message inside it must not bring them."""
    with told() as one:
        frames = queue.Queue()
        with heard(one, frames.put, statuses=["*"], trades=["*"], quotes=["*"], bars=["*"]):
            assert one.http.post("/_control/begin").status_code == 200
            one.say("status", symbol="AAA", halted=True)
            one.http.post("/_control/close")
            first, second = (frames.get(timeout=WAIT_S) for _ in range(2))
            assert frames.empty()
    assert [message["T"] for message in first] == ["s"]
    assert [message["T"] for message in second] == ["q", "t", "q", "t"] * 4 + ["b", "b"]


# --- changed bars --------------------------------------------------------------------------------


def test_a_changed_bar_is_told_counted_and_what_the_data_api_shows():
    bars = []
    clock = SimulatedClock(int(bars_by_hand()["AAA"].ts_close[0]))
    with told() as one:
        handler = RealtimeDataHandler(["AAA", "BBB"], clock, bars.append)
        with heard(one, handler.take, bars=["*"], updated_bars=["AAA", "BBB"]):
            one.step()
            assert until(lambda: handler.pump() and len(bars)) == 2
            told_back = one.say("updated_bar", symbol="AAA", close="100.5", volume=10_100)
            assert (told_back["T"], told_back["c"], told_back["h"]) == ("u", 100.5, 101)
            assert until(handler.pump) == 1
        shown = one.http.get(
            "/v2/stocks/bars", headers=HEADERS,
            params={"symbols": "AAA,BBB", "timeframe": "1Min", "start": "2024-03-04"},
        ).json()["bars"]  # fmt: skip
    assert handler.counts["u"] == 1
    assert (handler.gate.n_revised, handler.gate.n_released, handler.bad.total) == (1, 2, 0)
    assert [bar.close for bar in bars] == [100, 50]
    assert (shown["AAA"][0]["c"], shown["AAA"][0]["v"]) == (100.5, 10_100)
    assert shown["BBB"][0]["c"] == 50


def test_a_changed_bar_changes_the_longer_bars_that_hold_it():
    venue = venue_by_hand()
    with served(venue) as port:
        one = Told(venue, port)
        for _ in range(5):
            one.step()
        query = {"symbols": "AAA", "timeframe": "1Hour", "start": "2024-03-04"}
        before = ask(venue, "GET", "/v2/stocks/bars", query=query).body["bars"]["AAA"]
        one.say("updated_bar", symbol="AAA", high="114")
        after = ask(venue, "GET", "/v2/stocks/bars", query=query).body["bars"]["AAA"]
        one.http.close()
    assert [bar["h"] for bar in before] == [102, 110]
    assert [bar["h"] for bar in after] == [102, 114]


# --- bodies --------------------------------------------------------------------------------------

BAD = [
    ("status", {"symbol": "ZZZ", "halted": True}, 404, "this venue has AAA, BBB"),
    ("status", {"halted": True}, 404, "symbol is None"),
    ("status", {"symbol": ["AAA"], "halted": True}, 404, "symbol is"),
    ("status", {"symbol": "AAA"}, 422, "write true or false"),
    ("status", {"symbol": "AAA", "halted": "yes"}, 422, "write true or false"),
    ("status", {"symbol": "AAA", "halted": 1}, 422, "write true or false"),
    ("status", {"symbol": "AAA", "halted": True, "reason": "bad news"}, 422, "write a code"),
    ("status", {"symbol": "AAA", "halted": True, "until": 3}, 422, "'until' is unknown"),
    ("luld", {"symbol": "AAA", "up": "101"}, 422, "down is missing"),
    ("luld", {"symbol": "AAA", "up": "99", "down": "99"}, 422, "lies below"),
    ("luld", {"symbol": "AAA", "up": "x", "down": "99"}, 422, "up must be a number"),
    ("luld", {"symbol": "AAA", "up": -1, "down": "99"}, 422, "up must be a number"),
    ("luld", {"symbol": "AAA", "up": True, "down": "99"}, 422, "up must be a number"),
    ("updated_bar", {"symbol": "AAA"}, 422, "nothing is changed"),
    ("updated_bar", {"symbol": "AAA", "close": None}, 422, "close is missing"),
    ("updated_bar", {"symbol": "AAA", "close": "105"}, 422, "give those too"),
    ("updated_bar", {"symbol": "AAA", "vwap": "105"}, 422, "'vwap' is unknown"),
]


@pytest.fixture(scope="module")
def stepped():
    with told() as one:
        one.step()
        yield one


@pytest.mark.parametrize(("route", "body", "status", "words"), BAD)
def test_a_bad_body_is_answered_by_a_sentence_and_changes_nothing(
    stepped, route, body, status, words
):
    answer = stepped.http.post(f"/_control/{route}", json=body)
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert all(not book.broker.halted for book in stepped.venue.books.values())
    assert not stepped.venue.banded
    assert stepped.venue.data.tape.base("AAA").close[0] == 100


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"symbol": "AAA", "up": NaN, "down": 1}'])
def test_what_is_no_object_is_refused(stepped, text):
    answer = stepped.http.post("/_control/luld", content=text)
    assert answer.status_code in (400, 404, 422)
    assert answer.json()["message"]


def test_the_token_is_needed(stepped):
    body = json.dumps({"symbol": "AAA", "halted": True})
    for headers in ({"X-Control-Token": "wrong"}, {"X-Control-Token": ""}):
        answer = stepped.http.post("/_control/status", content=body, headers=headers)
        assert answer.status_code == 401
    assert not stepped.venue.first.broker.halted


def test_no_bar_is_changed_before_there_is_one():
    with told() as one:
        answer = one.http.post("/_control/updated_bar", json={"symbol": "AAA", "close": "100"})
        assert answer.status_code == 422
        assert "no bar yet" in answer.json()["message"]


def test_a_venue_that_walks_by_itself_can_be_told_too():
    venue = venue_by_hand()
    step(venue)
    with served(venue, stepped=False) as port:
        one = Told(venue, port)
        assert one.say("status", symbol="BBB", halted=True)["S"] == "BBB"
        assert one.http.post("/_control/begin").status_code == 409
        one.http.close()
    assert venue.first.broker.halted == {"BBB"}
    assert Decimal(ask(venue, "GET", "/v2/account").body["equity"]) == 100_000
