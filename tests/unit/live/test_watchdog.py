"""The watchdog cancels what opens when its desk is silent, and nothing else."""

import json

import pytest

from mqd.errors import MqdError
from mqd.live.watchdog import SILENT_NS, Watchdog, opening_ids

ORDERS = [
    {"id": "buys", "symbol": "AAPL", "side": "buy"},
    {"id": "stops", "symbol": "MSFT", "side": "sell"},
    {"id": "covers", "symbol": "IBM", "side": "buy"},
    {"id": "adds", "symbol": "MSFT", "side": "buy"},
    {"id": "odd", "symbol": "MSFT", "side": "neither"},
]
HELD = {"MSFT": 1, "IBM": -1}


class Account:
    """Answers like a session; ``down`` refuses."""

    def __init__(self, orders):
        self.orders, self.cancelled, self.down = list(orders), [], False

    def ask(self, path, _words=None, *, urgent=False):
        assert urgent
        if self.down:
            raise MqdError("nobody answers")
        if path == "/v2/positions":
            return [{"symbol": s, "qty": str(5 * sign)} for s, sign in HELD.items()]
        return self.orders

    def insist(self, method, path, *, urgent):
        assert (method, urgent) == ("DELETE", True)
        name = path.rsplit("/", 1)[1]
        self.cancelled.append(name)
        self.orders = [one for one in self.orders if one["id"] != name]


class Clock:
    ns = 10**18

    def now_ns(self):
        return self.ns


@pytest.fixture
def world(tmp_path):
    account, clock, dead = Account(ORDERS), Clock(), []
    return account, clock, dead, Watchdog(tmp_path, account, clock, lambda: bool(dead)), tmp_path


def beat(folder, now_ns):
    (folder / "heartbeat.json").write_text(json.dumps({"now_ns": now_ns}))


def test_what_reduces_stays_and_what_nobody_can_read_opens():
    assert opening_ids(ORDERS, HELD) == ["buys", "adds", "odd"]
    assert opening_ids(ORDERS, {}) == [one["id"] for one in ORDERS]


def test_a_desk_that_beats_is_left_alone_and_the_watchdog_says_that_it_lives(world):
    account, clock, _, dog, folder = world
    for _ in range(3):
        clock.ns += SILENT_NS
        beat(folder, clock.ns - SILENT_NS)
        assert dog.look() is False
    assert account.cancelled == []
    assert json.loads((folder / "watchdog.json").read_text())["now_ns"] == clock.ns


def test_a_minute_of_silence_cancels_what_opens(world):
    account, clock, _, dog, folder = world
    beat(folder, clock.ns)
    clock.ns += SILENT_NS + 1
    assert dog.look() is True
    assert account.cancelled == ["buys", "adds", "odd"]
    assert dog.n_empty == 0
    dog.look()
    assert dog.n_empty == 1
    beat(folder, clock.ns)
    assert dog.look() is False
    assert dog.n_empty == 0


def test_an_old_heartbeat_of_the_day_before_does_not_count_at_the_start(world):
    account, clock, _, dog, folder = world
    beat(folder, clock.ns - 10**14)
    assert dog.look() is False
    clock.ns += SILENT_NS + 1
    assert dog.look() is True
    assert account.cancelled


def test_a_dead_desk_is_silent_at_once_and_a_venue_that_is_down_is_asked_again(world):
    account, clock, dead, dog, folder = world
    beat(folder, clock.ns)
    dead.append(True)
    account.down = True
    assert dog.look() is True
    assert (account.cancelled, dog.n_empty) == ([], 0)
    account.down = False
    assert dog.look() is True
    assert account.cancelled == ["buys", "adds", "odd"]
