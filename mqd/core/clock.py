"""Time comes in through a clock and is read nowhere else. Nanoseconds since 1970, UTC."""

from __future__ import annotations

import heapq
import time
from datetime import UTC, datetime
from typing import Protocol

from mqd.errors import UsageError

NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_S
NS_PER_DAY = 86_400 * NS_PER_S


def iso(ts_ns: int) -> str:
    """Return an instant as ISO 8601 in UTC, nanoseconds only where there are any."""
    seconds, rest = divmod(ts_ns, NS_PER_S)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"


class _Timers:
    """Named instants that fire once, in time order; ties in the order they were set."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._count = 0

    def add(self, at_ns: int, name: str) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_ns, self._count, name))

    def due(self, now_ns: int) -> list[tuple[int, str]]:
        fired = []
        while self._heap and self._heap[0][0] <= now_ns:
            at_ns, _, name = heapq.heappop(self._heap)
            fired.append((at_ns, name))
        return fired

    def next_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None


class RunClock(Protocol):
    """The clock of a run: simulated time that the desk moves, or time that moves by itself."""

    def now_ns(self) -> int:
        """Return the instant, nanoseconds UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return time that never goes back."""
        ...

    def advance(self, to_ns: int) -> None:
        """Move to ``to_ns``, where the clock does not move by itself."""
        ...

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at ``at_ns``."""
        ...

    def due(self) -> list[tuple[int, str]]:
        """Return and forget the timers that are due."""
        ...

    def next_timer_ns(self) -> int | None:
        """Return the instant of the next timer, or None."""
        ...


class SimulatedClock:
    """A clock that the replay moves; it never goes back."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._timers = _Timers()

    def now_ns(self) -> int:
        """Return the simulated instant."""
        return self._now_ns

    def monotonic_ns(self) -> int:
        """Return the simulated instant; simulated time cannot jump back."""
        return self._now_ns

    def advance(self, to_ns: int) -> None:
        """Move to ``to_ns``; raise ``UsageError`` when that lies in the past."""
        if to_ns < self._now_ns:
            raise UsageError(f"The clock is at {iso(self._now_ns)} and cannot go to {iso(to_ns)}.")
        self._now_ns = to_ns

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at the first step that closes at or after ``at_ns``."""
        self._timers.add(at_ns, name)

    def due(self) -> list[tuple[int, str]]:
        """Return and forget the timers that are due, in time order."""
        return self._timers.due(self._now_ns)

    def next_timer_ns(self) -> int | None:
        """Return the instant of the next timer, or None."""
        return self._timers.next_ns()


class StrategyClock:
    """A clock as one strategy sees it: the run's time, timers of its own."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._timers = _Timers()

    def now_ns(self) -> int:
        """Return the run's instant."""
        return self._clock.now_ns()

    def monotonic_ns(self) -> int:
        """Return the run's time that never goes back."""
        return self._clock.monotonic_ns()

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at the first step that closes at or after ``at_ns``.

        Raises ``UsageError`` unless ``at_ns`` is an int (nanoseconds UTC) and ``name`` a text.
        """
        instant: object = at_ns
        label: object = name
        if type(instant) is not int or not isinstance(label, str):
            raise UsageError(
                f"set_timer({at_ns!r}, {name!r}): it takes an instant in int nanoseconds, then a"
                " name."
            )
        self._timers.add(at_ns, name)

    def due(self) -> list[tuple[int, str]]:
        """Return and forget this strategy's timers that are due, in time order."""
        return self._timers.due(self.now_ns())

    def next_timer_ns(self) -> int | None:
        """Return the instant of this strategy's next timer, or None."""
        return self._timers.next_ns()


class WallClock:
    """The computer's clock: wall time for stamps, monotonic time for intervals."""

    def __init__(self) -> None:
        self._timers = _Timers()

    def now_ns(self) -> int:
        """Return wall time."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return time that never jumps; only differences have a meaning."""
        return time.monotonic_ns()

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at ``at_ns``."""
        self._timers.add(at_ns, name)

    def due(self) -> list[tuple[int, str]]:
        """Return and forget the timers that are due, in time order."""
        return self._timers.due(self.now_ns())

    def next_timer_ns(self) -> int | None:
        """Return the instant of the next timer, or None."""
        return self._timers.next_ns()


class LiveClock:
    """The venue's time: told now and then, carried on by the monotonic clock in between.

    It never goes back and does not follow jumps of the computer's clock. ``factor`` is how many
    times faster than real time the venue runs (a rehearsal).
    """

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor
        self._timers = _Timers()
        self._base_ns = time.time_ns()
        self._base_mono_ns = time.monotonic_ns()
        self._last_ns = 0
        self._told_mono_ns: int | None = None
        self.skew_ns = 0

    def tell(self, venue_ns: int, *, age_ns: int = 0, adopt: bool = False) -> None:
        """Note the venue's clock; ``adopt`` starts from it, else the difference is kept.

        ``age_ns`` is how long ago the venue said so, real time: half of what its answer took, and
        what has passed since. ``skew_ns`` is then the venue's clock less ours.
        """
        self._told_mono_ns = time.monotonic_ns() - age_ns
        if adopt:
            self._base_ns, self._base_mono_ns = venue_ns, self._told_mono_ns
        self.skew_ns = venue_ns + int(age_ns * self._factor) - self.now_ns()

    @property
    def age_ns(self) -> int | None:
        """How long ago the venue told its clock, None before the first time."""
        if self._told_mono_ns is None:
            return None
        return time.monotonic_ns() - self._told_mono_ns

    @property
    def factor(self) -> float:
        """How many times faster than real time this clock runs."""
        return self._factor

    def now_ns(self) -> int:
        """Return the venue's instant."""
        passed = time.monotonic_ns() - self._base_mono_ns
        self._last_ns = max(self._last_ns, self._base_ns + int(passed * self._factor))
        return self._last_ns

    def monotonic_ns(self) -> int:
        """Return time that never jumps; only differences have a meaning."""
        return time.monotonic_ns()

    def advance(self, to_ns: int) -> None:
        """Do nothing: this clock moves by itself."""

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at the first step that closes at or after ``at_ns``."""
        self._timers.add(at_ns, name)

    def due(self) -> list[tuple[int, str]]:
        """Return and forget the timers that are due, in time order."""
        return self._timers.due(self.now_ns())

    def next_timer_ns(self) -> int | None:
        """Return the instant of the next timer, or None."""
        return self._timers.next_ns()
