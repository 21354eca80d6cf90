"""Orders to Alpaca's JSON and its JSON back: decimal strings out, ``Decimal`` and ns in.

A fill's price may lie between two ticks of the run (a broker's price improvement): it is taken
to the tick against us, and the report's text says what the venue said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_UP, Decimal, InvalidOperation
from typing import Any, Final

from mqd.adapters.alpaca.errors import OrderNotExpressible
from mqd.adapters.alpaca.stream_wire import instant_ns
from mqd.core.instrument import AssetClass
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side
from mqd.execution.capabilities import PX_STEPS

PROTECTIVE: Final = frozenset({Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP})
DIGITS_MAX: Final = 24  # a number with a larger exponent is no amount of money or shares
STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
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
    if order.order_class is OrderClass.OCO and order.type is not OrderType.LIMIT:
        raise OrderNotExpressible(order.symbol, "an oco's first order is its limit at Alpaca")
    body: dict[str, Any] = {
        "symbol": order.symbol, "qty": plain(order.qty), "side": order.side.name.lower(),
        "type": str(order.type), "time_in_force": str(order.time_in_force),
        "client_order_id": order.client_order_id,
    }  # fmt: skip
    if order.order_class is not OrderClass.SIMPLE:
        body["order_class"] = str(order.order_class)
    if order.order_class is not OrderClass.OCO:
        body |= _own_prices(order, price_steps)
    for member in (order, *legs) if order.order_class is OrderClass.OCO else legs:
        body |= _leg(member, price_steps)
    return body


def replace_body(order: Order, *, price_steps: bool) -> dict[str, str]:
    """Return the body of a PATCH that makes an order what ``order`` says, with its new id."""
    body = {"qty": plain(order.qty), "time_in_force": str(order.time_in_force)}
    prices = _own_prices(order, price_steps)
    for name in ("trail_price", "trail_percent"):
        if name in prices:
            body["trail"] = prices.pop(name)
    return body | prices | {"client_order_id": order.client_order_id}


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


def number(value: Any) -> Decimal | None:
    """Return a number of the wire (text, Decimal or int) exactly; None for null or nonsense."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) <= DIGITS_MAX else None


def amount(value: Any) -> Decimal:
    """Return a number of the wire exactly; 0 for null or nonsense."""
    found = number(value)
    return Decimal(0) if found is None else found


def lots_of(value: Any, scale: Scale) -> int:
    """Return a quantity in lots, toward zero where it is finer than a lot."""
    return int(amount(value) / scale.lot)


def held_lots(value: Decimal, scale: Scale) -> int:
    """Return a holding in lots, away from zero where it is finer: no holding looks flat."""
    return int((value / scale.lot).to_integral_value(ROUND_UP))


def cum_lots(value: Any, scale: Scale) -> int:
    """Return a cumulative quantity in lots, -1 when the venue does not say it."""
    found = number(value)
    return -1 if found is None or found < 0 else int(found / scale.lot)


def fill_ticks(px: Decimal, side: Side, scale: Scale) -> tuple[int, str]:
    """Return a fill's price in ticks, against us where it lies between two, and what to note."""
    ticks = px / scale.tick
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    whole = int(ticks.to_integral_value(rounding))
    return whole, "" if whole == ticks else f"filled at {plain(px)}"


def stamp_ns(value: Any) -> int:
    """Return a stamp of the wire (RFC 3339, with its zone) in ns UTC, 0 when it is none."""
    if not isinstance(value, str) or not STAMP.fullmatch(value):
        return 0
    try:
        return instant_ns(value)
    except ValueError:
        return 0


def money_quanta(value: Any, quantum: Decimal) -> int:
    """Return an amount of money in quanta, toward zero where it is finer."""
    return int(amount(value) / quantum)


def side_of(record: Mapping[str, Any]) -> Side:
    """Return the side of an order or a fill."""
    return SIDES.get(str(record.get("side")), Side.BUY)


def id_of(record: Mapping[str, Any], name: str = "id") -> str:
    """Return an id of the venue's, "" when the record has none that can be written down."""
    found = record.get(name)
    return found if isinstance(found, str) and found.isprintable() else ""


def said_text(value: Any) -> str:
    """Return words of the venue's, "" for null, "?" for what UTF-8 has no bytes for."""
    return str(value or "").encode(errors="replace").decode()


def execution_lots(qty: Decimal, filled: Decimal, scale: Scale) -> int:
    """Return the whole lots that an execution adds: parts of a lot count once they are whole.

    The lots of all executions so come to the lots of ``filled``, the quantity after this one.
    """
    before = ((filled - qty) / scale.lot).to_integral_value(ROUND_FLOOR)
    return int(filled / scale.lot) - int(before)
