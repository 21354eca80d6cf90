"""The life of every order: commands in, reports in, one immutable snapshot an order out.

Facts about quantity and facts about status are kept apart. Executions are a set
(``executions``); the table (``transitions``) moves status and pending; then quantities decide:

    cum_lots >= lots                     FILLED (more than lots: an overfill, taken and quarantined)
    a terminal word of the venue         that word, whatever filled before or after it
    filled once, then a bust             CANCELED: nothing works any more unless a snapshot says so
    otherwise                            PARTIALLY_FILLED or ACCEPTED, by cum_lots

So any order of arrival and any repetition of one order's reports ends in one state.

Threads: one thread writes. Readers on any thread call ``state``, ``states``, ``working`` and
``quarantined``: each snapshot is one immutable tuple that the writer swaps in by a single
reference, so a reader sees an order as it was before a report or after it, never between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.order import TERMINAL, Order, OrderStatus, Pending
from mqd.errors import IllegalTransition, OrderRefused
from mqd.orders.executions import Executions
from mqd.orders.state import OrderState, Transition
from mqd.orders.transitions import (
    CANCEL_ASKED,
    CANCEL_DEFERRED,
    CANCEL_REFUSED,
    COMPLETE,
    LIVE,
    OURS,
    REOPENED,
    REPLACE_ASKED,
    REPLACE_REFUSED,
    STATUS_FLAGS,
    STATUS_WORDS,
    TABLE,
    Cell,
)

_INTENT: Final = OrderStatus.INTENT
_SUBMITTED: Final = OrderStatus.SUBMITTED
_ACCEPTED: Final = OrderStatus.ACCEPTED
_PARTIALLY_FILLED: Final = OrderStatus.PARTIALLY_FILLED
_FILLED: Final = OrderStatus.FILLED
_CANCELED: Final = OrderStatus.CANCELED
_DENIED: Final = OrderStatus.DENIED
_NONE: Final = Pending.NONE
_CANCEL: Final = Pending.CANCEL
_REPLACE: Final = Pending.REPLACE
_FILL: Final = ReportKind.FILL
_VOIDS: Final = frozenset({ReportKind.BUST, ReportKind.CORRECT})
_WORDED: Final = _VOIDS | {ReportKind.ACK, ReportKind.FOUND, ReportKind.STATUS}
_ASKS: Final = CANCEL_ASKED | REPLACE_ASKED
_OPEN_WORDS: Final = frozenset(
    {
        ReportKind.ACCEPTED,
        ReportKind.PARTIAL_FILL,
        ReportKind.PENDING_CANCEL,
        ReportKind.PENDING_REPLACE,
    }
)
_new = tuple.__new__


def _is_voided(state: OrderState) -> bool:
    """Whether the order was filled once and a bust or correction took some of it away."""
    return state.flags & COMPLETE > 0 and state.lowered_lots > 0


def _settled(
    status: OrderStatus,
    cum: int,
    lots: int,
    ended: OrderStatus | None,
    flags: int,
    lowered: int,
) -> OrderStatus:
    """Let quantities decide among the statuses that the venue confirmed."""
    if status in OURS:
        return status
    if cum >= lots:
        return _FILLED
    if ended is not None:
        return ended
    if lowered > 0 and flags & COMPLETE and not flags & REOPENED:
        return _CANCELED
    return _PARTIALLY_FILLED if cum else _ACCEPTED


def _asked(flags: int) -> Pending:
    """Return the pending request that the bits leave open; a cancel outranks a replace."""
    if flags & CANCEL_ASKED and not flags & CANCEL_REFUSED:
        return _CANCEL
    if flags & REPLACE_ASKED and not flags & REPLACE_REFUSED:
        return _REPLACE
    return _NONE


class OrderStateMachine:
    """All orders of a run. Memory and time of one order do not depend on the others."""

    def __init__(self) -> None:
        self._states: dict[str, OrderState] = {}
        self._working: dict[str, None] = {}
        self._executions = Executions()
        self._quarantined: frozenset[str] = frozenset()

    @property
    def quarantined(self) -> frozenset[str]:
        """Symbols with an unexplained report."""
        return self._quarantined

    def release(self, symbol: str) -> None:
        """A human has explained the anomalies of ``symbol``."""
        self._quarantined = self._quarantined - {symbol}

    def state(self, client_order_id: str) -> OrderState:
        """Return the snapshot of one order; raise ``KeyError`` for an id that was never opened."""
        return self._states[client_order_id]

    def is_known(self, client_order_id: str) -> bool:
        """Return whether an order of this id was opened."""
        return client_order_id in self._states

    def states(self) -> list[OrderState]:
        """Return the snapshots of all orders, in order of opening."""
        return list(self._states.values())

    def working(self, symbol: str | None = None) -> list[OrderState]:
        """Return the orders that are not over, in order of opening."""
        found = [self._states[name] for name in list(self._working)]
        if symbol is None:
            return found
        return [state for state in found if state.order.symbol == symbol]

    def adopt(self, states: Iterable[OrderState]) -> None:
        """Take over snapshots from a checkpoint, oldest first; a later one of an order counts."""
        for state in states:
            name = state.order.client_order_id
            self._states[name] = state
            self._executions.adopt(state)
            if state.status in TERMINAL:
                self._working.pop(name, None)
            else:
                self._working[name] = None

    def memory(self) -> dict[str, object]:
        """Return what a checkpoint keeps beside the snapshots."""
        return {"quarantined": sorted(self._quarantined), "voids": self._executions.memory()}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take back what `memory` returned."""
        self._quarantined = frozenset(memory["quarantined"])
        self._executions.remember(memory["voids"])

    def open(self, order: Order) -> OrderState:
        """Register an order as INTENT; a known id returns what is there, unchanged."""
        client_order_id = order.client_order_id
        known = self._states.get(client_order_id)
        if known is not None:
            return known
        if order.lots <= 0:
            raise OrderRefused(order.symbol, f"{order.lots} lots are no quantity")
        state: OrderState = _new(
            OrderState, (order, _INTENT, _NONE, 0, 0, 0, (), 0, False, None, 0, 0, (), "", "")
        )
        self._states[client_order_id] = state
        self._working[client_order_id] = None
        return state

    def command(self, client_order_id: str, command: OrderCommand) -> Transition:
        """Carry out our own command; raise ``IllegalTransition`` where it makes no sense.

        A CANCEL that the venue cannot take yet leaves ``pending`` as it is; the transition of
        the report after which it can be sent has ``cancel`` True.
        """
        before = self._states.get(client_order_id)
        if before is None:
            raise IllegalTransition(client_order_id, "not open", "none", command)
        cell = TABLE[before.status, before.pending, command]
        if cell.illegal:
            raise IllegalTransition(client_order_id, before.status, before.pending, command)
        was, flags_was = before.status, before.flags
        flags = (flags_was | cell.set_flags) & ~cell.clear_flags
        status = cell.status or was
        if status is was and flags == flags_was and cell.pending is before.pending:
            return Transition(before, before, duplicate=True)
        after: OrderState = _new(
            OrderState,
            (
                before.order,
                status,
                cell.pending,
                before.cum_lots,
                before.booked_lots,
                before.notional,
                before.fills,
                flags,
                before.quarantined,
                before.ended or cell.ended,
                before.venue_cum,
                before.lowered_lots,
                before.busted,
                before.venue_order_id,
                before.replaced_by,
            ),
        )
        self._states[client_order_id] = after
        if status is not was:
            self._reindex(client_order_id, was, status)
        return _new(Transition, (before, after, None, None, "", False, False, False))

    def deny(self, client_order_id: str) -> Transition:
        """Our own rules refused the order before it was sent: INTENT becomes DENIED."""
        before = self._states.get(client_order_id)
        if before is None:
            raise IllegalTransition(client_order_id, "not open", "none", "deny")
        if before.status is not _INTENT:
            raise IllegalTransition(client_order_id, before.status, before.pending, "deny")
        after = before._replace(status=_DENIED)
        self._states[client_order_id] = after
        self._reindex(client_order_id, _INTENT, _DENIED)
        return Transition(before, after)

    def apply(self, report: ExecutionReport) -> Transition:
        """Take a report of the venue. Never raises: what makes no sense is an anomaly."""
        before = self._states.get(report.client_order_id)
        if before is None:
            return self._stranger(report, f"unknown order {report.client_order_id!r}")
        kind = report.kind
        cell = TABLE.get((before.status, before.pending, kind))
        if cell is None or cell.illegal:
            return self._stranger(report, f"no report is of kind {kind!r}", before)
        if kind in _WORDED:
            return self._apply_word(before, cell, report)
        return self._advance(before, cell, report, cell.set_flags, "")

    def _apply_word(self, before: OrderState, cell: Cell, report: ExecutionReport) -> Transition:
        """The venue's status word matters: it picks the row of a snapshot, or sets a flag."""
        problem = ""
        kind = STATUS_WORDS.get(report.status)
        set_flags = STATUS_FLAGS.get(report.status, 0)
        if cell.merge:
            if kind is None:
                problem = f"the status {report.status!r} is not known, taken as open"
                kind = ReportKind.ACCEPTED
            status = _SUBMITTED if before.status is _INTENT else before.status
            cell = TABLE[status, before.pending, kind]
            if kind in _OPEN_WORDS and _is_voided(before):
                set_flags |= REOPENED
        elif report.kind in _VOIDS:
            set_flags = REOPENED if report.status and kind in _OPEN_WORDS else 0
        elif report.kind is ReportKind.STATUS and not set_flags:
            problem = f"a status report says {report.status!r}"
        return self._advance(before, cell, report, cell.set_flags | set_flags, problem)

    def _advance(
        self, before: OrderState, cell: Cell, report: ExecutionReport, flags: int, problem: str
    ) -> Transition:
        """Take quantities, let them settle the status, and swap the snapshot in."""
        (order, was, _, cum_was, booked, notional, fills, flags_was, quarantined) = before[:9]
        (ended, venue_cum, lowered, busted, venue_order_id, replaced_by) = before[9:]
        fill = voided = None
        if cell.takes:
            booked, notional, fills, lowered, busted, fill, voided, wrong = self._executions.take(
                before, report
            )
            problem = problem or wrong
        lots = order.lots
        if report.cum_lots > venue_cum and report.kind not in _VOIDS:
            venue_cum = report.cum_lots
        cum = venue_cum - lowered
        if booked != cum:
            cum = max(cum, booked)
        flags |= flags_was
        if venue_cum >= lots:
            flags |= COMPLETE
        ended = ended or cell.ended
        status = cell.status or was
        if cum or cell.takes or flags or ended is not None:
            status = _settled(status, cum, lots, ended, flags, lowered)
        pending = _asked(flags) if flags & _ASKS and status in LIVE else _NONE
        if cum > lots and cum > cum_was:
            problem = problem or f"overfill, {cum} of {lots} lots"
        if report.symbol != order.symbol:
            problem = problem or f"the order is on {order.symbol}"
        query = cell.query or cum > booked or (cum < lots and report.kind is _FILL)
        anomaly = ""
        if cell.quarantine or problem:
            query = quarantined = True
            anomaly = self._quarantine(before, report, problem)
        after: OrderState = _new(
            OrderState,
            (
                order,
                status,
                pending,
                cum,
                booked,
                notional,
                fills,
                flags,
                quarantined,
                ended,
                venue_cum,
                lowered,
                busted,
                venue_order_id or report.venue_order_id,
                replaced_by or report.replaced_by,
            ),
        )
        if status is was and after == before:
            return Transition(before, before, None, None, anomaly, True, query)
        self._states[order.client_order_id] = after
        if status is not was:
            self._reindex(order.client_order_id, was, status)
        cancel = flags & CANCEL_DEFERRED > 0 and pending is _NONE and status in LIVE
        return _new(Transition, (before, after, fill, voided, anomaly, False, query, cancel))

    def _reindex(self, client_order_id: str, was: OrderStatus, status: OrderStatus) -> None:
        """Keep the index of orders that are not over."""
        if status in TERMINAL:
            self._working.pop(client_order_id, None)
        elif was in TERMINAL:
            self._working[client_order_id] = None

    def _quarantine(self, before: OrderState, report: ExecutionReport, problem: str) -> str:
        """Quarantine the symbol and return the sentence that says why."""
        self._quarantined = self._quarantined | {before.order.symbol, report.symbol}
        return (
            f"Order {before.order.client_order_id} on {before.order.symbol} is {before.status}"
            f" (pending {before.pending}); the venue reports {report.kind} on {report.symbol}:"
            f" {problem or 'not expected there'}."
        )

    def _stranger(
        self, report: ExecutionReport, why: str, state: OrderState | None = None
    ) -> Transition:
        """A report that no row of the table fits: nothing changes but the quarantine."""
        symbols = {report.symbol} if state is None else {report.symbol, state.order.symbol}
        self._quarantined = self._quarantined | symbols
        anomaly = f"The venue reports {report.kind} on {report.symbol}: {why}."
        return Transition(state, state, anomaly=anomaly, query=True)
