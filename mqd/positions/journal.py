"""From a log record to what the store books: exact, checked before anything is kept.

All sums are made under the context `EXACT`, which the caller enters: they are exact or raise.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, NamedTuple

from mqd.errors import LedgerUnbalanced

EXACT: Final = Context(prec=60, traps=[Inexact, InvalidOperation])
"""60 digits hold any sum of amounts that the integers of a run can make."""
ZERO: Final = Decimal(0)

CASH: Final = "cash"
POSITION_COST: Final = "position_cost"
FEES: Final = "fees"
REALIZED: Final = "realized"


Posting = tuple[str, str, Decimal, str]
"""``(account, symbol, amount, text)``: a signed change of one account, debit-positive. ``text``
is the amount as the record wrote it, its sign turned where the account is credited."""
Postings = tuple[Posting, ...]


class Held(NamedTuple):
    """One symbol's position: signed ``qty`` and ``cost``, sums of ``realized`` and ``fees``."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO


def book_fill(record: str, held: Held, payload: dict[str, Any]) -> tuple[Held, Postings]:
    """Return the position after a ``fill`` record and its postings.

    Raises ``LedgerUnbalanced`` naming the record unless the postings sum to zero and the
    position is what the record says it is.
    """
    symbol, cash, cost = payload["symbol"], payload["cash"], payload["cost"]
    fee, realized = payload["fee"], payload["realized"]
    cost_change, gain, charged = Decimal(cost), Decimal(realized), Decimal(fee)
    postings = (
        (CASH, symbol, Decimal(cash), cash),
        (POSITION_COST, symbol, cost_change, cost),
        (FEES, symbol, charged, fee),
        (REALIZED, symbol, -gain, _turned(realized, gain)),
    )
    _check_zero(record, postings)
    qty = Decimal(payload["qty"])
    after = Held(
        held.qty + qty if payload["side"] == "buy" else held.qty - qty,
        held.cost + cost_change,
        held.realized + gain,
        held.fees + charged,
    )
    _check_said(record, "position", payload["position"], after.qty)
    _check_said(record, "cost", payload["position_cost"], after.cost)
    return after, postings


def book_cash(record: str, payload: dict[str, Any]) -> Postings:
    """Return the postings of a ``cash`` record: cash against the account that it names."""
    text, symbol = payload["amount"], payload["symbol"] or ""
    amount = Decimal(text)
    postings = (
        (CASH, symbol, amount, text),
        (payload["account"], symbol, -amount, _turned(text, amount)),
    )
    _check_zero(record, postings)
    return postings


def book_action(record: str, held: Held, payload: dict[str, Any]) -> tuple[Held, Postings]:
    """Return the position after an ``action`` record (a split) and its postings.

    Raises ``LedgerUnbalanced`` as `book_fill` does; the position before is checked.
    """
    symbol, cash = payload["symbol"], payload["cash"]
    cost, realized = payload["cost_delta"], payload["realized"]
    cost_change, gain = Decimal(cost), Decimal(realized)
    postings = (
        (CASH, symbol, Decimal(cash), cash),
        (POSITION_COST, symbol, cost_change, cost),
        (REALIZED, symbol, -gain, _turned(realized, gain)),
    )
    _check_zero(record, postings)
    _check_said(record, "position", payload["qty_before"], held.qty)
    qty = Decimal(payload["qty_after"])
    return Held(qty, held.cost + cost_change, held.realized + gain, held.fees), postings


def _turned(text: str, amount: Decimal) -> str:
    if not amount:
        return text
    return text[1:] if text.startswith("-") else f"-{text}"


def _check_zero(record: str, postings: Postings) -> None:
    total = ZERO
    for _, _, amount, _ in postings:
        total += amount
    if total:
        raise LedgerUnbalanced(record, f"its postings sum to {total}, not to zero")


def _check_said(record: str, what: str, said: str, found: Decimal) -> None:
    if found != Decimal(said):
        raise LedgerUnbalanced(record, f"it says {what} {said}, the records before give {found}")
