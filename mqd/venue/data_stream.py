"""The market data sockets (/v2/iex, /v2/sip, /v2/test) without a web framework.

`DataHub` knows the connections and hands each what it subscribed to; `DataSession` is one
connection: the web layer gives it what the client sent and gets frames to send. Every message
is an array; msgpack with Timestamp for a client that asked for it, else JSON.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgpack

from mqd.core.clock import NS_PER_S
from mqd.venue.faults import FaultPlan
from mqd.venue.text import stamp

AUTH_S: Final = 10.0
CHANNELS: Final = (
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections",
    "cancelErrors", "imbalances",
)  # fmt: skip
IMPLIED: Final = frozenset({"corrections", "cancelErrors"})
CHANNEL_OF: Final = {
    "t": "trades", "q": "quotes", "b": "bars", "u": "updatedBars", "d": "dailyBars",
    "s": "statuses", "l": "lulds", "c": "corrections", "x": "cancelErrors", "i": "imbalances",
}  # fmt: skip
ENDPOINTS: Final = frozenset({"iex", "sip", "test"})
TEST_SYMBOL: Final = "FAKEPACA"
FREE_SYMBOLS: Final = 30
BATCH: Final = 2_000  # messages a frame: far below the 1 MiB that clients take
ERRORS: Final = {
    400: "invalid syntax", 401: "not authenticated", 402: "auth failed",
    403: "already authenticated", 404: "auth timeout", 405: "symbol limit exceeded",
    406: "connection limit exceeded", 407: "slow client", 409: "insufficient subscription",
    410: "invalid subscribe action for this feed", 411: "insufficient scope", 500: "internal error",
}  # fmt: skip
LAST_WORDS: Final = frozenset({402, 404, 406, 407, 409, 411})
EVERY: Final = "*"
QUIET: Final = frozenset({"imbalances"})  # named in the answer only when subscribed to
Message = dict[str, Any]


class DataHub:
    """All market data connections of a venue.

    ``authenticate(key, secret)`` returns an account id or None; ``entitled(id)`` whether that
    account may have market data. ``plan`` is "free" or "paid".
    ``prints()`` returns the trades and quotes that belong before the bars that are published; it
    is asked only for bars, and while somebody subscribes to them. ``days()`` returns the day bars
    so far, which go out behind the bars to those who subscribe to dailyBars. Every method may be
    called from any thread.
    """

    def __init__(
        self,
        authenticate: Callable[[str, str], str | None],
        *,
        plan: str = "paid",
        faults: FaultPlan | None = None,
        prints: Callable[[], list[Message]] | None = None,
        days: Callable[[], list[Message]] | None = None,
        entitled: Callable[[str], bool] | None = None,
    ) -> None:
        self.authenticate = authenticate
        self.entitled = entitled or bool
        self._prints, self._days = prints, days
        self.plan = plan
        self.faults = faults or FaultPlan()
        self._sessions: list[DataSession] = []
        self._lock = threading.RLock()

    def publish(self, messages: Sequence[Message]) -> None:
        """Send messages (``T``, ``S``, ``t`` in int ns) to all who subscribed to them."""
        with self._lock:
            sent = self.faults.data(messages)
            if _closes_a_step(sent):
                before = self._prints and self._wanted("trades", "quotes") and self._prints()
                after = self._days and self._wanted("dailyBars") and self._days()
                sent = [*(before or ()), *sent, *(after or ())]
            for session in list(self._sessions):
                session.offer(sent)

    def _wanted(self, *channels: str) -> bool:
        return any(one.hears(*channels) for one in self._sessions)

    def join(self, session: DataSession) -> int:
        """Take a connection in after its keys were right; return 0, or the error's code."""
        with self._lock:
            code = self.faults.connect("data")
            if code is not None:
                return code
            if self.plan == "free" and session.endpoint == "sip":
                return 409
            place = (session.account_id, session.endpoint)
            if any((one.account_id, one.endpoint) == place for one in self._sessions):
                return 406
            self._sessions.append(session)
            return 0

    def leave(self, session: DataSession) -> None:
        """Forget a connection that is gone."""
        with self._lock:
            if session in self._sessions:
                self._sessions.remove(session)

    def cut(self) -> None:
        """Close every connection, as a fault does."""
        with self._lock:
            for session in list(self._sessions):
                session.end()


class DataSession:
    """One connection. ``send(frame)`` and ``close()`` belong to the web layer.

    They may be called from any thread and must not block.
    """

    def __init__(
        self,
        hub: DataHub,
        endpoint: str,
        headers: Mapping[str, str],
        send: Callable[[bytes | str], None],
        close: Callable[[], None],
    ) -> None:
        kinds = [value for name, value in headers.items() if name.lower() == "content-type"]
        self.endpoint = endpoint
        self.account_id = ""
        self._packed = any("msgpack" in kind for kind in kinds)
        self._hub, self._send, self._close = hub, send, close
        self._lists: dict[str, dict[str, None]] = {name: {} for name in CHANNELS}

    def opened(self) -> None:
        """Greet the client."""
        self._say({"T": "success", "msg": "connected"})

    def received(self, frame: bytes | str) -> None:
        """Answer what the client sent: auth, subscribe or unsubscribe; errors are messages."""
        words = _read(frame)
        action = words.get("action") if isinstance(words, dict) else None
        if not isinstance(words, dict) or action not in {"auth", "subscribe", "unsubscribe"}:
            self._error(400)
        elif action == "auth":
            self._auth(words)
        elif not self.account_id:
            self._error(401)
        else:
            self._change(action == "subscribe", words)

    def timed_out(self) -> None:
        """The client did not authenticate within ``AUTH_S``."""
        if not self.account_id:
            self._error(404)

    def too_slow(self) -> None:
        """The client does not read as fast as data come."""
        self._error(407)

    def closed(self) -> None:
        """The connection is gone."""
        self._hub.leave(self)

    def end(self) -> None:
        """Close the connection from our side."""
        self._hub.leave(self)
        self._close()

    def hears(self, *channels: str) -> bool:
        """Return True while any of the channels is subscribed to."""
        return any(self._lists[name] for name in channels)

    def offer(self, messages: Sequence[Message]) -> None:
        """Send those messages that the client subscribed to, in batches."""
        if self.endpoint == "test":
            messages = [{**one, "S": TEST_SYMBOL} for one in _first_of_each_kind(messages)]
        mine = [one for one in messages if self._wants(one)]
        for start in range(0, len(mine), BATCH):
            self._write(mine[start : start + BATCH])

    def _wants(self, message: Message) -> bool:
        wanted = self._lists.get(CHANNEL_OF.get(message["T"], ""), {})
        return message["S"] in wanted or EVERY in wanted

    def _auth(self, words: Mapping[str, Any]) -> None:
        if self.account_id:
            self._error(403)
            return
        account = self._hub.authenticate(str(words.get("key")), str(words.get("secret")))
        if account is None:
            self._error(402)
            return
        if not self._hub.entitled(account):
            self._error(411)
            return
        self.account_id = account
        code = self._hub.join(self)
        if code:
            self.account_id = ""
            self._error(code)
        else:
            self._say({"T": "success", "msg": "authenticated"})

    def _change(self, add: bool, words: Mapping[str, Any]) -> None:
        lists = {name: one for name, one in words.items() if name != "action"}
        for name, symbols in lists.items():
            if name not in CHANNELS or name in IMPLIED:
                self._error(410)
                return
            if not isinstance(symbols, list) or not all(isinstance(one, str) for one in symbols):
                self._error(400)
                return
        after = {name: dict(one) for name, one in self._lists.items()}
        for name, symbols in lists.items():
            for symbol in symbols:
                if add:
                    after[name][symbol] = None
                else:
                    after[name].pop(symbol, None)
        counted = {*after["trades"], *after["quotes"]}
        if self._hub.plan == "free" and (len(counted) > FREE_SYMBOLS or EVERY in counted):
            self._error(405)
            return
        for name in IMPLIED:
            after[name] = dict(after["trades"])
        self._lists = after
        shown = {name: list(one) for name, one in after.items() if one or name not in QUIET}
        self._say({"T": "subscription", **shown})

    def _error(self, code: int) -> None:
        self._say({"T": "error", "code": code, "msg": ERRORS[code]})
        if code in LAST_WORDS:
            self.end()

    def _say(self, message: Message) -> None:
        self._write([message])

    def _write(self, messages: Sequence[Message]) -> None:
        self._send(encode(messages, packed=self._packed))


def encode(messages: Sequence[Message], *, packed: bool) -> bytes | str:
    """Return a frame: ``T`` first, ``t`` a msgpack Timestamp or RFC 3339 text."""
    if packed:
        return bytes(msgpack.packb([_ordered(one, _timestamp) for one in messages]))
    return json.dumps([_ordered(one, stamp) for one in messages])


def _ordered(message: Message, write: Callable[[int], Any]) -> Message:
    changed = {"T": message["T"], **message}
    if "t" in changed:
        changed["t"] = write(changed["t"])
    return changed


def _timestamp(ts_ns: int) -> Any:
    return msgpack.Timestamp(*divmod(ts_ns, NS_PER_S))


def _read(frame: bytes | str) -> Any:
    """Return what a frame says: JSON text, or bytes of msgpack or JSON; None for nonsense."""
    if isinstance(frame, bytes) and not frame.lstrip().startswith(b"{"):
        try:
            return msgpack.unpackb(frame)
        except (ValueError, msgpack.UnpackException):
            return None
    try:
        return json.loads(frame)
    except ValueError:
        return None


def _closes_a_step(messages: Sequence[Message]) -> bool:
    """Return True for the bars of a step: a status or a revision tells nothing of its trades."""
    return any(one["T"] in ("b", "d") for one in messages)


def _first_of_each_kind(messages: Sequence[Message]) -> list[Message]:
    kinds: dict[str, Message] = {}
    for message in messages:
        kinds.setdefault(message["T"], message)
    return list(kinds.values())
