"""``RealtimeDataHandler``: bars, quotes and trades from a live stream, judged and in order.

The stream's thread only hands frames over (`take`, `gap`); one worker thread reads them, fills
gaps by history, lets each bar through once, and watches for silence. It needs no event loop, so
it runs in a notebook as it does in a program. `pump` does the worker's work once; tests call it
with a clock of their own.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from mqd.core.bar import Bar, Trade, TradeChange
from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.core.protocols import Clock
from mqd.errors import MqdError, UsageError
from mqd.market_data import health as read
from mqd.market_data.bar_gate import BarGate, Gap
from mqd.market_data.calendar import TradingCalendar, calendar_for
from mqd.market_data.health import BAD_A_MINUTE_MAX, BadValues, Health, HealthState, Unusable
from mqd.market_data.pipeline import read_all
from mqd.market_data.providers import WIDTHS, DataQuery, Kind, Provider, stamps_of
from mqd.market_data.quotes import Nbbo, QuoteAggregator

PUMP_S: Final = 0.25
WATCH_NS: Final = NS_PER_S
GAP_TRIES: Final = 4


class Socket(Protocol):
    """What is known of a stream's socket."""

    listening: bool
    last_message_mono_ns: int
    last_error: str


class Stream(Protocol):
    """A live stream; its callbacks are `RealtimeDataHandler.take` and `.gap`."""

    @property
    def state(self) -> Mapping[str, Socket]:
        """The sockets by name; market data come over "data"."""
        ...

    def start(self) -> None:
        """Connect on a thread of its own."""
        ...

    def stop(self) -> bool:
        """Disconnect; False when the thread did not end in time."""
        ...

    def reconnect(self, kind: str, why: str) -> None:
        """Drop a socket and connect anew."""
        ...


@dataclass(frozen=True)
class Watch:
    """When silence is a fault.

    ``mute_s``: no message at all in an open session. ``silent_bars``: a symbol without a bar for
    so many widths of a bar. ``grace_s``: how long a bar that came before its close waits after
    it for a last revision.
    """

    mute_s: float = 90.0
    silent_bars: int = 3
    grace_s: float = 2.0


class RealtimeDataHandler:
    """Live data of ``symbols`` on a calendar.

    ``on_bar(bar)`` gets each complete bar once, in order of time for its symbol; ``on_quote``
    the best bid and offer, ``on_trade`` trades, ``on_change`` trades corrected or cancelled
    afterwards (bars that have gone through stay; growing ones of ``quotes`` follow), ``on_gap``
    stretches that history could not fill, ``on_health`` each change of state. They run on the
    worker thread; one that raises is counted. ``history`` fills gaps with ``timeframe`` bars;
    without it each gap is told.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        clock: Clock,
        on_bar: Callable[[Bar], None],
        *,
        timeframe: str = "1Min",
        calendar: str = "XNYS",
        history: Provider | None = None,
        on_quote: Callable[[Nbbo], None] | None = None,
        on_trade: Callable[[Trade], None] | None = None,
        on_change: Callable[[TradeChange], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_health: Callable[[Health], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        if timeframe not in WIDTHS:
            raise UsageError(f"timeframe = {timeframe!r}: write one of {', '.join(WIDTHS)}.")
        self.symbols, self.timeframe, self.calendar = tuple(symbols), timeframe, calendar
        self.quotes = QuoteAggregator()
        self.watch = watch or Watch()
        self.counts: Counter[str] = Counter()
        self.bad = BadValues()
        self.gate = BarGate(int(self.watch.grace_s * NS_PER_S))
        self._clock, self._history = clock, history
        self._on_bar, self._on_quote, self._on_trade = on_bar, on_quote, on_trade
        self._on_change, self._on_gap, self._on_health = on_change, on_gap, on_health
        self._width_ns = WIDTHS[timeframe]
        self._inbox: deque[list[dict[str, Any]] | None] = deque()  # None marks a gap
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: Stream | None = None
        self._health = Health(HealthState.STOPPED)
        self._begun_ns, self._begun_mono_ns = clock.now_ns(), clock.monotonic_ns()
        self._heard_mono_ns = self._begun_mono_ns
        self._watched_mono_ns = self._dropped_mono_ns = 0
        self._gap_tries, self._gap_again_mono_ns = 0, 0
        self._in_gap = False
        self._gap_from_ns: dict[str, int] = {}

    @property
    def health(self) -> Health:
        """The state at the last look, from any thread."""
        return self._health

    def attach(self, stream: Stream) -> None:
        """Name the stream that is watched, and dropped when it is mute."""
        self._stream = stream

    def start(self) -> None:
        """Start the worker, then the stream; raise ``UsageError`` when it runs already."""
        if self._thread is not None and self._thread.is_alive():
            raise UsageError("The handler runs already; stop it before starting it again.")
        self._stopping.clear()
        self._begun_ns, self._begun_mono_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        self._heard_mono_ns = self._begun_mono_ns
        self._calendar_at(self._begun_ns)  # calendars are slow to open: not among the data
        self._thread = threading.Thread(target=self._work, name="market-data", daemon=True)
        self._thread.start()
        if self._stream is not None:
            self._stream.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop the stream and the worker; False when one did not end in time."""
        ended = self._stream.stop() if self._stream is not None else True
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            ended = ended and not self._thread.is_alive()
        self._tell(Health(HealthState.STOPPED, counts=self._counted()))
        return ended

    def take(self, messages: list[dict[str, Any]]) -> None:
        """Hand a frame's messages over; cheap, from any thread."""
        self._inbox.append(messages)
        self._wake.set()

    def gap(self, _kind: str = "data") -> None:
        """Say that messages were lost up to now; from any thread."""
        self._inbox.append(None)
        self._wake.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(PUMP_S)
            self._wake.clear()
            self.pump()

    def pump(self) -> int:
        """Read what waits, fill gaps, let bars through, look at the health; return the count."""
        count = 0
        while self._inbox:
            messages = self._inbox.popleft()
            if messages is None:
                self._open_gap()
                continue
            self._heard_mono_ns = self._clock.monotonic_ns()
            now_ns = self._clock.now_ns()
            for message in messages:
                count += 1
                try:
                    self._one(message, now_ns)
                except Unusable as why:
                    self.bad.add(str(why), self._heard_mono_ns)
        if self._in_gap:
            self._fill_gap()
        if not self._in_gap:
            for bar in self.gate.ready(self._clock.now_ns()):
                self._call(self._on_bar, bar)
        mono_ns = self._clock.monotonic_ns()
        if mono_ns - self._watched_mono_ns >= WATCH_NS:
            self._watched_mono_ns = mono_ns
            self.look()
        return count

    def _one(self, message: dict[str, Any], now_ns: int) -> None:
        match message.get("T"):
            case "b" | "u":
                start_ns = read.instant_of(message, now_ns)
                bar = read.bar_of(message, start_ns, start_ns + self._width_ns)
                self.gate.take(bar, now_ns)
            case "d":
                start_ns, end_ns = self._session(read.instant_of(message, now_ns))
                self.gate.take(read.bar_of(message, start_ns, end_ns), now_ns)
            case "q":
                best = self.quotes.on_quote(read.quote_of(message, now_ns))
                self._call(self._on_quote, best)
            case "t":
                self._call(self._on_trade, read.trade_of(message, now_ns))
            case "c" | "x":
                change = read.change_of(message, now_ns)
                self.quotes.on_change(change)
                self._call(self._on_change, change)
            case other:
                self.counts[f"other {other}"] += 1
                return
        self.counts[str(message["T"])] += 1

    def _session(self, stamp_ns: int) -> tuple[int, int]:
        """Return open and close of the session that a daily bar's stamp names."""
        calendar = self._calendar_at(stamp_ns)
        row = int(calendar.daily_index(np.array([stamp_ns], np.int64))[0])
        if row < 0:
            raise Unusable("a daily bar of no session")
        return int(calendar.opens[row]), int(calendar.closes[row])

    def _calendar_at(self, ts_ns: int) -> TradingCalendar:
        return calendar_for(self.calendar, ts_ns, ts_ns)

    def _open_gap(self) -> None:
        """Messages were lost: bars wait until history has filled the stretch, or cannot."""
        self.counts["gaps"] += 1
        self._in_gap, self._gap_tries, self._gap_again_mono_ns = True, 0, 0
        for symbol in self.symbols:
            last = self.gate.last.get(symbol)
            self._gap_from_ns.setdefault(symbol, self._begun_ns if last is None else last.ts_close)

    def _fill_gap(self) -> None:
        mono_ns, now_ns = self._clock.monotonic_ns(), self._clock.now_ns()
        if mono_ns < self._gap_again_mono_ns:
            return
        start_ns = min(self._gap_from_ns.values(), default=now_ns)
        try:
            if start_ns < now_ns:
                self._backfill(start_ns, now_ns)
        except MqdError:
            self._gap_tries += 1
            self._gap_again_mono_ns = mono_ns + 2**self._gap_tries * NS_PER_S
            self.counts["gap tries failed"] += 1
            if self._gap_tries < GAP_TRIES:
                return
            self.counts["gaps lost"] += 1
            for symbol, after_ns in self._gap_from_ns.items():
                self._call(self._on_gap, Gap(symbol, after_ns, now_ns))
        self._in_gap = False
        self._gap_from_ns.clear()

    def _backfill(self, start_ns: int, now_ns: int) -> None:
        """Take the closed bars that history has since the gap began."""
        if self._history is None:
            self._gap_tries = GAP_TRIES
            raise UsageError("There is no history to fill the gap from.")
        query = DataQuery(Kind.BARS, self.symbols, start_ns, now_ns, self.timeframe)
        table = read_all(self._history, query)
        columns = ("symbol", "open", "high", "low", "close", "volume")
        rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
        daily = self._width_ns >= NS_PER_DAY
        for at, (symbol, *numbers) in zip(stamps_of(table).tolist(), rows, strict=True):
            message = dict(zip(("S", "o", "h", "l", "c", "v"), (symbol, *numbers), strict=True))
            try:
                span = self._session(at) if daily else (at, at + self._width_ns)
                bar = read.bar_of(message, *span)
            except Unusable as why:
                self.bad.add(str(why), self._clock.monotonic_ns())
                continue
            if bar.ts_close <= now_ns and bar.ts_open >= self._gap_from_ns.get(symbol, 0):
                self.counts["backfilled"] += self.gate.take(bar, now_ns)

    def look(self) -> Health:
        """Look at the sockets, the values and the heartbeats; drop a mute socket."""
        now_ns, mono_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        calendar = self._calendar_at(now_ns)
        row = int(calendar.index_at(np.array([now_ns], np.int64))[0])
        open_ns = int(calendar.opens[row]) if row >= 0 else None
        bad = self.bad.last_minute(mono_ns)
        silent = () if open_ns is None else self._silent(now_ns, open_ns)
        state, why = self._state(now_ns, mono_ns, open_ns, bad, silent)
        self._tell(Health(state, why, silent, bad, self._counted()))
        return self._health

    def _state(
        self, now_ns: int, mono_ns: int, open_ns: int | None, bad: int, silent: tuple[str, ...]
    ) -> tuple[HealthState, str]:
        socket = None if self._stream is None else self._stream.state.get("data")
        if socket is not None and not socket.listening:
            return HealthState.DISCONNECTED, socket.last_error or "the socket is not listening"
        if open_ns is not None:
            quiet_ns = min(mono_ns - self._heard_mono_ns, now_ns - open_ns)
            if quiet_ns > self.watch.mute_s * NS_PER_S:
                why = f"nothing was heard for {quiet_ns // NS_PER_S} s of an open session"
                self._drop(mono_ns, why)
                return HealthState.MUTE, why
        if bad > BAD_A_MINUTE_MAX:
            return HealthState.BAD_VALUES, f"{bad} values dropped in a minute: {self.bad.last}"
        if self._in_gap:
            return HealthState.GAP, "bars wait for history to fill a gap"
        if silent:
            return HealthState.SILENT_SYMBOLS, f"no bar of {', '.join(silent[:5])}"
        return HealthState.HEALTHY, ""

    def _drop(self, mono_ns: int, why: str) -> None:
        """Drop a mute socket, at most once in the time after which it counts as mute."""
        since_ns = mono_ns - self._dropped_mono_ns
        if self._stream is not None and since_ns > self.watch.mute_s * NS_PER_S:
            self._dropped_mono_ns = mono_ns
            self.counts["sockets dropped"] += 1
            self._stream.reconnect("data", why)

    def _silent(self, now_ns: int, open_ns: int) -> tuple[str, ...]:
        """Return the symbols that should have had a bar by now."""
        if self._width_ns >= NS_PER_DAY:
            return ()
        allowed_ns = self.watch.silent_bars * self._width_ns
        since_ns = max(open_ns, self._begun_ns)
        last = self.gate.last
        return tuple(
            symbol for symbol in self.symbols
            if now_ns - max(since_ns, last[symbol].ts_close if symbol in last else 0) > allowed_ns
        )  # fmt: skip

    def _counted(self) -> dict[str, int]:
        gate = self.gate
        return {
            **self.counts, "bad": self.bad.total, "released": gate.n_released,
            "duplicate": gate.n_duplicate, "revised": gate.n_revised, "late": gate.n_late,
        }  # fmt: skip

    def _tell(self, health: Health) -> None:
        before, self._health = self._health, health
        if before.state is not health.state:
            self._call(self._on_health, health)

    def _call(self, callback: Callable[[Any], None] | None, value: object) -> None:
        if callback is None:
            return
        try:
            callback(value)
        except Exception:  # noqa: BLE001 - a listener must not end the data
            self.counts["callback errors"] += 1
