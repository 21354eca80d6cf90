"""Orders to Alpaca's JSON and its JSON back: decimal strings out, ``Decimal`` and ns in.

A fill's price may lie between two ticks of the run (a broker's price improvement): it is taken
to the tick against us, and the report's text says what the venue said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Final

from mqd.adapters.alpaca.errors import OrderNotExpressible
from mqd.adapters.alpaca.stream_wire import instant_ns
from mqd.core.instrument import AssetClass
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side
from mqd.execution.capabilities import PX_STEPS

PROTECTIVE: Final = frozenset({Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP})
SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}


def unsupported_exits(
    stop_loss_frac: float,
    take_profit_frac: float,
    trailing_stop_frac: float,
    asset_class: AssetClass = AssetClass.EQUITY,
) -> str:
    """Return why Alpaca cannot hold a strategy's protective orders, "" when it can."""
    if asset_class is AssetClass.CRYPTO and (stop_loss_frac or trailing_stop_frac):
        return "Alpaca takes no stops for coins"
    if trailing_stop_frac and take_profit_frac:
        return "Alpaca takes no trailing stop beside a take profit in one group"
    if trailing_stop_frac and stop_loss_frac:
        return "Alpaca takes no trailing stop with a fixed level beside it"
    return ""


def order_body(order: Order, legs: Sequence[Order], *, price_steps: bool) -> dict[str, Any]:
    """Return the body of a POST of an order with its legs; amounts are decimal strings.

    ``price_steps`` rounds protective prices to Alpaca's steps, against us. Raises
    ``OrderNotExpressible``.
    """
    if order.type is OrderType.TRAILING_STOP and (legs or order.stop_ticks):
        raise OrderNotExpressible(order.symbol, "a trailing stop at Alpaca stands alone")
    if any(leg.type is OrderType.TRAILING_STOP for leg in legs):
        raise OrderNotExpressible(order.symbol, "a trailing stop is no leg of a group at Alpaca")
    body: dict[str, Any] = {
        "symbol": order.symbol, "qty": plain(order.qty), "side": order.side.name.lower(),
        "type": str(order.type), "time_in_force": str(order.time_in_force),
        "client_order_id": order.client_order_id,
    }  # fmt: skip
    group = order.order_class is not OrderClass.SIMPLE
    if group:
        body["order_class"] = str(order.order_class)
    if order.order_class is not OrderClass.OCO:
        body |= _own_prices(order, price_steps)
    for member in (order, *legs) if order.order_class is OrderClass.OCO else legs:
        body |= _leg(member, price_steps)
    return body


def _own_prices(order: Order, steps: bool) -> dict[str, str]:
    prices = {"limit_price": order.limit_ticks, "stop_price": order.stop_ticks}
    body = {name: _px(order, ticks, steps) for name, ticks in prices.items() if ticks}
    if order.trail_ticks:
        body["trail_price"] = plain(order.trail_ticks * order.scale.tick)
    if order.trail_units:
        body["trail_percent"] = plain(Decimal(order.trail_units) * 100 / BPS_UNITS)
    return body


def _leg(leg: Order, steps: bool) -> dict[str, dict[str, str]]:
    """Return a leg of a group: the limit takes profit, the stop limits the loss."""
    if leg.type is OrderType.LIMIT:
        return {"take_profit": {"limit_price": _px(leg, leg.limit_ticks, steps)}}
    stop = {"stop_price": _px(leg, leg.stop_ticks, steps)}
    if leg.limit_ticks:
        stop["limit_price"] = _px(leg, leg.limit_ticks, steps)
    return {"stop_loss": stop}


def _px(order: Order, ticks: int, steps: bool) -> str:
    px = ticks * order.scale.tick
    if not steps or order.reason not in PROTECTIVE:
        return plain(px)
    step = next(step for since, step in PX_STEPS if px >= since)
    # Against us: a selling stop works sooner, a selling target later, and both lie higher.
    rounding = ROUND_CEILING if order.side is Side.SELL else ROUND_FLOOR
    return plain((px / step).to_integral_value(rounding) * step)


def plain(value: Decimal) -> str:
    """Return a decimal as plain text without an exponent or trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def amount(value: Any) -> Decimal:
    """Return a number of the wire (text, Decimal or int) exactly; 0 for null or nonsense."""
    if value is None or isinstance(value, bool | float):
        return Decimal(0)
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() else Decimal(0)


def lots_of(value: Any, scale: Scale) -> int:
    """Return a quantity in lots, toward zero where it is finer than a lot."""
    return int(amount(value) / scale.lot)


def fill_ticks(value: Any, side: Side, scale: Scale) -> tuple[int, str]:
    """Return a fill's price in ticks, against us where it lies between two, and what to note."""
    px = amount(value)
    ticks = px / scale.tick
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    whole = int(ticks.to_integral_value(rounding))
    return whole, "" if whole == ticks else f"filled at {px}"


def stamp_ns(value: Any) -> int:
    """Return a stamp of the wire in ns UTC, 0 when there is none that can be read."""
    try:
        return instant_ns(str(value)) if value else 0
    except ValueError:
        return 0


def money_quanta(value: Any, quantum: Decimal) -> int:
    """Return an amount of money in quanta, toward zero where it is finer."""
    return int(amount(value) / quantum)


def side_of(record: Mapping[str, Any]) -> Side:
    """Return the side of an order or a fill."""
    return SIDES.get(str(record.get("side")), Side.BUY)
