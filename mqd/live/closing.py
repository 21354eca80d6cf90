"""The end of a session: our books against the venue's, order by order and fill by fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from mqd.core.order import OrderStatus
from mqd.core.protocols import Broker
from mqd.desk.loop import Desk
from mqd.execution.engine import ID_PREFIX
from mqd.execution.reconciliation import Books, PositionReconciliation, WorkingOrder
from mqd.orders.state import OrderState

CENT, CASH_GAP_USD_MAX = Decimal("0.01"), Decimal(1)
_NONE = Decimal(0)
_UNCONFIRMED = frozenset({OrderStatus.INTENT, OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})


class Closing(NamedTuple):
    """What the comparison found: sentences for breaks, counts for the two worst things.

    ``duplicates`` are filled orders that carry an id of ours and that no order of the log stands
    for, ``lost_fills`` orders of which the venue filled more than our log holds. What others
    traded in the account is neither: it is among the breaks where it changed a position.
    """

    breaks: tuple[str, ...]
    duplicates: int
    lost_fills: int


def books_of(desk: Desk, *, cents: bool | None = None) -> Books:
    """Return the desk's side of a reconciliation.

    ``cents``: the venue may show cash in whole cents, so that it differs by a cent, and by half a
    cent an execution (1 USD at most). Left out: so on a desk that trades, not in a rehearsal.
    """
    parts = desk.parts
    if cents is None:
        cents = parts.risk.live is not None
    valuation = parts.valuation
    value = {
        symbol: abs(lots) * parts.market.mark(symbol) * valuation.scales[symbol].tick_lot_quanta
        for symbol, lots in valuation.ledger.lots.items()
    }
    working = {s.order.client_order_id: _working(s) for s in parts.blotter.open_orders()}
    filled = {s.order.client_order_id: s.booked_lots for s in parts.machine.states()}
    return Books(
        dict(valuation.ledger.lots), value, valuation.ledger.cash, valuation.equity(), working,
        filled, _tolerance(desk) if cents else 0,
    )  # fmt: skip


def _tolerance(desk: Desk) -> int:
    n_fills = sum(len(state.fills) for state in desk.parts.machine.states())
    return int(min(CENT + CENT / 2 * n_fills, CASH_GAP_USD_MAX) / desk.parts.valuation.quantum)


def _working(state: OrderState) -> WorkingOrder:
    side = int(state.order.side)
    return WorkingOrder(
        state.order.symbol, side * state.leaves_lots, side * state.provisional_lots,
        state.status not in _UNCONFIRMED,
    )  # fmt: skip


def close_books(
    desk: Desk,
    broker: Broker,
    activities: list[dict[str, Any]],
    name_of: Callable[[str], str],
    client_id: Callable[[str], str],
) -> Closing:
    """Compare at the end of a run: positions, orders and cash, then every execution.

    ``name_of`` returns our id of an order of the venue's, "" when it is not known as ours;
    ``client_id`` asks the venue for the client id of one.
    """
    compared = PositionReconciliation(broker).compare(books_of(desk))
    breaks = [f"{one.kind} {one.symbol}: {one.what}" for one in compared.breaks]
    told = told_quantities(activities, name_of)
    return Closing(tuple(breaks), *worst_counts(told, booked_quantities(desk), client_id))


def worst_counts(
    told: dict[str, dict[str, Decimal]],
    booked: Mapping[str, Decimal],
    client_id: Callable[[str], str],
) -> tuple[int, int]:
    """Return how many filled orders are duplicates and how many have lost fills.

    ``told`` is what `told_quantities` returned; of its orders without a name of ours the venue is
    asked for the client id: one that the log holds is ours after all.
    """
    duplicates, ours = 0, {name: dict(parts) for name, parts in told.items() if name}
    for venue_id, qty in told.get("", {}).items():
        name = client_id(venue_id)
        if name in booked:
            ours.setdefault(name, {})[venue_id] = qty
        elif name.startswith(ID_PREFIX):
            duplicates += 1
    lost = sum(1 for name, parts in ours.items() if booked.get(name, _NONE) < sum(parts.values()))
    return duplicates, lost


def booked_quantities(desk: Desk) -> dict[str, Decimal]:
    """Return what our log booked, by our order id."""
    states = desk.parts.machine.states()
    return {s.order.client_order_id: s.booked_lots * s.order.scale.lot for s in states}


def told_quantities(
    activities: Sequence[Mapping[str, Any]], name_of: Callable[[str], str]
) -> dict[str, dict[str, Decimal]]:
    """Return what the venue filled, by our order id ("" for others') and by the venue's."""
    told: dict[str, dict[str, Decimal]] = {}
    for entry in activities:
        if entry["activity_type"] == "FILL":
            parts = told.setdefault(name_of(entry["order_id"]), {})
            parts[entry["order_id"]] = parts.get(entry["order_id"], _NONE) + Decimal(entry["qty"])
    return told
