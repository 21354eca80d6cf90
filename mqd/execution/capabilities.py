"""What Alpaca accepts, as data: one table for simulator, venue and adapter.

Source: Alpaca's trading API specification 2.0.1 (2026-08-13) and its pages on order types and
fractional trading. Crypto: market, limit and stop limit, GTC or IOC.
"""

from __future__ import annotations

from decimal import Decimal

from mqd.core.instrument import AssetClass
from mqd.core.order import Order, OrderClass, OrderType, Side, TimeInForce

_T = TimeInForce
_ALL = frozenset(TimeInForce)
_DAY = frozenset({_T.DAY})
_DAY_GTC = frozenset({_T.DAY, _T.GTC})

WHOLE: dict[OrderType, frozenset[TimeInForce]] = {
    OrderType.MARKET: _ALL,
    OrderType.LIMIT: _ALL,
    OrderType.STOP: _DAY_GTC,
    OrderType.STOP_LIMIT: _DAY_GTC,
    OrderType.TRAILING_STOP: _DAY_GTC,
}
"""Time in force by type for whole shares."""

FRACTIONAL: dict[OrderType, frozenset[TimeInForce]] = {
    OrderType.MARKET: _DAY,
    OrderType.LIMIT: _DAY,
    OrderType.STOP: _DAY,
    OrderType.STOP_LIMIT: _DAY,
    OrderType.TRAILING_STOP: frozenset(),
}
"""Time in force by type for fractional shares: DAY, simple, never short."""

CRYPTO: dict[OrderType, frozenset[TimeInForce]] = {
    OrderType.MARKET: frozenset({_T.GTC, _T.IOC}),
    OrderType.LIMIT: frozenset({_T.GTC, _T.IOC}),
    OrderType.STOP: frozenset(),
    OrderType.STOP_LIMIT: frozenset({_T.GTC, _T.IOC}),
    OrderType.TRAILING_STOP: frozenset(),
}
"""Time in force by type for coins."""

GROUPED: dict[OrderClass, frozenset[TimeInForce]] = {
    OrderClass.SIMPLE: _ALL,
    OrderClass.BRACKET: _DAY_GTC,
    OrderClass.OCO: _DAY_GTC,
    OrderClass.OTO: _DAY_GTC,
}
"""Time in force by order class; coins and trailing stops are simple."""

PX_STEPS = ((Decimal(1), Decimal("0.01")), (Decimal(0), Decimal("0.0001")))
"""The step in which an equity's limits and stops move, from each price on."""


def refusal(
    order: Order, asset_class: AssetClass, lots_per_share: int, position: int, working: int = 0
) -> str:
    """Return why the venue refuses the order's shape, "" when it accepts it.

    ``lots_per_share`` is 1 for whole lots; ``position`` is the signed holding in lots and
    ``working`` what open orders already reduce it by.
    """
    simple = order.order_class is OrderClass.SIMPLE
    if asset_class is AssetClass.CRYPTO:
        if not simple:
            return "crypto orders must be simple"
        allowed = CRYPTO[order.type]
    elif order.lots % lots_per_share:
        if not simple:
            return "fractional orders must be simple"
        if order.side is Side.SELL and position < order.lots:
            return "fractional orders cannot be sold short"
        allowed = FRACTIONAL[order.type]
        if order.time_in_force not in allowed:
            return f"fractional {order.type} orders must be DAY orders"
    else:
        allowed = WHOLE[order.type]
    if order.time_in_force not in allowed:
        return f"{order.type} orders do not take time in force {order.time_in_force}"
    if order.time_in_force not in GROUPED[order.order_class]:
        return f"{order.order_class} orders do not take time in force {order.time_in_force}"
    if order.type is OrderType.TRAILING_STOP and not simple:
        return "trailing stop orders must be simple"
    available = abs(position) - working
    if position * order.side < 0 and order.lots > available:
        return (
            f"insufficient qty available for order (requested: {order.qty},"
            f" available: {order.scale.qty(max(available, 0))})"
        )
    return ""


def sub_penny(order: Order) -> str:
    """Return why a limit or stop of an equity lies between two steps, "" when none does."""
    for name, px in (("limit_price", order.limit_px), ("stop_price", order.stop_px)):
        if px and px % next(step for since, step in PX_STEPS if px >= since):
            return f"invalid {name} {px}: sub-penny increment"
    return ""


def crosses(new: Order, resting: Order) -> bool:
    """Return True when a new order of one symbol and an open opposite one are a wash trade.

    New brackets, OCO and OTO orders and trailing stops are exempt.
    """
    if new.side is resting.side or new.symbol != resting.symbol:
        return False
    if new.order_class is not OrderClass.SIMPLE or new.type is OrderType.TRAILING_STOP:
        return False
    priced = (OrderType.LIMIT, OrderType.STOP_LIMIT)
    if new.type not in priced or resting.type not in priced:
        return True
    buy, sell = (new, resting) if new.side is Side.BUY else (resting, new)
    return buy.limit_ticks >= sell.limit_ticks
