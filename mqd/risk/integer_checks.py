"""The two controls that are judged on exact integers, in research and with a limits file alike."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.risk.limits import LimitValues
from mqd.risk.verdict import Refusal, RefusalCode
from mqd.risk.views import Snapshot, increase_lots

LOT_SMALLEST = Decimal("1e-9")
_ONE = Decimal(1)


def malformed(order: Order, snapshot: Snapshot) -> str:
    """Return what is wrong with an order's form, or an empty text (control 1).

    Prices and quantities are whole ticks and lots by construction; the increments that a venue
    adds to them are its capability table's.
    """
    if type(order.lots) is not int or order.lots <= 0:
        return f"quantity of {order.lots} lots"
    side, kind, in_force = _untyped(order)
    if not isinstance(side, Side):
        return f"side {side!r}"
    if not isinstance(kind, OrderType):
        return f"order type {kind!r}"
    if not isinstance(in_force, TimeInForce):
        return f"time in force {in_force!r}"
    if order.scale is not snapshot.scale and order.scale != snapshot.scale:
        return "scale differs from the position's"
    if order.scale.lot < LOT_SMALLEST:
        return f"lot {order.scale.lot} has more than 9 decimals"
    return _wrong_prices(order) or _fractional_short(order, snapshot)


def _untyped(order: Order) -> tuple[object, object, object]:
    return order.side, order.type, order.time_in_force


def _wrong_prices(order: Order) -> str:
    kind, limit, stop = order.type, order.limit_ticks, order.stop_ticks
    if kind is OrderType.MARKET and limit == stop == order.trail_ticks == order.trail_units == 0:
        return ""
    has_limit = kind is OrderType.LIMIT or kind is OrderType.STOP_LIMIT
    has_stop = kind is OrderType.STOP or kind is OrderType.STOP_LIMIT
    if not _fits(limit, has_limit):
        return f"limit price of {limit} ticks on a {kind} order"
    floor = kind is OrderType.TRAILING_STOP and stop > 0  # a fixed stop works beside the trail
    if not (floor or _fits(stop, has_stop)):
        return f"stop price of {stop} ticks on a {kind} order"
    trails = (order.trail_ticks > 0) + (order.trail_units > 0)
    is_trailing = kind is OrderType.TRAILING_STOP
    if trails != is_trailing or order.trail_ticks < 0 or order.trail_units < 0:
        return f"trail of {order.trail_ticks} ticks and {order.trail_units} units of 1e-8"
    return ""


def _fits(ticks: int, wanted: bool) -> bool:
    return ticks > 0 if wanted else ticks == 0


def _fractional_short(order: Order, snapshot: Snapshot) -> str:
    if order.side > 0 or order.scale.lot >= _ONE:
        return ""
    after = snapshot.lots - snapshot.open_sell_lots - order.lots
    if after < 0 and (order.lots * order.scale.lot) % _ONE:
        return f"short quantity {order.qty} is not whole"
    return ""


class Power(NamedTuple):
    """Buying power's two factors as exact fractions, from the effective limits."""

    multiplier: float
    multiplier_n: int
    multiplier_d: int
    frac_n: int
    frac_d: int

    @staticmethod
    def of(limits: LimitValues) -> Power:
        """Read the decimal text of the limits, so that 0.95 means 95/100 and no binary near it."""
        multiplier = Fraction(repr(limits.multiplier_max))
        frac = Fraction(repr(limits.buying_power_frac_max))
        return Power(
            limits.multiplier_max, *multiplier.as_integer_ratio(), *frac.as_integer_ratio()
        )


def buying_power(order: Order, snapshot: Snapshot, power: Power) -> Refusal | None:
    """Refuse an increase that costs more than what is left (control 8); None when it passes.

    The cost is what the order adds to the symbol's worst-case gross, at the decision's close, fees
    left out; what is left is equity x multiplier less worst-case gross. Equality passes.
    A missing number raises.
    """
    increase = increase_lots(order.side, order.lots, snapshot)
    if increase <= 0:
        return None
    _, m_n, m_d, f_n, f_d = power
    if not snapshot.multiplier >= power.multiplier:
        m_n, m_d = Fraction(repr(float(snapshot.multiplier))).as_integer_ratio()
    if snapshot.ref_ticks <= 0:
        raise ValueError("no reference price")
    cost = increase * int(snapshot.ref_ticks) * snapshot.scale.tick_lot_quanta
    gross = int(snapshot.gross_quanta) + int(snapshot.open_gross_quanta)
    left = int(snapshot.equity_quanta) * m_n - gross * m_d
    if cost * m_d * f_d <= left * f_n:
        return None
    usd = snapshot.scale.quantum
    return Refusal(
        RefusalCode.BUYING_POWER,
        f"buying power {float(Fraction(left * f_n, m_d * f_d) * Fraction(usd)):.2f}",
        f"{float(cost * usd):.2f}",
    )
