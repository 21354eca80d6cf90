"""The part of the loop that knows no strategy: compiled once, called through its address.

Everything around the rule, a few instructions a bar, is compiled for each strategy; what happens
when orders rest or a target changes is not, so that a new strategy compiles in about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from mqd.kernel.layout import ACCOUNT, ACTION, BAR, BOOK, CONTROL, STEP, World
from mqd.kernel.step import charge, live, settle
from mqd.kernel.targets import act, send_moves
from mqd.strategy import jit
from mqd.strategy.code_cache import compile_cached
from mqd.strategy.rebuild import rebuild

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


def world_types() -> tuple[Any, ...]:
    """Return numba's types of a ``World``, its account as an array of one."""
    from numba import from_dtype, int64, types

    def records(kind: np.dtype[np.void], ndim: int, *, readonly: bool = False) -> Any:
        return types.Array(from_dtype(kind), ndim, "C", readonly=readonly)

    rows = types.Array(int64, 2, "C", readonly=True)
    table = types.Array(int64, 2, "C")
    return (
        records(ACCOUNT, 1), records(BOOK, 1), records(BAR, 2, readonly=True),
        records(STEP, 1, readonly=True), rows, records(ACTION, 1, readonly=True), table, table,
        records(CONTROL, 1),
    )  # fmt: skip


_SOURCE = """
def entry(account, books, tape, steps, rows, actions, orders, fills, controls, what, step):
    turn(World(account[0], books, tape, steps, rows, actions, orders, fills, controls), what, step)
"""


def core_type() -> Any:
    """Return the type of the core as a first-class function."""
    from numba import int64, types

    return types.FunctionType(types.void(*world_types(), int64, int64))


@cache
def core() -> Any:
    """Return the core that runs no rules, compiled or loaded from disk."""
    return build({}, {}, None)


def build(
    bindings: Mapping[str, object],
    more: Mapping[str, object],
    check: Callable[[Mapping[str, object]], None] | None,
) -> Any:
    """Return a core under ``bindings``; ``check`` is handed the compiled copies of ``more``."""
    from numba import int64

    scope = {
        "turn": rebuild(turn, bindings, allocates=False, inside=True),
        "World": jit.argument_type("World", World._fields), **more,
    }  # fmt: skip
    return compile_cached(_SOURCE, scope, (*world_types(), int64, int64), check=check)
