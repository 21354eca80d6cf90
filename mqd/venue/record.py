"""One order as the venue shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mqd.core.order import Order, OrderType
from mqd.venue.text import amount, rounded, stamp, stamp_or_none
from mqd.venue.words import CLASS_WORDS, OPEN, SIDE_WORDS, TRAIL_RATE


@dataclass(slots=True, eq=False)
class OrderRecord:
    """An order's terms (``order``, as the simulator has them) and its life so far.

    ``lots`` is what the order shows as its quantity: the rest of a group shrinks with what its
    other members filled. ``extended`` orders may trade in extended hours; of ``timed`` ones the
    venue itself ends the life at ``expires_ns``. ``lots_filled`` and ``ticks_filled`` (lots x
    ticks) sum its executions. Instants are ns UTC, 0 for "not yet".
    """

    id: str
    client_order_id: str
    order: Order
    asset_id: str
    asset_class: str
    created_ns: int
    updated_ns: int
    submitted_ns: int
    expires_ns: int
    lots: int
    status: str = "pending_new"
    extended: bool = False
    timed: bool = False
    intent: str = ""
    notional: Decimal | None = None
    filled_ns: int = 0
    expired_ns: int = 0
    canceled_ns: int = 0
    replaced_ns: int = 0
    cancel_requested_ns: int = 0
    failed_ns: int = 0
    number: int = 0
    lots_filled: int = 0
    ticks_filled: int = 0
    hwm_ticks: int = 0
    replaces: str | None = None
    replaced_by: str | None = None
    parent: OrderRecord | None = None
    legs: list[OrderRecord] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """True while the order works, or waits to."""
        return self.status in OPEN

    @property
    def leaves(self) -> int:
        """The lots that are still to trade, 0 when the order is over."""
        return self.lots - self.lots_filled if self.is_open else 0

    @property
    def average_px(self) -> Decimal | None:
        """The mean price of the executions, None before the first."""
        if not self.lots_filled:
            return None
        return self.order.scale.tick * self.ticks_filled / self.lots_filled


def order_json(record: OrderRecord, *, nested: bool = False) -> dict[str, Any]:
    """Return an order with every key of Alpaca's; ``nested`` shows its legs inside it."""
    order = record.order
    scale = order.scale
    average = record.average_px
    show_legs = nested and bool(record.legs)
    return {
        "id": record.id,
        "client_order_id": record.client_order_id,
        "created_at": stamp(record.created_ns),
        "updated_at": stamp(record.updated_ns),
        "submitted_at": stamp(record.submitted_ns),
        "filled_at": stamp_or_none(record.filled_ns),
        "expired_at": stamp_or_none(record.expired_ns),
        "expires_at": stamp_or_none(record.expires_ns),
        "canceled_at": stamp_or_none(record.canceled_ns),
        "failed_at": stamp_or_none(record.failed_ns),
        "replaced_at": stamp_or_none(record.replaced_ns),
        "replaced_by": record.replaced_by,
        "replaces": record.replaces,
        "asset_id": record.asset_id,
        "symbol": order.symbol,
        "asset_class": record.asset_class,
        "notional": None if record.notional is None else amount(record.notional),
        "qty": None if record.notional is not None else amount(scale.qty(record.lots)),
        "filled_qty": amount(scale.qty(record.lots_filled)),
        "filled_avg_price": None if average is None else rounded(average, 9),
        "order_class": CLASS_WORDS[order.order_class],
        "order_type": str(order.type),
        "type": str(order.type),
        "side": SIDE_WORDS[order.side],
        "position_intent": record.intent,
        "time_in_force": str(order.time_in_force),
        "limit_price": _px(order.limit_px),
        "stop_price": _px(order.stop_px),
        TRAIL_RATE: _trail_rate(order),
        "trail_price": _px(scale.px(order.trail_ticks)) if order.trail_ticks else None,
        "hwm": _px(scale.px(record.hwm_ticks)) if record.hwm_ticks else None,
        "status": record.status,
        "extended_hours": record.extended,
        "legs": [order_json(leg) for leg in record.legs] if show_legs else None,
        "subtag": None,
        "source": None,
    }


def _px(px: Decimal | None) -> str | None:
    return None if px is None else amount(px)


def _trail_rate(order: Order) -> str | None:
    if order.type is not OrderType.TRAILING_STOP or not order.trail_units:
        return None
    return amount(Decimal(order.trail_units).scaleb(-6))
