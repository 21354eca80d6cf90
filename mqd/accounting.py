"""Fill in, position and cash out, on integers; double entry.

The functions are plain Python on scalars, so that the desk calls them as they are and a
compiled loop calls the same ones. Products are split so that no intermediate value leaves 64
bits while every argument and result fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mqd.core.money import BPS_UNITS
from mqd.errors import MoneyError

_SMALL = 2**31
_DIGIT = 2**15


def mul_div(a: int, b: int, c: int) -> int:
    """Return ``floor(a * b / c)`` for ``a >= 0``, ``0 <= b <= c``, ``0 < c < 2**47``.

    The product is split at ``c`` (and above 2**31 into 15-bit digits of ``b``): nothing wraps.
    """
    whole = a // c
    rest = a % c
    if c < _SMALL:
        return whole * b + rest * b // c
    quotient = 0
    remainder = 0
    for shift in (45, 30, 15, 0):
        digit = (b >> shift) % _DIGIT
        partial = remainder * _DIGIT + rest * digit
        quotient = quotient * _DIGIT + partial // c
        remainder = partial % c
    return whole * b + quotient


def rate_ceil(amount: int, rate: int) -> int:
    """Return ``amount * rate / BPS_UNITS`` rounded up; ``amount, rate >= 0``."""
    whole = amount // BPS_UNITS
    rest = amount % BPS_UNITS
    return whole * rate + -(-(rest * rate) // BPS_UNITS)


def apply_fill(lots: int, cost: int, signed_lots: int, lot_quanta: int) -> tuple[int, int, int]:
    """Return ``(lots, cost, realized)`` after a fill, by average cost.

    ``lots`` and ``cost`` (quanta) are the signed position before; ``signed_lots`` is + for a
    buy; ``lot_quanta`` = ticks x quanta in one tick x one lot. ``realized`` leaves fees out. A
    fill through zero closes the whole position and opens the rest at its own price.
    """
    if lots == 0 or (lots > 0) == (signed_lots > 0):
        return lots + signed_lots, cost + signed_lots * lot_quanta, 0
    sign = 1 if lots > 0 else -1
    held = lots * sign
    closed = min(held, -signed_lots * sign)
    cost_closed = cost if closed == held else sign * mul_div(cost * sign, closed, held)
    realized = sign * closed * lot_quanta - cost_closed
    after = lots + signed_lots
    if after * sign >= 0:
        return after, cost - cost_closed, realized
    return after, after * lot_quanta, realized


class FillEntry(NamedTuple):
    """One fill's journal entry in quanta: the position after it, and the signed changes."""

    symbol: str
    lots: int
    cost: int
    cash: int
    cost_change: int
    realized: int
    fee: int


@dataclass(slots=True)
class Ledger:
    """The account's books in quanta; every entry sums to zero.

    Debit-positive: ``cash`` and ``position_cost`` are assets, ``fees`` and ``borrow`` expenses;
    ``deposits``, ``dividends`` and ``realized`` are kept negative. ``lots`` and ``cost`` are
    signed positions by symbol; a flat symbol has no entry.
    """

    cash: int = 0
    deposits: int = 0
    position_cost: int = 0
    fees: int = 0
    borrow: int = 0
    dividends: int = 0
    realized: int = 0
    lots: dict[str, int] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)

    def fill_entry(self, symbol: str, signed_lots: int, lot_quanta: int, fee: int) -> FillEntry:
        """Return what a fill will change; nothing is booked (the log takes the entry first)."""
        cost_before = self.cost.get(symbol, 0)
        lots, cost, realized = apply_fill(
            self.lots.get(symbol, 0), cost_before, signed_lots, lot_quanta
        )
        cash = -signed_lots * lot_quanta - fee
        return FillEntry(symbol, lots, cost, cash, cost - cost_before, realized, fee)

    def book(self, entry: FillEntry) -> None:
        """Book a fill's entry."""
        self._hold(entry.symbol, entry.lots, entry.cost)
        self.cash += entry.cash
        self.position_cost += entry.cost_change
        self.fees += entry.fee
        self.realized -= entry.realized

    def book_cash(self, account: str, amount: int) -> None:
        """Book a change of cash against ``deposits``, ``dividends``, ``fees`` or ``borrow``."""
        self.cash += amount
        match account:
            case "deposits":
                self.deposits -= amount
            case "dividends":
                self.dividends -= amount
            case "fees":
                self.fees -= amount
            case "borrow":
                self.borrow -= amount
            case _:
                raise MoneyError(f"No account {account!r} in the ledger.")

    def book_split(self, symbol: str, lots_after: int, cost_kept: int, cash: int) -> int:
        """Book a split: new quantity, the cost it keeps, cash in lieu; return the realised gain."""
        cost_before = self.cost.get(symbol, 0)
        realized = cash - (cost_before - cost_kept)
        self._hold(symbol, lots_after, cost_kept)
        self.cash += cash
        self.position_cost += cost_kept - cost_before
        self.realized -= realized
        return realized

    def _hold(self, symbol: str, lots: int, cost: int) -> None:
        if lots:
            self.lots[symbol] = lots
            self.cost[symbol] = cost
        else:
            self.lots.pop(symbol, None)
            self.cost.pop(symbol, None)

    def imbalance(self) -> int:
        """Return the sum of all accounts: zero, or the books are wrong."""
        return (
            self.cash
            + self.deposits
            + self.position_cost
            + self.fees
            + self.borrow
            + self.dividends
            + self.realized
        )
