"""A venue that waits for the desk: each phase of a step runs when the desk has asked for it.

Orders, cancels and reports go over Alpaca's interface; only the pace comes over the control path.
So a rehearsal at full speed sends the same orders, and gets the same fills, as a replay.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from mqd.core.bar import CorporateAction
from mqd.core.clock import NS_PER_S, WallClock, iso
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import TERMINAL, Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker
from mqd.errors import MqdError
from mqd.execution.fill_model import FillCounts
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.live.control import Begun, Control, Stand
from mqd.live.market import GrowingMarket
from mqd.live.plan import LiveBar
from mqd.market_data.errors import ProviderFailed

PATIENCE_S = 10.0
SAMPLES_MAX = 4096
MUTE_AFTER = 2
BACKFILL_TRIES = 10
_OVER = frozenset(
    {
        ReportKind.FILL, ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED,
        ReportKind.REPLACED, ReportKind.DEFINITE_REJECT, ReportKind.NOT_FOUND,
    }
)  # fmt: skip
Said = TypeVar("Said")
CASH_ACCOUNTS = {"FEE": "fees", "DIV": "dividends", "INT": "borrow"}


class Connector(Broker, Protocol):
    """What a session needs of the adapter beside the ``Broker``."""

    n_updates: int
    """Trade updates taken so far."""

    def activities(self, after_id: str = "") -> list[dict[str, Any]]:
        """Return the account's activities after one, oldest first."""
        ...

    def take_activities(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Report the fills among account activities."""
        ...

    def query(self, client_order_id: str) -> None:
        """Ask for an order; FOUND, NOT_FOUND or nothing follows as a report."""
        ...


class BarsLate(MqdError):
    """The bars of a step did not arrive on the market-data stream."""

    def __init__(self, missing: int, ts_close: int) -> None:
        super().__init__(
            f"{missing} bar(s) of the step that closed at {iso(ts_close)} came neither over the"
            " stream nor by REST. Stop the run, and look at the venue's output."
        )


def insist(ask: Callable[[], Said], patience_s: float) -> Said:
    """Return what ``ask`` returns, asked again while the venue does not answer; at last it raises
    what stands in the way."""
    for _ in range(BACKFILL_TRIES):
        try:
            return ask()
        except MqdError:
            threading.Event().wait(patience_s)
    return ask()


class BarInbox:
    """Bars from the stream's thread, each once, for the desk's thread, which waits for them.

    ``total`` counts the bars that have come since the venue's start; ``n_bad`` messages that were
    no bars.
    """

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._bars: dict[tuple[int, str], LiveBar] = {}
        self._over: set[tuple[int, str]] = set()
        self.total = 0
        self.n_bad = 0

    def put(self, messages: Sequence[dict[str, Any]]) -> None:
        """Keep the bars among a frame's messages; called on the stream's thread."""
        for message in messages:
            if message.get("T") not in ("b", "d"):
                continue
            try:
                bar = bar_of(message)
            except (KeyError, TypeError, ValueError):
                self.n_bad += 1
            else:
                self.add([bar])

    def add(self, bars: Sequence[LiveBar]) -> None:
        """Keep bars that have not come before."""
        with self._ready:
            for bar in bars:
                key = bar.ts_open, bar.symbol
                if key not in self._over and key not in self._bars:
                    self._bars[key] = bar
                    self.total += 1
            self._ready.notify_all()

    def wait(self, total: int, timeout_s: float) -> bool:
        """Wait until ``total`` bars have come; False when they do not in time."""
        with self._ready:
            return self._ready.wait_for(lambda: self.total >= total, timeout_s)

    def take(self) -> list[LiveBar]:
        """Return the bars that wait; one of them that comes again is passed over."""
        with self._ready:
            bars, self._bars = list(self._bars.values()), {}
            if bars:
                self._over = {(bar.ts_open, bar.symbol) for bar in bars}
            return bars


def bar_of(message: dict[str, Any]) -> LiveBar:
    """Return a bar message of the stream (``t`` in ns) as a bar."""
    vwap, count = message.get("vw"), message.get("n")
    return LiveBar(
        message["S"], int(message["t"]), float(message["o"]), float(message["h"]),
        float(message["l"]), float(message["c"]), float(message["v"]),
        None if vwap is None else float(vwap), None if count is None else float(count),
    )  # fmt: skip


class PacedBroker:
    """A ``SteppedBroker`` over the adapter and the control path."""

    def __init__(
        self,
        connector: Connector,
        control: Control,
        market: GrowingMarket,
        inbox: BarInbox,
        quantum: Decimal,
        *,
        patience_s: float = PATIENCE_S,
        backfill: Callable[[int], Sequence[LiveBar]] = lambda _ts_close: (),
        reconnect: Callable[[str, str], None] = lambda _kind, _why: None,
    ) -> None:
        self.counts = FillCounts()
        self._connector, self._control, self._market = connector, control, market
        self._inbox, self._quantum, self._patience_s = inbox, quantum, patience_s
        self._backfill, self._reconnect = backfill, reconnect
        self._silent_in_a_row = self._missed_in_a_row = 0
        self._fills_id = ""
        self.n_backfilled = 0
        self.account_book = PacedBook(self._charges)
        self._open: set[str] = set()
        self._begun = Begun(False, 0, 0, 0, 0)
        self._activities = 0
        self._activity_id = ""
        self.judge: Callable[[list[ExecutionReport]], list[ExecutionReport]] = lambda said: said
        self.n_silent = 0
        self._wall = WallClock()
        self._bars_mono_ns = 0
        self._submits: deque[int] = deque(maxlen=SAMPLES_MAX)
        self._to_wire: deque[int] = deque(maxlen=SAMPLES_MAX)

    # --- the driver's side -------------------------------------------------------------------

    def next_step(self) -> int | None:
        """Let the venue begin the next step and return its close, None after the last."""
        self._begun = self._control.begin()
        self._bars_mono_ns = 0
        return None if self._begun.done else self._begun.ts_close

    def rejoin(self, stand: Stand) -> None:
        """Take up a step that the venue has begun and not closed: the desk was restarted."""
        self._begun = Begun(False, stand.ts_close, stand.now_ns, stand.updates, 0)

    def hear_all(self) -> None:
        """Wait for all trade updates that the venue has told."""
        self._hear(self._control.state().updates)

    def all_activities(self, after_id: str = "") -> list[dict[str, Any]]:
        """Ask for the activities after one, again while the venue does not answer: without its
        fills and charges the books would be wrong from here on."""
        return insist(lambda: self._connector.activities(after_id), self._patience_s)

    def charges_after(self, n_booked: int) -> list[CashActivity]:
        """Return the changes of cash that the venue told of, but for the first ``n_booked``."""
        return [activity for activity in self._charges() if activity.amount][n_booked:]

    def latency_ns(self) -> dict[str, float]:
        """Return the median and the 99th percentile of what an order took, in ns."""
        found: dict[str, float] = {}
        for name, samples in (("bar_to_wire", self._to_wire), ("submit", self._submits)):
            if samples:
                ordered = sorted(samples)
                found[f"{name}_p50"] = float(ordered[len(ordered) // 2])
                found[f"{name}_p99"] = float(ordered[len(ordered) * 99 // 100])
        return found

    @property
    def has_resting(self) -> bool:
        """True when an order of ours may still fill."""
        return bool(self._open)

    @property
    def opens_ns(self) -> int:
        """The instant of this step's first open."""
        return self._begun.opens_ns

    def begin(self, step: int, now_ns: int, rows: Sequence[int], last_rows: Sequence[int]) -> None:
        """Hear what the step's beginning brought: the venue has begun it already."""
        self._hear(self._begun.updates)

    def match_open(self) -> None:
        """Let the venue fill what fills at the open."""
        self._hear(self._control.phase("open").updates)

    def match_within(self) -> None:
        """Let the venue fill what fills inside the bar."""
        self._hear(self._control.phase("within").updates)

    def match_close(self, closing: Sequence[str]) -> None:
        """Let the venue close the step; which symbols close it knows by itself."""
        self.settle_marks()

    def settle_marks(self) -> None:
        """Let the venue close the step, and take its bars."""
        said = self._control.phase("close")
        self._hear(said.updates)
        self._market.take(self._bars(said.bars), ends_session=said.ends_session)

    def _bars(self, total: int) -> list[LiveBar]:
        """Return the step's bars; those that the stream did not bring are asked for."""
        if self._inbox.wait(total, self._patience_s):
            self._missed_in_a_row = 0
        else:
            self._ask_for_bars(total)
            self._missed_in_a_row += 1
            if self._missed_in_a_row >= MUTE_AFTER:
                self._missed_in_a_row = 0
                self._reconnect("data", "the venue told more bars than came")
        self._bars_mono_ns = self._wall.monotonic_ns()
        return self._inbox.take()

    def _ask_for_bars(self, total: int) -> None:
        """Fetch the step's bars by REST, again while the venue is too busy to answer."""
        have, waiting = self._inbox.total, threading.Event()
        for _ in range(BACKFILL_TRIES):
            try:
                self._inbox.add(self._backfill(self._begun.ts_close))
            except ProviderFailed:
                waiting.wait(self._patience_s)
            if self._inbox.total >= total:
                self.n_backfilled += total - have
                return
        raise BarsLate(total - self._inbox.total, self._begun.ts_close)

    def act(self, action: CorporateAction) -> CashActivity | SplitActivity | None:
        """Do nothing: the venue keeps the corporate actions, and tells of them as activities."""
        return None

    def activities(self) -> list[CashActivity]:
        """Return what the venue booked by itself since the last call."""
        return self._charges() if self._begun.activities > self._activities else []

    # --- Broker ------------------------------------------------------------------------------

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Send an order and hear what it led to."""
        self._open.update(member.client_order_id for member in (order, *legs))
        before = self._wall.monotonic_ns()
        self._connector.submit(order, legs)
        self._submits.append(self._wall.monotonic_ns() - before)
        if self._bars_mono_ns:
            self._to_wire.append(before - self._bars_mono_ns)
        self._hear(self._control.state().updates)

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel and hear what it led to."""
        self._connector.cancel(client_order_id)
        self._hear(self._control.state().updates)

    def replace(self, client_order_id: str, order: Order) -> None:
        """Ask to replace an order and hear what it led to."""
        self._open.add(order.client_order_id)
        self._connector.replace(client_order_id, order)
        self._hear(self._control.state().updates)

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived, as known at the step's close."""
        reports = self._connector.reports()
        self._open -= {
            said.client_order_id
            for said in reports
            if said.kind in _OVER or said.status in TERMINAL
        }
        known_ns = self._market.ts_close[-1] if self._market.n_steps else 0
        return [said._replace(ts_ns=known_ns) for said in self.judge(reports)]

    def open_orders(self) -> list[Order]:
        """Return the orders that the venue holds as working."""
        return self._connector.open_orders()

    def positions(self) -> dict[str, Position]:
        """Return the venue's non-flat positions by symbol."""
        return self._connector.positions()

    def account(self) -> Account:
        """Return the venue's view of the account."""
        return self._connector.account()

    # --- inside ------------------------------------------------------------------------------

    def _hear(self, updates: int) -> None:
        """Wait until the stream has brought ``updates`` trade updates; ask where it is silent."""
        waiting = threading.Event()
        until = self._wall.monotonic_ns() + int(self._patience_s * NS_PER_S)
        while self._connector.n_updates < updates:
            if self._wall.monotonic_ns() >= until:
                self._catch_up(updates)
                return
            waiting.wait(0.0002)
        self._silent_in_a_row = 0

    def _catch_up(self, updates: int) -> None:
        """Learn by REST what the stream did not bring; a stream that stays mute is opened anew."""
        self.n_silent += 1
        self._silent_in_a_row += 1
        for name in sorted(self._open):
            self._connector.query(name)
        if not self.ask_fills():
            return  # the next silence asks again
        self._connector.n_updates = max(self._connector.n_updates, updates)
        if self._silent_in_a_row >= MUTE_AFTER:
            self._silent_in_a_row = 0
            self._reconnect("trading", "the venue told more trade updates than came")

    def ask_fills(self) -> bool:
        """Take the fills that the account's activities tell of since the last question; False when
        the venue does not answer."""
        try:
            fills = self._connector.activities(self._fills_id)
        except MqdError:
            return False
        self._connector.take_activities(fills)
        if fills:
            self._fills_id = fills[-1]["id"]
        return True

    def _charges(self) -> list[CashActivity]:
        """Return the changes of cash among the activities that are new."""
        found = []
        for entry in self.all_activities(self._activity_id):
            self._activity_id = entry["id"]
            self._activities += 1
            account = CASH_ACCOUNTS.get(entry["activity_type"])
            if account is not None:
                amount = int(Decimal(entry["net_amount"]) / self._quantum)
                found.append(CashActivity(account, entry.get("symbol") or "", amount))
        return found


class PacedBook:
    """The account on the far side: its charges come as activities."""

    owes_at_close = True

    def __init__(self, charges: Callable[[], list[CashActivity]]) -> None:
        self._charges = charges
        self.settled: Callable[[], int] = lambda: 0

    def open_session(self, day: int) -> None:
        """Do nothing: the venue settles by itself."""

    def close_session(self, days_to_next: int) -> list[CashActivity]:
        """Return what the session's close charged."""
        return self._charges()
