"""The controls of a compiled run: well-formed orders and buying power, on exact integers."""

from __future__ import annotations

from typing import Any

from mqd.core.money import MOST_QUANTA
from mqd.core.order import OrderType
from mqd.kernel.books import gross_at_marks, is_beyond, leave
from mqd.kernel.layout import RULED, World
from mqd.kernel.records import TYPES
from mqd.kernel.verdict import BUYING_POWER, MALFORMED, MARKET, verdict

_LIMIT = TYPES.index(OrderType.LIMIT)


def judge(w: World, step: int, p: int, b: Any, signed: int, equity: int) -> int:  # noqa: ARG001
    """Return a bit mask of what refuses a target order, 0 when nothing does.

    ``equity`` is that of the decision; gross is what is held now, and what working orders may
    still add, at the last closes. Where rules run, they run too, on the equity now.
    """
    if RULED:
        return verdict(w, p, b, signed, MARKET, 0, 0, False)
    after = b.lots + signed
    if signed < 0 and b.lot_parts > 1 and after < 0 and signed % b.lot_parts:
        return MALFORMED
    increase = abs(after) - abs(b.lots)
    if increase <= 0:
        return 0
    gross = gross_at_marks(w) + open_gross(w)
    cost = increase * b.mark * b.lot_quanta
    return 0 if cost <= equity * w.account.multiplier - gross else BUYING_POWER


def judge_alone(a: Any, b: Any, signed: int, equity: int) -> int:
    """Return the same for the only symbol of a run, nothing of which works or waits."""
    after = b.lots + signed
    if signed < 0 and b.lot_parts > 1 and after < 0 and signed % b.lot_parts:
        return MALFORMED
    increase = abs(after) - abs(b.lots)
    value = b.mark * b.lot_quanta
    if increase <= 0 or increase * value <= equity * a.multiplier - abs(b.lots) * value:
        return 0
    return BUYING_POWER


def judge_exit(w: World, p: int, b: Any, signed: int, kind: int, level: int, leg: bool) -> int:
    """Return what refuses a protective order: it only reduces, so only rules can."""
    if RULED:
        limit = level if kind == _LIMIT else 0
        return verdict(w, p, b, signed, kind, limit, level - limit, leg)
    return 0


def open_gross(w: World) -> int:
    """Return what working target orders may still add to gross, at the last closes."""
    total = 0
    for b in w.books:
        o = b.target
        if o.on:
            more = abs(b.lots + o.side * o.left) - abs(b.lots)
            if more > 0:
                total += more * b.mark * b.lot_quanta
                if is_beyond(more, b.mark * b.lot_quanta) or total > MOST_QUANTA:
                    leave(w.account)
                    return 0
    return total
