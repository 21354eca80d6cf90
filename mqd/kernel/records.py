"""What the kernel leaves of one combination when its orders and fills are asked for.

All integers: prices in ticks, quantities in lots, money in quanta, times in ns.
"""

from __future__ import annotations

from typing import NamedTuple

from mqd.core.bar import Ints
from mqd.core.order import OrderStatus, OrderType, Reason, TimeInForce

TYPES = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.TRAILING_STOP)
TIMES_IN_FORCE = (TimeInForce.DAY, TimeInForce.GTC)
REASONS = (Reason.TARGET, Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP)
STATUSES = (
    OrderStatus.ACCEPTED,
    OrderStatus.PARTIALLY_FILLED,
    OrderStatus.FILLED,
    OrderStatus.CANCELED,
    OrderStatus.EXPIRED,
    OrderStatus.REJECTED,
    OrderStatus.DENIED,
)

ORDER_FIELDS = (
    "decided_ns", "place", "side", "lots", "type", "limit_ticks", "stop_ticks", "time_in_force",
    "reason", "status", "filled_lots", "notional_ticks",
)  # fmt: skip
"""Columns of ``Records.orders``; codes are places in the tuples above, ``place`` is the symbol's
place in ``Bars.symbols``, ``notional_ticks`` the sum of lots x ticks of the order's fills."""

FILL_FIELDS = ("order", "lots", "ticks", "fee_quanta", "ts_fill", "ts_known")
"""Columns of ``Records.fills``; ``order`` is a row of ``Records.orders``."""

SPLIT_FIELDS = ("place", "action", "lots_before", "lots_after", "cash_quanta")
"""Columns of ``Records.splits``; ``action`` is a place in the symbol's ``actions``."""


class Counts(NamedTuple):
    """How often an assumption mattered, and what was charged (quanta, positive = paid)."""

    ambiguous_bars: int
    capped_fills: int
    trimmed_fills: int
    gap_fills: int
    follow_ups: int
    zero_sizes: int
    denied: int
    fractional_targets: int
    fees_quanta: int
    borrow_quanta: int
    dividends_quanta: int


class Records(NamedTuple):
    """One run. ``orders`` in the order of sending or denial, ``fills`` in the order of the log.

    ``cash`` (n_steps,) and ``lots`` (n_steps, n_symbols) at each step's end; ``denied`` rows are
    (row of ``orders``, bit mask of what refused it: bit 0 buying power, bit 1 + i rule i).
    """

    orders: Ints
    fills: Ints
    splits: Ints
    denied: Ints
    cash: Ints
    lots: Ints
    counts: Counts
