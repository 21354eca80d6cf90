"""Executions as a set keyed by (order, execution id): kept for ever, whatever the status says.

A bust is a tombstone on an execution; a correction is a tombstone plus a new execution. Both may
arrive before the execution they are about. A set has no order of arrival, so neither has what it
adds up to.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final, NamedTuple

from mqd.core.execution_report import ExecutionReport, Fill, ReportKind
from mqd.orders.state import OrderState

_VOIDS: Final = frozenset({ReportKind.BUST, ReportKind.CORRECT})
_new = tuple.__new__
Void = tuple[str, str, str, int, Fill | None]
"""``(order id, execution id, id that replaces it, its lots, the execution)``."""


class Booked(NamedTuple):
    """What the executions of one order come to after a report; fields as in ``OrderState``."""

    booked_lots: int
    notional: int
    fills: tuple[Fill, ...]
    lowered_lots: int
    busted: tuple[str, ...]
    fill: Fill | None = None
    voided: Fill | None = None
    problem: str = ""


def _key(fill: Fill) -> tuple[int, str]:
    return fill.ts_fill, fill.execution_id


def _as_is(state: OrderState, problem: str = "") -> Booked:
    """Return the sums unchanged."""
    return Booked(
        state.booked_lots,
        state.notional,
        state.fills,
        state.lowered_lots,
        state.busted,
        problem=problem,
    )


def _with(fills: tuple[Fill, ...], fill: Fill) -> tuple[Fill, ...]:
    """Add an execution in its place."""
    if not fills or _key(fill) > _key(fills[-1]):
        return (*fills, fill)
    ordered = list(fills)
    insort(ordered, fill, key=_key)
    return tuple(ordered)


class Executions:
    """All executions and tombstones of a run; written by the one writer of the orders."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Fill] = {}
        self._tombs: dict[tuple[str, str], tuple[str, int]] = {}

    def adopt(self, state: OrderState) -> None:
        """Know the executions of an order that comes from a checkpoint."""
        order_id = state.order.client_order_id
        for fill in state.fills:
            self._known[order_id, fill.execution_id] = fill

    def memory(self) -> list[Void]:
        """Return the tombstones, each with the execution that it made void, None if unseen."""
        return [(*key, *tomb, self._known.get(key)) for key, tomb in self._tombs.items()]

    def remember(self, memory: Iterable[Void]) -> None:
        """Take back what `memory` returned."""
        for order_id, ref, new_id, new_lots, dead in memory:
            self._tombs[order_id, ref] = (new_id, new_lots)
            if dead is not None:
                self._known[order_id, ref] = Fill(*dead)

    def take(self, state: OrderState, report: ExecutionReport) -> Booked:
        """Return the sums after a PARTIAL_FILL, FILL, BUST or CORRECT."""
        if report.kind in _VOIDS:
            return self._void(state, report)
        execution_id = report.execution_id
        key = (state.order.client_order_id, execution_id)
        known = self._known.get(key)
        if known is not None:
            return self._again(state, report, known)
        lots, ticks = report.last_lots, report.last_ticks
        if not execution_id or lots <= 0:
            return self._nameless(state, report)
        fill: Fill = _new(Fill, (execution_id, lots, ticks, report.fee_quanta, report.ts_fill))
        self._known[key] = fill
        if self._tombs and key in self._tombs:
            lowered = state.lowered_lots + max(0, lots - self._tombs[key][1])
            return Booked(state.booked_lots, state.notional, state.fills, lowered, state.busted)
        fills = _with(state.fills, fill) if state.fills else (fill,)
        return _new(
            Booked,
            (
                state.booked_lots + lots,
                state.notional + lots * ticks,
                fills,
                state.lowered_lots,
                state.busted,
                fill,
                None,
                "",
            ),
        )

    @staticmethod
    def _again(state: OrderState, report: ExecutionReport, known: Fill) -> Booked:
        """An execution id that is known: counted once, and its terms must agree."""
        same = report.last_lots == known.lots and report.last_ticks == known.ticks
        return _as_is(state, "" if same else f"execution {known.execution_id} changed its terms")

    @staticmethod
    def _nameless(state: OrderState, report: ExecutionReport) -> Booked:
        """A fill without an id counts through the venue's cumulative quantity alone."""
        if report.last_lots > 0 and not report.execution_id and report.cum_lots > 0:
            return _as_is(state)
        if report.last_lots == 0 and not report.execution_id:
            return _as_is(state)
        return _as_is(
            state, f"a fill of {report.last_lots} lots with id {report.execution_id!r} has no key"
        )

    def _void(self, state: OrderState, report: ExecutionReport) -> Booked:
        """A bust or a correction: a tombstone, and for a correction the new execution."""
        corrects = report.kind is ReportKind.CORRECT and report.last_lots > 0
        ref = report.ref_execution_id or ("" if corrects else report.execution_id)
        if not ref:
            return _as_is(state, f"a {report.kind} that names no execution")
        new_id, new_lots = "", 0
        if corrects:
            own = report.execution_id
            new_id, new_lots = own if own and own != ref else f"{ref}'", report.last_lots
        order_id = state.order.client_order_id
        tomb = self._tombs.get((order_id, ref))
        if tomb == (new_id, new_lots):
            return _as_is(state)
        if tomb is not None or (order_id, new_id) in self._known:
            return _as_is(state, f"execution {ref} was made void twice, differently")
        self._tombs[order_id, ref] = (new_id, new_lots)
        booked = self._bury(state, self._known.get((order_id, ref)), ref, new_lots)
        if not corrects:
            return booked
        return self._revised(state, report, new_id, booked)

    @staticmethod
    def _bury(state: OrderState, dead: Fill | None, ref: str, new_lots: int) -> Booked:
        """Take an execution out of the sums, if it has arrived."""
        busted = tuple(sorted((*state.busted, ref)))
        if dead is None:
            return Booked(
                state.booked_lots, state.notional, state.fills, state.lowered_lots, busted
            )
        return Booked(
            state.booked_lots - dead.lots,
            state.notional - dead.lots * dead.ticks,
            tuple(fill for fill in state.fills if fill.execution_id != ref),
            state.lowered_lots + max(0, dead.lots - new_lots),
            busted,
            voided=dead,
        )

    def _revised(
        self, state: OrderState, report: ExecutionReport, new_id: str, booked: Booked
    ) -> Booked:
        """Add the corrected execution, which may itself be void already."""
        key = (state.order.client_order_id, new_id)
        lots, ticks = report.last_lots, report.last_ticks
        fill = Fill(new_id, lots, ticks, report.fee_quanta, report.ts_fill)
        self._known[key] = fill
        tomb = self._tombs.get(key)
        if tomb is not None:
            return booked._replace(lowered_lots=booked.lowered_lots + max(0, lots - tomb[1]))
        return booked._replace(
            booked_lots=booked.booked_lots + lots,
            notional=booked.notional + lots * ticks,
            fills=_with(booked.fills, fill),
            fill=fill,
        )
