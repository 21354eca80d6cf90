"""FIFO tax lots from fills, on the integers of the run."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mqd.core.money import Scale
from mqd.core.order import Side
from mqd.core.position import Lot
from mqd.errors import UsageError


class ClosedLot(NamedTuple):
    """A lot, or a part of one, bought and sold (or sold short and bought back).

    ``lots`` has the sign of the holding. ``entry_ticks`` and ``exit_ticks`` are prices;
    ``realized_quanta`` leaves fees out. Splits between entry and exit restate ``entry_ticks``
    (rounded half-even to a tick) and leave ``realized_quanta`` exact.
    """

    symbol: str
    lots: int
    entry_ns: int
    entry_ticks: int
    exit_ns: int
    exit_ticks: int
    realized_quanta: int


class _Open:
    """An open lot with its exact cost; a split divides prices that ticks could not hold."""

    __slots__ = ("cost_quanta", "lots", "opened_ns")

    def __init__(self, opened_ns: int, lots: int, cost_quanta: int) -> None:
        self.opened_ns, self.lots, self.cost_quanta = opened_ns, lots, cost_quanta

    def take(self, lots: int) -> int:
        """Remove ``lots`` and return their cost; what is left keeps the rest to the quantum."""
        cost = self.cost_quanta * lots // self.lots
        self.lots -= lots
        self.cost_quanta -= cost
        return cost


class TaxLots:
    """One symbol's lots, first in first out; a fill through zero closes all and opens anew."""

    def __init__(self, symbol: str, scale: Scale) -> None:
        self.symbol, self._scale = symbol, scale
        self._open: deque[_Open] = deque()

    @property
    def lots(self) -> int:
        """The signed sum of the open lots."""
        return sum(lot.lots for lot in self._open)

    @property
    def cost_quanta(self) -> int:
        """What the open lots cost, with the sign of ``lots``, fees left out."""
        return sum(lot.cost_quanta for lot in self._open)

    def open_lots(self) -> tuple[Lot, ...]:
        """Return the open lots, oldest first; prices rounded half-even to a tick."""
        return tuple(
            Lot(self.symbol, lot.opened_ns, lot.lots, self._ticks(lot.cost_quanta, lot.lots))
            for lot in self._open
        )

    def apply_fill(self, ts_ns: int, side: Side, lots: int, ticks: int) -> list[ClosedLot]:
        """Take a fill of ``lots`` > 0 and return what it closed, oldest lot first."""
        if lots <= 0:
            raise UsageError(f"A fill of {lots} lots of {self.symbol}: lots must be positive.")
        sign, left = int(side), lots
        closed = []
        while left and self._open and self._open[0].lots * sign < 0:
            oldest = self._open[0]
            part = min(left, abs(oldest.lots))
            closed.append(self._close(oldest, ts_ns, -sign * part, ticks))
            if not oldest.lots:
                self._open.popleft()
            left -= part
        if left:
            cost = sign * left * ticks * self._scale.tick_lot_quanta
            self._open.append(_Open(ts_ns, sign * left, cost))
        return closed

    def split(self, numerator: int, denominator: int, cost_delta_quanta: int = 0) -> None:
        """Multiply the lots by ``numerator / denominator``, toward zero over their sum.

        ``cost_delta_quanta`` is what the position's cost changes by (a fraction paid in cash);
        the newest lot bears it. The cost of a lot that comes to nothing moves to the next. Raises
        ``UsageError`` when nothing is left to bear a cost.
        """
        if numerator <= 0 or denominator <= 0:
            raise UsageError(f"A split of {numerator} for {denominator} of {self.symbol}.")
        sign = 1 if self.lots > 0 else -1
        before = after = carried = 0
        kept: deque[_Open] = deque()
        for lot in self._open:
            before += abs(lot.lots)
            lots = before * numerator // denominator - after
            after += lots
            carried += lot.cost_quanta
            if lots:
                kept.append(_Open(lot.opened_ns, sign * lots, carried))
                carried = 0
        carried += cost_delta_quanta
        if kept:
            kept[-1].cost_quanta += carried
        elif carried:
            raise UsageError(f"The split leaves no lot of {self.symbol} but a cost of {carried}.")
        self._open = kept

    def _close(self, oldest: _Open, ts_ns: int, lots: int, ticks: int) -> ClosedLot:
        entry_ns = oldest.opened_ns
        cost = oldest.take(lots)
        value = lots * ticks * self._scale.tick_lot_quanta
        entry_ticks = self._ticks(cost, lots)
        return ClosedLot(self.symbol, lots, entry_ns, entry_ticks, ts_ns, ticks, value - cost)

    def _ticks(self, cost_quanta: int, lots: int) -> int:
        """Return a price in ticks, half-even."""
        each = lots * self._scale.tick_lot_quanta
        if each < 0:
            cost_quanta, each = -cost_quanta, -each
        whole, rest = divmod(cost_quanta, each)
        return whole + (2 * rest > each or (2 * rest == each and whole % 2 == 1))
