"""What a check answers: ``Approved`` (core.verdict) or ``Refused`` with its reasons.

The reasons are a closed enum in descending precedence; ``tests/tables/refusals.csv`` is the same
list. Every rule that fails is named, in this order, whatever the order in which they ran.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from mqd.core.order import Order


class RefusalCode(StrEnum):
    """Why an order was DENIED, most severe first."""

    KILL_SWITCH = "kill_switch"
    RULES_NOT_RUN = "rules_not_run"
    RULE_FAILED = "rule_failed"
    MISSING_INPUT = "missing_input"
    HALTED = "halted"
    REDUCE_ONLY = "reduce_only"
    MODE_UNBOUND = "mode_unbound"
    NOT_STARTED = "not_started"
    UNRECONCILED = "unreconciled"
    DISCONNECTED = "disconnected"
    STRATEGY_TRIPPED = "strategy_tripped"
    MALFORMED = "malformed"
    DENIED_SYMBOL = "denied_symbol"
    NOT_IN_UNIVERSE = "not_in_universe"
    NOT_TRADABLE = "not_tradable"
    HOURS = "hours"
    TRADING_HALT = "trading_halt"
    SHORT_SALE = "short_sale"
    PRICE_COLLAR = "price_collar"
    SELF_TRADE = "self_trade"
    DUPLICATE = "duplicate"
    STALE_PRICE = "stale_price"
    BAD_TICK = "bad_tick"
    ORDER_QTY = "order_qty"
    ORDER_VOLUME = "order_volume"
    ORDER_NOTIONAL = "order_notional"
    POSITION_QTY = "position_qty"
    POSITION_NOTIONAL = "position_notional"
    GROSS_EXPOSURE = "gross_exposure"
    NET_EXPOSURE = "net_exposure"
    CONCENTRATION = "concentration"
    SECTOR = "sector"
    BUYING_POWER = "buying_power"
    MARGIN = "margin"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    ORDER_RATE = "order_rate"
    ORDERS_PER_MINUTE = "orders_per_minute"
    REPEATED_FILLS = "repeated_fills"
    OPEN_ORDERS = "open_orders"
    MESSAGES = "messages"
    TURNOVER = "turnover"
    USER_RULE = "user_rule"


PRECEDENCE: dict[RefusalCode, int] = {code: rank for rank, code in enumerate(RefusalCode)}


class Refusal(NamedTuple):
    """One failed rule: ``limit`` names it with its value, ``observed`` is what it met."""

    code: RefusalCode
    limit: str
    observed: str

    def __str__(self) -> str:
        return f"{self.code}: {self.observed} against {self.limit}"


class Refused(NamedTuple):
    """An order that is not sent: DENIED, with every reason, by precedence."""

    order: Order
    refusals: tuple[Refusal, ...]

    @property
    def codes(self) -> tuple[RefusalCode, ...]:
        """The reasons' codes, by precedence."""
        return tuple(refusal.code for refusal in self.refusals)

    def __str__(self) -> str:
        reasons = "; ".join(str(refusal) for refusal in self.refusals)
        return f"{self.order.side.name} {self.order.qty} {self.order.symbol} denied: {reasons}"
