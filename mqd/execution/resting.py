"""One order as it rests at the simulated venue."""

from __future__ import annotations

from dataclasses import dataclass

from mqd.core.money import BPS_UNITS
from mqd.core.order import Order, OrderType
from mqd.execution.matching import trail_level


def trail_distance(order: Order, extreme: int) -> int:
    """Return a trailing stop's distance in ticks at ``extreme``; fractions are rounded up."""
    if order.trail_units:
        return -(-extreme * order.trail_units // BPS_UNITS)
    return order.trail_ticks


@dataclass(slots=True)
class Resting:
    """A working order: its terms, what is left, and what the venue remembers of it.

    ``arrives_ns`` is the send time plus latency; ``placed_step`` the step in which it was sent;
    ``held`` marks the leg of a bracket that waits for its entry. ``extreme`` is the best price
    of earlier bars for a trailing stop. ``leaves`` shrinks with fills, and with those of the
    other leg of a pair; ``filled`` counts this order's own. A triggered stop is a market order.
    """

    order: Order
    index: int
    sequence: int
    venue_id: str
    arrives_ns: int
    expires_ns: int
    placed_step: int
    held: bool
    extreme: int
    trail: int
    leaves: int = 0
    filled: int = 0
    triggered: bool = False
    open_trigger: bool = False

    def __post_init__(self) -> None:
        self.leaves = self.order.lots

    def level(self) -> int:
        """Return the stop level that works now, in ticks."""
        order = self.order
        if order.type is not OrderType.TRAILING_STOP:
            return order.stop_ticks
        return trail_level(order.side, self.extreme, self.trail, order.stop_ticks)

    def follow(self, high: int, low: int) -> None:
        """Move a trailing stop's extreme after a bar has ended."""
        if self.order.type is OrderType.TRAILING_STOP and not self.held:
            best = max(self.extreme, high) if self.order.side < 0 else min(self.extreme, low)
            if best != self.extreme:
                self.extreme = best
                self.trail = trail_distance(self.order, best)

    def reduces(self, lots: int) -> bool:
        """Return True when filling the rest cannot increase or flip a position of ``lots``."""
        signed = self.leaves * self.order.side
        return lots * signed < 0 and abs(signed) <= abs(lots)
