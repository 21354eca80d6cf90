"""How many calls a minute: Alpaca allows 200; a part is kept for cancels and questions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.core.protocols import Clock

CALLS_MIN: Final = 180
RESERVE: Final = 40


class Budget:
    """At most ``calls_min`` calls in any 60 s; the last ``reserve`` of them are for ``urgent``.

    ``take`` waits for its turn; it returns False, and counts nothing, when that would last longer
    than ``patience_s``. ``hold`` stops all calls that are not urgent (a 429's reset). ``wait``
    lets seconds pass.
    """

    def __init__(
        self,
        clock: Clock,
        calls_min: int = CALLS_MIN,
        reserve: int = RESERVE,
        *,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self._clock, self._most, self._reserve = clock, calls_min, reserve
        self._taken: deque[int] = deque()
        self._held_ns = 0
        self._lock = threading.Lock()
        self._wait = wait or threading.Event().wait

    def take(self, *, urgent: bool, patience_s: float = 5.0) -> bool:
        """Take a call, waiting for it; True when there was one in time."""
        left_ns = int(patience_s * NS_PER_S)
        while True:
            wait_ns = self._try(urgent)
            if wait_ns == 0:
                return True
            if wait_ns > left_ns:
                return False
            left_ns -= wait_ns
            self._wait(wait_ns / NS_PER_S)

    def hold(self, for_ns: int) -> None:
        """Let no call but urgent ones through for a while: the venue said so."""
        with self._lock:
            self._held_ns = max(self._held_ns, self._clock.monotonic_ns() + for_ns)

    @property
    def tokens(self) -> int:
        """The calls, urgent ones, that could be made now."""
        with self._lock:
            self._forget(self._clock.monotonic_ns())
            return self._most - len(self._taken)

    def _try(self, urgent: bool) -> int:
        """Count a call and return 0, or return the ns until there may be one."""
        with self._lock:
            now = self._clock.monotonic_ns()
            if not urgent and now < self._held_ns:
                return self._held_ns - now
            self._forget(now)
            most = self._most if urgent else self._most - self._reserve
            if len(self._taken) < most:
                self._taken.append(now)
                return 0
            if most <= 0:
                return NS_PER_MINUTE
            return max(1, self._taken[len(self._taken) - most] + NS_PER_MINUTE - now)

    def _forget(self, now: int) -> None:
        """Drop the calls that are a minute old: those at 0 s and 60 s are in no one minute."""
        while self._taken and now - self._taken[0] >= NS_PER_MINUTE:
            self._taken.popleft()
