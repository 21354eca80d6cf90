"""Target orders inside the compiled loop: plans, sends and what waits, as in ``desk.targets``."""

from __future__ import annotations

from typing import Any

from mqd.core.order import OrderStatus, TimeInForce
from mqd.core.signal import HOLD
from mqd.execution.acceptance import GTC_NS
from mqd.kernel.books import equity_at_marks, leave
from mqd.kernel.layout import RULED, World
from mqd.kernel.past import observe, sent
from mqd.kernel.records import ORDER_FIELDS, STATUSES, TIMES_IN_FORCE
from mqd.kernel.risk import judge
from mqd.kernel.sizes import find_goal
from mqd.kernel.venue import CANCELED, cancel_pair, end_target, note_status
from mqd.kernel.verdict import MARKET
from mqd.portfolio.sizing import round_weight

ACCEPTED = STATUSES.index(OrderStatus.ACCEPTED)
DENIED = STATUSES.index(OrderStatus.DENIED)
DAY, GTC = TIMES_IN_FORCE.index(TimeInForce.DAY), TIMES_IN_FORCE.index(TimeInForce.GTC)
_REJECTED = STATUSES.index(OrderStatus.REJECTED)
_STATUS = ORDER_FIELDS.index("status")
_REFUSED = len(ORDER_FIELDS)


# --- a decision -----------------------------------------------------------------------------------


def act(w: World, step: int) -> None:
    """Turn what the rule wants of the ``changed`` symbols into orders.

    Working and waiting orders of a new target are given up, sizes are taken at this close, then
    orders go out: reductions first; increases of a plan with reductions wait for them.
    """
    w.account.sent_ns = w.steps[step].now
    w.account.expires_ns = w.steps[step].expires_close
    if RULED:
        observe(w, step)
    for b in w.books:
        if b.changed and b.want != HOLD and round_weight(b.want) != b.weight:
            give_up(w, b)
            w.account.lost = 0
    equity = equity_at_marks(w)
    moves, reductions = 0, 0
    for p in range(len(w.books)):
        b = w.books[p]
        b.moves = 0
        if b.changed:
            b.changed = 0
            if find_goal(w, p, b, equity) and b.goal != b.lots:
                b.moves = 1
                moves += 1
                reductions += closes(b)
    if moves:
        send_plan(w, step, equity, reductions)


def send_moves(w: World, step: int) -> None:
    """Send the orders of the symbols that are marked already: their goals are set."""
    w.account.sent_ns = w.steps[step].now
    w.account.expires_ns = w.steps[step].expires_close
    reductions = 0
    for b in w.books:
        if b.moves:
            reductions += closes(b)
    send_plan(w, step, equity_at_marks(w), reductions)


def closes(b: Any) -> bool:
    """Return True when the way to the goal begins with an order that reduces."""
    return (b.lots > 0 and b.goal < b.lots) or (b.lots < 0 and b.goal > b.lots)


def give_up(w: World, b: Any) -> None:
    """Cancel a symbol's target order, working or waiting: what is left is sized anew."""
    if b.target.on:
        end_target(w, b, CANCELED, False)
    if b.waits:
        b.waits = 0
        b.resize = 1


def send_plan(w: World, step: int, equity: int, reductions: int) -> None:
    """Send the orders of all symbols that move; protection makes room first."""
    for b in w.books:
        if b.moves:
            give_up(w, b)
            b.resize = 0
            if w.account.exits:
                cancel_pair(w, b)
    w.account.lost = 0
    now = w.steps[step].now
    for p in range(len(w.books)):
        b = w.books[p]
        if b.moves and closes(b):
            kept = b.goal if (b.goal > 0) == (b.lots > 0) else 0
            send(w, step, p, b, kept - b.lots, True, now, equity)
    for p in range(len(w.books)):
        b = w.books[p]
        held = b.lots if (b.goal > 0) == (b.lots > 0) else 0
        if b.moves and b.goal != 0 and abs(b.goal) > abs(held):
            if reductions:
                w.account.queue += 1
                b.waits = w.account.queue
                b.w_lots = b.goal - held
                b.w_decided_ns = now
                b.w_equity = equity
            else:
                send(w, step, p, b, b.goal - held, False, now, equity)


def send(
    w: World, step: int, p: int, b: Any, signed: int, reducing: bool, decided: int, equity: int
) -> None:
    """Send a target order of ``signed`` lots, or note why it is denied."""
    a, o = w.account, b.target
    refused = judge(w, step, p, b, signed, equity)
    line = new_line(w, p, decided, signed, refused)
    if refused:
        a.n_denied += 1
        return
    a.n_orders += 1
    place(a, o, step, signed, line)
    if RULED:
        sent(w, p, signed, MARKET, 0, 0)
        o.triggered = b.lots * o.side < 0 and o.left > abs(b.lots)
    o.decided_ns = decided
    o.reducing = reducing
    if reducing:
        a.reductions += 1
        if abs(signed) > abs(b.lots):
            leave(a)


def place(a: Any, o: Any, step: int, signed: int, line: int) -> None:
    """Let an order rest at the venue from now on."""
    a.sequence += 1
    o.on = 1
    o.side = 1 if signed > 0 else -1
    o.size = abs(signed)
    o.left = abs(signed)
    o.filled = 0
    o.sent_step = step
    o.arrives_ns = a.sent_ns + a.latency_ns
    o.expires_ns = a.sent_ns + GTC_NS if a.all_day else a.expires_ns
    o.rank = a.sequence
    o.line = line
    o.triggered = 0
    o.trail = 0


def new_line(w: World, p: int, decided: int, signed: int, refused: int) -> int:
    """Record an order of a target; return its line, -1 when nothing is recorded."""
    line = -1
    if w.account.recording:
        line = w.account.n_lines
        w.account.n_lines += 1
        if line < len(w.orders):
            for i in range(w.orders.shape[1]):
                w.orders[line, i] = 0
            w.orders[line, 0] = decided
            w.orders[line, 1] = p
            w.orders[line, 2] = 1 if signed > 0 else -1
            w.orders[line, 3] = abs(signed)
            w.orders[line, 7] = GTC if w.account.all_day else DAY
            w.orders[line, _STATUS] = DENIED if refused else ACCEPTED
            w.orders[line, _REFUSED] = refused
    return line


# --- what waits -----------------------------------------------------------------------------------


def follow_up(w: World, step: int) -> bool:
    """Send the increases whose reductions have filled; drop them when one cannot fill."""
    drop_lost(w)
    if w.account.reductions or not w.account.queue:
        return False
    found = False
    p = next_waiting(w)
    while p >= 0:
        found = True
        b = w.books[p]
        b.waits = 0
        send(w, step, p, b, b.w_lots, False, b.w_decided_ns, b.w_equity)
        p = next_waiting(w)
    w.account.queue = 0
    if RULED:
        drop_rejected(w)
    return found


def drop_rejected(w: World) -> None:
    """End the increases that the venue rejects: their reduction was denied, they are too large."""
    for b in w.books:
        if b.target.on and b.target.triggered:
            b.target.on = 0
            note_status(w, b.target.line, _REJECTED)


def next_waiting(w: World) -> int:
    """Return the symbol whose increase has waited longest, -1 for none."""
    found, first = -1, 0
    for p in range(len(w.books)):
        waits = w.books[p].waits
        if waits and (found < 0 or waits < first):
            found, first = p, waits
    return found


def drop_lost(w: World) -> None:
    """Give up all increases that wait for a reduction which ended before it had filled."""
    if w.account.lost:
        w.account.lost = 0
        for b in w.books:
            if b.waits:
                b.waits = 0
                b.resize = 1


def cancel_remainders(w: World, step: int) -> None:
    """Cancel target orders that met this bar's volume and are not filled."""
    for p in range(len(w.books)):
        row = w.rows[step, p]
        b = w.books[p]
        met = b.target.on and row >= 0 and w.tape[p, row].room >= 0
        if met and b.target.decided_ns + w.account.latency_ns <= w.tape[p, row].ts_open:
            end_target(w, b, CANCELED, False)
    drop_lost(w)
