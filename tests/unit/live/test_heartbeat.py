"""The heartbeat: it goes on without a disk, and shuts the gate while there is still room."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mqd.live.chores import BEAT_NS, Heartbeat
from mqd.live.folder import FREE_BYTES_MIN, Space
from mqd.risk.errors import LatchNotDurable
from mqd.risk.kill_switch import KillSwitch, LatchLevel


class Folder:
    """A state folder whose disk a test fills."""

    def __init__(self):
        self.latches, self.free, self.error, self.beats = KillSwitch(), FREE_BYTES_MIN, None, []

    def beat(self, now_ns, **words):
        if self.error is not None:
            raise self.error
        self.beats.append(words)

    def space(self):
        return Space(self.free)


@pytest.fixture
def world():
    folder = Folder()
    parts = SimpleNamespace(
        blotter=SimpleNamespace(n_open=lambda: 2), clock=SimpleNamespace(now_ns=lambda: 7)
    )
    session = SimpleNamespace(
        desk=SimpleNamespace(parts=parts), ended=False, counters=lambda: {"bars": 5, "n_passed": 3}
    )
    heartbeat, clock = Heartbeat(folder), SimpleNamespace(ns=10**12)
    heartbeat._wall = SimpleNamespace(monotonic_ns=lambda: clock.ns, now_ns=lambda: clock.ns)

    def turn(ns=BEAT_NS):
        clock.ns += ns
        heartbeat(session)

    turn.session = session
    return folder, turn


def test_it_says_what_status_shows_and_leaves_the_latches_alone(world):
    folder, turn = world
    turn()
    assert folder.beats == [{"state": "running", "open_orders": 2, "bars": 5, "n_passed": 3}]
    assert folder.latches.level is LatchLevel.CLEAR


def test_at_the_end_it_waits_for_no_second(world):
    folder, turn = world
    turn()
    turn(1)
    assert len(folder.beats) == 1
    turn.session.ended = True
    turn.session.counters = lambda: {"bars": 6, "n_passed": 4}
    turn(1)
    assert folder.beats[1]["bars"] == 6


def test_below_a_gibibyte_the_desk_may_only_reduce(world):
    folder, turn = world
    folder.free -= 1
    turn()
    turn()
    assert folder.latches.level is LatchLevel.REDUCE_ONLY
    assert "1023 MiB are left" in folder.latches.reasons[LatchLevel.REDUCE_ONLY]
    assert len(folder.beats) == 2


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), LatchNotDurable("x", OSError(28, "full"))]
)
def test_a_full_disk_does_not_end_the_desk(world, error):
    folder, turn = world
    folder.error = error
    turn()
    folder.error = None
    turn()
    assert len(folder.beats) == 1
