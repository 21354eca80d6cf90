"""What is known of a socket, the order of its retries, and why it is not ready."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mqd.errors import MqdError

BACKOFF_S = (1.0, 60.0)
REFUSED_FAILURES = 4  # 16 s: a refusal does not heal by asking again at once


class StreamNotReady(MqdError):
    """A stream that should be listening is not; the sentence says why."""

    def __init__(self, kind: str, url: str, why: str) -> None:
        self.kind, self.url, self.why = kind, url, why
        super().__init__(f"The {kind} stream {url} is not ready: {why}.")


class StreamRefused(MqdError):
    """The server refused us: wrong keys, too many connections, or no right to this feed.

    ``final`` is True when another try with the same keys cannot help.
    """

    def __init__(self, why: str, *, final: bool) -> None:
        self.final = final
        super().__init__(why)


@dataclass
class SocketState:
    """One socket as its thread sees it; any thread may read.

    ``last_message_mono_ns`` is monotonic time of the last frame (0: none yet),
    ``last_alive_mono_ns`` of the last sign of life, a pong too (0: not connected); ``channels``
    are those that the server confirmed, while it listens; ``last_error``
    says why the last connection ended or was refused, "" while all is well; ``refused`` is True
    after wrong keys, a missing right, or more symbols than the plan gives. ``n_connects`` counts
    connections that opened, ``n_gaps`` those after the first that listen again,
    ``n_callback_errors`` callbacks that raised and ``n_bad_frames`` frames that nobody can read.
    """

    kind: str
    url: str
    connected: bool = False
    authorized: bool = False
    listening: bool = False
    refused: bool = False
    last_message_mono_ns: int = 0
    last_alive_mono_ns: int = 0
    channels: frozenset[str] = frozenset()
    listening_since_mono_ns: int = 0
    n_connects: int = 0
    n_gaps: int = 0
    n_messages: int = 0
    n_callback_errors: int = 0
    n_bad_frames: int = 0
    last_error: str = ""

    def down(self, error: str) -> None:
        """The connection is gone; keep ``error`` as the reason."""
        self.connected = self.authorized = self.listening = False
        self.last_alive_mono_ns, self.channels = 0, frozenset()
        if error:
            self.last_error = error

    def why_not(self) -> str:
        """Return in words what is missing until the stream listens."""
        if self.last_error:
            return self.last_error
        if not self.connected:
            return "no connection was made; is the server there"
        if not self.authorized:
            return "the server has not answered our keys"
        return "the server has not confirmed what we listen to"


class Backoff:
    """Waits between connections: doubling, jittered to [1/2, 1], within ``bounds_s``.

    Deterministic by ``seed``, so that a rehearsal with faults can be repeated.
    """

    def __init__(self, seed: int, bounds_s: tuple[float, float] = BACKOFF_S) -> None:
        self._dice = np.random.default_rng(seed)
        self._low_s, self._high_s = bounds_s
        self._failures = 0

    def next_s(self, *, refused: bool = False) -> float:
        """Return how long to wait before the next connection, seconds."""
        if refused:
            self._failures = max(self._failures, REFUSED_FAILURES)
        wide_s = min(self._high_s, 2.0 * self._low_s * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return max(self._low_s, wide_s * (0.5 + 0.5 * float(self._dice.random())))

    def reset(self) -> None:
        """Begin with short waits again: the last connection was a good one."""
        self._failures = 0
