"""The venue's clock on ours: an answer is as old as it is, and a skew is a skew."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core import clock as clock_module
from mqd.core.clock import NS_PER_S, LiveClock

NOON = 1_653_062_400 * NS_PER_S


class Computer:
    """This computer's clocks, moved by a test; wall time is some seconds off."""

    def __init__(self, monkeypatch, off_s=0):
        self.mono, self.off_ns = 5 * NS_PER_S, off_s * NS_PER_S
        stand_in = SimpleNamespace(
            time_ns=lambda: NOON + self.mono + self.off_ns, monotonic_ns=lambda: self.mono
        )
        monkeypatch.setattr(clock_module, "time", stand_in)

    def venue_ns(self, factor=1.0):
        """Return what the venue's clock shows now."""
        return NOON + int(self.mono * factor)

    def passes(self, seconds):
        self.mono += int(seconds * NS_PER_S)


@pytest.mark.parametrize("factor", [1.0, 60.0])
@pytest.mark.parametrize("trip_s", [0.02, 3.0, 12.0])
def test_a_slow_answer_is_no_skew_and_sets_the_clock_right(factor, trip_s, monkeypatch):
    """The venue answers in the middle of the trip; without its age the clock would be late."""
    computer = Computer(monkeypatch)
    live = LiveClock(factor)
    for adopt in (True, False):
        computer.passes(trip_s / 2)
        said = computer.venue_ns(factor)
        computer.passes(trip_s / 2)
        computer.passes(0.25)
        live.tell(said, age_ns=int((trip_s / 2 + 0.25) * NS_PER_S), adopt=adopt)
        assert live.now_ns() == computer.venue_ns(factor)
        assert live.skew_ns == 0
    assert live.age_ns == int((trip_s / 2 + 0.25) * NS_PER_S)


@pytest.mark.parametrize("off_s", [10, -10])
def test_a_clock_ten_seconds_off_is_told_whatever_the_answer_took(off_s, monkeypatch):
    computer = Computer(monkeypatch)
    live = LiveClock()
    live.tell(computer.venue_ns(), adopt=True)
    computer.passes(12.0)
    live.tell(computer.venue_ns() - 6 * NS_PER_S + off_s * NS_PER_S, age_ns=6 * NS_PER_S)
    assert live.skew_ns == off_s * NS_PER_S


@settings(deadline=None, max_examples=60)
@given(trip_ms=st.integers(0, 15_000), share=st.floats(0.0, 1.0), factor=st.sampled_from([1, 60]))
def test_the_clock_is_wrong_by_half_of_the_trip_at_most(trip_ms, share, factor):
    """Law: whenever in the trip the venue spoke, the middle is half of it away at most."""
    with pytest.MonkeyPatch.context() as patch:
        computer = Computer(patch)
        live = LiveClock(float(factor))
        trip_ns = trip_ms * 1_000_000
        asked = computer.mono
        computer.mono += int(trip_ns * share)
        said = computer.venue_ns(factor)
        computer.mono = asked + trip_ns
        live.tell(said, age_ns=trip_ns // 2, adopt=True)
        assert abs(live.now_ns() - computer.venue_ns(factor)) <= (trip_ns // 2 + 1) * factor
