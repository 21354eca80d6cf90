"""The compiled loop: one combination over all steps, its metrics summed in the same pass.

``decide_all`` is bound to the strategy's rule when the loop is built. Nothing of the size of the
bars is written unless ``RECORD`` asks for it.
"""

from __future__ import annotations

from math import nan
from typing import Any

from mqd.core.signal import HOLD
from mqd.kernel.books import value_at_marks
from mqd.kernel.core import ACT, CHARGE, LIVE
from mqd.kernel.layout import BAD_NUMBER, World
from mqd.kernel.step import is_busy, mark
from mqd.portfolio.sizing import round_weight

BLOCKS = 16
QUIET, GUARDED, BUSY = range(3)
PEAKS = False


def decide_all(w: World, step: int, c: int, equity: int, rule: Any) -> bool:
    """Stand in for the strategy's rule; bound when the loop is built."""
    raise NotImplementedError


def wants(a: Any, b: Any, weight: float) -> bool:
    """Note what the rule says of a symbol; return True when it may lead to an order.

    A rule that is a function of the bars alone (``pure``) speaks when its target changes, any
    other at each bar: after an exit that decides what becomes of the order for the remainder.
    """
    if not b.resize and a.band_frac != a.band_frac:
        if weight == b.last and (a.pure or b.blocked == HOLD):
            return False
        if a.pure:
            if weight == HOLD:
                return False
            before = b.last
            b.last = weight
            if round_weight(weight) == round_weight(before):
                return False
    if weight != HOLD or not a.pure:
        b.last = weight
    b.want = weight
    b.changed = 1
    return True


def waits(b: Any) -> bool:
    """Let a symbol that is skipped hold; return True when a remainder is to be worked."""
    if not b.resize:
        return False
    b.want = HOLD
    b.changed = 1
    return True


def is_bad(a: Any, step: int, p: int, weight: float) -> bool:
    """Return True, and note it, when a weight is not in [-1, 1] and not HOLD."""
    if -1.0 <= weight <= 1.0 or weight == HOLD:
        return False
    fail(a, BAD_NUMBER, step, p, weight)
    return True


def fail(a: Any, status: int, step: int, p: int, weight: float) -> None:
    """Note how and where a combination ends."""
    a.status = status
    a.bad_step = step
    a.bad_place = p
    a.bad_weight = weight


def take_step(
    w: World, step: int, c: int, rule: Any, turn: Any, own: Any
) -> tuple[int, int]:  # fmt: skip
    """Take one step in full and return equity and gross at its close.

    ``turn`` is the core; ``own`` what it takes: the account as an array, and the controls.
    """
    a = w.account
    now = w.steps[step]
    what = -1
    if a.busy or now.action_from < now.action_to:
        what = LIVE
    elif now.ends and a.owes:
        what = CHARGE
    if what >= 0:
        turn(
            own[0], w.books, w.tape, w.steps, w.rows, w.actions, w.orders, w.fills, own[1],
            what, step,
        )  # fmt: skip
        if a.status:
            return 0, 0
    mark(w, step)
    equity, gross = value_at_marks(w)
    if a.status:
        return 0, 0
    if decide_all(w, step, c, equity, rule):
        turn(
            own[0], w.books, w.tape, w.steps, w.rows, w.actions, w.orders, w.fills, own[1],
            ACT, step,
        )  # fmt: skip
        what = ACT
    if what >= 0:
        a.busy = is_busy(w)
    return equity, gross


def run_many(
    w: World, _marks: Any, c: int, rule: Any, turn: Any, own: Any, moments: Any, cash: Any,
    lots: Any,
) -> None:  # fmt: skip
    """Run combination ``c``; ``moments`` (16, 5) takes n and the sums of r to r**4 a block."""
    a = w.account
    previous = float(a.start_cash)
    top, low, worst = previous, previous, 0.0
    below, total = 0.0, 0.0
    step, equity_q = 0, a.start_cash
    for block in range(BLOCKS):
        stop = -(-(block + 1) * a.n_steps // BLOCKS)
        moments[block, 0] = stop - step
        s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0
        while step < stop:
            equity_q, gross = take_step(w, step, c, rule, turn, own)
            if a.status:
                a.bad_step = step
                return
            equity = float(equity_q)
            if equity != previous or previous <= 0.0:
                r = equity / previous - 1.0 if previous > 0.0 else nan
                square = r * r
                s1 += r
                s2 += square
                s3 += square * r
                s4 += square * square
                if r < 0.0:
                    below += square
                if equity > top:
                    worst = max(worst, 1.0 - low / top)
                    top, low = equity, equity
                low = min(low, equity)
                previous = equity
            total += equity
            if gross:
                a.exposed += 1
            if w.account.recording:
                cash[step] = a.cash
                for p in range(len(w.books)):
                    lots[step, p] = w.books[p].lots
            step += 1
        moments[block, 1] = s1
        moments[block, 2] = s2
        moments[block, 3] = s3
        moments[block, 4] = s4
    a.drawdown_frac = max(worst, 1.0 - low / top)
    a.downside = below
    a.mean_equity = total / a.n_steps
    a.equity = equity_q
