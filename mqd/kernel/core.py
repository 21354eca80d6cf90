"""The parts of the loop that know no strategy: compiled once a machine, kept on disk.

A run of one symbol is the core's as a whole: it calls the rule through its address. With several
symbols the loop around the rule, a few instructions a bar, is compiled with the strategy and
calls ``turn`` through its address. Either way a new strategy compiles in about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from mqd.kernel import turn as turns
from mqd.kernel.alone import run_alone
from mqd.kernel.layout import ACCOUNT, ACTION, BAR, BOOK, CONTROL, STEP, UNFINISHED, World
from mqd.strategy import jit
from mqd.strategy.code_cache import compile_cached
from mqd.strategy.rebuild import rebuild


def array_of(kind: Any, ndim: int, *, readonly: bool = False) -> Any:
    """Return numba's type of a C-ordered array of a numba type or a record's dtype."""
    from numba import from_dtype, types

    inner = from_dtype(kind) if isinstance(kind, np.dtype) else kind
    return types.Array(inner, ndim, "C", readonly=readonly)


def world_types() -> tuple[Any, ...]:
    """Return numba's types of a ``World``, its account as an array of one."""
    from numba import int64

    table = array_of(int64, 2)
    return (
        array_of(ACCOUNT, 1), array_of(BOOK, 1), array_of(BAR, 2, readonly=True),
        array_of(STEP, 1, readonly=True), array_of(int64, 2, readonly=True),
        array_of(ACTION, 1, readonly=True), table, table, array_of(CONTROL, 1),
    )  # fmt: skip


_TURN = """
def entry(account, books, tape, steps, rows, actions, orders, fills, controls, what, step):
    turn(World(account[0], books, tape, steps, rows, actions, orders, fills, controls), what, step)
"""

_ALONE = """
def entry(ask, closes, account, books, tape, steps, rows, actions, orders, fills, controls,
          account_0, books_0, exits, first, last, accounts, moments, cash, lots, matrix, columns,
          ints, floats, starts):
    for c in range(first, last):
        account[0] = account_0[0]
        books[0] = books_0[0]
        w = World(account[0], books, tape, steps, rows, actions, orders, fills, controls)
        w.account.stop_frac = exits[c, 0]
        w.account.take_frac = exits[c, 1]
        w.account.trail_frac = exits[c, 2]
        data = (matrix, columns, ints[c], floats[c], starts[c], account)
        run_alone(w, closes, ask, data, moments[c - first], cash, lots)
        accounts[c - first] = account[0]
        if w.account.status == unfinished:
            break
"""


def core_type() -> Any:
    """Return the type of the core of several symbols as a first-class function."""
    from numba import int64, types

    return types.FunctionType(types.void(*world_types(), int64, int64))


def rule_types() -> tuple[Any, ...]:
    """Return the types of a rule's arguments when it is asked by the core of one symbol."""
    from numba import float64, int64

    world = world_types()
    return (
        array_of(float64, 2, readonly=True), array_of(float64, 2, readonly=True),
        array_of(int64, 1, readonly=True), array_of(float64, 1), world[1], world[0],
        array_of(int64, 1, readonly=True), int64, int64, int64, float64,
    )  # fmt: skip


@cache
def core() -> Any:
    """Return the core of several symbols that runs no rules, compiled or loaded from disk."""
    return build({}, {}, None)


def build(
    bindings: Mapping[str, object],
    more: Mapping[str, object],
    check: Callable[[Mapping[str, object]], None] | None,
) -> Any:
    """Return a core under ``bindings``; ``check`` is handed the compiled copies of ``more``."""
    from numba import int64

    scope = {
        "turn": rebuild(turns.turn, bindings, allocates=False, inside=True),
        "World": jit.argument_type("World", World._fields), **more,
    }  # fmt: skip
    return compile_cached(_TURN, scope, (*world_types(), int64, int64), check=check)


@cache
def core_alone(*, whole: bool) -> Any:
    """Return the core of one symbol, compiled or loaded from disk.

    It is compiled in seconds without ``turn``, the longest part, and then ends a combination that
    needs it as UNFINISHED; ``whole`` brings it along.
    """
    from numba import float64, int64, types

    world = world_types()
    closes = array_of(int64, 1, readonly=True)
    ask = types.FunctionType(int64(*rule_types()))
    signature = (
        ask, closes, *world, array_of(ACCOUNT, 1, readonly=True), array_of(BOOK, 1, readonly=True),
        array_of(float64, 2, readonly=True), int64, int64, array_of(ACCOUNT, 1),
        array_of(float64, 3), array_of(int64, 1), array_of(int64, 2),
        array_of(float64, 2, readonly=True), array_of(float64, 2, readonly=True),
        array_of(int64, 2, readonly=True), array_of(float64, 2), array_of(int64, 1, readonly=True),
    )  # fmt: skip
    bindings = {} if whole else {"turn": turns.stand_in}
    scope = {
        "run_alone": rebuild(run_alone, bindings, allocates=False, inside=True),
        "World": jit.argument_type("World", World._fields), "unfinished": UNFINISHED,
    }  # fmt: skip
    return compile_cached(_ALONE, scope, signature)
