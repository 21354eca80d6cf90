"""After the kill latch is set: everything is cancelled until the venue's list stays empty."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mqd.core.clock import NS_PER_S
from mqd.errors import MqdError
from mqd.live.chores import Latches
from mqd.risk.kill_switch import KillSwitch


class World:
    """A killed desk, its venue's list, and a clock that a test moves."""

    def __init__(self):
        self.now = 100 * NS_PER_S
        self.open, self.ours, self.down, self.slow_ns = [], [], False, 0
        self.latest, self.wanted = None, False
        self.sweeps, self.written, self.cancelled, self.stopped = [], [], [], ""
        self.switch = KillSwitch()
        folder = SimpleNamespace(latches=self.switch)
        self.latches = Latches(folder, self, self.cancel_everything)
        self.latches._wall = SimpleNamespace(monotonic_ns=lambda: self.now)
        self.desk = SimpleNamespace(
            parts=SimpleNamespace(
                journal=SimpleNamespace(write=lambda kind, words: self.written.append(kind)),
                machine=SimpleNamespace(working=lambda: self.ours),
                gate=SimpleNamespace(cancel=self.cancelled.append),
            )
        )  # fmt: skip

    def stop(self, why):
        self.stopped = why

    def ask_snapshot(self):
        self.wanted = True

    def cancel_everything(self):
        self.sweeps.append(self.now // NS_PER_S - 100)
        if self.down:
            raise MqdError("no answer")

    def live(self, seconds):
        """Let ``seconds`` pass; the venue answers each question a tenth of a second later."""
        for _ in range(seconds * 10):
            if self.stopped:
                return
            self.latches(self)
            if self.wanted and not self.down:
                self.wanted = False
                self.latest = SimpleNamespace(
                    asked_mono_ns=self.now + 1, told_mono_ns=self.now + 1 + self.slow_ns,
                    orders=list(self.open),
                )  # fmt: skip
            self.now += NS_PER_S // 10


@pytest.fixture
def world():
    made = World()
    made.switch.trip("the test says so", 1)
    return made


def order(name):
    return SimpleNamespace(order=SimpleNamespace(client_order_id=name))


def test_without_the_latch_nothing_is_cancelled():
    calm = World()
    calm.live(30)
    assert (calm.sweeps, calm.stopped, calm.written) == ([], "", [])


def test_two_empty_lists_five_seconds_apart_end_the_session(world):
    world.live(4)
    assert (world.sweeps, world.stopped, world.written) == ([0], "", ["kill"])
    world.live(3)
    assert world.stopped == "killed"
    assert world.latches.killed
    assert world.sweeps == [0]


def test_an_order_of_somebody_else_keeps_it_cancelling(world):
    world.open = ["by hand"]
    world.live(17)
    assert world.sweeps == [0, 5, 10, 15]
    assert world.stopped == ""
    world.open = []
    world.live(4)
    assert world.stopped == ""
    world.live(5)
    assert world.stopped == "killed"


def test_an_order_that_turns_up_between_two_lists_starts_the_count_anew(world):
    world.live(3)
    world.open = ["late"]
    world.live(4)
    assert world.stopped == ""
    assert len(world.sweeps) == 2
    world.open = []
    world.live(4)
    assert world.stopped == ""
    world.live(5)
    assert world.stopped == "killed"


def test_an_order_of_ours_in_doubt_keeps_it_alive(world):
    world.ours = [order("a"), order("b")]
    world.live(20)
    assert world.stopped == ""
    assert world.cancelled == ["a", "b"]
    world.ours = []
    world.live(9)
    assert world.stopped == "killed"


def test_a_venue_that_cannot_be_asked_is_asked_to_cancel_again_and_again(world):
    world.down = True
    world.live(21)
    assert world.sweeps == [0, 5, 10, 15, 20]
    assert world.stopped == ""
    world.down = False
    world.live(9)
    assert world.stopped == "killed"


def test_a_list_from_before_the_kill_proves_nothing(world):
    world.down = True
    before = world.now - 60 * NS_PER_S
    world.latest = SimpleNamespace(asked_mono_ns=before, told_mono_ns=before, orders=[])
    world.live(2)
    world.down = False
    world.live(3)
    assert world.latest.asked_mono_ns > 100 * NS_PER_S
    assert world.stopped == ""


def test_a_slow_first_answer_does_not_count_as_calm(world):
    """Its list was read three seconds after the first question went out."""
    world.slow_ns = 3 * NS_PER_S
    world.live(7)
    assert world.stopped == ""
    world.slow_ns = 0
    world.live(6)
    assert world.stopped == "killed"


def test_a_venue_that_falls_silent_after_one_empty_list_is_asked_to_cancel_again(world):
    world.live(1)
    assert world.sweeps == [0]
    world.down = True
    world.live(20)
    assert world.sweeps == [0, 10, 15, 20]
    assert world.stopped == ""
