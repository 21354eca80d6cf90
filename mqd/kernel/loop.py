"""The compiled loop: one combination over all steps, its metrics summed in the same pass.

``decide_all`` is bound to the strategy's rule when the loop is built. Nothing of the size of the
bars is written unless a run is recorded.
"""

from __future__ import annotations

from typing import Any

from mqd.core.signal import HOLD
from mqd.kernel.books import value_at_marks
from mqd.kernel.layout import BAD_NUMBER, World
from mqd.kernel.step import is_busy, mark
from mqd.kernel.sums import BLOCKS, begin, finish, ride
from mqd.kernel.turn import ACT, CHARGE, LIVE
from mqd.portfolio.sizing import round_weight


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


def hand_over(w: World, turn: Any, own: Any, what: int, step: int) -> None:
    """Let ``turn``, called by its address, take a part of a step.

    ``own`` is what of the world it takes in another form: the account as an array, the controls.
    """
    turn(
        own[0], w.books, w.tape, w.steps, w.rows, w.actions, w.orders, w.fills, own[1], what, step
    )  # fmt: skip


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
        hand_over(w, turn, own, what, step)
        if a.status:
            return 0, 0
    mark(w, step)
    equity, gross = value_at_marks(w)
    if a.status:
        return 0, 0
    if decide_all(w, step, c, equity, rule):
        hand_over(w, turn, own, ACT, step)
        what = ACT
    if what >= 0:
        a.busy = is_busy(w)
    return equity, gross


def run_many(
    w: World, marks: Any, c: int, rule: Any, turn: Any, own: Any, moments: Any, cash: Any,
    lots: Any,
) -> None:  # fmt: skip
    """Run combination ``c``; ``moments`` (16, 5) takes n and the sums of r to r**4 a block."""
    a = w.account
    begin(a, moments)
    step, equity = 0, a.start_cash
    for block in range(BLOCKS):
        stop = -(-(block + 1) * a.n_steps // BLOCKS)
        sums = moments[block]
        sums[0] = stop - step
        while step < stop:
            equity, gross = take_step(w, step, c, rule, turn, own)
            if a.status:
                a.bad_step = step
                return
            ride(a, sums, equity, 0, marks, 0, 1)
            if gross:
                a.exposed += 1
            if a.recording:
                cash[step] = a.cash
                for p in range(len(w.books)):
                    lots[step, p] = w.books[p].lots
            step += 1
    finish(a, equity)
