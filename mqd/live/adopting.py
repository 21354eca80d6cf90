"""``mqd reconcile --adopt``: a person takes on what no execution of ours explains.

A trade by hand, a split, money that came or went: the desk freezes the symbol and halts, and never
books an execution that it did not have. Here a person says that the venue is right. Each position
that differs becomes the venue's, at the venue's cost, in a record of the log that says so; what is
left of the cash counts as money that was put in or taken out: it is nobody's profit. Records: an
``action`` of kind "adopted" a symbol, a ``cash`` to "deposits", both with reason and name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mqd.core.position import Position
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.desk.records import text
from mqd.errors import UsageError
from mqd.execution.breaks import Break, BreakKind
from mqd.live.books import open_books
from mqd.live.config import LiveConfig
from mqd.live.errors import AdoptRefused
from mqd.live.folder import ACCOUNT_FILE, Mode, StateFolder, account_sha256
from mqd.live.reconciling import Compared, compared
from mqd.live.recovery import ADOPTED
from mqd.live.status import check_folder, open_orders
from mqd.transaction_log import Tier

_REFUSED = {
    BreakKind.TIMING: "executions are on their way; compare again",
    BreakKind.MISSED_FILL: "an order of ours filled; start the desk, it books its own fills",
    BreakKind.MISSING_POSITIONS: "the venue named no position at all, which is not believed",
    BreakKind.RENAMED: "a symbol was renamed; name the new one in the configuration first",
    BreakKind.FOREIGN_ORDER: "an order that is not ours works there; cancel it first",
    BreakKind.MISSING_ORDER: "an order of ours is not on the venue's list; start the desk",
}
Payload = dict[str, Any]


class Signed(NamedTuple):
    """Who takes it on, and why; both stand in the log."""

    by: str
    reason: str


def adopt(
    config: LiveConfig, *, rehearsal: bool, account: str, signed: Signed
) -> tuple[Break, ...]:
    """Write into the log that the account is right, and return the differences that this ended.

    The desk must be stopped and no order of ours open. ``account`` is the typed id. Raises
    ``StateFolderTaken`` while a desk runs, ``AdoptRefused`` with the reason (nothing differs, the
    account is another, a difference that is not a person's to take on), ``UsageError`` without a
    reason or a name, and what ``reconcile`` raises. The log is untouched then.
    """
    signed = Signed(*(" ".join(word.split()) for word in signed))
    if not all(signed):
        raise UsageError("A difference is adopted with a reason and a name: --adopt 'why'.")
    if account_sha256(account) != config.account_sha256:
        raise AdoptRefused(f"the typed account id is not the one that {ACCOUNT_FILE} pins")
    check_folder(config.state)
    mode: Mode = "rehearsal" if rehearsal else config.mode
    with StateFolder.open(config.state, account=config.account_sha256, mode=mode) as folder:
        waiting = open_orders(folder.path)
        if waiting:
            raise AdoptRefused(f"{len(waiting)} order(s) of ours are open; start the desk first")
        with compared(config, rehearsal=rehearsal) as both:
            _judge(both)
            lines, now_ns = _lines(both, signed), both.link.connector.clock_ns()
        books = open_books(
            folder, mode=mode, account=config.account_sha256, config=config.sha256
        )  # fmt: skip
        try:
            _write(books.journal, lines, now_ns)
        finally:
            books.close(ADOPTED)
    return both.found.breaks


def _judge(both: Compared) -> None:
    """Raise ``AdoptRefused`` for what a person cannot take on."""
    breaks, known = both.found.breaks, both.desk.parts.valuation.scales
    if not breaks:
        raise AdoptRefused("our books and the venue's agree")
    for one in breaks:
        if one.kind in _REFUSED:
            raise AdoptRefused(f"{one.kind} {one.symbol}: {_REFUSED[one.kind]}".replace(" :", ":"))
        if one.kind is not BreakKind.CASH and one.symbol not in known:
            raise AdoptRefused(
                f"{one.symbol} is not among the configuration's symbols; close it at the venue"
            )


def _lines(both: Compared, signed: Signed) -> list[tuple[str, Payload]]:
    """Return the records that make our books the venue's."""
    connector, desk = both.link.connector, both.desk
    ledger, quantum = desk.parts.valuation.ledger, desk.parts.valuation.quantum
    theirs = connector.positions()
    symbols = sorted({one.symbol for one in both.found.breaks if one.kind is not BreakKind.CASH})
    settled = {
        symbol: sorted(
            {i for one in both.found.breaks if one.symbol == symbol for i in one.activities}
        )
        for symbol in symbols
    }
    lines = [
        ("action", _position(desk, symbol, theirs.get(symbol), signed, settled[symbol]))
        for symbol in symbols
    ]
    moved = sum(_cost(theirs.get(symbol)) - ledger.cost.get(symbol, 0) for symbol in symbols)
    left = connector.account().cash_quanta - ledger.cash + moved
    if left:
        cash = {"account": "deposits", "symbol": "", "amount": text(left, quantum)}
        lines.append(("cash", cash | {"activity": "", **signed._asdict()}))
    return lines


def _position(
    desk: Desk, symbol: str, held: Position | None, signed: Signed, settled: list[str]
) -> Payload:
    """Return the record of one symbol: the change of cost is paid from cash, nothing is gained.

    ``settled`` are the account's activities that explain it: nobody reads them again.
    """
    ledger, scale = desk.parts.valuation.ledger, desk.parts.valuation.scales[symbol]
    lots = 0 if held is None else held.lots
    change = _cost(held) - ledger.cost.get(symbol, 0)
    return {
        "symbol": symbol, "kind": ADOPTED, "ratio": "1/1",
        "qty_before": text(ledger.lots.get(symbol, 0), scale.lot),
        "qty_after": text(lots, scale.lot), "cash": text(-change, scale.quantum),
        "cost_delta": text(change, scale.quantum), "realized": "0", "activities": settled,
        **signed._asdict(),
    }  # fmt: skip


def _cost(held: Position | None) -> int:
    return 0 if held is None else held.cost_quanta


def _write(journal: Journal, lines: Sequence[tuple[str, Payload]], now_ns: int) -> None:
    """Write the records; each is durable before the next, and a cash record is named by its seq."""
    journal.now_ns = now_ns
    for kind, payload in lines:
        if kind == "cash":
            payload["activity"] = f"{ADOPTED}-{journal.log.seq + 1}"
        journal.write(kind, payload, Tier.D0)
