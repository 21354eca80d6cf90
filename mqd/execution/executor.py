"""Orders leave on worker threads; the desk's thread stays the only one that learns anything.

``submit``, ``cancel`` and ``replace`` put a command on the queue of the symbol's worker and return
at once; the worker calls the broker, which may block. What came of it is heard through
``reports()`` on the desk's thread, and only there. One symbol always has the same worker, so
its commands reach the broker in the order in which the desk gave them. Without this class the
desk calls the broker itself: the same broker, the same reports, the same log.

Nothing is lost on the way: a submit whose call raised, or whose worker died, is reported as
OUTCOME_UNKNOWN, because the venue may hold it; one that was never sent as DEFINITE_REJECT.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple, assert_never

from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker, Clock
from mqd.errors import UsageError
from mqd.execution.freshness import MaySend, fresh

__all__ = ["EventDrivenExecutor", "ExecutorStats", "MaySend", "fresh"]

SAMPLES_MAX: Final = 4096
_FILLS: Final = frozenset({ReportKind.FILL, ReportKind.PARTIAL_FILL})
_REJECTS: Final = frozenset({ReportKind.REJECTED, ReportKind.DEFINITE_REJECT})


class _Act(Enum):
    SUBMIT = auto()
    CANCEL = auto()
    REPLACE = auto()


class _Command(NamedTuple):
    """One call to make: ``orders`` are those that it would bring to the venue."""

    act: _Act
    name: str
    orders: tuple[Order, ...]
    symbol: str
    queued_ns: int


class ExecutorStats(NamedTuple):
    """Counts since the start. ``p50_ns`` and ``p99_ns`` are of a submit, from the call to the
    broker's return, over the last 4096; -1 before the first."""

    queued: int
    in_flight: int
    sent: int
    refused: int
    unknown: int
    n_samples: int
    p50_ns: int
    p99_ns: int


@dataclass(slots=True)
class _Lane:
    """One worker: its queue, and the command that it is calling the broker with."""

    name: str
    ready: threading.Condition
    queue: deque[_Command] = field(default_factory=deque)
    current: _Command | None = None
    dead: bool = False
    thread: threading.Thread | None = None


class EventDrivenExecutor:
    """A ``Broker`` that sends on ``workers`` threads, each with a queue of ``queue_max`` commands.

    A symbol's worker is fixed by the order in which symbols are first used. A submit or replace
    that finds its queue full, its worker dead or the executor closed is refused: a
    DEFINITE_REJECT whose text says why; a cancel always gets in. ``may_send`` is asked just
    before each order is sent (the kill latch belongs there, beside ``fresh``).
    ``on_fill`` and ``on_reject`` are called inside ``reports()``, on the desk's thread.

    ``failure`` is "" or the first thing that broke: from then on no position should be opened.
    ``broker.reports()`` must be safe to call while other threads send.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        *,
        workers: int = 4,
        queue_max: int = 1000,
        may_send: MaySend = fresh,
        on_fill: Callable[[ExecutionReport], None] | None = None,
        on_reject: Callable[[ExecutionReport], None] | None = None,
    ) -> None:
        if workers < 1 or queue_max < 1:
            raise UsageError(f"{workers} workers with queues of {queue_max}: both must be >= 1.")
        self._broker, self._clock, self._may_send = broker, clock, may_send
        self._on_fill, self._on_reject = on_fill, on_reject
        self._queue_max = queue_max
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._own: list[ExecutionReport] = []
        self._stranded: list[str] = []
        self._lane_of: dict[str, _Lane] = {}
        self._symbol_of: dict[str, str] = {}
        self._latency_ns: deque[int] = deque(maxlen=SAMPLES_MAX)
        self._sent = self._refused = self._unknown = 0
        self._closed = False
        self._halted = ""
        self.failure = ""
        self._lanes = [
            _Lane(f"mqd-executor-{n}", threading.Condition(self._lock)) for n in range(workers)
        ]
        for lane in self._lanes:
            lane.thread = threading.Thread(
                target=self._work, args=(lane,), name=lane.name, daemon=True
            )
            lane.thread.start()

    # --- Broker: the desk's thread -----------------------------------------------------------

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Queue an order with its legs."""
        name = order.client_order_id
        self._put(self._command(_Act.SUBMIT, name, (order, *legs), order.symbol))

    def cancel(self, client_order_id: str) -> None:
        """Queue a cancel behind the other commands of its symbol; it is never refused."""
        symbol = self._symbol_of.get(client_order_id, "")
        self._put(self._command(_Act.CANCEL, client_order_id, (), symbol))

    def replace(self, client_order_id: str, order: Order) -> None:
        """Queue a replace; when it is refused the old order keeps working."""
        self._put(self._command(_Act.REPLACE, client_order_id, (order,), order.symbol))

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the broker's reports, then what the workers learned by themselves."""
        found = self._broker.reports()
        with self._lock:
            found += self._own
            self._own.clear()
            stranded, self._stranded = self._stranded, []
        for name in stranded:
            self._broker.cancel(name)
        for report in found:
            if self._on_fill is not None and report.kind in _FILLS:
                self._tell(self._on_fill, report)
            elif self._on_reject is not None and report.kind in _REJECTS:
                self._tell(self._on_reject, report)
        return found

    def open_orders(self) -> list[Order]:
        """Ask the broker; the ids found are cancelled on their symbol's worker from now on."""
        orders = self._broker.open_orders()
        for order in orders:
            self._symbol_of.setdefault(order.client_order_id, order.symbol)
        return orders

    def positions(self) -> dict[str, Position]:
        """Ask the broker."""
        return self._broker.positions()

    def account(self) -> Account:
        """Ask the broker."""
        return self._broker.account()

    # --- life --------------------------------------------------------------------------------

    def drain(self, timeout_s: float) -> bool:
        """Wait until every command was carried out; return False when time ran out."""
        with self._lock:
            return self._idle.wait_for(self._is_idle, timeout_s)

    def halt(self, why: str, timeout_s: float) -> bool:
        """Let no order out any more; cancels pass. ``resume()`` ends it.

        Waits for the calls under way: after True no order leaves this process; False: a call
        still hangs, and its order may live.
        """
        with self._lock:
            self._halted = why or "sending is halted"
            flying = [lane for lane in self._lanes if lane.current and lane.current.orders]
            calls = [(lane, lane.current) for lane in flying]
            return self._idle.wait_for(
                lambda: all(lane.current is not call for lane, call in calls), timeout_s
            )

    def resume(self) -> None:
        """Let orders out again."""
        with self._lock:
            self._halted = ""

    def close(self, timeout_s: float = 10.0) -> bool:
        """Refuse new orders, carry out what is queued and end the workers.

        Returns False when time ran out: what was not sent by then is not sent, and a call still
        under way is reported as OUTCOME_UNKNOWN.
        """
        with self._lock:
            self._closed = True
            done = self._idle.wait_for(self._is_idle, timeout_s)
            for lane in self._lanes:
                while lane.queue:
                    self._drop(lane.queue.popleft(), "the desk was closed before it was sent")
                if lane.current is not None:
                    self._not_known(lane.current, "the desk was closed during the call")
                lane.ready.notify_all()
        for lane in self._lanes:
            if done and lane.thread is not None:
                lane.thread.join(timeout_s)
        return done

    def stats(self) -> ExecutorStats:
        """Return the counts and the latencies of submits."""
        with self._lock:
            sample = sorted(self._latency_ns)
            queued = sum(len(lane.queue) for lane in self._lanes)
            in_flight = sum(lane.current is not None for lane in self._lanes)
            counts = self._sent, self._refused, self._unknown
        n = len(sample)
        p50, p99 = (sample[(n - 1) // 2], sample[(n - 1) * 99 // 100]) if n else (-1, -1)
        return ExecutorStats(queued, in_flight, *counts, n, p50, p99)

    # --- inside: the desk's thread -----------------------------------------------------------

    def _command(self, act: _Act, name: str, orders: tuple[Order, ...], symbol: str) -> _Command:
        return _Command(act, name, orders, symbol, self._clock.monotonic_ns())

    def _put(self, command: _Command) -> None:
        for order in command.orders:
            self._symbol_of[order.client_order_id] = order.symbol
        with self._lock:
            lane = self._lane(command.symbol)
            why = self._why_not(lane)
            if command.act is not _Act.CANCEL and why:
                self._drop(command, why)
                return
            if lane.dead:
                lane = next((other for other in self._lanes if not other.dead), lane)
            if not lane.dead and not self._closed:
                lane.queue.append(command)
                lane.ready.notify()
                return
        self._broker.cancel(command.name)

    def _lane(self, symbol: str) -> _Lane:
        if not symbol:
            return self._lanes[0]
        lane = self._lane_of.get(symbol)
        if lane is None:
            lane = self._lanes[len(self._lane_of) % len(self._lanes)]
            self._lane_of[symbol] = lane
        return lane

    def _why_not(self, lane: _Lane) -> str:
        if self._closed or self._halted:
            return self._halted or "the desk is closed and sends no order"
        if lane.dead:
            return f"the worker of this symbol died ({self.failure})"
        if len(lane.queue) >= self._queue_max:
            return (
                f"{self._queue_max} commands wait already: the venue answers too slowly."
                " The order was not sent"
            )
        return ""

    def _tell(self, listener: Callable[[ExecutionReport], None], report: ExecutionReport) -> None:
        try:
            listener(report)
        except Exception as error:  # noqa: BLE001 - a listener's mistake must not lose reports
            with self._lock:
                self._fail(f"a listener raised {type(error).__name__}: {error}")

    # --- inside: the workers -----------------------------------------------------------------

    def _work(self, lane: _Lane) -> None:
        try:
            while (command := self._next(lane)) is not None:
                self._carry_out(lane, command)
        except BaseException as error:  # noqa: BLE001 - its orders are told of, then it ends
            self._bury(lane, error)

    def _next(self, lane: _Lane) -> _Command | None:
        with self._lock:
            while not lane.queue:
                if self._closed:
                    return None
                lane.ready.wait()
            lane.current = lane.queue.popleft()
            return lane.current

    def _carry_out(self, lane: _Lane, command: _Command) -> None:
        broke = ""
        why = self._refusal(command)
        if not why:
            try:
                self._call(command)
            except Exception as error:  # noqa: BLE001 - the venue may hold the order
                broke = f"{command.act.name.lower()} raised {type(error).__name__}: {error}"
        took_ns = self._clock.monotonic_ns() - command.queued_ns
        with self._lock:
            lane.current = None
            if why:
                self._drop(command, why)
            elif broke:
                self._fail(broke)
                self._not_known(command, broke)
            else:
                self._sent += 1
            if command.act is _Act.SUBMIT and not why:
                self._latency_ns.append(took_ns)
            self._idle.notify_all()

    def _refusal(self, command: _Command) -> str:
        waited_ns = self._clock.monotonic_ns() - command.queued_ns
        for order in command.orders:
            if self._halted:
                return self._halted
            try:
                why = self._may_send(order, waited_ns)
            except Exception as error:  # noqa: BLE001 - what cannot be judged is not sent
                why = f"it could not be judged again ({type(error).__name__}: {error})"
            if why:
                return why
        return ""

    def _call(self, command: _Command) -> None:
        match command.act:
            case _Act.SUBMIT:
                self._broker.submit(command.orders[0], command.orders[1:])
            case _Act.CANCEL:
                self._broker.cancel(command.name)
            case _Act.REPLACE:
                self._broker.replace(command.name, command.orders[0])
            case _:
                assert_never(command.act)

    def _bury(self, lane: _Lane, error: BaseException) -> None:
        """Tell of everything that a dead worker held; its cancels go to another one."""
        why = f"{lane.name} died of {type(error).__name__}: {error}"
        with self._lock:
            lane.dead = True
            self._fail(why)
            if lane.current is not None:
                self._not_known(lane.current, why)
            held, lane.queue, lane.current = lane.queue, deque(), None
            other = next((one for one in self._lanes if not one.dead), None)
            for command in held:
                if command.act is not _Act.CANCEL:
                    self._not_known(command, why)
                elif other is None:
                    self._stranded.append(command.name)
                else:
                    other.queue.append(command)
                    other.ready.notify()
            self._idle.notify_all()

    # --- inside: with the lock held ----------------------------------------------------------

    def _is_idle(self) -> bool:
        return all(not lane.queue and lane.current is None for lane in self._lanes)

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why

    def _drop(self, command: _Command, why: str) -> None:
        """Report orders that were never sent; an order to be replaced keeps working."""
        self._refused += bool(command.orders)
        if command.act is _Act.REPLACE:
            self._own.append(self._report(ReportKind.REPLACE_REJECTED, command.name, command, why))
        for order in command.orders:
            name = order.client_order_id
            self._own.append(self._report(ReportKind.DEFINITE_REJECT, name, command, why))

    def _not_known(self, command: _Command, why: str) -> None:
        """Report orders that the venue may hold."""
        self._unknown += bool(command.orders)
        for order in command.orders:
            name = order.client_order_id
            self._own.append(self._report(ReportKind.OUTCOME_UNKNOWN, name, command, why))

    def _report(self, kind: ReportKind, name: str, command: _Command, why: str) -> ExecutionReport:
        return ExecutionReport(kind, name, command.symbol, self._clock.now_ns(), text=why)
