"""What the portfolio asks the desk to send: order plans, and the netting that makes them."""

from __future__ import annotations

from typing import NamedTuple

from mqd.core.order import Side
from mqd.portfolio.attribution import Allocation, apportion


class OrderPlan(NamedTuple):
    """One market order to send. ``lots`` > 0; ``reducing`` is meant for the account's position.

    ``after_reductions``: send it only when the reductions of the same decision have filled.
    ``strategy`` is the only party, or all of them joined by "+". ``allocation`` holds
    ``(strategy, signed lots)``; its sum is the signed size of the order.
    """

    symbol: str
    side: Side
    lots: int
    reducing: bool
    after_reductions: bool
    strategy: str
    allocation: Allocation


class CrossPlan(NamedTuple):
    """Opposite targets that cancel out: no order; booked at the next open. Sums to zero."""

    symbol: str
    allocation: Allocation


class ZeroSize(NamedTuple):
    """A weight other than 0 that became no lots; to be logged."""

    strategy: str
    symbol: str
    weight: float
    why: str


class Plan(NamedTuple):
    """What follows from one decision: reductions first, then in the order of the symbols."""

    orders: tuple[OrderPlan, ...]
    crosses: tuple[CrossPlan, ...] = ()
    zero_sizes: tuple[ZeroSize, ...] = ()


NOTHING = Plan(())


def net(symbol: str, moves: Allocation, account_lots: int) -> list[OrderPlan]:
    """Return the order, or the two of a flip, that carry ``moves`` (their sum is not 0).

    ``moves`` are ``(strategy, signed lots)``. Opposite moves cross inside the first order; what
    the market must fill is shared by the parties of the larger side in proportion.
    """
    total = sum(lots for _, lots in moves)
    goal = account_lots + total
    if goal * account_lots >= 0:
        return [order_plan(symbol, total, abs(goal) < abs(account_lots), False, moves)]
    sign = 1 if total > 0 else -1
    sides = [max(lots * sign, 0) for _, lots in moves]
    crossed = sum(sides) - abs(total)
    market = [side - inner for side, inner in zip(sides, apportion(crossed, sides), strict=True)]
    later = apportion(abs(goal), market)
    opening = tuple(
        (name, sign * part) for (name, _), part in zip(moves, later, strict=True) if part
    )
    closing = tuple(
        (name, lots - sign * part)
        for (name, lots), part in zip(moves, later, strict=True)
        if lots != sign * part
    )
    return [
        order_plan(symbol, -account_lots, True, False, closing),
        order_plan(symbol, goal, False, True, opening),
    ]


def order_plan(
    symbol: str, signed_lots: int, reducing: bool, after_reductions: bool, allocation: Allocation
) -> OrderPlan:
    """Return the order of ``signed_lots``, owned by the parties of ``allocation``."""
    side, lots = (Side.BUY, signed_lots) if signed_lots > 0 else (Side.SELL, -signed_lots)
    name = allocation[0][0] if len(allocation) == 1 else "+".join(p for p, _ in allocation)
    return OrderPlan(symbol, side, lots, reducing, after_reductions, name, allocation)
