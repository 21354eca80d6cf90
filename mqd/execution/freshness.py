"""Whether a decision may still be sent, asked just before it leaves."""

from __future__ import annotations

from typing import Final, Protocol

from mqd.core.clock import NS_PER_S
from mqd.core.order import Order, OrderType

MARKET_TTL_NS: Final = 2 * NS_PER_S
LIMIT_TTL_NS: Final = 30 * NS_PER_S


class MaySend(Protocol):
    """Asked on the worker's thread just before an order is sent."""

    def __call__(self, order: Order, waited_ns: int) -> str:
        """Return why ``order`` may not go any more after ``waited_ns`` in the queue, or ""."""
        ...


def fresh(order: Order, waited_ns: int) -> str:
    """Refuse a decision that grew old in the queue: 2 s for a market order, 30 s for others.

    Together with a call's time-out it lies inside the grace of ``inquiry``: an order that is
    still in the queue is never given up as "not found" and sent afterwards.
    """
    ttl_ns = MARKET_TTL_NS if order.type is OrderType.MARKET else LIMIT_TTL_NS
    if waited_ns <= ttl_ns:
        return ""
    return f"it waited {waited_ns // 1_000_000} ms to be sent, {ttl_ns // NS_PER_S} s are allowed"
