"""One socket kept alive: connect, authorize, listen, read; and again after it is lost."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, ClassVar, Final, Protocol

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.protocol import Event

from mqd.adapters.alpaca.stream_state import Backoff, SocketState, StreamRefused
from mqd.adapters.alpaca.stream_wire import CONTROL, BadFrame, decode_data, decode_trading
from mqd.core.clock import NS_PER_S
from mqd.core.protocols import Clock

ANSWER_S: Final = 10.0
PING_S: Final = 10.0
FRAME_BYTES_MAX: Final = 16 * 2**20
GOOD_AFTER_NS: Final = 5 * NS_PER_S
REFUSALS: Final = {
    400: True, 401: False, 402: True, 403: False, 404: False, 405: True, 406: False, 407: False,
    409: True, 410: True, 411: True, 412: True, 413: True, 500: False,
}  # fmt: skip
"""Every documented error of the data socket, and whether asking again with the same words and keys
is in vain. An unknown one is not taken as final."""
FREE_SYMBOLS: Final = 30
ADVICE: Final = {
    406: "another connection with this account's keys is open: end the other desk or notebook",
    409: 'the plan of these keys does not have this feed: write feed = "iex", or take a plan that'
    " has it",
    407: "this machine reads market data more slowly than they come: ask for fewer symbols or"
    " leave quotes out",
    411: "the token of these keys has no right to market data: give it the scope data, or take"
    " keys of the account itself",
}
_log = logging.getLogger("mqd.alpaca.socket")
_log.setLevel(logging.WARNING)  # at DEBUG websockets writes frames, and our keys are in one


class Revealed(Protocol):
    """A secret that shows itself only when asked."""

    def reveal(self) -> str:
        """Return the text."""
        ...


class Noticing(ClientConnection):
    """A connection that tells of every frame, pongs too: an idle stream is alive by its pongs."""

    notice: Callable[[], None] | None = None

    def process_event(self, event: Event) -> None:
        """Take an event of the protocol in, as every connection does, and tell of it."""
        super().process_event(event)
        if self.notice is not None:
            self.notice()


class Link:
    """A socket of the server: what both kinds share. Lives on the stream's thread."""

    kind = ""
    headers: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        url: str,
        *,
        keys: tuple[Revealed, Revealed],
        clock: Clock,
        on_gap: Callable[[str], None],
        changed: Callable[[], None],
        seed: int,
        backoff_s: tuple[float, float],
    ) -> None:
        self.state = SocketState(self.kind, url)
        self._keys, self._clock = keys, clock
        self._on_gap, self._changed = on_gap, changed
        self._backoff = Backoff(seed, backoff_s)
        self._socket: ClientConnection | None = None
        self._dropped = ""
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep the socket alive until cancelled."""
        while True:
            refused = False
            try:
                await self._once()
                error = "the server closed the connection"
            except StreamRefused as refusal:
                error, refused = str(refusal), True
                self.state.refused = refusal.final
            except InvalidStatus as status:
                code = status.response.status_code
                error, refused = f"the server answered the handshake with HTTP {code}", True
            except TimeoutError:
                error = "the server did not answer in time"
            except OSError as absent:
                error = f"nobody answers there ({type(absent).__name__})"
            except (ConnectionClosed, InvalidHandshake, BadFrame) as lost:
                error = f"{type(lost).__name__}: {lost}" if str(lost) else type(lost).__name__
            except Exception as fault:  # noqa: BLE001 - the socket must come back whatever it was
                error, refused = f"a fault of ours: {type(fault).__name__}: {fault}", True
            finally:
                self._socket = None
                self.state.down("")
            self.state.down(self._clean(self._dropped or error))
            self._dropped = ""
            self._changed()
            self._rest()
            await asyncio.sleep(self._backoff.next_s(refused=refused))

    def drop(self, why: str) -> None:
        """Close the connection; `run` makes the next one."""
        if self._socket is not None:
            self._dropped = why
            task = asyncio.ensure_future(self._socket.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _rest(self) -> None:
        """Begin with short waits again after a connection that lasted."""
        since_ns, self.state.listening_since_mono_ns = self.state.listening_since_mono_ns, 0
        if since_ns and self._clock.monotonic_ns() - since_ns > GOOD_AFTER_NS:
            self._backoff.reset()

    async def _once(self) -> None:
        async with connect(
            self.state.url, additional_headers=self.headers, user_agent_header="mqd",
            compression=None, proxy=None, open_timeout=ANSWER_S, close_timeout=1.0,
            ping_interval=PING_S, ping_timeout=2 * PING_S, max_size=FRAME_BYTES_MAX, logger=_log,
            create_connection=Noticing,
        ) as socket:  # fmt: skip
            self._socket = socket
            assert isinstance(socket, Noticing)
            socket.notice = self._alive
            self._alive()
            self.state.connected = True
            self.state.n_connects += 1
            await asyncio.wait_for(self._greet(socket), 3 * ANSWER_S)
            self.state.refused = False
            self._up()
            async for frame in socket:
                self._seen()
                self._take_safely(frame)

    def _up(self) -> None:
        """The socket listens: tell who waits, and who has to fill the gap."""
        state = self.state
        state.listening, state.last_error = True, ""
        state.listening_since_mono_ns = self._clock.monotonic_ns()
        if state.n_connects > 1:
            state.n_gaps += 1
            self._call(self._on_gap, self.kind)
        self._changed()

    def _alive(self) -> None:
        self.state.last_alive_mono_ns = self._clock.monotonic_ns()

    def _seen(self) -> None:
        self.state.last_message_mono_ns = self._clock.monotonic_ns()

    def _take_safely(self, frame: str | bytes) -> None:
        try:
            self._take(frame)
        except BadFrame:
            self.state.n_bad_frames += 1

    async def _receive(self, socket: ClientConnection) -> str | bytes:
        frame = await asyncio.wait_for(socket.recv(), ANSWER_S)
        self._seen()
        return frame

    def _call(self, callback: Callable[[Any], None], value: Any) -> None:
        try:
            callback(value)
        except Exception as error:  # noqa: BLE001 - a callback must not end the stream
            self.state.n_callback_errors += 1
            _log.warning("A callback of the %s stream raised %s.", self.kind, type(error).__name__)

    def _clean(self, text: str) -> str:
        for key in self._keys:
            text = text.replace(key.reveal(), "***")
        return text

    async def _greet(self, socket: ClientConnection) -> None:
        """Authenticate and subscribe: each kind of socket says it in its own words."""
        raise NotImplementedError

    def _take(self, frame: str | bytes) -> None:
        """Take a frame: each kind of socket encodes it in its own way."""
        raise NotImplementedError


class TradingLink(Link):
    """``/stream``: authenticate, listen to trade_updates, hand each update over."""

    kind = "trading"

    def __init__(self, url: str, on_update: Callable[[dict[str, Any]], None], **words: Any) -> None:
        super().__init__(url, **words)
        self._on_update = on_update

    async def _greet(self, socket: ClientConnection) -> None:
        key_id, secret = (key.reveal() for key in self._keys)
        data = {"key_id": key_id, "secret_key": secret}
        await socket.send(json.dumps({"action": "authenticate", "data": data}))
        answer = await self._answer(socket, "authorization")
        if answer.get("status") != "authorized":
            raise StreamRefused("the server refused our keys (unauthorized)", final=True)
        self.state.authorized = True
        streams = ["trade_updates"]
        await socket.send(json.dumps({"action": "listen", "data": {"streams": streams}}))
        listening = await self._answer(socket, "listening")
        if "trade_updates" not in listening.get("streams", ()):
            raise StreamRefused("the server does not let us hear trade_updates", final=True)

    async def _answer(self, socket: ClientConnection, stream: str) -> dict[str, Any]:
        """Return the ``data`` of the answer awaited; an update that comes first is handed on."""
        while True:
            message = decode_trading(await self._receive(socket))
            data = message.get("data")
            if not isinstance(data, dict):
                raise BadFrame(f"The {message.get('stream')!r} frame has no data.")
            if message.get("stream") == stream:
                return data
            if message.get("stream") == "authorization" and data.get("status") != "authorized":
                raise StreamRefused("the server refused our keys (unauthorized)", final=True)
            self._hand_over(message)

    def _take(self, frame: str | bytes) -> None:
        self._hand_over(decode_trading(frame))

    def _hand_over(self, message: dict[str, Any]) -> None:
        if message.get("stream") != "trade_updates":
            return
        if not isinstance(message.get("data"), dict):
            raise BadFrame("A trade update has no data.")
        self.state.n_messages += 1
        self._call(self._on_update, message["data"])


class DataLink(Link):
    """``/v2/{feed}``: auth, subscribe, hand the messages of each frame over; msgpack both ways."""

    kind = "data"
    headers: ClassVar[dict[str, str]] = {"Content-Type": "application/msgpack"}

    def __init__(
        self, url: str, on_data: Callable[[list[dict[str, Any]]], None], **words: Any
    ) -> None:
        super().__init__(url, **words)
        self._on_data = on_data
        self._wanted: dict[str, dict[str, None]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def change(self, action: str, lists: dict[str, list[str]]) -> None:
        """Remember a subscription or its end, and send it while the socket listens."""
        for name, symbols in lists.items():
            wanted = self._wanted.setdefault(name, {})
            for symbol in symbols:
                if action == "subscribe":
                    wanted[symbol] = None
                else:
                    wanted.pop(symbol, None)
        if self._socket is not None and self.state.authorized:
            task = asyncio.ensure_future(
                self._socket.send(msgpack.packb({"action": action, **lists}))
            )
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.state.last_error = "a subscription was cut off; it is sent again on reconnect"

    async def _greet(self, socket: ClientConnection) -> None:
        await self._answer(socket, "success", "connected")
        key_id, secret = (key.reveal() for key in self._keys)
        await socket.send(msgpack.packb({"action": "auth", "key": key_id, "secret": secret}))
        await self._answer(socket, "success", "authenticated")
        self.state.authorized = True
        lists = {name: list(symbols) for name, symbols in self._wanted.items() if symbols}
        if lists:
            await socket.send(msgpack.packb({"action": "subscribe", **lists}))
            await self._answer(socket, "subscription", None)

    async def _answer(self, socket: ClientConnection, kind: str, text: str | None) -> None:
        while True:
            messages = decode_data(await self._receive(socket))
            for message in messages:
                if message.get("T") == "error":
                    raise self._refusal(message)
            self._hand_over(messages)
            if any(one.get("T") == kind and text in {None, one.get("msg")} for one in messages):
                return

    def _take(self, frame: str | bytes) -> None:
        messages = decode_data(frame)
        for message in messages:
            if message.get("T") == "error":
                self.state.last_error = str(self._refusal(message))
        self._hand_over(messages)

    def _hand_over(self, messages: list[dict[str, Any]]) -> None:
        for one in messages:
            if one.get("T") == "subscription":
                self.state.channels = frozenset(
                    name for name, to in one.items() if to and name != "T"
                )
        data = [message for message in messages if message.get("T") not in CONTROL]
        if data:
            self.state.n_messages += len(data)
            self._call(self._on_data, data)

    def _refusal(self, message: dict[str, Any]) -> StreamRefused:
        """Return an error of the server's with what to do about it."""
        code, final, advice = message.get("code"), False, ""
        if isinstance(code, int):
            final = REFUSALS.get(code, False)
            advice = self._too_many() if code == 405 else ADVICE.get(code, "")
        why = f"the server answered {code} ({message.get('msg')})"
        return StreamRefused(f"{why}: {advice}" if advice else why, final=final)

    def _too_many(self) -> str:
        wanted = {*self._wanted.get("trades", ()), *self._wanted.get("quotes", ())}
        many = "every symbol (*)" if "*" in wanted else f"{len(wanted)} symbols"
        return (
            f"we ask for trades and quotes of {many}, and the free plan of market"
            f" data gives {FREE_SYMBOLS}: take symbols out of the configuration, or a plan without"
            " that limit"
        )
