"""What is known of one order: an immutable snapshot, and the step between two of them."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from mqd.core.execution_report import Fill
from mqd.core.order import TERMINAL, Order, OrderStatus, Pending


class OrderState(NamedTuple):
    """One order at one instant; whoever holds it holds one whole, unchanging picture.

    ``cum_lots`` is max(booked executions, the venue's cumulative quantity less what busts and
    corrections took away). ``booked_lots`` and ``notional`` (sum of lots x ticks) are those of
    the live executions ``fills``, which are sorted by (ts_fill, execution_id). ``flags`` are the
    bits of ``transitions``. ``quarantined``: this order showed an anomaly, once and for ever.
    ``ended`` is the terminal word of the venue, kept even while FILLED outranks it;
    ``venue_cum`` the highest cumulative quantity it named; ``lowered_lots`` what busts and
    corrections took away; ``busted`` the sorted ids of executions that they made void.
    """

    order: Order
    status: OrderStatus
    pending: Pending
    cum_lots: int
    booked_lots: int
    notional: int
    fills: tuple[Fill, ...]
    flags: int
    quarantined: bool
    ended: OrderStatus | None
    venue_cum: int
    lowered_lots: int
    busted: tuple[str, ...]
    venue_order_id: str
    replaced_by: str

    @property
    def leaves_lots(self) -> int:
        """Lots that can still fill as far as the order's words go; 0 when it is over."""
        return 0 if self.status in TERMINAL else max(0, self.order.lots - self.cum_lots)

    @property
    def provisional_lots(self) -> int:
        """Lots that the venue counts as filled but whose execution has not arrived."""
        return self.cum_lots - self.booked_lots

    @property
    def worst_case_lots(self) -> int:
        """Lots that may still reach the ledger: all that is not booked, while it is not over."""
        if self.status in TERMINAL:
            return self.cum_lots - self.booked_lots
        return max(self.order.lots, self.cum_lots) - self.booked_lots

    @property
    def filled_qty(self) -> Decimal:
        """Filled quantity in shares or coins."""
        return self.cum_lots * self.order.scale.lot

    @property
    def avg_px(self) -> Decimal | None:
        """Average price of the booked executions, or None before the first."""
        if not self.booked_lots:
            return None
        return self.notional * self.order.scale.tick / self.booked_lots

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more is expected (a late fill, bust or correction still counts)."""
        return self.status in TERMINAL


class Transition(NamedTuple):
    """One step. ``before`` and ``after`` are None only for a report about an unknown order.

    ``fill``: a new execution to book. ``voided``: an execution that a bust or correction takes
    back (a correction may carry both). ``anomaly``: why the symbol is quarantined, or "".
    ``duplicate``: nothing was learned. ``query``: ask the venue for this order. ``cancel``: it
    lives and should not, or our earlier cancel can be sent only now; stays True on later
    reports until a CANCEL command has been given.
    """

    before: OrderState | None
    after: OrderState | None
    fill: Fill | None = None
    voided: Fill | None = None
    anomaly: str = ""
    duplicate: bool = False
    query: bool = False
    cancel: bool = False

    @property
    def late_fill(self) -> bool:
        """Whether an execution came after the order was over."""
        return self.fill is not None and self.before is not None and self.before.is_terminal
