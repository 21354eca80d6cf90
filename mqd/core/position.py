"""Positions, tax lots and the account, on the integers of the run."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from mqd.core.money import Scale


class Position(NamedTuple):
    """A signed holding of one symbol: ``lots`` and what they cost, both 0 when flat.

    ``cost_quanta`` has the sign of ``lots`` (average cost, fees left out).
    """

    symbol: str
    lots: int
    cost_quanta: int
    scale: Scale

    @property
    def qty(self) -> Decimal:
        """Signed quantity."""
        return self.lots * self.scale.lot

    @property
    def avg_px(self) -> Decimal:
        """Average entry price, 0 when flat."""
        if not self.lots:
            return Decimal(0)
        return self.cost_quanta * self.scale.quantum / (self.lots * self.scale.lot)


class Lot(NamedTuple):
    """One tax lot: signed quantity bought (or sold short) at one instant and price."""

    symbol: str
    opened_ns: int
    lots: int
    ticks: int


class Account(NamedTuple):
    """An account's money in quanta; ``gross`` sums |market value|, ``net`` signed value."""

    cash_quanta: int
    equity_quanta: int
    gross_quanta: int
    net_quanta: int
    settled_quanta: int
    quantum: Decimal

    @property
    def cash(self) -> Decimal:
        """Cash in currency units."""
        return self.cash_quanta * self.quantum

    @property
    def equity(self) -> Decimal:
        """Cash plus signed market value in currency units."""
        return self.equity_quanta * self.quantum
