"""One HTTP call to Alpaca, made safe: alpaca-py's client without its retries and its patience.

alpaca-py sends a POST again by itself on 429 and 504, waits for ever, and parses numbers as
floats. Here every call has a time-out, a POST or PATCH is sent once, redirects and proxies are
not followed, and numbers become ``Decimal``. The keys are put on a request as it leaves; no
other object holds their text, and no traceback that leaves this module has a frame that does.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn
from urllib.parse import urlencode

import requests
import stamina
import urllib3
from requests.auth import AuthBase

from mqd.adapters.alpaca.budget import Budget
from mqd.adapters.alpaca.errors import NotSent, VenueLies, VenueRefused, VenueUnreachable
from mqd.adapters.alpaca.keys import SHOWN, Keys
from mqd.adapters.alpaca.sdk import quietly
from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.protocols import Clock
from mqd.errors import UsageError

if TYPE_CHECKING:
    from alpaca.trading.client import TradingClient

TIMEOUT_S: Final = (3.05, 5.0)
ANSWER_S_MAX: Final = 15.0
READ_ATTEMPTS: Final = 3
BODY_BYTES_MAX: Final = 32 << 20
CHUNK_BYTES: Final = 1 << 16
MESSAGE_CHARS_MAX: Final = 300
QUIET: Final = ("urllib3", "requests", "websockets", "http.client")
HOLD_NS_MAX: Final = 60 * NS_PER_S

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
        """The venue's own words of an error on one line, "" without any."""
        said = self.body.get("message") if isinstance(self.body, dict) else self.text
        words = said if isinstance(said, str) else json.dumps(said, default=str) if said else ""
        return " ".join(wire_text(words).split())[:MESSAGE_CHARS_MAX]

    @property
    def code(self) -> int:
        """The venue's error code, 0 without one."""
        code = self.body.get("code") if isinstance(self.body, dict) else None
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) < 12:
            return int(code)
        return code if isinstance(code, int) and not isinstance(code, bool) else 0


class _Signed(AuthBase):
    """Puts the two key headers on a request."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["APCA-API-KEY-ID"] = self._keys.key_id.reveal()
        request.headers["APCA-API-SECRET-KEY"] = self._keys.secret.reveal()
        return request


class AlpacaSession:
    """The trading REST interface of one account at ``url``.

    ``transport`` replaces HTTP (a venue in this process). ``budget=None``: calls are not counted.
    ``key_id`` is the id of the key that calls are signed with.
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
        self.url, self.key_id = url, keys.key_id
        self._keys, self._clock, self._budget = keys, clock, budget
        self._client, self._sign = _tamed_client(url), _Signed(keys)
        self._prepared: dict[str, requests.PreparedRequest] = {}
        self._transport = transport or self._over_http
        stamina.instrumentation.set_on_retry_hooks([])  # a retry is no news; the last failure is
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)  # DEBUG shows headers, our keys too

    def __repr__(self) -> str:
        return f"AlpacaSession({self.url!r})"

    def __reduce__(self) -> NoReturn:
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
        """GET ``path`` and return the whole reply; a 404 is one too. Raises as ``ask``."""
        reply = self.insist("GET", path, query=query, urgent=urgent)
        if reply.status == 200 and reply.body is None:
            raise VenueLies(f"GET {path}", "no JSON" if reply.text else "nothing")
        return reply

    def insist(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        urgent: bool = False,
    ) -> Reply:
        """Make a call that may be repeated (GET, DELETE) until it is answered, 3 times at most.

        Raises ``VenueUnreachable``, also when every answer was 429 or a server's error.
        """

        @stamina.retry(
            on=_may_repeat, attempts=READ_ATTEMPTS, timeout=20.0, wait_initial=0.1, wait_max=2.0,
            wait_jitter=0.5,
        )  # fmt: skip
        def once() -> Reply:
            reply = self.send(method, path, query=query, urgent=urgent)
            if reply.status >= 500 or reply.status == 429:
                raise VenueUnreachable(f"{method} {path}", f"HTTP {reply.status}")
            return reply

        return once()

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        urgent: bool = False,
        why_not: Callable[[], str] | None = None,
    ) -> Reply:
        """Make one call, once. ``why_not`` is asked after the wait for the rate budget.

        Raises ``VenueUnreachable`` when nothing came back, ``NotSent`` when nothing went out.
        """
        call = f"{method} {path}"
        if self._budget is not None and not self._budget.take(urgent=urgent):
            raise NotSent(call, "the rate budget is used up")
        kept = "" if why_not is None else why_not()
        if kept:
            raise NotSent(call, kept)
        words = {name: _word(value) for name, value in (query or {}).items() if value is not None}
        data = None if body is None else json.dumps(body).encode()
        answer = why = None
        try:
            answer = self._transport(method, path, words, data, {})
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            why = type(error).__name__
        except BaseException as error:  # noqa: BLE001 - it is raised again
            # Frames below hold our keys as they were sent; none of them may leave with the error.
            error.__context__ = error.__cause__ = None
            raise error.with_traceback(None) from None
        if answer is None:
            raise VenueUnreachable(call, str(why))
        status, text, headers = answer
        if status == 429:
            self._hold(headers)
        reply = _reply(status, self._redacted(text), headers)
        if 200 <= status < 300:
            return reply
        said, hidden = reply.message, self._redacted(reply.message)
        if hidden == said:
            return reply
        # JSON may have spelt a key with escapes, which shows only once it is decoded.
        return reply._replace(body={"code": reply.code, "message": hidden}, text=hidden)

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
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = self._sign(self._request(method, url, body, headers))
        with self._client._session.send(
            request, timeout=TIMEOUT_S, allow_redirects=False, stream=True
        ) as answer:
            return answer.status_code, _whole_text(answer), answer.headers

    def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> requests.PreparedRequest:
        """Return a request that is not signed yet. What all POSTs to a URL share is prepared once:
        it takes longer than all the rest, and an order waits for it."""
        session = self._client._session
        alike = method == "POST" and not headers and not session.cookies
        prepared = self._prepared.get(url) if alike else None
        if prepared is None:
            own = self._client._get_default_headers() | {"Content-Type": "application/json"}
            prepared = session.prepare_request(
                requests.Request(method, url, headers={**own, **headers}, auth=_unsigned)
            )
            if alike:
                self._prepared[url] = prepared
        request = prepared.copy()
        request.prepare_body(body, None)
        return request

    def _redacted(self, text: str) -> str:
        """Return an answer without our keys: a page of errors may repeat what was sent."""
        for key in self._keys:
            text = text.replace(key.reveal(), SHOWN)
        return text

    def _hold(self, headers: Mapping[str, str]) -> None:
        """Wait for the reset that a 429 names, a second when it names none."""
        if self._budget is None:
            return
        try:
            reset_ns = int(headers.get("X-RateLimit-Reset", "0")) * NS_PER_S
        except ValueError:
            reset_ns = 0
        now_ns = self._clock.now_ns()
        self._budget.hold(min(max(reset_ns - now_ns, NS_PER_S), HOLD_NS_MAX))


def _unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _tamed_client(url: str) -> TradingClient:
    """Return alpaca-py's client: without its own retries, without proxies, without our keys."""
    with quietly():
        from alpaca.trading.client import TradingClient
    client = TradingClient(SHOWN, SHOWN, raw_data=True, url_override=url)
    client._retry = 0
    client._session.trust_env = False
    return client


def _may_repeat(error: Exception) -> bool:
    return isinstance(error, VenueUnreachable) and not isinstance(error, NotSent)


def _whole_text(answer: requests.Response) -> str:
    """Read an answer to its end; one that trickles, or has none, is given up."""
    clock = WallClock()
    until = clock.monotonic_ns() + int(ANSWER_S_MAX * NS_PER_S)
    parts: list[bytes] = []
    n_bytes = 0
    while part := answer.raw.read1(CHUNK_BYTES, decode_content=True):
        parts.append(part)
        n_bytes += len(part)
        if n_bytes > BODY_BYTES_MAX or clock.monotonic_ns() > until:
            raise requests.ReadTimeout("the answer does not end")
    return b"".join(parts).decode(errors="replace")


def wire_text(text: str) -> str:
    """Return a text of the venue's with "?" for what UTF-8 has no bytes for (half a surrogate)."""
    return text.encode(errors="replace").decode()


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _reply(status: int, text: str, headers: Mapping[str, str]) -> Reply:
    if not text.strip():
        return Reply(status, None, "", headers, readable=True)
    try:
        body = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):  # Decimal has its own overflow
        return Reply(status, None, text, headers, readable=False)
    return Reply(status, body, text, headers, readable=True)


def objects(
    session: AlpacaSession, path: str, query: Mapping[str, Any] | None = None, *,
    urgent: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Ask for a list of objects; raise ``VenueLies`` for anything else, and as ``ask`` does."""
    found = session.ask(path, query, urgent=urgent)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise VenueLies(f"GET {path}", "no list of objects")
    return found
