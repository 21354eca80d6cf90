"""The end of a session: our books against the venue's, order by order and fill by fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from mqd.core.order import OrderStatus
from mqd.core.protocols import Broker
from mqd.desk.loop import Desk
from mqd.execution.reconciliation import Books, PositionReconciliation, WorkingOrder
from mqd.orders.state import OrderState

_UNCONFIRMED = frozenset({OrderStatus.INTENT, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})


class Closing(NamedTuple):
    """What the comparison found: sentences for breaks, counts for the two worst things."""

    breaks: tuple[str, ...]
    duplicates: int
    lost_fills: int


def books_of(desk: Desk) -> Books:
    """Return the desk's side of a reconciliation."""
    parts = desk.parts
    valuation = parts.valuation
    value = {
        symbol: abs(lots) * parts.market.mark(symbol) * valuation.scales[symbol].tick_lot_quanta
        for symbol, lots in valuation.ledger.lots.items()
    }
    working = {s.order.client_order_id: _working(s) for s in parts.blotter.open_orders()}
    filled = {s.order.client_order_id: s.booked_lots for s in parts.machine.states()}
    return Books(
        dict(valuation.ledger.lots), value, valuation.ledger.cash, valuation.equity(), working,
        filled,
    )  # fmt: skip


def _working(state: OrderState) -> WorkingOrder:
    side = int(state.order.side)
    return WorkingOrder(
        state.order.symbol, side * state.leaves_lots, side * state.provisional_lots,
        state.status not in _UNCONFIRMED,
    )  # fmt: skip


def close_books(desk: Desk, broker: Broker, activities: list[dict[str, Any]]) -> Closing:
    """Compare at the end of a run: positions, orders and cash, then every execution."""
    compared = PositionReconciliation(broker).compare(books_of(desk))
    breaks = [f"{one.kind} {one.symbol}: {one.what}" for one in compared.breaks]
    booked = booked_quantities(desk)
    told = told_quantities(activities)
    lost = sum(1 for name, qty in told.items() if booked.get(name, Decimal(0)) < qty)
    return Closing(tuple(breaks), _duplicates(told, desk), lost)


def booked_quantities(desk: Desk) -> dict[str, Decimal]:
    """Return what our log booked, by the venue's order id."""
    states = desk.parts.machine.states()
    return {s.venue_order_id: s.booked_lots * s.order.scale.lot for s in states if s.booked_lots}


def told_quantities(activities: list[dict[str, Any]]) -> Mapping[str, Decimal]:
    """Return what the venue filled, by its order id, from its FILL activities."""
    told: Counter[str] = Counter()
    for entry in activities:
        if entry["activity_type"] == "FILL":
            told[entry["order_id"]] += Decimal(entry["qty"])  # type: ignore[assignment]
    return told  # type: ignore[return-value]


def _duplicates(told: Mapping[str, Decimal], desk: Desk) -> int:
    """Count the venue's filled orders that none of our orders stands for."""
    ours = {state.venue_order_id for state in desk.parts.machine.states()}
    return sum(1 for name in told if name not in ours)
