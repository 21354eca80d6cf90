"""The venue's clock and what its assets allow, as Alpaca documents them and as the venue says."""

import pytest
import stamina

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.errors import VenueLies, VenueRefused
from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import WallClock
from tests.unit.adapters.alpaca_bench import QUANTUM, SCALES, connector_over
from tests.venue.venue_bench import KEY, SECRET, Switch, listening, step, venue_by_hand

CLOCK = {
    "timestamp": "2026-10-01T09:45:00.123456789-04:00", "is_open": True,
    "next_open": "2026-10-02T09:30:00-04:00", "next_close": "2026-10-01T16:00:00-04:00",
}  # fmt: skip
ASSET = {
    "id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "class": "us_equity", "exchange": "NASDAQ",
    "symbol": "AAA", "status": "active", "tradable": True, "marginable": True,
    "shortable": False, "easy_to_borrow": False, "fractionable": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def brief_pauses():
    """Let repeated questions follow each other at once."""
    with stamina.set_testing(True, attempts=2):
        yield


def test_the_clock_is_read_to_the_nanosecond_from_new_yorks_offset():
    connector, script = connector_over((200, CLOCK), (200, CLOCK))
    assert connector.clock() == (
        1790862300_123456789, True, 1790947800_000000000, 1790884800_000000000
    )  # fmt: skip
    assert connector.clock_ns() == 1790862300_123456789
    assert script.calls == [("GET", "/v2/clock")] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": None}, {"next_open": "tomorrow"}, {"next_close": 5}, {"is_open": "true"},
        {"is_open": None}, {"timestamp": "2026-13-01T09:45:00Z"},
    ],
)  # fmt: skip
def test_a_clock_that_cannot_be_read_is_no_clock(other):
    connector, _ = connector_over((200, {**CLOCK, **other}))
    with pytest.raises(VenueLies, match="clock without its instants"):
        connector.clock()


@pytest.mark.parametrize("body", [[], "<html>", ""])
def test_an_answer_that_is_no_object_is_no_clock_and_no_asset(body):
    connector, _ = connector_over((200, body), (200, body))
    with pytest.raises(VenueLies):
        connector.clock()
    with pytest.raises(VenueLies):
        connector.asset("AAA")


@pytest.mark.parametrize(
    ("other", "flags"),
    [
        ({}, (1, 1, 0, 0)),
        ({"shortable": True, "easy_to_borrow": True}, (1, 1, 1, 1)),
        ({"tradable": False}, (0, 1, 0, 0)),
        ({"status": "inactive"}, (0, 1, 0, 0)),
        ({"status": None}, (0, 1, 0, 0)),
        ({"easy_to_borrow": None, "fractionable": "true"}, (1, -1, 0, -1)),
        ({"tradable": 1, "shortable": 0}, (-1, 1, -1, 0)),
    ],
)
def test_flags_are_one_zero_or_unknown(other, flags):
    connector, _ = connector_over((200, {**ASSET, **other}))
    assert connector.asset("AAA") == flags


def test_a_flag_that_is_gone_is_unknown():
    shown = {name: value for name, value in ASSET.items() if name != "easy_to_borrow"}
    connector, _ = connector_over((200, shown))
    assert connector.asset("AAA").easy_to_borrow == -1


def test_an_asset_that_is_not_listed_is_not_tradable_and_other_errors_are_errors():
    gone = {"code": 40410000, "message": "asset not found for ZZZ"}
    connector, _ = connector_over((404, gone), (403, {"message": "forbidden."}))
    assert connector.asset("ZZZ") == (0, 0, 0, 0)
    with pytest.raises(VenueRefused, match="403"):
        connector.asset("AAA")


def test_a_pair_is_one_segment_of_the_path():
    connector, script = connector_over((200, {**ASSET, "symbol": "BTC/USD"}))
    connector.asset("BTC/USD")
    assert script.calls == [("GET", "/v2/assets/BTC%2FUSD")]


def test_the_venue_is_asked_over_http():
    switch = Switch()
    venue = switch.put(venue_by_hand())
    step(venue)
    with listening(switch) as port:
        session = AlpacaSession(
            f"http://127.0.0.1:{port}", Keys(Secret(KEY), Secret(SECRET)), WallClock()
        )
        connector = AlpacaBrokerConnector(session, SCALES, WallClock(), QUANTUM)
        told, flags, gone = connector.clock(), connector.asset("BBB"), connector.asset("NONE")
        pair = connector.asset("AAA/USD")
        session.close()
    scene = next(iter(venue.books.values())).scene
    assert told == (scene.now_ns, scene.is_open, scene.next_open_ns, scene.next_close_ns)
    assert flags.tradable == flags.fractionable == 1
    assert gone == pair == (0, 0, 0, 0)
