"""What can happen in a step besides the rule, by number; knows no strategy."""

from __future__ import annotations

from mqd.kernel.layout import UNFINISHED, World
from mqd.kernel.step import charge, live, settle
from mqd.kernel.targets import act, send_moves

LIVE, CHARGE, ACT, SEND = range(4)


def turn(w: World, what: int, step: int) -> None:
    """Take steps 1 to 3, charge a session's end, or send orders for what the rule wants."""
    if what == LIVE:
        live(w, step)
        charge(w, step)
    elif what == CHARGE:
        settle(w, step)
        charge(w, step)
    elif what == ACT:
        act(w, step)
    else:
        send_moves(w, step)


def stand_in(w: World, what: int, step: int) -> None:  # noqa: ARG001 - called in turn's place
    """Stop instead: most sweeps of one symbol need nothing of ``turn``, the longest to compile."""
    w.account.status = UNFINISHED
