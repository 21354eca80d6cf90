"""The open orders, by symbol and side, with the lots that may still reach the ledger."""

from __future__ import annotations

from mqd.core.order import OrderClass, Side
from mqd.orders.state import OrderState, Transition


class _Book:
    """One symbol: its open orders in order of opening, and their worst-case lots a side."""

    __slots__ = ("buy_lots", "groups", "orders", "sell_lots")

    def __init__(self) -> None:
        self.orders: dict[str, tuple[OrderState, int]] = {}
        self.groups: dict[str, dict[str, int]] = {}
        self.buy_lots = 0
        self.sell_lots = 0

    def add(self, side: Side, lots: int) -> None:
        """Change one side's sum."""
        if side == Side.BUY:
            self.buy_lots += lots
        else:
            self.sell_lots += lots
        assert self.buy_lots >= 0, "open buy lots below zero"
        assert self.sell_lots >= 0, "open sell lots below zero"

    def regroup(self, group: str, name: str, lots: int) -> int:
        """Note a member's lots and return how the group's worst changes: one of a pair fills."""
        members = self.groups.setdefault(group, {})
        before = max(members.values(), default=0)
        members[name] = lots
        if not any(members.values()):
            del self.groups[group]
            return -before
        return max(members.values()) - before


class Blotter:
    """What is open now, kept by one addition a transition.

    An order counts with its worst case: every lot that is not booked, while it is not over (an
    unknown order so counts in full), and the lots that the venue counts as filled and whose
    executions have not arrived, even after it is over. The legs of one OCO pair count
    once. Sums are 0 when all orders are over and all their executions booked.
    """

    def __init__(self) -> None:
        self._books: dict[str, _Book] = {}
        self._n_open = 0

    def apply(self, transition: Transition) -> None:
        """Take a step of the state machine; a report on an unknown order changes nothing."""
        if transition.after is not None and transition.after is not transition.before:
            self.update(transition.after)

    def update(self, state: OrderState) -> None:
        """Take the newest snapshot of an order: also what ``OrderStateMachine.open`` returned."""
        order = state.order
        book = self._books.get(order.symbol)
        if book is None:
            book = self._books[order.symbol] = _Book()
        name = order.client_order_id
        held = book.orders.get(name)
        lots = state.worst_case_lots
        if state.is_terminal and lots == 0:
            if held is None:
                return
            del book.orders[name]
            self._n_open -= 1
        else:
            book.orders[name] = (state, lots)
            self._n_open += held is None
        change = lots - (held[1] if held else 0)
        if order.order_class is OrderClass.OCO:
            change = book.regroup(order.group, name, lots)
        if change:
            book.add(order.side, change)

    def open_buy_lots(self, symbol: str) -> int:
        """Return the lots that buys of ``symbol`` may still add, >= 0."""
        book = self._books.get(symbol)
        return book.buy_lots if book else 0

    def open_sell_lots(self, symbol: str) -> int:
        """Return the lots that sells of ``symbol`` may still remove, >= 0."""
        book = self._books.get(symbol)
        return book.sell_lots if book else 0

    def n_open(self, symbol: str | None = None) -> int:
        """Return the number of open orders of ``symbol``, or of all symbols."""
        if symbol is None:
            return self._n_open
        book = self._books.get(symbol)
        return len(book.orders) if book else 0

    def open_orders(self, symbol: str | None = None) -> list[OrderState]:
        """Return the open orders, by symbol in order of first use, then in order of opening."""
        if symbol is None:
            return [held[0] for book in self._books.values() for held in book.orders.values()]
        book = self._books.get(symbol)
        return [held[0] for held in book.orders.values()] if book else []
