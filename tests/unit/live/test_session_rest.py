"""How a session waits: by ticks, never past a close, and near one it keeps its way warm."""

from __future__ import annotations

import pytest

from mqd.core.clock import NS_PER_S
from mqd.live.session import TICK_S, WARM_S, WARM_TICK_S, LiveSession
from tests.unit.live.session_world import OPEN, ScriptedClock


class NotedWake:
    """Notes how long it was waited for."""

    def __init__(self):
        self.waited = []

    def wait(self, seconds):
        self.waited.append(seconds)

    def clear(self):
        return None


def rested(left_s, factor=1.0, warms=True):
    """Let a session wait once, ``left_s`` of real time before a close."""
    clock, wake, rounds = ScriptedClock(OPEN), NotedWake(), []
    clock.factor = factor
    warm_up = (lambda: rounds.append(left_s)) if warms else None
    session = LiveSession(None, None, None, clock, None, wake, warm_up=warm_up)
    session._rest(OPEN + int(left_s * factor * NS_PER_S))
    return wake.waited, len(rounds)


@pytest.mark.parametrize(
    ("left_s", "waited_s", "rounds"),
    [
        (30.0, TICK_S, 0), (WARM_S + 0.01, TICK_S, 0), (WARM_S / 2, WARM_TICK_S, 1),
        (0.001, 0.001, 0), (0.0, WARM_TICK_S, 1), (-0.5, WARM_TICK_S, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("factor", [1.0, 60.0])
def test_near_a_close_the_way_is_gone_and_the_wait_is_short(left_s, waited_s, rounds, factor):
    assert rested(left_s, factor) == ([pytest.approx(waited_s)], rounds)


@pytest.mark.parametrize(("left_s", "waited_s"), [(30.0, TICK_S), (0.01, 0.01), (-1.0, TICK_S)])
def test_without_a_warm_up_it_ticks(left_s, waited_s):
    assert rested(left_s, warms=False) == ([pytest.approx(waited_s)], 0)
