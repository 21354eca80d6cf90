"""One HTTP call to Alpaca, made safe: alpaca-py's client without its retries and its patience.

alpaca-py sends a POST again by itself on 429 and 504, waits for ever, and parses numbers as
floats. Here every call has a time-out, a POST, PATCH or DELETE is sent once, redirects and
proxies are not followed, and numbers become ``Decimal``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import requests
import stamina
from alpaca.trading.client import TradingClient

from mqd.adapters.alpaca.budget import Budget
from mqd.adapters.alpaca.errors import VenueLies, VenueRefused, VenueUnreachable
from mqd.adapters.alpaca.keys import Keys
from mqd.core.clock import NS_PER_S
from mqd.core.protocols import Clock
from mqd.errors import UsageError

TIMEOUT_S: Final = (3.05, 5.0)
READ_ATTEMPTS: Final = 3
BODY_BYTES_MAX: Final = 32 << 20
QUIET: Final = ("urllib3", "requests", "websockets")

Transport = Callable[
    [str, str, Mapping[str, str], bytes | None, Mapping[str, str]],
    tuple[int, str, Mapping[str, str]],
]
"""(method, path, query, body, headers) to (status, text, headers); raises OSError when cut off."""


class Reply(NamedTuple):
    """An answer: ``body`` is decoded JSON, None when empty; ``readable`` False when it is none."""

    status: int
    body: Any
    text: str
    headers: Mapping[str, str]
    readable: bool

    @property
    def message(self) -> str:
        """The venue's own words of an error, "" without any."""
        if isinstance(self.body, dict):
            return str(self.body.get("message") or "")
        return self.text.strip()[:200]

    @property
    def code(self) -> int:
        """The venue's error code, 0 without one."""
        code = self.body.get("code") if isinstance(self.body, dict) else None
        return int(code) if isinstance(code, int | Decimal) else 0


class AlpacaSession:
    """The trading REST interface of one account at ``url``.

    ``transport`` replaces HTTP (a venue in this process). ``budget=None``: calls are not counted.
    """

    def __init__(
        self,
        url: str,
        keys: Keys,
        clock: Clock,
        *,
        budget: Budget | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")) or url.endswith("/"):
            raise UsageError(
                f"The endpoint {url!r} is refused: write http(s)://host without a slash at the end."
            )
        self.url = url
        self._clock, self._budget = clock, budget
        self._client = TradingClient(
            keys.key_id.reveal(), keys.secret.reveal(), raw_data=True, url_override=url
        )
        self._client._retry = 0
        self._client._session.trust_env = False
        self._transport = transport or self._over_http
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)  # DEBUG shows headers, our keys too

    def __repr__(self) -> str:
        return f"AlpacaSession({self.url!r})"

    def __reduce__(self) -> Any:
        raise TypeError("A session holds keys and a connection: make a new one.")

    def ask(
        self, path: str, query: Mapping[str, Any] | None = None, *, urgent: bool = False
    ) -> Any:
        """GET ``path`` (such as /v2/account) and return what it says.

        Asked again, with growing pauses, when nothing came back or the venue was busy. Raises
        ``VenueUnreachable``, ``VenueRefused`` and ``VenueLies``.
        """
        reply = self.asked(path, query, urgent=urgent)
        if reply.status != 200:
            raise VenueRefused(f"GET {path}", reply.status, reply.message)
        return reply.body

    def asked(
        self, path: str, query: Mapping[str, Any] | None = None, *, urgent: bool = False
    ) -> Reply:
        """GET ``path`` and return the whole reply; a 404 is one too."""
        call = f"GET {path}"

        @stamina.retry(
            on=VenueUnreachable, attempts=READ_ATTEMPTS, timeout=20.0, wait_initial=0.1,
            wait_max=2.0, wait_jitter=0.5,
        )  # fmt: skip
        def once() -> Reply:
            reply = self.send("GET", path, query=query, urgent=urgent)
            if reply.status >= 500 or reply.status == 429:
                raise VenueUnreachable(call, f"HTTP {reply.status}")
            return reply

        reply = once()
        if reply.status == 200 and not reply.readable:
            raise VenueLies(call, "no JSON")
        return reply

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        urgent: bool = False,
    ) -> Reply:
        """Make one call, once. Raises ``VenueUnreachable`` when nothing came back."""
        call = f"{method} {path}"
        if self._budget is not None and not self._budget.take(urgent=urgent):
            raise VenueUnreachable(call, "the rate budget is used up, it was not sent")
        words = {name: _word(value) for name, value in (query or {}).items() if value is not None}
        data = None if body is None else json.dumps(body).encode()
        try:
            status, text, headers = self._transport(method, path, words, data, {})
        except (requests.RequestException, OSError) as error:
            raise VenueUnreachable(call, type(error).__name__) from None
        if status == 429:
            self._hold(headers)
        return _reply(status, text, headers)

    def close(self) -> None:
        """Close the connections."""
        self._client._session.close()

    def _over_http(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, str, Mapping[str, str]]:
        own = {**self._client._get_default_headers(), "Content-Type": "application/json", **headers}
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._client._session.request(
            method, url, data=body, headers=own, timeout=TIMEOUT_S, allow_redirects=False
        )
        return answer.status_code, answer.text[:BODY_BYTES_MAX], answer.headers

    def _hold(self, headers: Mapping[str, str]) -> None:
        """Wait for the reset that a 429 names, a second when it names none."""
        if self._budget is None:
            return
        try:
            reset_ns = int(headers.get("X-RateLimit-Reset", "0")) * NS_PER_S
        except ValueError:
            reset_ns = 0
        now_ns = self._clock.now_ns()
        self._budget.hold(min(max(reset_ns - now_ns, NS_PER_S), 60 * NS_PER_S))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _reply(status: int, text: str, headers: Mapping[str, str]) -> Reply:
    if not text.strip():
        return Reply(status, None, "", headers, readable=True)
    try:
        return Reply(status, json.loads(text, parse_float=Decimal), text, headers, readable=True)
    except ValueError:
        return Reply(status, None, text, headers, readable=False)
