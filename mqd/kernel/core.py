"""The parts of the loop that know no strategy: compiled once a machine, kept on disk.

A run of one symbol is the core's: it calls the rule through its address, so a new strategy compiles
in a fraction of a second. With several symbols the loop around the rule, a few instructions a bar,
is compiled with the strategy. Both call ``turn``, what can happen besides, through its address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
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
def entry(ask, turn, closes, account, books, tape, steps, rows, actions, orders, fills, controls,
          account_0, books_0, exits, first, last, accounts, moments, cash, lots, matrix, columns,
          ints, floats, starts):
    for c in range(first, last):
        account[0] = account_0[0]
        books[0] = books_0[0]
        w = World(account[0], books, tape, steps, rows, actions, orders, fills, controls)
        w.account.stop_frac = exits[c, 0]
        w.account.take_frac = exits[c, 1]
        w.account.trail_frac = exits[c, 2]
        data = (matrix, columns, ints[c], floats[c], starts[c])
        own = (account, controls)
        run_alone(w, closes, ask, data, turn, own, moments[c - first], cash, lots)
        accounts[c - first] = account[0]
        if w.account.status == unfinished:
            break
"""


def core_type() -> Any:
    """Return the type of ``turn`` as a first-class function."""
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


Check = Callable[[Mapping[str, object]], None]


class Cores:
    """The cores under one set of bindings, each compiled or loaded when it is first asked for.

    ``bindings`` bring rules into them, ``more`` are the functions that those reach; ``check`` is
    handed the compiled copies of ``more``.
    """

    def __init__(
        self,
        bindings: Mapping[str, object],
        more: Mapping[str, object],
        check: Check | None = None,
    ) -> None:
        self._bindings, self._more, self._check = bindings, more, check
        self._made: dict[str, Any] = {}
        self._lock = Lock()

    def turn(self, *, whole: bool = True) -> Any:
        """Return ``turn``; without ``whole``, and where no rules run, what stands in for it.

        It is the longest part to compile, and most sweeps of one symbol need nothing of it.
        """
        stands_in = not whole and not self._bindings
        return (
            self._once("stand-in", self._stand_in) if stands_in else self._once("turn", self._turn)
        )

    def alone(self) -> Any:
        """Return the core of one symbol; it knows whether rules run, but not which."""
        return self._once("alone", self._alone)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]

    def _turn(self) -> Any:
        made = rebuild(turns.turn, self._bindings, allocates=False, inside=True)
        return _compiled(_TURN, {"turn": made, **self._more}, _turn_types(), self._check)

    def _stand_in(self) -> Any:
        made = rebuild(turns.stand_in, allocates=False, inside=True)
        return _compiled(_TURN, {"turn": made}, _turn_types())

    def _alone(self) -> Any:
        bindings = {"RULED": bool(self._bindings)}
        made = rebuild(run_alone, bindings, allocates=False, inside=True)
        return _compiled(_ALONE, {"run_alone": made, "unfinished": UNFINISHED}, _alone_types())


def _compiled(
    source: str, scope: Mapping[str, object], signature: tuple[Any, ...], check: Check | None = None
) -> Any:
    world = jit.argument_type("World", World._fields)
    return compile_cached(source, {"World": world, **scope}, signature, check=check)


def _turn_types() -> tuple[Any, ...]:
    from numba import int64

    return (*world_types(), int64, int64)


def _alone_types() -> tuple[Any, ...]:
    from numba import float64, int64, types

    closes = array_of(int64, 1, readonly=True)
    ask = types.FunctionType(int64(*rule_types()))
    return (
        ask, core_type(), closes, *world_types(), array_of(ACCOUNT, 1, readonly=True),
        array_of(BOOK, 1, readonly=True), array_of(float64, 2, readonly=True), int64, int64,
        array_of(ACCOUNT, 1), array_of(float64, 3), array_of(int64, 1), array_of(int64, 2),
        array_of(float64, 2, readonly=True), array_of(float64, 2, readonly=True),
        array_of(int64, 2, readonly=True), array_of(float64, 2), array_of(int64, 1, readonly=True),
    )  # fmt: skip


PLAIN = Cores({}, {})
"""The cores that run no rules."""
