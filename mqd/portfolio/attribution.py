"""Whose fill it is: netted orders split back to strategies, each with its own books.

Lots, cash and fees are conserved to the quantum: the strategies' books sum to the account's.
Average costs differ (one strategy may be long what another is short), so the sums that agree
are lots, fees, income, and ``realized - cost``; with those, equity at any price.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from mqd.accounting import apply_fill
from mqd.errors import UsageError

Allocation = tuple[tuple[str, int], ...]
"""``(strategy, signed lots)`` of the strategies that share an order."""


def _largest_remainder(total: int, numerators: Sequence[int], denominator: int) -> list[int]:
    """Return integers that sum to ``total``, each the floor of its exact part or one more.

    The exact parts are ``numerators / denominator``, ``denominator`` > 0; the units that the
    floors leave go to the largest fractions, ties to the earlier.
    """
    parts = [numerator // denominator for numerator in numerators]
    rest = total - sum(parts)
    assert 0 <= rest <= len(parts), (total, numerators, denominator)
    if rest:
        order = sorted(range(len(parts)), key=lambda i: (-(numerators[i] % denominator), i))
        for i in order[:rest]:
            parts[i] += 1
    return parts


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return ``total`` split in proportion to ``weights`` by largest remainder.

    Weights may be signed as long as they do not sum to 0; then nothing can be split but 0.
    """
    if not total:
        return [0] * len(weights)
    whole = sum(weights)
    if not whole:
        raise UsageError(f"{total} cannot be split: the weights sum to zero.")
    sign = 1 if whole > 0 else -1
    return _largest_remainder(total, [total * sign * w for w in weights], whole * sign)


class Share(NamedTuple):
    """One strategy's part of a fill. ``crossed``: taken from another strategy, without a fee.

    ``lots`` signed; ``realized`` (quanta, fees left out) of this part; ``lots_after`` and
    ``cost_after`` of the strategy's position.
    """

    strategy: str
    symbol: str
    lots: int
    lot_quanta: int
    fee: int
    realized: int
    lots_after: int
    cost_after: int
    crossed: bool


class Change(NamedTuple):
    """A point of a strategy's books: its totals, and its position in ``symbol``, after ``ts_ns``.

    All money in quanta. Profit at a price = realized + income - fees + lots x price - cost.
    """

    ts_ns: int
    strategy: str
    symbol: str
    realized: int
    fees: int
    income: int
    lots: int
    cost: int


class Book:
    """One strategy's books in quanta: positions by symbol and totals since the start."""

    __slots__ = ("cost", "fees", "income", "lots", "realized", "traded")

    def __init__(self) -> None:
        self.lots: dict[str, int] = {}
        self.cost: dict[str, int] = {}
        self.realized = 0
        self.fees = 0
        self.income = 0
        self.traded: dict[str, int] = {}

    def pnl(self, lot_quanta: dict[str, int]) -> int:
        """Return profit at the prices ``lot_quanta`` (quanta a lot, by symbol)."""
        open_value = sum(lots * lot_quanta[symbol] for symbol, lots in self.lots.items() if lots)
        return self.realized + self.income - self.fees + open_value - sum(self.cost.values())

    def take_traded(self, symbol: str) -> int:
        """Return, and forget, the lots traded in a symbol, in all of them for an empty name."""
        if symbol:
            return self.traded.pop(symbol, 0)
        lots = sum(self.traded.values())
        self.traded.clear()
        return lots


class Attribution:
    """Splits fills, cash and splits among strategies, and keeps a ``Book`` for each."""

    def __init__(self, strategies: Sequence[str]) -> None:
        self.books = {name: Book() for name in strategies}
        self.changes: list[Change] = []
        self._open: dict[str, dict[str, int]] = {}
        self._lead: dict[str, str] = {}

    def lots(self, strategy: str, symbol: str) -> int:
        """Return a strategy's signed position, 0 when flat."""
        return self.books[strategy].lots.get(symbol, 0)

    # ---- orders ----------------------------------------------------------------------------

    def open(self, order_id: str, allocation: Allocation) -> None:
        """Register an order that several strategies share; its fills are split from now on."""
        total = sum(lots for _, lots in allocation)
        self._open[order_id] = dict(allocation)
        self._lead[order_id] = next(name for name, lots in allocation if lots * total > 0)

    def unfilled(self, order_id: str) -> Allocation:
        """Return what the parties of a shared order still wait for, without those that are done."""
        return tuple((name, lots) for name, lots in self._open.get(order_id, {}).items() if lots)

    def close(self, order_id: str) -> Allocation:
        """Forget a shared order that is over; return what its parties did not get."""
        left = self.unfilled(order_id)
        self._open.pop(order_id, None)
        self._lead.pop(order_id, None)
        return left

    def fill(
        self,
        ts_ns: int,
        order_id: str,
        strategy: str,
        symbol: str,
        signed_lots: int,
        lot_quanta: int,
        fee: int,
    ) -> tuple[Share, ...]:
        """Book a fill of ``signed_lots`` at ``lot_quanta`` a lot; return whose it is.

        All of it is ``strategy``'s unless the order was opened as shared. There, opposite
        parties first cross at this price, without a fee; the rest goes to those who still wait,
        in proportion, and the fee follows the lots that the market filled. Lots beyond what
        was asked for go to the first party of the order's side: nothing is lost.
        """
        left = self._open.get(order_id)
        if left is None:
            return (self._book(ts_ns, strategy, symbol, signed_lots, lot_quanta, fee, False),)
        sign = 1 if signed_lots > 0 else -1
        shares = self._cross(ts_ns, symbol, left, sign, lot_quanta)
        names = list(left)
        waits = [max(left[name] * sign, 0) for name in names]
        wanted = min(abs(signed_lots), sum(waits))
        parts = apportion(wanted, waits)
        for name, part in zip(names, parts, strict=True):
            left[name] -= sign * part
        parts[names.index(self._lead[order_id])] += abs(signed_lots) - wanted
        for name, part, part_fee in zip(names, parts, apportion(fee, parts), strict=True):
            if part:
                shares.append(
                    self._book(ts_ns, name, symbol, sign * part, lot_quanta, part_fee, False)
                )
        return tuple(shares)

    def cross(
        self, ts_ns: int, symbol: str, allocation: Allocation, lot_quanta: int
    ) -> tuple[Share, ...]:
        """Book opposite targets that cancel out, at ``lot_quanta`` a lot; they sum to zero."""
        if sum(lots for _, lots in allocation):
            raise UsageError(f"{symbol}: a cross must sum to zero lots, {allocation!r} does not.")
        return tuple(
            self._book(ts_ns, name, symbol, lots, lot_quanta, 0, True) for name, lots in allocation
        )

    # ---- money and splits ------------------------------------------------------------------

    def cash(self, ts_ns: int, account: str, symbol: str, amount: int) -> None:
        """Book a change of the account's cash that ``symbol`` caused; ``amount`` in quanta.

        Dividends follow the signed position, borrow the short positions, fees of the day the
        lots traded since the last such fee (of all symbols when ``symbol`` is empty: the venue
        charges one sum a day). Deposits belong to no strategy.
        """
        books = list(self.books.values())
        held = [book.lots.get(symbol, 0) for book in books]
        match account:
            case "deposits":
                return
            case "dividends":
                parts = apportion(amount, held)
            case "borrow":
                parts = _split_cost(amount, [max(-lots, 0) for lots in held])
            case "fees":
                parts = _split_cost(amount, [book.take_traded(symbol) for book in books])
            case _:
                raise UsageError(f"No cash account {account!r}.")
        for (name, book), part in zip(self.books.items(), parts, strict=True):
            if part:
                if account == "fees":
                    book.fees -= part
                else:
                    book.income += part
                self._note(ts_ns, name, symbol)

    def split(self, ts_ns: int, symbol: str, ratio: Fraction, lots_after: int, cash: int) -> None:
        """Book a split of the account's position to ``lots_after`` with ``cash`` in lieu.

        ``ratio`` is new lots per old one. Fractions of lots go to the largest; a strategy that
        loses one keeps the cost of what it has left and takes its part of the cash.
        """
        names = [name for name, book in self.books.items() if book.lots.get(symbol, 0)]
        exact = [self.books[name].lots[symbol] * ratio.numerator for name in names]
        after = _largest_remainder(lots_after, exact, ratio.denominator)
        gaps = [
            abs(whole - lots * ratio.denominator) for whole, lots in zip(exact, after, strict=True)
        ]
        parts = _split_cost(cash, gaps)
        for name, whole, lots, part in zip(names, exact, after, parts, strict=True):
            book = self.books[name]
            cost = book.cost[symbol]
            kept = min(Fraction(lots * ratio.denominator, whole), Fraction(1))
            cost_kept = int(cost * kept)
            book.lots[symbol], book.cost[symbol] = lots, cost_kept
            book.realized += part - (cost - cost_kept)
            self._note(ts_ns, name, symbol)

    # ---- inside ----------------------------------------------------------------------------

    def _cross(
        self, ts_ns: int, symbol: str, left: dict[str, int], sign: int, lot_quanta: int
    ) -> list[Share]:
        """Let all waiting lots against ``sign`` trade with those of its side."""
        names = list(left)
        against = [max(-left[name] * sign, 0) for name in names]
        aligned = [max(left[name] * sign, 0) for name in names]
        crossed = min(sum(against), sum(aligned))
        minus_parts, plus_parts = apportion(crossed, against), apportion(crossed, aligned)
        shares = []
        for name, minus, plus in zip(names, minus_parts, plus_parts, strict=True):
            lots = sign * (plus - minus)
            if lots:
                left[name] -= lots
                shares.append(self._book(ts_ns, name, symbol, lots, lot_quanta, 0, True))
        return shares

    def _book(
        self,
        ts_ns: int,
        name: str,
        symbol: str,
        signed_lots: int,
        lot_quanta: int,
        fee: int,
        crossed: bool,
    ) -> Share:
        book = self.books[name]
        lots, cost, realized = apply_fill(
            book.lots.get(symbol, 0), book.cost.get(symbol, 0), signed_lots, lot_quanta
        )
        book.lots[symbol], book.cost[symbol] = lots, cost
        book.realized += realized
        book.fees += fee
        if not crossed:
            book.traded[symbol] = book.traded.get(symbol, 0) + abs(signed_lots)
        self.changes.append(
            Change(ts_ns, name, symbol, book.realized, book.fees, book.income, lots, cost)
        )
        return Share(name, symbol, signed_lots, lot_quanta, fee, realized, lots, cost, crossed)

    def _note(self, ts_ns: int, name: str, symbol: str) -> None:
        book = self.books[name]
        lots, cost = book.lots.get(symbol, 0), book.cost.get(symbol, 0)
        self.changes.append(
            Change(ts_ns, name, symbol, book.realized, book.fees, book.income, lots, cost)
        )


def _split_cost(amount: int, weights: list[int]) -> list[int]:
    """Return ``amount`` in proportion to ``weights``, in equal parts when all are 0."""
    return apportion(amount, weights if sum(weights) else [1] * len(weights))
