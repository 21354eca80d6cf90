"""A venue that waits for the desk: each phase of a step runs when the desk has asked for it.

Orders, cancels and reports go over Alpaca's interface; only the pace comes over the control path.
So a rehearsal at full speed sends the same orders, and gets the same fills, as a replay.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Protocol

from mqd.core.bar import CorporateAction
from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker
from mqd.errors import MqdError
from mqd.execution.fill_model import FillCounts
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.live.control import Begun, Control, Stand
from mqd.live.market import GrowingMarket, LiveBar

PATIENCE_S = 10.0
SAMPLES_MAX = 4096
_OVER = frozenset(
    {
        ReportKind.FILL, ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED,
        ReportKind.REPLACED, ReportKind.DEFINITE_REJECT, ReportKind.NOT_FOUND,
    }
)  # fmt: skip
CASH_ACCOUNTS = {"FEE": "fees", "DIV": "dividends", "INT": "borrow"}


class Connector(Broker, Protocol):
    """What a session needs of the adapter beside the ``Broker``."""

    @property
    def n_updates(self) -> int:
        """Trade updates taken so far."""
        ...

    def activities(self, after_id: str = "") -> list[dict[str, Any]]:
        """Return the account's activities after one, oldest first."""
        ...

    def query(self, client_order_id: str) -> None:
        """Ask for an order; FOUND, NOT_FOUND or nothing follows as a report."""
        ...


class BarsLate(MqdError):
    """The bars of a step did not arrive on the market-data stream."""

    def __init__(self, have: int, want: int) -> None:
        super().__init__(
            f"{want - have} of {want} bars did not arrive within {PATIENCE_S:g} s. The market-data"
            " stream is silent: stop the run, and look at the venue's output."
        )


class BarInbox:
    """Bars from the stream's thread, in order of arrival; the desk's thread waits for them."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._bars: list[LiveBar] = []
        self._taken = 0

    def put(self, messages: Sequence[dict[str, Any]]) -> None:
        """Keep the bars among a frame's messages; called on the stream's thread."""
        bars = [bar_of(message) for message in messages if message.get("T") in ("b", "d")]
        if bars:
            with self._ready:
                self._bars += bars
                self._ready.notify_all()

    def skip(self, total: int) -> None:
        """Start counting at ``total``: bars that went out before this desk listened."""
        self._taken = total

    def upto(self, total: int, timeout_s: float) -> list[LiveBar]:
        """Wait until ``total`` bars have come since the start and return the new ones."""
        with self._ready:
            self._ready.wait_for(lambda: self._taken + len(self._bars) >= total, timeout_s)
            if self._taken + len(self._bars) < total:
                raise BarsLate(self._taken + len(self._bars), total)
            bars, self._bars = self._bars, []
            self._taken += len(bars)
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
    ) -> None:
        self.counts = FillCounts()
        self._connector, self._control, self._market = connector, control, market
        self._inbox, self._quantum, self._patience_s = inbox, quantum, patience_s
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
        bars = self._inbox.upto(said.bars, self._patience_s)
        self._bars_mono_ns = self._wall.monotonic_ns()
        self._market.take(bars, ends_session=said.ends_session)

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
        self._open -= {said.client_order_id for said in reports if said.kind in _OVER}
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
                self.n_silent += 1
                for name in sorted(self._open):
                    self._connector.query(name)
                return
            waiting.wait(0.0002)

    def _charges(self) -> list[CashActivity]:
        """Return the changes of cash among the activities that are new."""
        found = []
        for entry in self._connector.activities(self._activity_id):
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
