"""Our books against the venue's: differences are explained or frozen, never traded away.

The comparison runs over the union of both sides' symbols. What the venue does not name is not
thereby flat: an answer without positions while our log holds some is a break of its own, and
nothing of that answer is believed. A break names what would explain it; nothing here sends an
order, books a fill or changes a position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker
from mqd.errors import UsageError

UNEXPLAINED_SYMBOLS_MAX: Final = 3
UNEXPLAINED_EQUITY_FRAC_MAX: Final = Fraction(1, 100)
_SPLIT_FACTOR_MAX: Final = 100


class BreakKind(StrEnum):
    """What kind of difference it is, most particular explanation first."""

    MISSING_POSITIONS = "missing_positions"  # no position named at all, though ours are not flat
    TIMING = "timing"  # the venue counted fills whose executions are on their way
    MISSED_FILL = "missed_fill"  # an order of ours can have filled by the difference
    SPLIT = "split"  # one side is a whole multiple of the other
    POSITION = "position"  # no explanation
    FOREIGN_ORDER = "foreign_order"  # the venue works an order that is not ours
    MISSING_ORDER = "missing_order"  # our working order is not on the venue's list
    CASH = "cash"  # cash differs by more than the tolerance


_EXPLAINED: Final = frozenset({BreakKind.TIMING})
_UNEXPLAINED_POSITION: Final = frozenset(
    {BreakKind.MISSED_FILL, BreakKind.SPLIT, BreakKind.POSITION, BreakKind.MISSING_POSITIONS}
)


class WorkingOrder(NamedTuple):
    """One of our orders that is not over, as the desk's state machine has it.

    ``signed_leaves`` are the lots that may still fill, ``signed_provisional`` those that the
    venue counted and whose executions have not arrived; both with the sign of the side.
    ``confirmed`` is False while the venue has never confirmed the order (intent, submitted,
    unknown): such an order may be absent from its list.
    """

    symbol: str
    signed_leaves: int
    signed_provisional: int = 0
    confirmed: bool = True


class Books(NamedTuple):
    """The desk's side.

    ``lots`` by symbol (signed), their market value ``value_quanta`` by symbol (sign ignored), cash,
    equity, and the working orders by client order id.
    """

    lots: Mapping[str, int]
    value_quanta: Mapping[str, int]
    cash_quanta: int
    equity_quanta: int
    working: Mapping[str, WorkingOrder]


class Break(NamedTuple):
    """One difference. ``ours`` and ``theirs`` are lots, or quanta for CASH; ``what`` is an order
    id for the order kinds, else a sentence."""

    kind: BreakKind
    symbol: str
    ours: int
    theirs: int
    what: str

    @property
    def explained(self) -> bool:
        """Whether waiting will settle it."""
        return self.kind in _EXPLAINED


class Reconciliation(NamedTuple):
    """The outcome of one comparison.

    ``ok``: no break at all. ``frozen_symbols``: sorted; only reductions may be sent there.
    ``halt``: too much is unexplained to trade at all.
    """

    ok: bool
    breaks: tuple[Break, ...]
    frozen_symbols: tuple[str, ...]
    halt: bool


def _is_split(ours: int, theirs: int) -> bool:
    """Whether one side is a whole multiple of the other, 2 to 100 times, on the same side."""
    if ours * theirs <= 0:
        return False
    small, large = sorted((abs(ours), abs(theirs)))
    return large % small == 0 and 2 <= large // small <= _SPLIT_FACTOR_MAX


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

    ``cash_tolerance_quanta`` is how far cash may differ (fees that the venue books later).
    """

    def __init__(self, broker: Broker, cash_tolerance_quanta: int = 0) -> None:
        if cash_tolerance_quanta < 0:
            raise UsageError(f"A cash tolerance of {cash_tolerance_quanta} quanta is negative.")
        self._broker = broker
        self._cash_tolerance_quanta = cash_tolerance_quanta

    def compare(self, books: Books) -> Reconciliation:
        """Ask the broker for positions, open orders and account, and compare."""
        positions = self._broker.positions()
        orders = self._broker.open_orders()
        account = self._broker.account()
        breaks = [
            *self._positions(books, positions, {order.client_order_id for order in orders}),
            *self._orders(books, orders),
            *self._cash(books, account),
        ]
        return self._judged(books, breaks, positions, account)

    def _positions(
        self, books: Books, positions: Mapping[str, Position], listed: set[str]
    ) -> Iterable[Break]:
        """Compare every symbol that either side names, in alphabetical order.

        An answer without any position is believed for a symbol only where our own orders, gone
        from the venue's list, can have closed it.
        """
        held = {symbol: lots for symbol, lots in books.lots.items() if lots}
        gone = not positions
        for symbol in sorted({*held, *positions}):
            ours = held.get(symbol, 0)
            theirs = positions[symbol].lots if symbol in positions else 0
            if ours == theirs:
                continue
            working = [
                order
                for name, order in books.working.items()
                if order.symbol == symbol and not (gone and name in listed)
            ]
            found = self._position_break(working, symbol, ours, theirs)
            if gone and found.kind not in (BreakKind.TIMING, BreakKind.MISSED_FILL):
                what = "the venue names no position at all: missing is not flat, ask again"
                found = Break(BreakKind.MISSING_POSITIONS, symbol, ours, 0, what)
            yield found

    @staticmethod
    def _position_break(
        working: Iterable[WorkingOrder], symbol: str, ours: int, theirs: int
    ) -> Break:
        """Name the most particular explanation of one symbol's difference."""
        provisional = buys = sells = 0
        for order in working:
            provisional += order.signed_provisional
            buys += max(0, order.signed_leaves)
            sells += max(0, -order.signed_leaves)
        change = theirs - ours
        if provisional and change == provisional:
            kind, what = BreakKind.TIMING, "the venue counted fills whose executions are due"
        elif (buys or sells) and -sells <= change - provisional <= buys:
            kind, what = BreakKind.MISSED_FILL, "an open order can have filled: query it"
        elif _is_split(ours, theirs):
            kind, what = BreakKind.SPLIT, "one side is a whole multiple of the other"
        else:
            kind, what = BreakKind.POSITION, "no open order or split explains it"
        return Break(kind, symbol, ours, theirs, what)

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
        if abs(gap) > self._cash_tolerance_quanta:
            what = f"cash differs by {gap * account.quantum}"
            yield Break(BreakKind.CASH, "", books.cash_quanta, account.cash_quanta, what)

    @staticmethod
    def _judged(
        books: Books, breaks: list[Break], positions: Mapping[str, Position], account: Account
    ) -> Reconciliation:
        """Freeze what is unexplained; halt when it is more than 3 symbols or 1 % of equity.

        Cash counts as far as the differing positions, at their value, do not account for it. A
        difference that nobody can value, equity that is not positive, and an answer without
        positions that is not believed halt as well.
        """
        frozen = {item.symbol for item in breaks if item.symbol and not item.explained}
        wrong = [item for item in breaks if item.kind in _UNEXPLAINED_POSITION]
        worth: dict[str, Fraction | None] = {}
        moved: dict[str, Fraction] = {}
        for item in breaks:
            if item.kind in _UNEXPLAINED_POSITION or item.kind is BreakKind.TIMING:
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
