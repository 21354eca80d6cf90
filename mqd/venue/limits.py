"""The rate limit: requests an account may make in a minute of the venue's time."""

from __future__ import annotations

from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.venue.answer import Answer
from mqd.venue.errors import RATE_LIMITED, Refused

_UNLIMITED = 1_000_000


class RateLimit:
    """Counts requests by account and minute; ``most`` None means no limit."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._minute = -1
        self._used: dict[str, int] = {}

    def take(self, account_id: str, now_ns: int) -> Answer | None:
        """Count a request; return the answer 429 when it is one too many."""
        if self._most is None:
            return None
        minute = now_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        used = self._used[account_id] = self._used.get(account_id, 0) + 1
        if used <= self._most:
            return None
        body = Refused(429, RATE_LIMITED, "rate limit exceeded").body()
        return Answer(429, body, self.headers(account_id, now_ns))

    def headers(self, account_id: str, now_ns: int) -> dict[str, str]:
        """Return the documented headers; the reset is unix seconds of the venue's time."""
        most = _UNLIMITED if self._most is None else self._most
        left = max(most - self._used.get(account_id, 0), 0)
        reset = (now_ns // NS_PER_MINUTE + 1) * NS_PER_MINUTE // NS_PER_S
        return {
            "X-RateLimit-Limit": str(most), "X-RateLimit-Remaining": str(left),
            "X-RateLimit-Reset": str(reset),
        }  # fmt: skip
