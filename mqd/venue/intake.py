"""The body of an order read and checked for its shape: amounts are exact, words are known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, TypeVar

from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import OrderClass, OrderType, Side, TimeInForce
from mqd.errors import OffGrid
from mqd.venue.errors import BAD_ORDER, Refused, forbidden, unprocessable
from mqd.venue.words import SIDES, TRAIL_RATE

ID_LENGTH_MAX = 128
AMOUNT_MAX = Decimal(10) ** 12
EXTENDED = frozenset({TimeInForce.DAY, TimeInForce.GTC})
Word = TypeVar("Word", OrderType, TimeInForce, OrderClass)


class Wanted(NamedTuple):
    """A well-formed order as a client asks for it: prices in ticks (0: none)."""

    symbol: str
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    type: OrderType
    time_in_force: TimeInForce
    order_class: OrderClass
    limit_ticks: int
    stop_ticks: int
    trail_ticks: int
    trail_units: int
    target_ticks: int
    loss_ticks: int
    loss_limit_ticks: int
    client_order_id: str
    extended: bool


def read_amount(body: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a positive amount given as number or text, None when absent; else refuse."""
    given = body.get(name)
    if given is None or given == "":
        return None
    try:
        value = Decimal(given) if isinstance(given, str | int | Decimal) else Decimal(str(given))
    except (InvalidOperation, ValueError):
        value = Decimal("NaN")
    if isinstance(given, bool) or not value.is_finite() or not 0 < value < AMOUNT_MAX:
        raise unprocessable(f"{name} must be a number above 0", BAD_ORDER)
    return value


def read_ticks(body: Mapping[str, Any], name: str, scale: Scale) -> int:
    """Return a price in ticks, 0 when absent; refuse one between two ticks."""
    px = read_amount(body, name)
    if px is None:
        return 0
    try:
        return scale.px_ticks(px)
    except OffGrid as error:
        raise unprocessable(
            f"invalid {name} {px}. sub-penny increment does not fulfill minimum pricing criteria",
            BAD_ORDER,
        ) from error


def read_word(kind: type[Word], body: Mapping[str, Any], name: str, default: Word | None) -> Word:
    """Return a member of an enumeration by its value; refuse any other word."""
    given = body.get(name)
    if (given is None or given == "") and default is not None:
        return default
    try:
        return kind(str(given))
    except ValueError as error:
        raise unprocessable(f"invalid {name}") from error


def read_client_id(body: Mapping[str, Any]) -> str:
    """Return the client's id for the order, "" when the venue shall make one."""
    given = body.get("client_order_id")
    if given is None or given == "":
        return ""
    if not isinstance(given, str) or len(given) > ID_LENGTH_MAX:
        raise unprocessable(f"client_order_id must be a text of at most {ID_LENGTH_MAX} characters")
    return given


def read_symbol(body: Mapping[str, Any]) -> str:
    """Return the symbol asked for."""
    symbol = body.get("symbol")
    if not isinstance(symbol, str) or not symbol:
        raise unprocessable("symbol is required")
    return symbol


def read_order(body: Mapping[str, Any], scale: Scale) -> Wanted:
    """Return what the body asks for; refuse what is malformed."""
    qty, notional = read_amount(body, "qty"), read_amount(body, "notional")
    if (qty is None) is (notional is None):
        both = qty is not None
        raise unprocessable("only one of qty or notional is accepted" if both
                            else "qty or notional is required")  # fmt: skip
    if body.get("side") not in SIDES:
        raise unprocessable("side must be buy or sell")
    group = read_word(OrderClass, body, "order_class", OrderClass.SIMPLE)
    kind = read_word(OrderType, body, "type", OrderType.LIMIT if group is OrderClass.OCO else None)
    tif = read_word(TimeInForce, body, "time_in_force", None)
    wanted = Wanted(
        read_symbol(body), SIDES[body["side"]], qty, notional, kind, tif, group,
        read_ticks(body, "limit_price", scale), read_ticks(body, "stop_price", scale),
        read_ticks(body, "trail_price", scale), _trail_units(body),
        *_legs(body, scale), read_client_id(body),
        str(body.get("extended_hours", False)).lower() == "true",
    )  # fmt: skip
    _refuse_words(body, wanted)
    _refuse_extended(wanted)
    _refuse_prices(wanted)
    _refuse_groups(wanted)
    return wanted


def _trail_units(body: Mapping[str, Any]) -> int:
    rate = read_amount(body, TRAIL_RATE)
    if rate is None:
        return 0
    units = int(rate.scaleb(6))
    if not 0 < units < BPS_UNITS:
        raise unprocessable(f"{TRAIL_RATE} must be above 0 and below 100", BAD_ORDER)
    return units


def _legs(body: Mapping[str, Any], scale: Scale) -> tuple[int, int, int]:
    """Return target, stop and the stop's limit in ticks, 0 where there is none."""
    parts: list[Mapping[str, Any]] = []
    for name in ("take_profit", "stop_loss"):
        part = body.get(name)
        if part is not None and not isinstance(part, Mapping):
            raise unprocessable(f"{name} must be an object")
        parts.append(part or {})
    target, loss = parts
    return (
        read_ticks(target, "limit_price", scale),
        read_ticks(loss, "stop_price", scale),
        read_ticks(loss, "limit_price", scale),
    )


def _refuse_words(body: Mapping[str, Any], wanted: Wanted) -> None:
    """Refuse an intent of the other side, advanced routing, and a notional finer than cents."""
    intent, side = body.get("position_intent"), body["side"]
    if intent not in (None, "", f"{side}_to_open", f"{side}_to_close"):
        raise unprocessable(f"invalid position_intent {intent} for side {side}")
    if body.get("advanced_instructions"):
        raise unprocessable("advanced_instructions are not enabled for this account", BAD_ORDER)
    if wanted.notional is not None and wanted.notional != round(wanted.notional, 2):
        raise unprocessable("notional value must be limited to 2 decimal places")


def _refuse_extended(wanted: Wanted) -> None:
    """Refuse for extended hours all but simple limit orders, DAY or GTC (since August 2026)."""
    if not wanted.extended:
        return
    if wanted.type is not OrderType.LIMIT or wanted.time_in_force not in EXTENDED:
        raise unprocessable("extended hours order must be DAY limit orders", BAD_ORDER)
    if wanted.order_class is not OrderClass.SIMPLE:
        raise unprocessable("extended hours orders must be simple", BAD_ORDER)


def _refuse_prices(wanted: Wanted) -> None:
    """Refuse a type whose prices are missing or superfluous."""
    kind = wanted.type
    if wanted.order_class is OrderClass.OCO:
        return
    needs_limit = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    needs_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    if kind is OrderType.MARKET and (wanted.limit_ticks or wanted.stop_ticks):
        raise unprocessable("market orders require no stop or limit price", BAD_ORDER)
    if (wanted.limit_ticks > 0) is not needs_limit:
        word = "require" if needs_limit else "require no"
        raise unprocessable(f"{kind} orders {word} limit price", BAD_ORDER)
    if (wanted.stop_ticks > 0) is not needs_stop:
        word = "require" if needs_stop else "require no"
        raise unprocessable(f"{kind} orders {word} stop price", BAD_ORDER)
    n_trails = (wanted.trail_ticks > 0) + (wanted.trail_units > 0)
    if n_trails != (kind is OrderType.TRAILING_STOP):
        raise unprocessable(
            f"trailing stop orders must specify one of trail_price or {TRAIL_RATE}, others none",
            BAD_ORDER,
        )


def _refuse_groups(wanted: Wanted) -> None:
    """Refuse a group whose legs are missing, superfluous or out of order."""
    group, target, loss = wanted.order_class, wanted.target_ticks, wanted.loss_ticks
    if group is OrderClass.SIMPLE:
        if target or loss:
            raise unprocessable("simple orders take no take_profit and no stop_loss", BAD_ORDER)
        return
    n_legs = (target > 0) + (loss > 0)
    if n_legs != (1 if group is OrderClass.OTO else 2):
        raise unprocessable(f"{group} orders require take_profit.limit_price and/or"
                            " stop_loss.stop_price", BAD_ORDER)  # fmt: skip
    if group is OrderClass.OCO and wanted.type is not OrderType.LIMIT:
        raise unprocessable("oco orders must be limit orders", BAD_ORDER)
    if wanted.loss_limit_ticks and not loss:
        raise unprocessable("stop_loss.stop_price is required", BAD_ORDER)
    side = wanted.side if group is OrderClass.OCO else Side(-wanted.side)
    if n_legs == 2 and (target - loss) * side >= 0:
        raise unprocessable("take_profit.limit_price and stop_loss.stop_price cross", BAD_ORDER)


def lots_of(wanted: Wanted, scale: Scale, mark_ticks: int) -> int:
    """Return the order's lots; refuse a fraction that the asset does not trade."""
    if wanted.notional is not None:
        if wanted.notional < 1:
            raise forbidden("cost basis must be >= minimal amount of order 1")
        if scale.lot >= 1:
            raise forbidden(f'asset "{wanted.symbol}" is not fractionable')
        if not mark_ticks:
            raise forbidden(f'asset "{wanted.symbol}" has no price yet')
        return int(wanted.notional / scale.px(mark_ticks) / scale.lot)
    assert wanted.qty is not None
    try:
        return scale.qty_lots(wanted.qty)
    except OffGrid as error:
        if scale.lot >= 1:
            raise forbidden(f'asset "{wanted.symbol}" is not fractionable') from error
        raise Refused(422, BAD_ORDER, f"qty must be a multiple of {scale.lot}") from error
