"""A desk's sign of life for other processes, at most once a second."""

from __future__ import annotations

from mqd.core.clock import NS_PER_S, WallClock
from mqd.live.folder import StateFolder

BEAT_NS = NS_PER_S


class Pulse:
    """Writes the heartbeat of a desk whose own clock is not the wall's."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder, self._wall, self._next_ns = folder, WallClock(), 0

    def beat(self, bars: int, open_orders: int) -> None:
        """Say that the desk lives, when a second has gone by; the words are those of status."""
        now = self._wall.monotonic_ns()
        if now >= self._next_ns:
            self._next_ns = now + BEAT_NS
            self._folder.beat(
                self._wall.now_ns(), state="running", bars=bars, open_orders=open_orders
            )
