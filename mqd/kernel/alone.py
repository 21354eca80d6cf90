"""The compiled loop of one symbol: the same as ``loop.run_many``, kept in registers.

Bars on which nothing can happen cost the rule and the mark. The two common events, a target order
that fills at the next open and a new target from rest, are handled here by the functions
that the core uses; whatever else happens is the core's. The parity tests hold both to the desk.
"""

from __future__ import annotations

from math import nan
from typing import Any

from mqd.core.money import MOST_QUANTA
from mqd.core.signal import HOLD
from mqd.execution.costs import affordable_lots, fill_fee, worsened
from mqd.kernel.books import book, close_session, is_beyond
from mqd.kernel.core import ACT, LIVE, SEND
from mqd.kernel.layout import OVERFLOW, World
from mqd.kernel.loop import BLOCKS, fail, is_bad, waits, wants
from mqd.kernel.risk import judge_alone
from mqd.kernel.sizes import set_simple_goal
from mqd.kernel.targets import closes, new_line, place
from mqd.kernel.venue import (
    CANCELED,
    FILLED,
    follow,
    note_execution,
    note_status,
    reduces,
    stop_level,
)
from mqd.portfolio.sizing import round_weight

QUIET, GUARDED, BUSY = range(3)
VIEWS = False
PEAKS = False


def weigh_one(a: Any, b: Any, step: int, equity: float, data: Any) -> float:
    """Stand in for the strategy's rule on one symbol; bound when the loop is built."""
    raise NotImplementedError


def data_of(rule: Any, c: int) -> Any:
    """Stand in for what ``weigh_one`` reads of one combination; bound with it."""
    raise NotImplementedError


def is_known(step: int, data: Any) -> bool:
    """Stand in for whether all features are finite; bound with it."""
    raise NotImplementedError


def watch(a: Any, b: Any) -> int:
    """Return how closely one symbol must be watched: QUIET, GUARDED by exits alone, or BUSY."""
    if b.target.on or b.waits or b.resize:
        return BUSY
    if not a.exits or not (b.stop.on or b.profit.on or b.bare):
        return QUIET
    return BUSY if b.bare else GUARDED


def highest(money: int, held: int, per_tick: int) -> int:
    """Return the highest close in ticks at which value and equity still fit, -1 for none."""
    if abs(money) > MOST_QUANTA:
        return -1
    if held == 0:
        return MOST_QUANTA
    room = MOST_QUANTA - abs(money) if (money > 0) == (held > 0) else MOST_QUANTA
    return room // (abs(held) * per_tick)


def is_touched(b: Any, bar: Any, now: int) -> bool:
    """Return True when a bar may fill, end or expire a protective order; move the trail if not."""
    s, o = b.stop, b.profit
    if s.on:
        level = stop_level(s)
        reached = bar.low <= level if s.side < 0 else bar.high >= level
        if reached or s.triggered or s.expires_ns <= now:
            return True
    if o.on:
        reached = bar.high >= o.level if o.side < 0 else bar.low <= o.level
        if reached or o.expires_ns <= now:
            return True
    follow(s, bar)
    return False


def fills_at_open(w: World, a: Any, b: Any, bar: Any, step: int) -> bool:
    """Fill a target order at the open, whole or cut to buying power; return False, and touch
    nothing, when volume, time or exits make it the core's."""
    o, now = b.target, w.steps[step]
    if a.exits or not o.on or b.waits or now.action_from < now.action_to:
        return False
    if not bar.trades or o.left > bar.room or o.arrives_ns > bar.ts_open:
        return False
    if o.expires_ns <= now.opens:
        return False
    lots = o.left
    px = worsened(bar.open, o.side, a.slippage_rate)
    per_lot = px * b.lot_quanta
    if is_beyond(lots, per_lot) or is_beyond(b.lots, bar.open * b.lot_quanta):
        return False
    fee = fill_fee(lots * per_lot, lots, a.fee_rate, b.fee_per_lot)
    status = FILLED
    if not reduces(b, o):
        at_open = b.lots * bar.open * b.lot_quanta
        if abs(a.cash + at_open) > MOST_QUANTA:
            return False
        room = (a.cash + at_open) * a.multiplier - abs(at_open)
        if lots * per_lot + fee > room:
            paid = affordable_lots(room, per_lot, a.fee_rate, b.fee_per_lot)
            if paid < lots:
                a.trimmed += 1
                status = CANCELED
                lots = paid
                fee = fill_fee(lots * per_lot, lots, a.fee_rate, b.fee_per_lot)
    b.used = 0
    if lots > 0:
        book(a, b, bar, step, o.side * lots, px, fee)
        note_execution(w, o.line, lots, px, fee, bar.ts_open, now.now)
    note_status(w, o.line, status)
    o.filled += lots
    o.left -= lots
    o.on = 0
    a.reductions -= o.reducing
    return True


def sends_simply(w: World, a: Any, b: Any, step: int, weight: float, equity: int) -> int:
    """Take in a new target from rest; return what is left for the core to do, -1 for nothing."""
    if b.resize or b.target.on or b.waits or b.stop.on or b.profit.on or b.bare * a.exits:
        return ACT
    if a.lookback or a.band_frac == a.band_frac:
        return ACT
    b.changed = 0
    rounded = weight if weight == HOLD else round_weight(weight)
    if rounded == HOLD or rounded == b.blocked:  # noqa: PLR1714 - compiled as it stands
        return -1
    b.blocked = HOLD
    b.raw = weight
    if rounded == b.weight:
        return -1
    b.weight = rounded
    set_simple_goal(a, b, rounded, equity)
    if b.goal == b.lots or a.status:
        return -1
    if closes(b) and b.goal != 0 and (b.goal > 0) != (b.lots > 0):
        b.moves = 1
        return SEND
    signed = b.goal - b.lots
    now = w.steps[step]
    a.sent_ns, a.expires_ns = now.now, now.expires_close
    refused = judge_alone(a, b, signed, equity)
    line = new_line(w, 0, now.now, signed, refused)
    if refused:
        a.n_denied += 1
        return -1
    a.n_orders += 1
    place(a, b.target, step, signed, line)
    b.target.decided_ns = now.now
    b.target.reducing = closes(b)
    a.reductions += b.target.reducing
    return -1


def to_close(
    w: World, marks: Any, step: int, state: int, close: int, turn: Any, own: Any
) -> None:  # fmt: skip
    """Take what comes before the close of a step that is not quiet; ``close`` is the last one."""
    a, b, now = w.account, w.books[0], w.steps[step]
    b.mark, b.row = close, step - 1
    quiet = now.action_from == now.action_to
    if state == GUARDED and quiet:
        quiet = not is_touched(b, w.tape[0, step], now.now)
    elif state == BUSY:
        quiet = fills_at_open(w, a, b, w.tape[0, step], step)
    if not quiet:
        turn(
            own[0], w.books, w.tape, w.steps, w.rows, w.actions, w.orders, w.fills, own[1],
            LIVE, step,
        )  # fmt: skip
    elif now.ends and a.owes:
        b.open_mark = marks[step]
        close_session(a, w.books, now.days_to_next)


def after_rule(
    w: World, step: int, weight: float, equity: int, known: bool, turn: Any, own: Any
) -> int:  # fmt: skip
    """Take in what the rule says at a close and return how closely to watch from here."""
    a, b = w.account, w.books[0]
    what = -1
    if known:
        if is_bad(a, step, 0, weight):
            return BUSY
        if wants(a, b, weight):
            what = sends_simply(w, a, b, step, weight, equity)
    elif waits(b):
        what = ACT
    if what >= 0:
        turn(
            own[0], w.books, w.tape, w.steps, w.rows, w.actions, w.orders, w.fills, own[1],
            what, step,
        )  # fmt: skip
    a.bad_step = step
    return watch(a, b)


def run_alone(  # noqa: C901, PLR0915 - one pass, kept in registers
    w: World, marks: Any, c: int, rule: Any, turn: Any, own: Any, moments: Any, cash: Any,
    lots: Any,
) -> None:  # fmt: skip
    """Run combination ``c``; ``marks`` are the closes in ticks."""
    a, b = w.account, w.books[0]
    data = data_of(rule, c)
    money, held, per_tick = a.cash, b.lots, b.lot_quanta
    previous = float(a.start_cash)
    top, low, worst, below, total = previous, previous, 0.0, 0.0, 0.0
    exposed, step, close, state, owes, equity_q = 0, 0, 0, QUIET, 0, money
    most = highest(money, held, per_tick)
    next_action = w.steps[0].next_action
    recording = a.recording != 0
    speaks = a.pure == 0 or a.band_frac == a.band_frac
    peaks = PEAKS or a.trail_frac > 0.0
    for block in range(BLOCKS):
        stop = -(-(block + 1) * a.n_steps // BLOCKS)
        moments[block, 0] = stop - step
        s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0
        while step < stop:
            if state or owes or step == next_action:
                to_close(w, marks, step, state, close, turn, own)
                if step == next_action:
                    next_action = w.steps[step].next_action
                if a.status:
                    a.bad_step = step
                    return
                money, held, owes, state = a.cash, b.lots, a.owes, watch(a, b)
                most = highest(money, held, per_tick)
            close = marks[step]
            if close > most:
                fail(a, OVERFLOW, step, 0, 0.0)
                return
            equity_q = money + held * close * per_tick
            equity = float(equity_q)
            exposed += held != 0
            if peaks and held:
                follow_peak(b, w.tape[0, step])
            known = is_known(step, data)
            if known or state == BUSY:
                if VIEWS:
                    b.mark, b.row = close, step
                weight = weigh_one(a, b, step, equity, data) if known else HOLD
                if weight != b.last or speaks or state == BUSY:
                    b.mark, b.row = close, step
                    state = after_rule(w, step, weight, equity_q, known, turn, own)
                    if a.status:
                        return
            if equity != previous or previous <= 0.0:
                r = equity / previous - 1.0 if previous > 0.0 else nan
                s1 += r
                s2 += r * r
                s3 += r * r * r
                s4 += r * r * r * r
                below += r * r if r < 0.0 else 0.0
                if equity > top:
                    worst = max(worst, 1.0 - low / top)
                    top, low = equity, equity
                low = min(low, equity)
                previous = equity
            total += equity
            if recording:
                cash[step], lots[step, 0] = money, held
            step += 1
        moments[block, 1], moments[block, 2] = s1, s2
        moments[block, 3], moments[block, 4] = s3, s4
    a.exposed, a.downside, a.mean_equity = exposed, below, total / a.n_steps
    a.drawdown_frac = max(worst, 1.0 - low / top)
    a.equity = equity_q


def follow_peak(b: Any, bar: Any) -> None:
    """Move the best price since the entry."""
    b.peak_px = max(b.peak_px, bar.high_px) if b.lots > 0 else min(b.peak_px, bar.low_px)
