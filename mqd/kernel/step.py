"""One step of the compiled loop, numbered as the desk's: 1 corporate actions, 2 opening, 3 within
the bar and what ends with it, 4 mark at the close. 5, the decision, and 6, orders, are ``loop``'s.
"""

from __future__ import annotations

from typing import Any

from mqd.core.money import MOST_QUANTA
from mqd.kernel.books import (
    close_session,
    dividend,
    equity_at_marks,
    follow_peak,
    leave,
    split,
)
from mqd.kernel.layout import RULED, World
from mqd.kernel.past import set_clock, wake
from mqd.kernel.protection import protect
from mqd.kernel.targets import cancel_remainders, follow_up, send
from mqd.kernel.venue import CANCELED, cancel_pair, end_target, expire, follow, match_open
from mqd.kernel.venue import match_within as within


def live(w: World, step: int) -> None:
    """Take steps 1 to 3 in full."""
    if RULED:
        wake(w, step)
    begin(w, step)
    if RULED:
        set_clock(w, w.steps[step].opens)
    while True:
        match_open(w, step)
        if not follow_up(w, step):
            break
    if w.account.exits:
        protect(w, step)
    if RULED:
        set_clock(w, w.steps[step].now)
    closing(w, step)


def begin(w: World, step: int) -> None:
    """Start a step: opens become the venue's marks, what is over expires, actions take effect."""
    now = w.steps[step]
    w.account.sent_ns = now.opens
    w.account.expires_ns = now.expires_open
    for p in range(len(w.books)):
        b = w.books[p]
        row = w.rows[step, p]
        b.used = 0
        b.open_mark = w.tape[p, row].open if row >= 0 else b.mark
        expire(w, b, now.opens)
    for i in range(now.action_from, now.action_to):
        action = w.actions[i]
        b = w.books[action.place]
        if action.is_split:
            restate(w, step, b, action)
        elif b.lots:
            dividend(w.account, b, action)


def restate(w: World, step: int, b: Any, action: Any) -> None:
    """Apply a split: resting orders go, the position and what waits take the new unit."""
    a, o = w.account, b.target
    numerator, denominator = action.numerator, action.denominator
    most = max(abs(b.lots), abs(b.goal), abs(b.w_lots), o.left)
    if max(float(most) * numerator, float(b.mark) * denominator) > MOST_QUANTA:
        leave(a)
        return
    left = o.left if o.on else 0
    lost = a.lost
    if left:
        end_target(w, b, CANCELED, False)
    if w.account.exits:
        cancel_pair(w, b)
    if b.lots:
        split(w, b, action)
    sign = -1 if b.goal < 0 else 1
    b.goal = sign * (abs(b.goal) * numerator // denominator)
    b.mark = b.mark * denominator // numerator
    b.peak_px /= numerator / denominator
    if b.waits:
        sign = -1 if b.w_lots < 0 else 1
        b.w_lots = sign * (abs(b.w_lots) * numerator // denominator)
        if b.w_lots == 0:
            b.waits = 0
    scaled = left * numerator // denominator
    if scaled:
        b.resize = 0
        a.lost = lost
        signed, reducing = o.side * scaled, o.reducing != 0
        send(w, step, action.place, b, signed, reducing, o.decided_ns, equity_at_marks(w))


def closing(w: World, step: int) -> None:
    """Match within the bar, then end what ends with it; the closes become the marks."""
    now = w.steps[step].now
    if w.account.exits:
        for p in range(len(w.books)):
            row = w.rows[step, p]
            if row >= 0 and w.tape[p, row].trades:
                within(w, w.books[p], w.tape[p, row], row, now)
    settle(w, step)
    for p in range(len(w.books)):
        b = w.books[p]
        if w.account.exits and w.rows[step, p] >= 0:
            follow(b.stop, w.tape[p, w.rows[step, p]])
        expire(w, b, now)
    cancel_remainders(w, step)


def settle(w: World, step: int) -> None:
    """Orders sent from here on come after the close, which is the price known; fees are charged."""
    a = w.account
    now = w.steps[step]
    a.sent_ns = now.now
    a.expires_ns = now.expires_close
    for p in range(len(w.books)):
        b = w.books[p]
        row = w.rows[step, p]
        b.open_mark = w.tape[p, row].close if row >= 0 else b.mark


def charge(w: World, step: int) -> None:
    """Charge what the session's end charges."""
    if w.steps[step].ends and w.account.owes:
        close_session(w.account, w.books, w.steps[step].days_to_next)


def mark(w: World, step: int) -> None:
    """Make the step's closes the prices that the desk knows."""
    for p in range(len(w.books)):
        row = w.rows[step, p]
        if row >= 0:
            b = w.books[p]
            bar = w.tape[p, row]
            b.mark = bar.close
            b.row = row
            if b.lots:
                follow_peak(b, bar.high_px, bar.low_px)


def is_busy(w: World) -> bool:
    """Return True when any order rests or waits, or something is due at the next close.

    Rules look at every close.
    """
    if w.account.ruled:
        return True
    for b in w.books:
        if b.target.on or b.waits or b.resize:
            return True
        if w.account.exits and (b.stop.on or b.profit.on or b.bare):
            return True
    return False
