"""Clocks: simulated time never goes back, timers fire in order, wall time is monotonic."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY, SimulatedClock, WallClock, iso
from mqd.errors import UsageError


@given(st.lists(st.integers(0, 100), max_size=20))
def test_simulated_time_never_goes_back(moves):
    clock = SimulatedClock()
    highest = 0
    for to in moves:
        if to < highest:
            with pytest.raises(UsageError, match="cannot go to"):
                clock.advance(to)
        else:
            clock.advance(to)
            highest = to
        assert clock.now_ns() == clock.monotonic_ns() == highest


@given(st.lists(st.integers(0, 50), max_size=15), st.lists(st.integers(0, 60), max_size=6))
def test_timers_fire_once_when_due_in_order(instants, moves):
    clock = SimulatedClock()
    for number, at in enumerate(instants):
        clock.set_timer(at, f"t{number}")
    fired = []
    for to in sorted(moves):
        clock.advance(to)
        due = clock.due()
        assert all(at <= to for at, _ in due)
        fired += due
        later = [at for at in instants if at > to]
        assert clock.next_timer_ns() == (min(later) if later else None)
    reached = max(moves, default=-1)
    expected = sorted((at, n) for n, at in enumerate(instants) if at <= reached)
    assert fired == [(at, f"t{n}") for at, n in expected]


def test_timers_of_one_instant_fire_as_they_were_set():
    clock = SimulatedClock(5)
    for name in ("z", "a", "m"):
        clock.set_timer(7, name)
    assert clock.due() == []
    clock.advance(7)
    assert clock.due() == [(7, "z"), (7, "a"), (7, "m")]
    assert clock.due() == []


def test_the_wall_clock_is_between_two_readings_of_the_system():
    clock = WallClock()
    before = time.time_ns()
    now = clock.now_ns()
    assert before <= now <= time.time_ns()
    intervals = [clock.monotonic_ns() for _ in range(1000)]
    assert intervals == sorted(intervals)


def test_wall_timers_fire_when_due():
    clock = WallClock()
    past = clock.now_ns() - 1
    future = past + NS_PER_DAY
    clock.set_timer(future, "tomorrow")
    clock.set_timer(past, "now")
    assert clock.next_timer_ns() == past
    assert clock.due() == [(past, "now")]
    assert clock.next_timer_ns() == future


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400 * 10**9, "2000-02-29T00:00:00Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
    ],
)
def test_iso_says_nanoseconds_where_there_are_any(ts, text):
    assert iso(ts) == text
