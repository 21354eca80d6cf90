"""Exact money: prices in ticks, quantities in lots, money in quanta; Decimal at the edge.

Desk and kernel compute on the same integers. One quantum a run: 1e-8 of the currency, or the
largest smaller power of ten that divides every instrument's tick x lot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from mqd.errors import OffGrid, ScaleTooFine

INT64_MAX = 2**63 - 1
QUANTUM_LARGEST = Decimal("1e-8")
MOST_QUANTA = 2**60
"""The most that cash, equity, gross or one order may be worth in a replay: a multiplier of 4 times
this, and sums of a few, still fit in 64 bits."""
BPS_UNITS = 10**8  # rates are integers in 1e-4 basis points: 1 bp = 10_000, 100 % = BPS_UNITS


def to_units(value: Decimal, unit: Decimal, what: str) -> int:
    """Return ``value / unit`` as an integer; raise ``OffGrid`` when it is not whole."""
    units = value / unit
    whole = int(units)
    if whole != units:
        raise OffGrid(value, unit, what)
    return whole


def rate_units(bps: float | Decimal) -> int:
    """Return a rate in basis points as an integer number of 1e-4 bp (half-even)."""
    return int((Decimal(str(bps)) * 10_000).to_integral_value(ROUND_HALF_EVEN))


def run_quantum(tick_lots: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Return the money quantum of a run from every instrument's ``(tick, lot)``."""
    quantum = QUANTUM_LARGEST
    for tick, lot in tick_lots:
        while (tick * lot) % quantum:
            quantum = quantum.scaleb(-1)
    return quantum


def check_room(cash: Decimal, quantum: Decimal) -> None:
    """Raise ``ScaleTooFine`` unless 100 x the starting equity fits in an int64 of quanta."""
    if cash * 100 / quantum > INT64_MAX:
        raise ScaleTooFine(
            f"100 x the starting equity of {cash} in quanta of {quantum}",
            "the tick or the lot (the quantum must divide tick x lot)",
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """One instrument's integer scales within a run.

    ``tick`` price step, ``lot`` quantity step, ``quantum`` money step (currency units);
    ``tick_lot_quanta`` = quanta in one tick x one lot; ``whole`` is True when a lot is one.
    """

    tick: Decimal
    lot: Decimal
    quantum: Decimal
    tick_lot_quanta: int
    whole: bool = False

    @staticmethod
    def of(tick: Decimal, lot: Decimal, quantum: Decimal) -> Scale:
        """Build a scale; ``quantum`` must divide ``tick * lot``."""
        return Scale(tick, lot, quantum, to_units(tick * lot, quantum, "tick x lot"), lot == 1)

    def px_ticks(self, px: Decimal) -> int:
        """Return a price as ticks; raise ``OffGrid`` when it lies between two ticks."""
        return to_units(px, self.tick, "price")

    def qty_lots(self, qty: Decimal) -> int:
        """Return a quantity as lots; raise ``OffGrid`` when it lies between two lots."""
        return to_units(qty, self.lot, "quantity")

    def px(self, ticks: int) -> Decimal:
        """Return ticks as a price."""
        return ticks * self.tick

    def qty(self, lots: int) -> Decimal:
        """Return lots as a quantity."""
        return lots * self.lot

    def money(self, quanta: int) -> Decimal:
        """Return quanta as currency units."""
        return quanta * self.quantum
