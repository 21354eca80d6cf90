"""Protective orders inside the compiled loop: placed after fills, an OCO pair or one of the two."""

from __future__ import annotations

from typing import Any

from mqd.core.money import BPS_UNITS
from mqd.core.order import OrderType, Reason
from mqd.execution.acceptance import GTC_NS
from mqd.execution.protective import protective_ticks
from mqd.kernel.layout import RULED, World
from mqd.kernel.past import message, sent
from mqd.kernel.records import REASONS, TYPES
from mqd.kernel.risk import judge_exit
from mqd.kernel.targets import DAY, GTC, new_line, place
from mqd.kernel.venue import drop_pair, trail_ticks

_LIMIT, _STOP = TYPES.index(OrderType.LIMIT), TYPES.index(OrderType.STOP)
_TRAILING = TYPES.index(OrderType.TRAILING_STOP)
_STOP_LOSS, _TAKE_PROFIT = REASONS.index(Reason.STOP_LOSS), REASONS.index(Reason.TAKE_PROFIT)
_ASKED = 2
_TRAILED = REASONS.index(Reason.TRAILING_STOP)


def protect(w: World, step: int) -> None:
    """Cover every bare position; earlier protection is cancelled first, then placed anew."""
    again = True
    while again:
        again = False
        for i in range(len(w.books)):
            p = w.books[i].by_name
            b = w.books[p]
            if not b.bare or (b.target.on and b.target.reducing):
                continue  # an order that reduces may not be doubled
            if b.stop.on or b.profit.on:
                if RULED:
                    message(w)
                b.bare = _ASKED
                again = True
            else:
                b.bare = 0
                if b.lots:
                    cover(w, step, p, b)
        for b in w.books:  # until it is heard of, what is cancelled is open
            if b.bare == _ASKED:
                drop_pair(w, b)


def cover(w: World, step: int, p: int, b: Any) -> None:
    """Place the protective orders of one position: the target first, then the stop."""
    a = w.account
    side = -1 if b.lots > 0 else 1
    size = abs(b.lots)
    fractional = size % b.whole != 0
    stops = a.stop_frac > 0.0 or a.trail_frac > 0.0
    profits = a.take_frac > 0.0
    if profits and fractional and stops:
        a.fractional += 1
        profits = False
    avg_ticks = float(b.cost) / float(b.lots * b.lot_quanta)
    limit, level = 0, 0
    if profits:
        limit = protective_ticks(avg_ticks, a.take_frac, -side, -side)
    if a.stop_frac > 0.0:
        level = protective_ticks(avg_ticks, a.stop_frac, side, side)
    kind, reason = _STOP, _STOP_LOSS
    if a.trail_frac > 0.0:
        kind, reason = _TRAILING, _TRAILED
    refused = 0
    if profits:
        refused = judge_exit(w, p, b, side * size, _LIMIT, limit, False)
    if stops:
        refused |= judge_exit(w, p, b, side * size, kind, level, profits)
    if profits:
        line = exit_line(w, p, side * size, _LIMIT, limit, _TAKE_PROFIT, fractional, refused)
        if not refused:
            rest(a, b.profit, step, side * size, limit, line, fractional)
            if RULED:
                sent(w, p, side * size, _LIMIT, limit, 0)
    if stops and not (profits and refused):
        line = exit_line(w, p, side * size, kind, level, reason, fractional, refused)
        if not refused:
            rest(a, b.stop, step, side * size, level, line, fractional)
            if RULED:
                sent(w, p, side * size, kind, 0, level)
            if a.trail_frac > 0.0:
                trail(a, b, avg_ticks)
    b.stop.rank = a.sequence


def rest(a: Any, o: Any, step: int, signed: int, level: int, line: int, fractional: bool) -> None:
    """Let a protective order rest: GTC, or DAY for a fraction of a share."""
    a.n_orders += 1
    place(a, o, step, signed, line)
    o.level = level
    if not fractional:
        o.expires_ns = a.sent_ns + GTC_NS


def trail(a: Any, b: Any, avg_ticks: float) -> None:
    """Start a trailing stop at the best price since the entry."""
    o = b.stop
    best = round(b.peak_px / b.tick_px)
    entry = round(avg_ticks)
    o.extreme = max(best, entry) if o.side < 0 else min(best or entry, entry)
    o.units = round(a.trail_frac * BPS_UNITS)
    o.trail = trail_ticks(o.extreme, o.units)


def exit_line(
    w: World, p: int, signed: int, kind: int, level: int, reason: int, fractional: bool,
    refused: int,
) -> int:  # fmt: skip
    """Record a protective order; return its line."""
    line = new_line(w, p, w.account.sent_ns, signed, refused)
    if refused:
        w.account.n_denied += 1
    if w.account.recording and line < len(w.orders):
        w.orders[line, 4] = kind
        w.orders[line, 5 if kind == _LIMIT else 6] = level
        w.orders[line, 7] = DAY if fractional else GTC
        w.orders[line, 8] = reason
    return line
