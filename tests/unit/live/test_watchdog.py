"""The watchdog cancels what opens when its desk is silent, and nothing else."""

import json
import subprocess
from decimal import Decimal

import pytest

from mqd.errors import MqdError
from mqd.live.errors import DeskRefused
from mqd.live.watchdog import HANGS_NS, SILENT_NS, Watchdog, WatchdogProcess, opening_ids


def order(name, symbol, side, qty="5", **more):
    return {"id": name, "symbol": symbol, "side": side, "qty": qty, **more}


ORDERS = [
    order("buys", "AAPL", "buy"), order("stops", "MSFT", "sell"), order("covers", "IBM", "buy"),
    order("adds", "MSFT", "buy"), order("odd", "MSFT", "neither"),
]  # fmt: skip
HELD = {"MSFT": Decimal(5), "IBM": Decimal(-5)}


class Account:
    """Answers like a session; ``down`` refuses."""

    def __init__(self, orders):
        self.orders, self.cancelled, self.down = list(orders), [], False
        self.stuck = ""
        self.positions = [{"symbol": s, "qty": str(qty)} for s, qty in HELD.items()]

    def ask(self, path, _words=None, *, urgent=False):
        assert urgent
        if self.down:
            raise MqdError("nobody answers")
        if path == "/v2/positions":
            return self.positions
        return self.orders

    def insist(self, method, path, *, urgent):
        assert (method, urgent) == ("DELETE", True)
        name = path.rsplit("/", 1)[1]
        if name == self.stuck:
            raise MqdError("the venue answered 500")
        if name == "orders":
            self.cancelled += [one["id"] for one in self.orders]
            self.orders = []
            return
        self.cancelled.append(name)
        self.orders = [one for one in self.orders if one["id"] != name]


class Clock:
    ns = 10**18

    off_ns = 0

    def now_ns(self):
        return self.ns + self.off_ns

    def monotonic_ns(self):
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
    assert dog.look() is False
    clock.ns += SILENT_NS + 1
    assert dog.look() is True
    assert account.cancelled == ["buys", "adds", "odd"]
    assert dog.n_empty == 0
    dog.look()
    assert dog.n_empty == 1
    beat(folder, clock.ns)
    assert dog.look() is False
    assert dog.n_empty == 0


@pytest.mark.parametrize("off_ns", [-(10**13), 10**13])
def test_a_computer_whose_clock_is_set_is_no_silence_and_hides_none(world, off_ns):
    account, clock, _, dog, folder = world
    beat(folder, clock.now_ns())
    assert dog.look() is False
    clock.off_ns = off_ns
    clock.ns += SILENT_NS
    assert dog.look() is False
    clock.ns += 1
    assert dog.look() is True
    assert account.cancelled


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


def test_what_stays_never_exceeds_what_is_held():
    """Long 5: a sell of 1,000 turns the account, and so do two sells of 3 together."""
    held = {"MSFT": Decimal(5)}
    large = [order("large", "MSFT", "sell", "1000")]
    assert opening_ids(large, held) == ["large"]
    both = [order("one", "MSFT", "sell", "3"), order("two", "MSFT", "sell", "3")]
    assert opening_ids(both, held) == ["two"]
    part = [order("rest", "MSFT", "sell", "8", filled_qty="3")]
    assert opening_ids(part, held) == []
    legs = [order(name, "MSFT", "sell", "5", order_class="oco") for name in ("stop", "target")]
    assert opening_ids(legs, held) == []
    assert opening_ids([order("unread", "MSFT", "sell", "many")], held) == ["unread"]


def test_one_order_that_does_not_go_keeps_no_other(world):
    account, clock, _, dog, _ = world
    account.stuck = "buys"
    clock.ns += SILENT_NS + 1
    assert dog.look() is True
    assert account.cancelled == ["adds", "odd"]
    assert dog.n_empty == 0


@pytest.mark.parametrize("lie", [{"code": 1}, "text", [1, 2], None])
def test_an_answer_that_is_no_list_does_not_end_it(world, lie):
    account, clock, _, dog, _ = world
    clock.ns += SILENT_NS + 1
    truth, account.positions = account.positions, lie
    assert dog.look() is True
    assert account.cancelled == []
    account.positions = truth
    assert dog.look() is True
    assert account.cancelled == ["buys", "adds", "odd"]


def test_a_full_disk_does_not_end_it(world, monkeypatch):
    account, clock, dead, dog, _ = world

    def full(*_words, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mqd.live.watchdog.write_atomically", full)
    dead.append(True)
    clock.ns += 1
    assert dog.look() is True
    assert account.cancelled == ["buys", "adds", "odd"]


def test_a_killed_desk_that_hangs_loses_all_its_orders(world):
    account, clock, _, dog, folder = world
    (folder / "latches").mkdir()
    (folder / "latches/kill.latch").write_text("1 by hand")
    beat(folder, clock.ns)
    assert dog.look() is False
    clock.ns += HANGS_NS + 1
    assert dog.look() is True
    assert account.cancelled == [one["id"] for one in ORDERS]


@pytest.mark.parametrize(
    ("error", "traded", "told_done"),
    [
        (None, True, True), (OSError("the disk is full"), True, False),
        (OSError("no route to the venue"), False, True), (DeskRefused("books differ"), True, True),
    ],
)  # fmt: skip
def test_a_desk_that_died_of_an_error_is_not_done(error, traded, told_done, monkeypatch, tmp_path):
    """What the watchdog reads on its standard input: "done", or nothing at all."""
    echo = "import sys; open(sys.argv[-1], 'w').write(repr(sys.stdin.read()))"
    started = subprocess.Popen
    told = tmp_path / "told"

    def start(words, **named):
        return started([words[0], "-c", echo, str(told)], **named)

    monkeypatch.setattr("mqd.live.watchdog.subprocess.Popen", start)
    config = type("Config", (), {"state": tmp_path, "file": tmp_path / "desk.toml"})
    dog = WatchdogProcess(config, {"PATH": ""}, rehearsal=True)
    dog.traded = lambda: traded
    try:
        with dog:
            if error is not None:
                raise error
    except (OSError, DeskRefused):
        assert error is not None
    dog._process.wait(20)
    assert told.read_text() == repr("done" if told_done else "")
