"""A venue that walks its steps by itself: simulated time at a factor of real time."""

from __future__ import annotations

import asyncio

from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.protocols import Clock
from mqd.venue.venue import Venue, opens_of

TICK_S = 0.25


class _Course:
    """Simulated time: from an instant on, ``factor`` seconds a real second."""

    def __init__(self, start_ns: int, factor: float, clock: Clock) -> None:
        self._start_ns, self._factor, self._clock = start_ns, factor, clock
        self._mono_ns = clock.monotonic_ns()

    def now_ns(self) -> int:
        """Return the simulated instant."""
        passed = self._clock.monotonic_ns() - self._mono_ns
        return self._start_ns + int(passed * self._factor)

    def wait_s(self, until_ns: int) -> float:
        """Return the real seconds until a simulated instant."""
        return max((until_ns - self.now_ns()) / NS_PER_S / self._factor, 0.0)


async def walk(venue: Venue, factor: float, clock: Clock | None = None) -> None:
    """Take every step at its time: begin and open at the bars' start, the rest at their end."""
    course = _Course(venue.now_ns, factor, clock or WallClock())
    market = venue.market
    for step in range(market.n_steps):
        opens = opens_of(market, market.rows(step), market.ts_close[step])
        await _pass(venue, course, opens)
        venue.begin()
        venue.open()
        await _pass(venue, course, market.ts_close[step])
        venue.close()
    while True:
        await _tick(venue, course, TICK_S)


async def _pass(venue: Venue, course: _Course, until_ns: int) -> None:
    """Let time pass up to an instant; the venue's clock goes along."""
    while (left := course.wait_s(until_ns)) > 0:
        await _tick(venue, course, min(left, TICK_S), until_ns)


async def _tick(venue: Venue, course: _Course, wait_s: float, most_ns: int | None = None) -> None:
    await asyncio.sleep(wait_s)
    now = course.now_ns()
    venue.pass_time(now if most_ns is None else max(venue.now_ns, min(now, most_ns)))
