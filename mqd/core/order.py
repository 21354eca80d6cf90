"""Orders: what a user asks for (Decimal), and the desk's own order (ticks and lots)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import NamedTuple

from mqd.core.money import Scale


class Side(IntEnum):
    """Buy adds, sell removes; the value is the sign."""

    BUY = 1
    SELL = -1


class OrderType(StrEnum):
    """The field's order types."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    """How long an order works. OPG and CLS are the session's first open and last close."""

    DAY = "day"
    GTC = "gtc"
    OPG = "opg"
    CLS = "cls"
    IOC = "ioc"
    FOK = "fok"


class OrderClass(StrEnum):
    """Simple orders and groups: bracket (entry, both legs), oco (both legs), oto (entry, leg)."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


class OrderStatus(StrEnum):
    """What the venue said last (INTENT, SUBMITTED, UNKNOWN, DENIED, ABANDONED are ours)."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"
    DENIED = "denied"
    ABANDONED = "abandoned"


TERMINAL = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REJECTED,
        OrderStatus.REPLACED,
        OrderStatus.DENIED,
        OrderStatus.ABANDONED,
    }
)


class Pending(StrEnum):
    """A request of ours that the venue has not answered yet."""

    NONE = "none"
    CANCEL = "cancel"
    REPLACE = "replace"


class Reason(StrEnum):
    """Why the desk sent an order."""

    TARGET = "target"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    TRAILING_STOP = "trailing_stop"
    EVENT = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order as an event strategy writes it: prices and quantities are Decimal.

    ``qty`` is positive; ``side`` gives the sign. ``time_in_force=None`` means DAY, or GTC in a
    24/7 market. ``trail_px`` (currency) or ``trail_frac`` (fraction of the best price) belong
    to a trailing stop. ``take_profit_px``, ``stop_loss_px`` and ``stop_loss_limit_px`` belong
    to the classes bracket, oco and oto. ``client_order_id=None`` lets the desk derive one from
    the decision.
    """

    symbol: str
    side: Side
    qty: Decimal
    type: OrderType = OrderType.MARKET
    limit_px: Decimal | None = None
    stop_px: Decimal | None = None
    trail_px: Decimal | None = None
    trail_frac: Decimal | None = None
    time_in_force: TimeInForce | None = None
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit_px: Decimal | None = None
    stop_loss_px: Decimal | None = None
    stop_loss_limit_px: Decimal | None = None
    client_order_id: str | None = None


class Order(NamedTuple):
    """One order's terms, on the integers of the run; they never change.

    ``lots`` > 0. A price of 0 ticks means "none". ``trail_units`` is a fraction in units of
    1e-8; ``extreme_ticks`` is the best price a trailing stop starts from (0: the price at
    arrival). ``group`` joins the members of a bracket, oco or oto; ``parent`` is the id of the
    entry that a leg waits for. ``allocation`` names the strategies that share a netted order
    as ``(strategy, signed lots)``; empty means all of it belongs to ``strategy``.
    """

    client_order_id: str
    strategy: str
    symbol: str
    side: Side
    lots: int
    type: OrderType
    time_in_force: TimeInForce
    decided_ns: int
    scale: Scale
    reason: Reason = Reason.TARGET
    reducing: bool = False
    limit_ticks: int = 0
    stop_ticks: int = 0
    trail_ticks: int = 0
    trail_units: int = 0
    extreme_ticks: int = 0
    order_class: OrderClass = OrderClass.SIMPLE
    group: str = ""
    parent: str = ""
    allocation: tuple[tuple[str, int], ...] = ()

    @property
    def qty(self) -> Decimal:
        """Quantity in shares or coins, positive."""
        return self.lots * self.scale.lot

    @property
    def limit_px(self) -> Decimal | None:
        """Limit price, or None."""
        return self.limit_ticks * self.scale.tick if self.limit_ticks else None

    @property
    def stop_px(self) -> Decimal | None:
        """Stop price, or None."""
        return self.stop_ticks * self.scale.tick if self.stop_ticks else None
