"""``AlpacaStreams``: trade updates and market data over two sockets, on one daemon thread.

The client is our own, on ``websockets``: alpaca-py's streams hide refused keys, silence and a
server that is gone, and lose the rest of a frame when a handler raises. Events between two
connections are lost for ever: ``on_gap`` tells the desk to reconcile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from mqd.adapters.alpaca.socket_link import DataLink, Link, Revealed, TradingLink
from mqd.adapters.alpaca.stream_state import BACKOFF_S, SocketState, StreamNotReady
from mqd.core.protocols import Clock
from mqd.errors import UsageError

_log = logging.getLogger(__name__)
STOP_S: Final = 5.0
CHANNELS: Final = (
    "bars", "quotes", "trades", "dailyBars", "updatedBars", "statuses", "lulds",
)  # fmt: skip
Update = Callable[[dict[str, Any]], None]
Data = Callable[[list[dict[str, Any]]], None]
Gap = Callable[[str], None]


class AlpacaStreams:
    """Both sockets of an account.

    ``base_url`` is ``ws://host:port`` (``/stream`` and ``/v2/{feed}`` are appended); or give
    ``trading_url`` and ``data_url`` whole. ``key_id`` and ``secret`` have ``.reveal()``. A
    socket without its callback is not opened. Callbacks run on the stream's thread and must be
    cheap: ``on_update(data)`` gets a trade update's ``data``, ``on_data(messages)`` the market
    data messages of one frame, ``on_gap("trading" | "data")`` comes after each reconnect once
    the socket listens again. One that raises is counted in ``state``.
    Raises ``UsageError`` for a URL that is empty, no socket address, or ends in a slash.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        key_id: Revealed,
        secret: Revealed,
        clock: Clock,
        on_update: Update | None = None,
        on_data: Data | None = None,
        on_gap: Gap | None = None,
        trading_url: str | None = None,
        data_url: str | None = None,
        feed: str = "iex",
        seed: int = 0,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._links: dict[str, Link] = {}
        base = None if base_url is None else _checked("base_url", base_url)
        words: dict[str, Any] = {
            "keys": (key_id, secret),
            "clock": clock,
            "on_gap": _nothing if on_gap is None else on_gap,
            "changed": self._tell,
            "backoff_s": backoff_s,
        }
        if on_update is not None:
            url = _url("trading_url", trading_url, base, "/stream")
            self._links["trading"] = TradingLink(url, on_update, seed=seed, **words)
        self._data: DataLink | None = None
        if on_data is not None:
            url = _url("data_url", data_url, base, f"/v2/{feed}")
            self._data = self._links["data"] = DataLink(url, on_data, seed=seed + 1, **words)
        for name in ("websockets", "websockets.client"):
            logging.getLogger(name).setLevel(logging.WARNING)  # DEBUG shows frames, and our keys

    @property
    def state(self) -> dict[str, SocketState]:
        """The live state of each socket by name: "trading", "data"."""
        return {kind: link.state for kind, link in self._links.items()}

    @property
    def listening(self) -> bool:
        """True while every socket is connected, authorized and listening."""
        return all(link.state.listening for link in self._links.values())

    def subscribe(
        self,
        bars: Sequence[str] = (),
        quotes: Sequence[str] = (),
        trades: Sequence[str] = (),
        daily_bars: Sequence[str] = (),
        updated_bars: Sequence[str] = (),
        statuses: Sequence[str] = (),
        lulds: Sequence[str] = (),
    ) -> None:
        """Ask for symbols (or "*") on the data socket, before or after `start`, from any thread.

        What is subscribed is asked for again after each reconnect.
        """
        self._change(
            "subscribe", _lists(bars, quotes, trades, daily_bars, updated_bars, statuses, lulds)
        )

    def unsubscribe(
        self,
        bars: Sequence[str] = (),
        quotes: Sequence[str] = (),
        trades: Sequence[str] = (),
        daily_bars: Sequence[str] = (),
        updated_bars: Sequence[str] = (),
        statuses: Sequence[str] = (),
        lulds: Sequence[str] = (),
    ) -> None:
        """Give symbols back, from any thread."""
        self._change(
            "unsubscribe", _lists(bars, quotes, trades, daily_bars, updated_bars, statuses, lulds)
        )

    def start(self) -> None:
        """Open the sockets on a daemon thread and return at once.

        Raises ``UsageError`` when the streams run already.
        """
        if self._thread is not None and self._thread.is_alive():
            raise UsageError("The streams run already; stop them before starting them again.")
        for link in self._links.values():
            link.state.refused = False  # of an earlier start
        self._thread = threading.Thread(target=self._work, name="alpaca-streams", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._loop is not None, STOP_S)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every socket listens.

        Raises ``StreamNotReady`` at once for refused keys, else after ``timeout_s``, with why.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.listening or any(one.refused for one in self.state.values()),
                timeout_s,
            )
        told = sorted(self.state.items(), key=lambda one: not one[1].refused)
        for kind, state in told:  # a refusal says more than a socket that is still on its way
            if not state.listening:
                raise StreamNotReady(kind, state.url, state.why_not())

    def reconnect(self, kind: str, why: str) -> None:
        """Drop a socket that is mute and connect anew; from any thread."""
        link = self._links[kind]
        self._soon(lambda: link.drop(why))

    def stop(self) -> bool:
        """Close the sockets and join the thread; False when it did not end within 5 s."""
        thread, stopping = self._thread, self._stopping
        if thread is None:
            return True
        if stopping is not None:
            self._soon(stopping.set)
        thread.join(STOP_S)
        return not thread.is_alive()

    def _work(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_nobody_asked)
        self._tell()
        tasks = [asyncio.create_task(link.run()) for link in self._links.values()]
        try:
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._loop = None
            self._tell()

    def _change(self, action: str, lists: dict[str, list[str]]) -> None:
        data = self._data
        if data is None:
            raise UsageError("There is no data socket: give on_data to subscribe to symbols.")
        if not self._soon(lambda: data.change(action, lists)):
            data.change(action, lists)

    def _soon(self, do: Callable[[], None]) -> bool:
        """Run ``do`` on the stream's thread; False when it does not run."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        loop.call_soon_threadsafe(do)
        return True

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _nobody_asked(_loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    """Log an error that no one awaited by its kind alone: its text may hold what a peer sent."""
    kind = type(told.get("exception")).__name__
    _log.debug("The streams' loop ended a task nobody waits for, with %s.", kind)


def _nothing(_kind: str) -> None:
    return


def _lists(*wanted: Iterable[str]) -> dict[str, list[str]]:
    for one in wanted:
        if isinstance(one, str):
            raise UsageError(f"symbols = {one!r}: pass a list, such as [{one!r}].")
    lists = {name: list(one) for name, one in zip(CHANNELS, wanted, strict=True)}
    return {name: symbols for name, symbols in lists.items() if symbols}


def _url(name: str, whole: str | None, base: str | None, path: str) -> str:
    if whole is not None:
        return _checked(name, whole)
    if base is None:
        raise UsageError(f"Give base_url or {name}, such as 'ws://127.0.0.1:8100{path}'.")
    return base + path


def _checked(name: str, url: str) -> str:
    if not url.startswith(("ws://", "wss://")) or url.endswith("/"):
        raise UsageError(
            f"{name} = {url!r}: write ws://host:port or wss://host, without a slash at the end."
        )
    return url
