"""Our books against the venue's: differences are explained or frozen, never traded away.

The comparison runs over the union of both sides' symbols. What the venue does not name is not
thereby flat: an answer without positions while our log holds some is a break of its own, and
nothing of that answer is believed. A break names what would explain it, with the venue's FILL
activities where they do; nothing here sends an order, books a fill or changes a position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker
from mqd.errors import UsageError
from mqd.execution.breaks import (
    BELIEVED,
    NOTHING_ANNOUNCED,
    UNEXPLAINED_POSITION,
    Announced,
    Break,
    BreakKind,
    Copy,
    FillActivity,
    WorkingOrder,
    copies_of,
    guessed,
    renamed,
    witnessed,
)

__all__ = [
    "Announced", "Books", "Break", "BreakKind", "FillActivity", "PositionReconciliation",
    "Reconciliation", "WorkingOrder",
]  # fmt: skip

UNEXPLAINED_SYMBOLS_MAX: Final = 3
UNEXPLAINED_EQUITY_FRAC_MAX: Final = Fraction(1, 100)
MISMATCHES_MAX: Final = 2
"""A symbol that differs this often in a row halts the desk (control 30)."""


class Books(NamedTuple):
    """The desk's side.

    ``lots`` by symbol (signed), their market value ``value_quanta`` by symbol (sign ignored), cash,
    equity, and the working orders by client order id. ``filled``: the lots whose executions are
    booked, by client order id, of every order that an activity can be about.
    ``cash_tolerance_quanta``: how far cash may differ where the venue shows it in whole cents.
    """

    lots: Mapping[str, int]
    value_quanta: Mapping[str, int]
    cash_quanta: int
    equity_quanta: int
    working: Mapping[str, WorkingOrder]
    filled: Mapping[str, int] = MappingProxyType({})
    cash_tolerance_quanta: int = 0


class Reconciliation(NamedTuple):
    """The outcome of one comparison.

    ``ok``: no break at all. ``frozen_symbols``: sorted; only reductions may be sent there, until
    a comparison finds no break of theirs. ``halt``: too much is unexplained to trade at all, or a
    symbol differs for the second time in a row.
    """

    ok: bool
    breaks: tuple[Break, ...]
    frozen_symbols: tuple[str, ...]
    halt: bool


def _lot_quanta(books: Books, held: Position | None, symbol: str) -> Fraction | None:
    """Return the value of one lot by our books, else at the venue's cost; None when unknown."""
    lots = books.lots.get(symbol, 0)
    if lots and symbol in books.value_quanta:
        return Fraction(abs(books.value_quanta[symbol]), abs(lots))
    if held is not None and held.lots:
        return Fraction(abs(held.cost_quanta), abs(held.lots))
    return None


class PositionReconciliation:
    """Compares the desk's books with a broker's answers; it asks and never acts.

    ``cash_tolerance_quanta`` is how far cash may differ (fees that the venue books later). One
    object a run: it remembers which symbols are frozen, how often in a row each differed, and the
    activities that no clean comparison has settled yet.
    """

    def __init__(self, broker: Broker, cash_tolerance_quanta: int = 0) -> None:
        if cash_tolerance_quanta < 0:
            raise UsageError(f"A cash tolerance of {cash_tolerance_quanta} quanta is negative.")
        self._broker = broker
        self._cash_tolerance_quanta = cash_tolerance_quanta
        self._activities: dict[str, FillActivity] = {}
        self._frozen: frozenset[str] = frozenset()
        self._misses: dict[str, int] = {}

    @property
    def frozen_symbols(self) -> frozenset[str]:
        """The symbols in which only reductions may be sent."""
        return self._frozen

    def compare(
        self,
        books: Books,
        activities: Iterable[FillActivity] = (),
        announced: Announced = NOTHING_ANNOUNCED,
    ) -> Reconciliation:
        """Ask the broker for positions, open orders and account, and compare.

        ``activities`` are the fills that are new since the last comparison; a repeated one counts
        once.
        """
        self._activities |= {one.activity_id: one for one in activities}
        positions = self._broker.positions()
        orders = self._broker.open_orders()
        account = self._broker.account()
        listed = {order.client_order_id for order in orders}
        differing = renamed(list(self._positions(books, positions, listed, announced)), announced)
        breaks = [*differing, *self._orders(books, orders), *self._cash(books, account)]
        self._forget(books.filled, {item.symbol for item in differing if item.ours != item.theirs})
        return self._remembered(self._judged(books, breaks, positions, account))

    def _forget(self, filled: Mapping[str, int], differing: set[str]) -> None:
        """Drop the activities of ours that are booked, and of others where positions agree."""
        self._activities = {
            name: one
            for name, one in self._activities.items()
            if (not one.client_order_id and one.symbol in differing)
            or (one.client_order_id and not 0 <= one.cum_lots <= filled.get(one.client_order_id, 0))
        }

    def _remembered(self, found: Reconciliation) -> Reconciliation:
        """Keep what is frozen until its symbol is clean, and halt on a repeated difference."""
        broken = {item.symbol for item in found.breaks}
        wrong = {item.symbol for item in found.breaks if item.is_mismatch}
        self._frozen = frozenset(found.frozen_symbols) | (self._frozen & broken)
        self._misses = {symbol: self._misses.get(symbol, 0) + 1 for symbol in wrong}
        repeated = any(count >= MISMATCHES_MAX for count in self._misses.values())
        frozen = tuple(sorted(self._frozen))
        return found._replace(frozen_symbols=frozen, halt=found.halt or repeated)

    def _positions(
        self,
        books: Books,
        positions: Mapping[str, Position],
        listed: set[str],
        announced: Announced,
    ) -> Iterable[Break]:
        """Compare every symbol that either side or an activity names, in alphabetical order.

        An answer without any position is believed for a symbol only where our own orders, gone
        from the venue's list, can have closed it, or activities tell of it.
        """
        held = {symbol: lots for symbol, lots in books.lots.items() if lots}
        copies = copies_of(self._activities.values(), books.filled)
        gone = not positions
        for symbol in sorted({*held, *positions, *copies}):
            ours = held.get(symbol, 0)
            theirs = positions[symbol].lots if symbol in positions else 0
            copy = copies.get(symbol, Copy())
            if ours == theirs and copy == Copy():
                continue
            working = [
                order
                for name, order in books.working.items()
                if order.symbol == symbol and not (gone and name in listed)
            ]
            bare = Break(BreakKind.POSITION, symbol, ours, theirs, "")
            ratio = announced.splits.get(symbol)
            found = witnessed(working, copy, bare) or guessed(working, symbol, ours, theirs, ratio)
            if gone and found.kind not in BELIEVED:
                what = "the venue names no position at all: missing is not flat, ask again"
                found = Break(BreakKind.MISSING_POSITIONS, symbol, ours, 0, what)
            yield found

    @staticmethod
    def _orders(books: Books, orders: Iterable[Order]) -> Iterable[Break]:
        """Compare the lists of working orders by client order id."""
        listed = {order.client_order_id: order for order in orders}
        for name, order in listed.items():
            if name not in books.working:
                signed = order.lots * int(order.side)
                yield Break(BreakKind.FOREIGN_ORDER, order.symbol, 0, signed, name)
        for name, mine in books.working.items():
            if name not in listed and mine.confirmed:
                yield Break(BreakKind.MISSING_ORDER, mine.symbol, mine.signed_leaves, 0, name)

    def _cash(self, books: Books, account: Account) -> Iterable[Break]:
        """Compare cash, within the tolerance."""
        gap = account.cash_quanta - books.cash_quanta
        if abs(gap) > max(self._cash_tolerance_quanta, books.cash_tolerance_quanta):
            what = f"cash differs by {gap * account.quantum}"
            yield Break(BreakKind.CASH, "", books.cash_quanta, account.cash_quanta, what)

    @staticmethod
    def _judged(
        books: Books, breaks: list[Break], positions: Mapping[str, Position], account: Account
    ) -> Reconciliation:
        """Freeze what is unexplained; halt when it is more than 3 symbols or 1 % of equity.

        A missed fill that an activity confirms is known and has to be booked: it freezes only.
        Cash counts as far as the differing positions, at their value, do not account for it. A
        difference that nobody can value, equity that is not positive, and an answer without
        positions that is not believed halt as well.
        """
        frozen = {item.symbol for item in breaks if item.symbol and not item.explained}
        wrong = [
            item
            for item in breaks
            if item.kind in UNEXPLAINED_POSITION
            and item.ours != item.theirs
            and not (item.kind is BreakKind.MISSED_FILL and item.activities)
        ]
        worth: dict[str, Fraction | None] = {}
        moved: dict[str, Fraction] = {}
        for item in breaks:
            if item.kind in UNEXPLAINED_POSITION or item.kind is BreakKind.TIMING:
                lot = _lot_quanta(books, positions.get(item.symbol), item.symbol)
                worth[item.symbol] = lot
                moved[item.symbol] = abs(item.theirs - item.ours) * (lot or Fraction(0))
        value = sum((moved[item.symbol] for item in wrong), Fraction(0))
        cash = sum(abs(item.theirs - item.ours) for item in breaks if item.kind is BreakKind.CASH)
        unexplained = max(value, cash - sum(moved.values(), Fraction(0)))
        equity = min(books.equity_quanta, account.equity_quanta)
        halt = (
            equity <= 0
            or any(worth[item.symbol] is None for item in wrong)
            or len({item.symbol for item in wrong}) > UNEXPLAINED_SYMBOLS_MAX
            or unexplained > equity * UNEXPLAINED_EQUITY_FRAC_MAX
            or any(item.kind is BreakKind.MISSING_POSITIONS for item in wrong)
        )
        return Reconciliation(not breaks, tuple(breaks), tuple(sorted(frozen)), halt)
