"""The compiled loop of one symbol: the same as ``loop.run_many``, in stretches.

A stretch is a run of bars on which nothing can happen before the close. Over it the rule, compiled
alone, is asked for the first bar at which it wants something new (``rule.next_change``), and the
curve is summed up to there. The two common events, a target order that fills at the next open and
a new target from rest, are handled here by the functions that the core uses; whatever else happens
is ``turn``'s. The parity tests hold all of it to the desk.
"""

from __future__ import annotations

from math import nan
from typing import Any

from mqd.core.money import MOST_QUANTA
from mqd.core.signal import HOLD
from mqd.execution.costs import FEE_PARTS, affordable_lots, fill_fee, worsened
from mqd.kernel.books import book, close_session, follow_peak, is_beyond
from mqd.kernel.layout import NEVER, OVERFLOW, RULED, World
from mqd.kernel.loop import fail, hand_over, is_bad, waits, wants
from mqd.kernel.past import observe_passed, wake
from mqd.kernel.risk import judge_alone
from mqd.kernel.sizes import set_simple_goal
from mqd.kernel.sums import BLOCKS, begin, finish, ride
from mqd.kernel.targets import closes, new_line, place
from mqd.kernel.turn import ACT, LIVE, SEND
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
LOOK_AHEAD = 64


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
    if is_beyond(lots, per_lot + b.fee_per_lot // FEE_PARTS):
        return False
    if is_beyond(b.lots, bar.open * b.lot_quanta):
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


def is_at_rest(a: Any, b: Any) -> bool:
    """Return True when a new target is one order or none, sized by the last close alone."""
    if RULED or b.resize or b.target.on or b.waits or b.stop.on or b.profit.on:
        return False
    if b.bare * a.exits:
        return False
    return not a.lookback and a.band_frac != a.band_frac


def sends_simply(w: World, a: Any, b: Any, step: int, weight: float, equity: int) -> int:
    """Take in a new target from rest; return what is left for the core to do, -1 for nothing."""
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


def catch_up(w: World, marks: Any, step: int) -> None:
    """Let rules know the closes before ``step``, as if each step since the last had begun."""
    a, b = w.account, w.books[0]
    while a.woken < min(step, 1):
        a.woken += 1
        b.mark = marks[0]
        wake(w, a.woken)
    observe_passed(w, marks, a.woken, step)
    a.woken = max(a.woken, step)


def to_close(
    w: World, marks: Any, step: int, state: int, turn: Any, own: Any
) -> None:  # fmt: skip
    """Take what comes before the close of a step that is not quiet."""
    a, b, now = w.account, w.books[0], w.steps[step]
    if RULED:
        catch_up(w, marks, step - 1)
        a.woken = step
    b.row = step - 1
    if step:
        b.mark = marks[step - 1]
    quiet = now.action_from == now.action_to and not RULED
    if state == GUARDED and quiet:
        quiet = not is_touched(b, w.tape[0, step], now.now)
    elif state == BUSY:
        quiet = not RULED and fills_at_open(w, a, b, w.tape[0, step], step)
    if not quiet:
        hand_over(w, turn, own, LIVE, step)
    elif now.ends and a.owes:
        b.open_mark = marks[step]
        close_session(a, w.books, now.days_to_next)


def untouched(w: World, b: Any, step: int, stop: int) -> int:
    """Return the end of the bars after ``step`` in which protective orders surely rest."""
    s, o = b.stop, b.profit
    if s.on and (s.trail or s.triggered):
        return step + 1
    floor, roof, ends = -1, NEVER, NEVER
    if s.on:
        floor, roof = (s.level, roof) if s.side < 0 else (floor, s.level)
        ends = s.expires_ns
    if o.on:
        floor, roof = (floor, o.level) if o.side < 0 else (o.level, roof)
        ends = min(ends, o.expires_ns)
    stop = min(stop, step + LOOK_AHEAD)
    while stop - step > 1 and w.steps[stop - 1].now >= ends:
        stop = step + (stop - step) // 2
    step += 1
    while step < stop and w.tape[0, step].low > floor and w.tape[0, step].high < roof:
        step += 1
    return step


def below(marks: Any, step: int, stop: int, most: int) -> int:
    """Return the first step from ``step`` whose close is above ``most``, ``stop`` for none."""
    while step < stop and marks[step] <= most:
        step += 1
    return step


def stretch(w: World, a: Any, b: Any, marks: Any, step: int, stop: int, state: int) -> int:
    """Return the end of the bars from ``step`` on which nothing happens before the close.

    The first counts as over. It is ``step`` itself when its close is beyond 64 bits.
    """
    if state == BUSY or a.owes or (a.trail_frac > 0.0 and b.lots):
        stop = step + 1
    elif state == GUARDED:
        stop = untouched(w, b, step, stop)
    at_most = abs(float(a.cash)) + abs(float(b.lots)) * float(b.lot_quanta) * float(a.close_max)
    if at_most < MOST_QUANTA:
        return stop
    return below(marks, step, stop, highest(a.cash, b.lots, b.lot_quanta))


def after_rule(
    w: World, marks: Any, step: int, weight: float, equity: int, known: bool, turn: Any, own: Any
) -> None:  # fmt: skip
    """Take in what the rule says at a close."""
    a, b = w.account, w.books[0]
    b.mark, b.row = marks[step], step
    what = -1
    if known:
        if is_bad(a, step, 0, weight):
            return
        if is_at_rest(a, b):
            b.last = weight
            what = sends_simply(w, a, b, step, weight, equity)
        elif wants(a, b, weight):
            what = ACT
    elif waits(b):
        what = ACT
    if what >= 0:
        if RULED:
            catch_up(w, marks, step)
            b.mark = marks[step]
        hand_over(w, turn, own, what, step)


def heard_before(a: Any, b: Any, state: int) -> float:
    """Return the weight that is nothing new, NaN when each one counts.

    Away from rest, with a band, or after an exit for a rule that is no function of the bars, the
    same weight may lead to an order.
    """
    if state == BUSY or a.band_frac == a.band_frac or (not a.pure and b.blocked != HOLD):
        return nan
    return b.last


def run_alone(
    w: World, marks: Any, ask: Any, data: Any, turn: Any, own: Any, moments: Any, cash: Any,
    lots: Any,
) -> None:  # fmt: skip
    """Run one combination; ``marks`` are the closes in ticks, ``moments`` as in ``run_many``.

    ``ask`` is the rule, as ``rule.next_change`` writes it, and ``data`` what it is handed;
    ``turn`` and ``own`` as in ``loop.hand_over``.
    """
    rows, columns, ints, floats, start = data
    a, b = w.account, w.books[0]
    begin(a, moments)
    a.woken = -1
    step, state, equity = 0, QUIET, a.start_cash
    next_action = w.steps[0].next_action
    for block in range(BLOCKS):
        stop = -(-(block + 1) * a.n_steps // BLOCKS)
        sums = moments[block]
        sums[0] = stop - step
        while step < stop:
            if state or a.owes or step == next_action:
                to_close(w, marks, step, state, turn, own)
                if a.status:
                    a.bad_step = step
                    return
                if step == next_action:
                    next_action = w.steps[step].next_action
                state = watch(a, b)
            end = stretch(w, a, b, marks, step, min(stop, next_action), state)
            if end == step:
                fail(a, OVERFLOW, step, 0, 0.0)
                return
            if a.trail_frac > 0.0 and b.lots:
                follow_peak(b, w.tape[0, step].high_px, w.tape[0, step].low_px)
            before = heard_before(a, b, state)
            said = ask(
                rows, columns, ints, floats, w.books, own[0], marks, start, step, end, before
            )  # fmt: skip
            known = said < end
            end = min(end, said + 1)
            per_tick = b.lots * b.lot_quanta
            equity = a.cash + per_tick * marks[end - 1]
            ride(a, sums, a.cash, per_tick, marks, step, end)
            if b.lots:
                a.exposed += end - step
            if a.recording:
                for i in range(step, end):
                    cash[i], lots[i, 0] = a.cash, b.lots
            step = end
            if known or state == BUSY:
                after_rule(w, marks, step - 1, floats[0], equity, known, turn, own)
                if a.status:
                    a.bad_step = step - 1
                    return
                state = watch(a, b)
    finish(a, equity)
