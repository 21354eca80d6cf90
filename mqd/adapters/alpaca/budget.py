"""How many calls a minute: Alpaca allows 200; a part is kept for cancels and questions."""

from __future__ import annotations

import threading
from typing import Final

from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.core.protocols import Clock

CALLS_MIN: Final = 180
RESERVE: Final = 40


class Budget:
    """A bucket of ``calls_min`` tokens that refills in a minute; ``reserve`` is for ``urgent``.

    ``take`` waits for a token; it returns False, and takes none, when that would last longer
    than ``patience_s``. ``hold_until`` stops all calls that are not urgent (a 429's reset).
    """

    def __init__(self, clock: Clock, calls_min: int = CALLS_MIN, reserve: int = RESERVE) -> None:
        self._clock, self._most, self._reserve = clock, float(calls_min), float(reserve)
        self._tokens = self._most
        self._last_ns = clock.monotonic_ns()
        self._held_ns = 0
        self._lock = threading.Lock()
        self._never = threading.Event()

    def take(self, *, urgent: bool, patience_s: float = 5.0) -> bool:
        """Take a token, waiting for it; True when there was one in time."""
        until = self._clock.monotonic_ns() + int(patience_s * NS_PER_S)
        while True:
            wait_ns = self._try(urgent)
            if wait_ns == 0:
                return True
            if self._clock.monotonic_ns() + wait_ns > until:
                return False
            self._never.wait(wait_ns / NS_PER_S)

    def hold(self, for_ns: int) -> None:
        """Let no call but urgent ones through for a while: the venue said so."""
        with self._lock:
            self._held_ns = max(self._held_ns, self._clock.monotonic_ns() + for_ns)

    @property
    def tokens(self) -> float:
        """The calls that could be made now."""
        with self._lock:
            self._refill()
            return self._tokens

    def _try(self, urgent: bool) -> int:
        """Take a token and return 0, or return the ns until there may be one."""
        with self._lock:
            now = self._refill()
            if not urgent and now < self._held_ns:
                return self._held_ns - now
            floor = 0.0 if urgent else self._reserve
            if self._tokens - 1.0 >= floor:
                self._tokens -= 1.0
                return 0
            missing = floor + 1.0 - self._tokens
            return max(1, int(missing / self._most * NS_PER_MINUTE))

    def _refill(self) -> int:
        now = self._clock.monotonic_ns()
        passed = max(0, now - self._last_ns)
        self._tokens = min(self._most, self._tokens + passed / NS_PER_MINUTE * self._most)
        self._last_ns = max(now, self._last_ns)
        return now
