"""Approval is a type: only ``RiskManager`` can make one, and only an ``Approved`` can be sent."""

from __future__ import annotations

from typing import Final

from mqd.core.order import Order
from mqd.errors import UsageError

_SEAL: Final = object()


class Approved:
    """An order that passed every control at ``decided_ns`` of its order."""

    __slots__ = ("legs", "order")

    def __init__(self, order: Order, legs: tuple[Order, ...], seal: object) -> None:
        if seal is not _SEAL:
            raise UsageError("Only the RiskManager approves orders.")
        self.order = order
        self.legs = legs


def approve(order: Order, legs: tuple[Order, ...] = ()) -> Approved:
    """Seal an approval. For ``mqd.risk.manager`` alone; a style test holds that."""
    return Approved(order, legs, _SEAL)
