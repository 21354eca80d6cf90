"""One order as it rests at the simulated venue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from mqd.core.money import BPS_UNITS
from mqd.core.order import Order, OrderType
from mqd.execution import matching
from mqd.execution.matching import NO_FILL, trail_level
from mqd.execution.tape import Tape


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
    ``rank`` is the place in the queue, one for all members of a group.
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
    rank: int
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

    def price_at_open(self, tape: Tape, row: int, touch: bool) -> int:
        """Return the price at which the bar's open fills the order, before slippage."""
        order, open_ = self.order, tape.open[row]
        match order.type:
            case OrderType.MARKET:
                return open_
            case OrderType.LIMIT:
                return matching.limit_at_open(order.side, open_, order.limit_ticks, touch)
            case OrderType.STOP | OrderType.TRAILING_STOP:
                if self.triggered:
                    return open_
                ticks = matching.stop_at_open(order.side, open_, self.level())
                self.triggered = ticks != NO_FILL
                return ticks
            case OrderType.STOP_LIMIT:
                if self.triggered:
                    return matching.limit_at_open(order.side, open_, order.limit_ticks, touch)
                gap = matching.stop_at_open(order.side, open_, order.stop_ticks)
                self.open_trigger = gap != NO_FILL
                return NO_FILL
            case _:
                assert_never(order.type)

    def price_within(self, tape: Tape, row: int, touch: bool) -> int:
        """Return the price at which the bar fills the order after its open, before slippage."""
        order, open_, high, low = self.order, tape.open[row], tape.high[row], tape.low[row]
        side, limit = order.side, order.limit_ticks
        match order.type:
            case OrderType.MARKET:
                return NO_FILL
            case OrderType.LIMIT:
                return matching.limit_within(side, open_, high, low, limit, touch)
            case OrderType.STOP | OrderType.TRAILING_STOP:
                if self.triggered:
                    return NO_FILL
                ticks = matching.stop_within(side, open_, high, low, self.level())
                self.triggered = ticks != NO_FILL
                return ticks
            case OrderType.STOP_LIMIT:
                if self.triggered:
                    return matching.limit_within(side, open_, high, low, limit, touch)
                hit = matching.stop_within(side, open_, high, low, order.stop_ticks)
                self.triggered = hit != NO_FILL
                if not self.triggered:
                    return NO_FILL
                return matching.stop_limit_on_trigger_bar(
                    side, open_, high, low, tape.close[row], limit, self.open_trigger, touch
                )
            case _:
                assert_never(order.type)

    def gapped(self, ticks: int) -> bool:
        """Return True when a stop filled at an open beyond its level."""
        stops = (OrderType.STOP, OrderType.TRAILING_STOP)
        return self.order.type in stops and ticks != self.level()

    def reduces(self, lots: int) -> bool:
        """Return True when filling the rest cannot increase or flip a position of ``lots``."""
        signed = self.leaves * self.order.side
        return lots * signed < 0 and abs(signed) <= abs(lots)
