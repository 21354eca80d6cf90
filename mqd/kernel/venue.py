"""The simulated venue inside the compiled loop: at most three resting orders a symbol.

``target`` is a market order, ``stop`` a stop (fixed or trailing) and ``profit`` its limit; the
last two are an OCO pair. Prices, caps and cuts come from the functions that the desk's venue asks:
``execution.matching`` and ``execution.costs``.
"""

from __future__ import annotations

from typing import Any

from mqd.core.money import BPS_UNITS
from mqd.core.order import OrderStatus
from mqd.execution.costs import FEE_PARTS, affordable_lots, fill_fee, worsened
from mqd.execution.matching import (
    NO_FILL,
    limit_at_open,
    limit_within,
    stop_at_open,
    stop_within,
    trail_level,
)
from mqd.kernel.books import book, is_beyond, leave, room_at_open
from mqd.kernel.layout import RULED, World
from mqd.kernel.past import heard, message
from mqd.kernel.records import ORDER_FIELDS, STATUSES

FILLED = STATUSES.index(OrderStatus.FILLED)
CANCELED = STATUSES.index(OrderStatus.CANCELED)
EXPIRED = STATUSES.index(OrderStatus.EXPIRED)
PARTIAL = STATUSES.index(OrderStatus.PARTIALLY_FILLED)
_STATUS = ORDER_FIELDS.index("status")
_FILLED_LOTS = ORDER_FIELDS.index("filled_lots")
_NOTIONAL = ORDER_FIELDS.index("notional_ticks")


# --- the end of an order, and what the desk makes of it -------------------------------------------


def end_target(w: World, b: Any, status: int, reached: bool) -> None:
    """A target order is over. ``reached`` says that its target counts as reached."""
    o = b.target
    o.on = 0
    note_status(w, o.line, status)
    if RULED and status == CANCELED and not reached:
        message(w)
    if o.reducing:
        w.account.reductions -= 1
        if not reached:
            w.account.lost = 1
    if not reached:
        b.resize = 1


def end_exit(w: World, b: Any, o: Any, status: int) -> None:
    """A protective order is over."""
    o.on = 0
    b.bare = 1
    note_status(w, o.line, status)


def note_status(w: World, line: int, status: int) -> None:
    """Record an order's status."""
    if w.account.recording and line < len(w.orders):
        w.orders[line, _STATUS] = status


def cancel_pair(w: World, b: Any) -> None:
    """Cancel a symbol's protective orders: one call for both."""
    if RULED and (b.stop.on or b.profit.on):
        message(w)
    drop_pair(w, b)


def drop_pair(w: World, b: Any) -> None:
    """End a symbol's protective orders, which the venue was asked to cancel."""
    if b.stop.on:
        end_exit(w, b, b.stop, CANCELED)
    if b.profit.on:
        end_exit(w, b, b.profit, CANCELED)


def expire(w: World, b: Any, now: int) -> None:
    """End a symbol's orders whose time is over."""
    if b.target.on and b.target.expires_ns <= now:
        end_target(w, b, EXPIRED, False)
    if w.account.exits:
        if b.stop.on and b.stop.expires_ns <= now:
            end_exit(w, b, b.stop, EXPIRED)
        if b.profit.on and b.profit.expires_ns <= now:
            end_exit(w, b, b.profit, EXPIRED)


# --- executions -----------------------------------------------------------------------------------


def reduces(b: Any, o: Any) -> bool:
    """Return True when filling the rest can only bring the position nearer to zero."""
    return b.lots * o.side < 0 and o.left <= abs(b.lots)


def fill_target(w: World, b: Any, bar: Any, row: int, now: int) -> None:
    """Fill a target order at the open as far as volume and buying power go."""
    a, o = w.account, b.target
    lots = min(o.left, bar.room - b.used)
    if lots < o.left:
        a.capped += 1
    px = worsened(bar.open, o.side, a.slippage_rate)
    lot_quanta = px * b.lot_quanta
    if is_beyond(lots, lot_quanta + b.fee_per_lot // FEE_PARTS):
        leave(a)
        return
    fee = fill_fee(lots * lot_quanta, lots, a.fee_rate, b.fee_per_lot)
    trimmed = False
    if not reduces(b, o):
        room = room_at_open(w)
        if lots * lot_quanta + fee > room:
            paid = affordable_lots(room, lot_quanta, a.fee_rate, b.fee_per_lot)
            if paid < lots:
                trimmed = True
                a.trimmed += 1
                lots = paid
                fee = fill_fee(lots * lot_quanta, lots, a.fee_rate, b.fee_per_lot)
    if lots > 0:
        book(a, b, bar, row, o.side * lots, px, fee)
        if RULED:
            heard(w, b.place, o.side, lots * lot_quanta, now)
        o.left -= lots
        o.filled += lots
        note_execution(w, o.line, lots, px, fee, bar.ts_open, now)
        if o.left == 0:
            end_target(w, b, FILLED, True)
    if trimmed and o.on:
        end_target(w, b, CANCELED, True)


def fill_exit(
    w: World, b: Any, o: Any, other: Any, bar: Any, row: int, px: int, ts_fill: int, now: int
) -> None:
    """Fill a protective order; its pair shrinks by as much, and the target becomes 0."""
    a = w.account
    lots = min(o.left, bar.room - b.used)
    if lots < o.left:
        a.capped += 1
    if is_beyond(lots, px * b.lot_quanta + b.fee_per_lot // FEE_PARTS):
        leave(a)
        return
    if lots <= 0:
        return
    fee = fill_fee(lots * px * b.lot_quanta, lots, a.fee_rate, b.fee_per_lot)
    book(a, b, bar, row, o.side * lots, px, fee)
    if RULED:
        heard(w, b.place, o.side, lots * px * b.lot_quanta, now)
    o.left -= lots
    o.filled += lots
    note_execution(w, o.line, lots, px, fee, ts_fill, now)
    if o.left == 0:
        end_exit(w, b, o, FILLED if o.filled == o.size else CANCELED)
    if other.on:
        if o.left == 0 or other.left <= lots:
            end_exit(w, b, other, CANCELED)
        else:
            other.left -= lots
    if b.weight != 0.0:
        b.blocked = b.weight
    b.weight = 0.0
    b.raw = 0.0
    b.goal = 0
    b.sized = 1
    b.resize = 1 if b.lots else 0


def note_execution(
    w: World, order: int, lots: int, px: int, fee: int, ts_fill: int, now: int
) -> None:
    """Record an execution, and what it does to its order."""
    if w.account.recording:
        if order < len(w.orders):
            w.orders[order, _FILLED_LOTS] += lots
            w.orders[order, _NOTIONAL] += lots * px
            w.orders[order, _STATUS] = PARTIAL
        line = w.account.n_executions
        if line < len(w.fills):
            w.fills[line, 0] = order
            w.fills[line, 1] = lots
            w.fills[line, 2] = px
            w.fills[line, 3] = fee
            w.fills[line, 4] = ts_fill
            w.fills[line, 5] = now
        w.account.n_executions += 1


# --- matching -------------------------------------------------------------------------------------


def stop_level(o: Any) -> int:
    """Return a stop's level that works now."""
    if not o.trail:
        return o.level
    return trail_level(o.side, o.extreme, o.trail, o.level)


def match_open(w: World, step: int) -> None:
    """Fill what fills at this step's open: reductions first, then the order of the symbols."""
    for b in w.books:
        b.target.first = reduces(b, b.target)
        if w.account.exits:
            b.stop.first = reduces(b, b.stop)
            b.profit.first = reduces(b, b.profit)
    for first in range(1, -1, -1):
        for p in range(len(w.books)):
            row = w.rows[step, p]
            b = w.books[p]
            if row < 0 or not w.tape[p, row].trades:
                continue
            bar = w.tape[p, row]
            early = not w.account.exits or b.target.rank < b.stop.rank
            if early:
                open_target(w, step, b, bar, row, first)
            if w.account.exits and (b.stop.on or b.profit.on):
                open_exits(w, step, b, bar, row, first)
            if not early:
                open_target(w, step, b, bar, row, first)


def open_target(w: World, step: int, b: Any, bar: Any, row: int, first: int) -> None:
    """Fill a target order at the open, if it is its turn and it had arrived."""
    o = b.target
    if o.on and o.first == first and o.arrives_ns <= bar.ts_open:
        if o.sent_step == step:
            w.account.follow_ups += 1
        fill_target(w, b, bar, row, w.steps[step].now)


def open_exits(w: World, step: int, b: Any, bar: Any, row: int, first: int) -> None:
    """Fill protective orders through which the market opened; those placed now come later."""
    a = w.account
    now = w.steps[step].now
    o = b.stop
    if o.on and o.first == first and o.sent_step != step and o.arrives_ns <= bar.ts_open:
        ticks = bar.open
        if not o.triggered:
            level = stop_level(o)
            ticks = stop_at_open(o.side, bar.open, level)
            if ticks != NO_FILL:
                o.triggered = 1
                a.gaps += ticks != level
        if ticks != NO_FILL:
            px = worsened(ticks, o.side, a.slippage_rate)
            fill_exit(w, b, o, b.profit, bar, row, px, bar.ts_open, now)
    o = b.profit
    if o.on and o.first == first and o.sent_step != step and o.arrives_ns <= bar.ts_open:
        ticks = limit_at_open(o.side, bar.open, o.level, a.touch != 0)
        if ticks != NO_FILL:
            fill_exit(w, b, o, b.stop, bar, row, ticks, bar.ts_open, now)


def match_within(w: World, b: Any, bar: Any, row: int, now: int) -> None:
    """Fill protective orders inside the bar, the stop of a pair first."""
    a = w.account
    o = b.stop
    if o.on and not o.triggered and o.arrives_ns <= bar.ts_open:
        level = stop_level(o)
        ticks = stop_within(o.side, bar.open, bar.high, bar.low, level)
        if ticks != NO_FILL:
            o.triggered = 1
            if b.profit.on and profit_px(a, b, bar) != NO_FILL:
                a.ambiguous += 1
            a.gaps += ticks != level
            px = worsened(ticks, o.side, a.slippage_rate)
            fill_exit(w, b, o, b.profit, bar, row, px, now, now)
    o = b.profit
    if o.on and o.arrives_ns <= bar.ts_open:
        ticks = profit_px(a, b, bar)
        if ticks != NO_FILL:
            fill_exit(w, b, o, b.stop, bar, row, ticks, now, now)


def profit_px(a: Any, b: Any, bar: Any) -> int:
    """Return the price at which the bar fills the profit target after its open."""
    o = b.profit
    return limit_within(o.side, bar.open, bar.high, bar.low, o.level, a.touch != 0)


def follow(o: Any, bar: Any) -> None:
    """Move a trailing stop's extreme after a bar has ended."""
    if o.on and o.trail and o.arrives_ns <= bar.ts_open:
        best = max(o.extreme, bar.high) if o.side < 0 else min(o.extreme, bar.low)
        if best != o.extreme:
            o.extreme = best
            o.trail = trail_ticks(best, o.units)


def trail_ticks(extreme: int, units: int) -> int:
    """Return a trailing stop's distance at ``extreme``; fractions are rounded up."""
    return -(-extreme * units // BPS_UNITS)
