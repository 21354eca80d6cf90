"""What rules know of the past inside the compiled loop: the counterpart of ``risk.history``.

Times are those at which the desk tells its history of a thing. A window of a minute holds few
different times, so a ring of ``RING`` of them with their counts is enough; where it is not, or an
order sent long ago is asked for, the run is left to the desk.
"""

from __future__ import annotations

from typing import Any

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.core.money import MOST_QUANTA
from mqd.kernel.books import equity_at_marks, leave
from mqd.kernel.layout import RING, SAME, World
from mqd.risk.history import refilled
from mqd.risk.kill_switch import LatchLevel
from mqd.risk.views import INF

ORDERS, MESSAGES = 1, 2
BUYS, SELLS = 1, 2
LONG_AGO = -(2**62)
_REDUCE_ONLY, _HALT = int(LatchLevel.REDUCE_ONLY), int(LatchLevel.HALT)
_LOW_BITS = 31
_LOW = 2**_LOW_BITS - 1


# --- time, sessions, marks ------------------------------------------------------------------------


def set_clock(w: World, now: int) -> None:
    """Let what happens from now on happen at ``now``."""
    w.controls[len(w.books)].clock_ns = now


def wake(w: World, step: int) -> None:
    """Begin a step: the last one's closes are the marks, a new session starts its counts."""
    if step == 0:
        for i in range(len(w.controls)):
            clear(w.controls[i])
        return
    observe(w, step - 1)
    if w.steps[step - 1].ends:
        start_session(w, equity_at_marks(w))


def clear(line: Any) -> None:
    """Forget everything: a run begins."""
    line.ref_ns = -1
    line.marked = -1
    line.now_ns = LONG_AGO
    line.clock_ns = LONG_AGO
    line.level = 0
    line.high_water = LONG_AGO
    line.tokens = line.orders_burst_max
    line.bucket_ns = LONG_AGO
    line.tripped = 0
    line.ring_at = 0
    line.lost_ns = LONG_AGO
    for i in range(RING):
        line.ring[i, 0] = LONG_AGO
        line.ring[i, 1] = 0
        line.ring[i, 2] = 0
    for i in range(SAME):
        line.same[i, 1] = 0


def observe(w: World, step: int) -> None:
    """Take the closes of ``step`` as the marks, once: high water, latches, times of the closes."""
    top = w.controls[len(w.books)]
    now = w.steps[step].now
    top.clock_ns = now
    if top.marked == step:
        return
    top.marked = step
    for p in range(len(w.books)):
        if w.rows[step, p] >= 0:
            w.controls[p].ref_ns = now
    equity = equity_at_marks(w)
    if step == 0:
        start_session(w, equity)
    see(top, equity)


def see(top: Any, equity: int) -> None:
    """Move the high water, and latch on a loss."""
    top.high_water = max(top.high_water, equity)
    if top.loss_d and lost(equity, top.day_start, top.loss_n, top.loss_d):
        top.level = max(top.level, _REDUCE_ONLY)
    if top.drop_d and lost(equity, top.high_water, top.drop_n, top.drop_d):
        top.level = _HALT


def observe_passed(w: World, marks: Any, first: int, end: int) -> None:
    """Observe the closes ``first`` to ``end - 1`` of a run's only symbol, and begin the sessions.

    Nothing was sent or filled on these bars, so what a second session would forget is forgotten.
    """
    a, b, line, top = w.account, w.books[0], w.controls[0], w.controls[1]
    base, per_tick, begun = a.cash, b.lots * b.lot_quanta, False
    for step in range(first, end):
        equity = base + per_tick * marks[step]
        see(top, equity)
        if w.steps[step].ends:
            if begun:
                top.day_start = equity
            else:
                start_session(w, equity)
            begun = True
    if first < end:
        line.ref_ns = w.steps[end - 1].now
        top.clock_ns = w.steps[end - 1].now
        top.marked = end - 1


def start_session(w: World, equity: int) -> None:
    """Begin a session: its first equity, its counts, and what is a day old is forgotten."""
    top = w.controls[len(w.books)]
    top.day_start = equity
    top.messages = 0
    top.orders = 0
    top.fills = 0
    top.day_notional = 0
    oldest = top.now_ns - NS_PER_DAY
    for p in range(len(w.books)):
        line = w.controls[p]
        if line.lost_ns <= oldest:
            line.lost_ns = LONG_AGO
        for i in range(SAME):
            if line.same[i, 0] <= oldest:
                line.same[i, 1] = 0


def lost(equity: int, top: int, numerator: int, denominator: int) -> bool:
    """Return True when equity is at least that fraction below ``top``."""
    return at_most_zero(top, numerator, top - equity, -denominator, 0, 0)


def at_most_zero(a: int, p: int, b: int, q: int, c: int, r: int) -> bool:
    """Return ``a * p + b * q + c * r <= 0``, exact for factors p, q, r below 2**29."""
    high = (a >> _LOW_BITS) * p + (b >> _LOW_BITS) * q + (c >> _LOW_BITS) * r
    low = (a & _LOW) * p + (b & _LOW) * q + (c & _LOW) * r
    high += low >> _LOW_BITS
    return high < 0 or (high == 0 and (low & _LOW) == 0)


# --- what happens ---------------------------------------------------------------------------------


def advance(top: Any, now: int) -> int:
    """Return the history's time: it never goes back."""
    top.now_ns = max(top.now_ns, now)
    return int(top.now_ns)


def message(w: World) -> None:
    """Count a call to the venue: an order or a cancel."""
    top = w.controls[len(w.books)]
    note(w, top, advance(top, top.clock_ns), MESSAGES)
    top.messages += 1


def sent(w: World, p: int, signed: int, kind: int, limit: int, stop: int) -> None:
    """Count an order that goes out, and its message."""
    top, line = w.controls[len(w.books)], w.controls[p]
    now = advance(top, top.clock_ns)
    top.tokens = tokens_at(top, now) - 1.0
    top.bucket_ns = max(top.bucket_ns, now)
    note(w, top, now, ORDERS)
    top.orders += 1
    at = place_of(line, signed, kind, limit, stop)
    if at < 0:
        at = 0
        for i in range(1, SAME):
            if line.same[at, 1] and (not line.same[i, 1] or line.same[i, 0] < line.same[at, 0]):
                at = i
        if line.same[at, 1]:
            line.lost_ns = max(line.lost_ns, line.same[at, 0])
    line.same[at, 0] = now
    line.same[at, 1] = signed
    line.same[at, 2] = kind
    line.same[at, 3] = limit
    line.same[at, 4] = stop
    message(w)


def heard(w: World, p: int, side: int, notional: int, now: int) -> None:
    """Count an execution; too many of one side trip the strategy."""
    top, line = w.controls[len(w.books)], w.controls[p]
    now = advance(top, now)
    kind = BUYS if side > 0 else SELLS
    note(w, line, now, kind)
    top.fills += 1
    top.day_notional += notional
    if top.day_notional > MOST_QUANTA:
        leave(w.account)
    if recent(line, kind, now, NS_PER_MINUTE) > top.fills_min_max:
        top.tripped = 1


def note(w: World, line: Any, now: int, kind: int) -> None:
    """Count one event of a kind."""
    at = line.ring_at
    if line.ring[at, 0] != now:
        at = (at + 1) % RING
        if now - line.ring[at, 0] < NS_PER_MINUTE:
            leave(w.account)
        line.ring_at = at
        line.ring[at, 0] = now
        line.ring[at, 1] = 0
        line.ring[at, 2] = 0
    line.ring[at, kind] += 1


# --- what is asked --------------------------------------------------------------------------------


def recent(line: Any, kind: int, now: int, width: int) -> int:
    """Return the events of a kind younger than ``width``."""
    total = 0
    for i in range(RING):
        if now - line.ring[i, 0] < width:
            total += line.ring[i, kind]
    return total


def tokens_at(top: Any, now: int) -> float:
    """Return the tokens of the rate's bucket."""
    if top.bucket_ns == LONG_AGO or now <= top.bucket_ns:
        return float(top.tokens)
    return refilled(top.tokens, top.orders_burst_max, top.orders_s_max, now - top.bucket_ns)


def place_of(line: Any, signed: int, kind: int, limit: int, stop: int) -> int:
    """Return where an equal order is remembered, -1 for nowhere."""
    for i in range(SAME):
        terms = line.same[i, 1] == signed and line.same[i, 2] == kind
        if terms and line.same[i, 3] == limit and line.same[i, 4] == stop:
            return i
    return -1


def counters_of(
    w: World, p: int, signed: int, kind: int, limit: int, stop: int
) -> tuple[float, ...]:
    """Return the fields of ``risk.views.Counters`` as an order meets them."""
    top, line = w.controls[len(w.books)], w.controls[p]
    now = max(top.now_ns, top.clock_ns)
    age = INF
    at = place_of(line, signed, kind, limit, stop)
    if at >= 0:
        age = float(now - line.same[at, 0])
    elif line.lost_ns != LONG_AGO and (
        top.exact_ages or now - line.lost_ns < line.same_order_age_ns_min
    ):
        leave(w.account)
    orders = float(recent(top, ORDERS, now, NS_PER_MINUTE))
    usd = top.usd_history
    return (
        float(recent(top, ORDERS, now, NS_PER_S)), orders, orders, tokens_at(top, now),
        float(recent(line, BUYS if signed > 0 else SELLS, now, NS_PER_MINUTE)),
        float(recent(top, MESSAGES, now, NS_PER_MINUTE)),
        float(top.messages), float(top.orders), float(top.fills), top.day_notional / usd,
        top.day_start / usd, top.high_water / usd, age, 0.0, float(top.tripped),
        line.allowed, line.denied, line.sector_known,
    )  # fmt: skip
