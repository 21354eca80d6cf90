"""What Alpaca accepts, as data: one table for simulator, venue and adapter.

Source: Alpaca's trading API specification 2.0.1 (2026-08-13) and its pages on order types and
fractional trading. Crypto: market, limit and stop limit, GTC or IOC.
"""

from __future__ import annotations

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
"""Time in force by order class."""

CENT_FROM_PX = 1
"""From this price on limits and stops move in cents; below in hundredths of a cent."""


def refusal(order: Order, asset_class: AssetClass, lots_per_share: int, position: int) -> str:
    """Return why the venue refuses the order's shape, "" when it accepts it.

    ``lots_per_share`` is 1 for whole lots; ``position`` is the signed holding in lots.
    """
    if asset_class is AssetClass.CRYPTO:
        allowed = CRYPTO[order.type]
    elif order.lots % lots_per_share:
        if order.order_class is not OrderClass.SIMPLE:
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
    if position > 0 and order.side is Side.SELL and order.lots > position:
        return f"insufficient qty available for order (available: {order.scale.qty(position)})"
    if position < 0 and order.side is Side.BUY and order.lots > -position:
        return f"insufficient qty available for order (available: {order.scale.qty(-position)})"
    return ""


def crosses(new: Order, resting: Order) -> bool:
    """Return True when two opposite simple orders of one symbol would be a wash trade."""
    if new.side is resting.side or new.symbol != resting.symbol:
        return False
    if OrderClass.SIMPLE not in (new.order_class, resting.order_class):
        return False
    priced = (OrderType.LIMIT, OrderType.STOP_LIMIT)
    if new.type not in priced or resting.type not in priced:
        return True
    buy, sell = (new, resting) if new.side is Side.BUY else (resting, new)
    return buy.limit_ticks >= sell.limit_ticks
