"""The bus: every event of the desk in one total order ``(ts_ns, priority, sequence)``.

Any thread publishes; the desk's thread dispatches in `OrderEventBus.drain`. Stages and inline
handlers run there; a listener (`OrderEventBus.attach`) has a thread and a bounded queue of its
own. Orders, fills and all else but quotes are never dropped: a full queue makes its publisher
wait. Of the quotes that wait, a listener gets the newest a symbol.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from mqd import logs
from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.event import NEVER_DROPPED, PRIORITY, Event, Topic
from mqd.errors import BusOverloaded, StageFailed, UsageError

Handler = Callable[[Event], None]
BACK_PRESSURE_S: Final = 1.0
INBOX_MAX: Final = 65_536
FAILURES_KEPT: Final = 100


class Failure(NamedTuple):
    """One call of a handler that raised, or a listener that was given up."""

    name: str
    topic: Topic
    ts_ns: int
    error: str


class BusStats(NamedTuple):
    """Counts since the start: ``failures`` by handler name, ``waiting`` by listener name."""

    dispatched: int
    inbox: int
    conflated: int
    failures: dict[str, int]
    waiting: dict[str, int]


class CloseReport(NamedTuple):
    """What `OrderEventBus.close` left: undelivered events by name, threads still running."""

    left: dict[str, int]
    stuck: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """True when everything was delivered and every thread has ended."""
        return not self.left and not self.stuck


class _Subscriber(NamedTuple):
    handler: Handler
    stage: bool
    name: str


class _Listener:
    """A handler with its own thread and a bounded queue in dispatch order."""

    def __init__(self, name: str, handler: Handler, maxsize: int, bus: OrderEventBus) -> None:
        self.name, self._handler, self._maxsize, self._bus = name, handler, maxsize, bus
        self._changed = threading.Condition()
        self._queue: dict[object, Event] = {}
        self._closing = False
        self.failed = False
        self.conflated = 0
        self.thread = threading.Thread(target=self._work, name=f"bus-{name}", daemon=True)
        self.thread.start()

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, event: Event) -> None:
        """Queue an event; wait for room up to ``BACK_PRESSURE_S``, then give the listener up."""
        if self.failed:
            return
        conflates = event.topic not in NEVER_DROPPED
        key: object = symbol_of(event) if conflates else event.sequence
        with self._changed:
            if conflates and self._queue.pop(key, None) is not None:
                self.conflated += 1  # the newest takes its own place at the end: order holds
            elif len(self._queue) >= self._maxsize and not self._changed.wait_for(
                lambda: len(self._queue) < self._maxsize, self._bus.back_pressure_s
            ):
                self.failed = True
                self._bus.count_failure(self.name, event, f"its queue of {self._maxsize} is full")
                self._changed.notify_all()
                return
            self._queue[key] = event
            self._changed.notify_all()

    def close(self) -> None:
        """Let the thread end once the queue is empty."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing or self.failed)
            if self.failed or not self._queue:
                return None
            event = self._queue.pop(next(iter(self._queue)))
            self._changed.notify_all()
            return event

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._handler(event)
            except Exception as error:  # noqa: BLE001
                self._bus.count_failure(self.name, event, f"{type(error).__name__}: {error}")


def symbol_of(event: Event) -> str:
    """Return the symbol of an event's payload, "" when it has none."""
    return str(getattr(event.payload, "symbol", ""))


class OrderEventBus:
    """Publish from any thread; subscribe, attach, drain and close on the desk's thread.

    ``back_pressure_s``: how long a publisher waits for a full queue. ``inbox_max``: events of
    other threads that may wait for the next drain; beyond it their quotes conflate and
    everything else waits.
    """

    def __init__(
        self, *, back_pressure_s: float = BACK_PRESSURE_S, inbox_max: int = INBOX_MAX
    ) -> None:
        self.back_pressure_s = back_pressure_s
        self.failures: deque[Failure] = deque(maxlen=FAILURES_KEPT)
        self._inbox_max = inbox_max
        self._inbox: deque[Event] = deque()
        self._ready: deque[Event] = deque()  # waiting events that came in order
        self._late: list[Event] = []  # a heap of those that did not
        self._sequence = itertools.count(1)
        self._routes: dict[Topic, tuple[_Subscriber, ...]] = {}
        self._listeners: dict[str, _Listener] = {}
        self._failure_counts: dict[str, int] = {}
        self._lock = threading.Condition()
        self._quotes: dict[str, Event] = {}  # newest a symbol while the inbox is full
        self._conflated = self._dispatched = 0
        self._desk_thread = threading.get_ident()
        self._draining = self._closed = False
        self._blocked = 0
        self._sleeping = False
        self._wake = threading.Event()
        self._stage_failure: StageFailed | None = None

    def subscribe(self, topic: Topic, handler: Handler, *, name: str, stage: bool = False) -> None:
        """Call ``handler(event)`` in `drain`: stages first, then by name.

        A handler that raises is counted and passed over; a stage that raises stops the run.
        Raises ``UsageError`` for a name taken on this topic.
        """
        taken = self._routes.get(topic, ())
        if any(other.name == name for other in taken):
            raise UsageError(f"A handler named {name!r} already listens to {topic}.")
        entries = (*taken, _Subscriber(handler, stage, name))
        self._routes[topic] = tuple(sorted(entries, key=lambda one: (not one.stage, one.name)))

    def attach(
        self, topics: Topic | Iterable[Topic], handler: Handler, name: str, maxsize: int = 10_000
    ) -> None:
        """Call ``handler(event)`` on a thread of its own, fed by a queue of ``maxsize`` events.

        It gets the events in dispatch order. Quotes that wait conflate; for anything else a
        full queue holds the desk for up to ``back_pressure_s``, then the listener is given up
        and counted, and the run goes on.
        """
        if name in self._listeners:
            raise UsageError(f"A listener named {name!r} is attached already.")
        listener = _Listener(name, handler, maxsize, self)
        self._listeners[name] = listener
        for topic in (topics,) if isinstance(topics, Topic) else topics:
            self.subscribe(topic, listener.offer, name=name)

    def listens(self, topic: Topic) -> bool:
        """Return True when anybody hears ``topic``."""
        return topic in self._routes

    def publish(self, topic: Topic, ts_ns: int, payload: object) -> None:
        """Hand an event over, from any thread; nothing is kept when nobody listens.

        Raises ``BusOverloaded`` on a thread that waited ``back_pressure_s`` for the desk, and
        ``UsageError`` after `close`.
        """
        if topic not in self._routes:
            if self._closed:
                raise UsageError(f"The bus is closed; an event on {topic} came too late.")
            return
        event = Event(ts_ns, PRIORITY[topic], next(self._sequence), topic, payload)
        if len(self._inbox) >= self._inbox_max and self._relieve(event):
            return
        self._inbox.append(event)
        if self._sleeping:
            self._wake.set()

    def drain(self) -> int:
        """Dispatch everything that waits, what handlers publish included; return the count.

        The least event of those waiting goes next. Raises ``StageFailed`` when a stage raised,
        and again at each later call: such a run is over. A nested call does nothing.
        """
        if self._stage_failure is not None:
            raise self._stage_failure
        if self._draining:
            return 0
        self._draining = True
        self._desk_thread = threading.get_ident()
        inbox, count = self._inbox, 0
        try:
            while True:
                if inbox or self._quotes:
                    event = self._take()
                elif self._ready or self._late:
                    event = self._least()
                else:
                    return count
                count += 1
                for subscriber in self._routes.get(event.topic, ()):
                    try:
                        subscriber.handler(event)
                    except Exception as error:  # noqa: BLE001
                        self._handler_failed(subscriber, event, error)
        finally:
            self._draining = False
            self._dispatched += count

    def wait(self, timeout_s: float) -> bool:
        """Sleep until an event waits or ``timeout_s`` has passed; True when one waits."""
        self._sleeping = True
        try:
            if not self._waiting():
                self._wake.wait(timeout_s)
        finally:
            self._sleeping = False
            self._wake.clear()
        return self._waiting() > 0

    def stats(self) -> BusStats:
        """Return the counts so far; from any thread."""
        return BusStats(
            self._dispatched,
            self._waiting(),
            self._conflated + sum(one.conflated for one in self._listeners.values()),
            dict(self._failure_counts),
            {name: len(listener) for name, listener in self._listeners.items()},
        )

    def close(self, timeout_s: float = 5.0) -> CloseReport:
        """Drain, let the listeners finish within ``timeout_s``, and say what was left.

        After a stage failure the inbox is left as it is; listeners still get what they were
        given. Publishing afterwards raises.
        """
        clock = WallClock()
        deadline_ns = clock.monotonic_ns() + int(timeout_s * NS_PER_S)
        if self._stage_failure is None:
            self.drain()
        for listener in self._listeners.values():
            listener.close()
        for listener in self._listeners.values():
            listener.thread.join(max(0, deadline_ns - clock.monotonic_ns()) / NS_PER_S)
        if self._stage_failure is None:
            self.drain()  # what the listeners published while they finished
        self._closed = True
        self._routes = {}
        left = {name: len(one) for name, one in self._listeners.items() if len(one)}
        if self._waiting():
            left["bus"] = self._waiting()
        stuck = [name for name, one in self._listeners.items() if one.thread.is_alive()]
        return CloseReport(left, tuple(stuck))

    def count_failure(self, name: str, event: Event, error: str) -> None:
        """Count and report a handler's failure: its 1st, 10th, 100th, ... as a log line."""
        with self._lock:
            count = self._failure_counts[name] = self._failure_counts.get(name, 0) + 1
            self.failures.append(Failure(name, event.topic, event.ts_ns, error))
        if str(count).strip("0") == "1":
            logs.get_logger("event_bus").error(
                "handler_failed", handler=name, topic=str(event.topic), ts_ns=event.ts_ns,
                symbol=symbol_of(event), error=error, failures=count,
            )  # fmt: skip

    def _waiting(self) -> int:
        return len(self._inbox) + len(self._ready) + len(self._late) + len(self._quotes)

    def _handler_failed(self, subscriber: _Subscriber, event: Event, error: Exception) -> None:
        self.count_failure(subscriber.name, event, f"{type(error).__name__}: {error}")
        if subscriber.stage:
            what = f"{event.topic} at {event.ts_ns}"
            self._stage_failure = StageFailed(subscriber.name, what, error)
            raise self._stage_failure from error

    def _take(self) -> Event:
        """Accept the inbox and return the least event that waits."""
        inbox, ready, late = self._inbox, self._ready, self._late
        if not (ready or late or self._quotes or self._blocked):
            event = inbox.popleft()
            if not inbox:
                return event
            ready.append(event)
        while inbox:
            event = inbox.popleft()
            if ready and event < ready[-1]:
                heapq.heappush(late, event)
            else:
                ready.append(event)
        if self._quotes or self._blocked:
            self._let_in()
        return self._least()

    def _least(self) -> Event:
        late, ready = self._late, self._ready
        if late and (not ready or late[0] < ready[0]):
            return heapq.heappop(late)
        return ready.popleft()

    def _relieve(self, event: Event) -> bool:
        """The inbox is full: conflate a quote (True), or wait for room; the desk never waits."""
        if threading.get_ident() == self._desk_thread:
            return False
        with self._lock:
            if event.topic not in NEVER_DROPPED:
                symbol = symbol_of(event)
                self._conflated += symbol in self._quotes
                self._quotes[symbol] = event
                return True
            self._blocked += 1
            try:
                if not self._lock.wait_for(
                    lambda: len(self._inbox) < self._inbox_max, self.back_pressure_s
                ):
                    raise BusOverloaded(str(event.topic), self.back_pressure_s)
            finally:
                self._blocked -= 1
        return False

    def _let_in(self) -> None:
        with self._lock:
            quotes, self._quotes = self._quotes, {}
            self._lock.notify_all()
        for event in quotes.values():
            heapq.heappush(self._late, event)
