"""From a log record to what the store books: pure, exact, checked before anything is kept."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, Final, NamedTuple

from mqd.errors import LedgerUnbalanced

EXACT: Final = Context(prec=60, traps=[Inexact, InvalidOperation])
"""Sums are exact or raise; 60 digits hold any amount that a run's integers can."""
ZERO: Final = Decimal(0)

CASH: Final = "cash"
POSITION_COST: Final = "position_cost"
FEES: Final = "fees"
REALIZED: Final = "realized"


class Posting(NamedTuple):
    """A signed change of one account, debit-positive; the postings of a record sum to zero."""

    account: str
    symbol: str
    amount: Decimal


class Held(NamedTuple):
    """One symbol's position: signed ``qty`` and ``cost``, sums of ``realized`` and ``fees``."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO


def fill_postings(payload: dict[str, Any]) -> tuple[Posting, ...]:
    """Return the postings of a ``fill`` record."""
    symbol = payload["symbol"]
    return (
        Posting(CASH, symbol, Decimal(payload["cash"])),
        Posting(POSITION_COST, symbol, Decimal(payload["cost"])),
        Posting(FEES, symbol, Decimal(payload["fee"])),
        Posting(REALIZED, symbol, EXACT.minus(Decimal(payload["realized"]))),
    )


def cash_postings(payload: dict[str, Any]) -> tuple[Posting, ...]:
    """Return the postings of a ``cash`` record: cash against the account that it names."""
    amount, symbol = Decimal(payload["amount"]), payload["symbol"] or ""
    return (
        Posting(CASH, symbol, amount),
        Posting(payload["account"], symbol, EXACT.minus(amount)),
    )


def action_postings(payload: dict[str, Any]) -> tuple[Posting, ...]:
    """Return the postings of an ``action`` record (cash in lieu of fractions)."""
    symbol = payload["symbol"]
    return (
        Posting(CASH, symbol, Decimal(payload["cash"])),
        Posting(POSITION_COST, symbol, Decimal(payload["cost_delta"])),
        Posting(REALIZED, symbol, EXACT.minus(Decimal(payload["realized"]))),
    )


def check_zero(record: str, postings: tuple[Posting, ...]) -> None:
    """Raise ``LedgerUnbalanced`` naming the record unless its postings sum to exactly zero."""
    total = ZERO
    for posting in postings:
        total = EXACT.add(total, posting.amount)
    if total:
        raise LedgerUnbalanced(record, f"its postings sum to {total}, not to zero")


def held_after_fill(record: str, held: Held, payload: dict[str, Any]) -> Held:
    """Return the position after a fill; it must be what the record says it is."""
    qty = Decimal(payload["qty"])
    signed = qty if payload["side"] == "buy" else EXACT.minus(qty)
    after = Held(
        EXACT.add(held.qty, signed),
        EXACT.add(held.cost, Decimal(payload["cost"])),
        EXACT.add(held.realized, Decimal(payload["realized"])),
        EXACT.add(held.fees, Decimal(payload["fee"])),
    )
    _check_held(record, after, payload["position"], payload["position_cost"])
    return after


def held_after_action(record: str, held: Held, payload: dict[str, Any]) -> Held:
    """Return the position after a corporate action; the one before must be the record's."""
    _check_held(record, held, payload["qty_before"], None)
    return Held(
        Decimal(payload["qty_after"]),
        EXACT.add(held.cost, Decimal(payload["cost_delta"])),
        EXACT.add(held.realized, Decimal(payload["realized"])),
        held.fees,
    )


def _check_held(record: str, held: Held, qty: str, cost: str | None) -> None:
    if held.qty != Decimal(qty):
        raise LedgerUnbalanced(
            record, f"it says position {qty}, the records before give {held.qty}"
        )
    if cost is not None and held.cost != Decimal(cost):
        raise LedgerUnbalanced(record, f"it says cost {cost}, the records before give {held.cost}")
