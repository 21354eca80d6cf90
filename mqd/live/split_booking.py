"""Splits that the venue tells of as activities: booked when they are proved, once by their ids.

Proved is a split whose activities and both positions agree: ours, with the quantity that the
activities add, is what the venue holds. Without cash in lieu that is the ratio as well; with it the
ratio must be stated ("3 for 2") and give the whole shares and a fraction. Cost, targets and best
prices are carried through as a replay's desk does; what is not proved stays a break named split.

The record is an ``action`` as a replay writes it, with the ids of the activities and ``ex_ns``, the
instant from which prices are new. A restart takes it in with `take`, which booked it first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple, cast

from mqd import logs
from mqd.accounting import mul_div
from mqd.adapters.alpaca.wire import number
from mqd.core.bar import ActionKind
from mqd.core.money import to_units
from mqd.core.position import Position
from mqd.desk.loop import Desk
from mqd.desk.records import text
from mqd.execution.breaks import BreakKind
from mqd.execution.reconciliation import Reconciliation
from mqd.live.activities import Entry, ex_ns_of
from mqd.live.split_marks import SplitMarks

Payload = dict[str, Any]
KIND: Final = "action"
STATED: Final = re.compile(r"\b(\d{1,4}) for (\d{1,4})\b")
NAMED: Final = frozenset({BreakKind.POSITION, BreakKind.MISSED_FILL, BreakKind.SPLIT})


class Change(NamedTuple):
    """What a split does to a position: lots before and after, cash in lieu and change of cost in
    quanta, new shares for an old one, and the ids of the activities that tell of it."""

    symbol: str
    lots_before: int
    lots_after: int
    cash: int
    cost_change: int
    ratio: Fraction
    activities: list[str]
    ex_ns: int


class Proof(NamedTuple):
    """What activities of a split say, or in ``why`` what they do not."""

    change: Change | None
    why: str = ""


class SplitBooking:
    """Keeps the split activities that are not booked yet, by symbol."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Entry]] = {}
        self._why: dict[str, str] = {}

    def hear(self, entry: Entry) -> None:
        """Keep an activity of a split; the caller tells of each id once."""
        symbol = str(entry.get("symbol") or "")
        self._waiting.setdefault(symbol, {})[str(entry["id"])] = entry

    def book(self, desk: Desk, positions: Mapping[str, Position]) -> int:
        """Book what is proved by the venue's positions of now; return how many were."""
        n_booked = 0
        for symbol, entries in list(self._waiting.items()):
            lots = positions[symbol].lots if symbol in positions else 0
            proof = prove(desk, symbol, list(entries.values()), lots)
            self._why[symbol] = proof.why
            if proof.change is None:
                continue
            for order in desk.parts.machine.working():
                if order.order.symbol == symbol:
                    desk.parts.gate.cancel(order.order.client_order_id)
            payload = payload_of(desk, proof.change)
            desk.parts.journal.write(KIND, payload)
            take(desk, payload, desk.parts.market.row_now(symbol))
            logs.get_logger("splits").info("split_booked", symbol=symbol, ids=list(entries))
            del self._waiting[symbol], self._why[symbol]
            n_booked += 1
        return n_booked

    def named(self, found: Reconciliation) -> Reconciliation:
        """Return a comparison with the breaks named whose split was told and is not proved."""
        if not self._waiting:
            return found
        breaks = []
        for one in found.breaks:
            if one.symbol in self._waiting and one.kind in NAMED and one.ours != one.theirs:
                ids = tuple(self._waiting[one.symbol])
                what = f"a split was told ({', '.join(ids)}): {self._why.get(one.symbol, '')}"
                one = one._replace(kind=BreakKind.SPLIT, what=what, activities=ids)  # noqa: PLW2901
            breaks.append(one)
        return found._replace(breaks=tuple(breaks))


def prove(desk: Desk, symbol: str, entries: list[Entry], theirs: int) -> Proof:
    """Return the change that split activities of one symbol prove, or why they prove none."""
    valuation = desk.parts.valuation
    if symbol not in valuation.scales:
        return Proof(None, "the desk does not trade this symbol")
    ours, scale = valuation.ledger.lots.get(symbol, 0), valuation.scales[symbol]
    if not ours:
        return Proof(None, "our books hold nothing of it")
    added = Decimal(0)
    cash = Decimal(0)
    for entry in entries:
        if entry.get("status") not in (None, "executed"):
            return Proof(None, f"an entry of it is {entry['status']}")
        qty, net = number(entry.get("qty")), number(entry.get("net_amount")) or Decimal(0)
        if qty is None:
            return Proof(None, "an entry of it names no quantity")
        added, cash = added + qty, cash + net
    lots_added = added / scale.lot
    if lots_added != int(lots_added):
        return Proof(None, f"it adds {added}, which is no whole number of lots")
    after = ours + int(lots_added)
    if after != theirs or after * ours <= 0:
        return Proof(None, f"it makes {after} lots of our {ours}, the venue holds {theirs}")
    ratio = ratio_of(entries, ours, after, exact=not cash)
    if ratio is None:
        return Proof(None, "with cash in lieu of a fraction the ratio must be stated")
    parts, whole = abs(ours) * ratio.numerator, abs(after) * ratio.denominator
    cost = valuation.ledger.cost[symbol]
    sign = 1 if ours > 0 else -1
    kept = sign * mul_div(cost * sign, whole, parts)
    change = Change(
        symbol, ours, after, int(cash / scale.quantum), kept - cost, ratio,
        [str(entry["id"]) for entry in entries], max(map(ex_ns_of, entries)),
    )  # fmt: skip
    return Proof(change)


def ratio_of(
    entries: list[dict[str, Any]], before: int, after: int, *, exact: bool
) -> Fraction | None:
    """Return new shares for an old one: by the lots when nothing was paid out, else as stated and
    confirmed by the lots."""
    if exact:
        return Fraction(after, before)
    for entry in entries:
        found = STATED.search(str(entry.get("description") or ""))
        if found and int(found[1]) and int(found[2]):
            ratio = Fraction(int(found[1]), int(found[2]))
            product = abs(before) * ratio
            if product.denominator > 1 and int(product) == abs(after):
                return ratio
    return None


def payload_of(desk: Desk, change: Change) -> Payload:
    """Return the record of a split."""
    scale, cash, cost = desk.parts.valuation.scales[change.symbol], change.cash, change.cost_change
    return {
        "symbol": change.symbol, "kind": ActionKind.SPLIT.value,
        "ratio": f"{change.ratio.numerator}/{change.ratio.denominator}",
        "qty_before": text(change.lots_before, scale.lot),
        "qty_after": text(change.lots_after, scale.lot),
        "cash": text(cash, scale.quantum), "cost_delta": text(cost, scale.quantum),
        "realized": text(cash + cost, scale.quantum), "activities": change.activities,
        "ex_ns": change.ex_ns,
    }  # fmt: skip


def take(desk: Desk, payload: Mapping[str, Any], row: int) -> list[str]:
    """Change the books by the record of a split; return the activities that it settles.

    ``row`` is the symbol's last bar before it.
    """
    parts, symbol, ratio = desk.parts, payload["symbol"], Fraction(payload["ratio"])
    ledger, scale = parts.valuation.ledger, parts.valuation.scales[symbol]
    lots_after = scale.qty_lots(Decimal(payload["qty_after"]))
    cash = to_units(Decimal(payload["cash"]), scale.quantum, "cash")
    cost = to_units(Decimal(payload["cost_delta"]), scale.quantum, "cost_delta")
    ledger.book_split(symbol, lots_after, ledger.cost[symbol] + cost, cash)
    if len(parts.portfolio.strategies) > 1:
        now_ns = parts.journal.now_ns
        parts.portfolio.attribution.split(now_ns, symbol, ratio, lots_after, cash)
    numerator, denominator = ratio.numerator, ratio.denominator
    parts.portfolio.on_split(symbol, numerator, denominator)
    cast(SplitMarks, parts.market).note_split(symbol, payload["ex_ns"], ratio)
    for (strategy, held), holding in parts.holdings.items():
        if held == symbol:
            holding.split(numerator / denominator, row)
            parts.protection.moved(strategy, symbol)
    parts.targets.split(symbol, numerator, denominator)
    desk.curve.touch()
    return list(payload["activities"])
