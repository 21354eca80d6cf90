"""A strategy compiled into the loop, and its runs over a market."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import NotCompilable
from mqd.kernel.alone import run_alone
from mqd.kernel.core import core, core_type, world_types
from mqd.kernel.layout import ACCOUNT, World
from mqd.kernel.loop import BLOCKS, run_many
from mqd.kernel.market import Market
from mqd.kernel.records import FILL_FIELDS, ORDER_FIELDS
from mqd.kernel.rule import RuleText, bind, rule_text
from mqd.strategy import jit
from mqd.strategy.compiled import shape_of
from mqd.strategy.entries import Shape
from mqd.strategy.fingerprints import code_key
from mqd.strategy.rebuild import rebuild
from mqd.strategy.strategy import Strategy

_WORLD = World._fields[:-1]  # the controls are the core's alone
N_ORDER = len(ORDER_FIELDS) + 1  # and what refused it


class Batch(NamedTuple):
    """What the loop returns of ``n`` combinations, one row each.

    ``accounts`` (n,) of ``layout.ACCOUNT`` as they stand at the end; ``moments`` (n, 16, 5).
    """

    accounts: NDArray[np.void]
    moments: Floats


class Inputs(NamedTuple):
    """What the rule reads, for ``n`` combinations.

    ``matrices``: one float64 (symbol, distinct, row) for each field; ``index`` int64 (field,
    symbol, n): which of the distinct rows; ``start`` int64 (symbol, n): the first row at which
    all features are known; ``parameters``: one column of ``n`` for each that the rule reads;
    ``exits`` float64 (n, 3): stop loss, take profit and trailing stop as fractions, 0 for none.
    """

    matrices: tuple[Floats, ...]
    index: Ints  # type: ignore[assignment] # hides a tuple's method, which nobody calls
    start: Ints
    parameters: tuple[NDArray[Any], ...]
    exits: Floats


class Room(NamedTuple):
    """Where one run's records go: all empty in a sweep."""

    orders: Ints
    fills: Ints
    cash: Ints
    lots: Ints


def no_room() -> Room:
    """Return room for nothing."""
    return Room(
        np.zeros((0, N_ORDER), np.int64), np.zeros((0, len(FILL_FIELDS)), np.int64),
        np.zeros(0, np.int64), np.zeros((0, 0), np.int64),
    )  # fmt: skip


def room_for(market: Market, n: int) -> Room:
    """Return room for ``n`` orders and as many fills and splits."""
    return Room(
        np.zeros((n, N_ORDER), np.int64), np.zeros((n, len(FILL_FIELDS)), np.int64),
        np.zeros(len(market.steps), np.int64),
        np.zeros((len(market.steps), len(market.books)), np.int64),
    )  # fmt: skip


class Kernel:
    """The loop with one strategy's rule inside, compiled or loaded from disk.

    ``features`` are the names that the strategy's ``features`` returns; ``holes`` asks at every
    bar whether all of them are finite; ``alone``: for one symbol.
    Raises ``NotCompilable`` with the reason.
    """

    def __init__(
        self,
        strategy: Strategy,
        shape: Shape,
        features: Sequence[str],
        *,
        holes: bool,
        alone: bool,
    ) -> None:
        self.kind = strategy.kind
        alone = alone and strategy.kind == "decide"
        self.text = rule_text(shape, strategy.kind, tuple(features), holes, alone)
        self._run = run_alone if alone else run_many
        self._shape = shape
        self.pure = self.kind == "decide" and not (shape.position_fields or shape.takes_state)
        methods = [name for name in shape.self_reads if name not in shape.self_names]
        if methods:
            raise NotCompilable(f"{shape.rule.__qualname__}: self.{methods[0]} is no number.")
        start = type(strategy).state
        self._state = np.zeros(1, dtype=[(name, np.float64) for name in start] or np.float64)
        for name, value in start.items():
            self._state[name] = value
        self._own = tuple(jit.type_of(getattr(strategy, name)) for name in shape.self_names)
        self._entry = self._compile(shape.rule)

    def _compile(self, rule: FunctionType) -> Any:
        bindings = bind(self.text) | {
            "PEAKS": "peak_px" in self._shape.position_fields,
            "VIEWS": bool(self._shape.position_fields),
        }
        allocates = self.kind == "allocate"
        loop = rebuild(self._run, bindings, allocates=allocates, inside=True)
        scope = {
            "rule": self.text.scope["ask"], "run": loop,
            "World": jit.argument_type("World", _WORLD),
        }  # fmt: skip
        returns = jit.returns_weights if self.kind == "allocate" else jit.returns_number
        try:
            return jit.compile_entry(
                _entry_text(self.text, self._shape.takes_state), scope, self._signature(), rule,
                returns,
            )  # fmt: skip
        except jit.NotCompiled as error:
            raise NotCompilable(str(error)) from error

    def _signature(self) -> tuple[Any, ...]:
        from numba import boolean, float64, int64, types

        def array(kind: Any, ndim: int) -> Any:
            return types.Array(kind, ndim, "C")

        def fixed(kind: Any, ndim: int) -> Any:
            return types.Array(kind, ndim, "C", readonly=True)

        world = world_types()
        starts = [types.Array(world[0].dtype, 1, "C", readonly=True),
                  types.Array(world[1].dtype, 1, "C", readonly=True)]  # fmt: skip
        out = [world[0], array(float64, 3), array(int64, 1), array(int64, 2)]
        extras: list[Any] = []
        if self.kind == "allocate":
            extras = [array(boolean, 1), array(float64, 2), array(float64, 2)]
        elif self._shape.takes_state:
            extras = [jit.type_of(self._state), jit.type_of(self._state)]
        rule = [fixed(int64, 3), fixed(int64, 2)]
        matrices = [fixed(float64, 3) for _ in self.text.fields]
        columns = [fixed(kind, 1) for kind in self._own]
        return (
            core_type(), fixed(int64, 1), *world, *starts, fixed(float64, 2), int64, int64, *out,
            *extras, *rule, *matrices, *columns,
        )  # fmt: skip

    def __call__(
        self, market: Market, inputs: Inputs, share: float, first: int, last: int, room: Room
    ) -> Batch:
        """Run the combinations ``first`` to ``last - 1`` of ``inputs``."""
        n = last - first
        account = market.account.copy()
        account["share"] = share
        account["exits"] = inputs.exits.any()
        account["pure"] = self.pure
        account["recording"] = len(room.orders) > 0
        batch = Batch(np.zeros(n, ACCOUNT), np.zeros((n, BLOCKS, 5)))
        self._entry(
            market.core or core(), market.closes, account.copy(), market.books.copy(), market.tape,
            market.steps, market.rows, market.actions, room.orders, room.fills,
            market.controls.copy(), account, market.books, inputs.exits, first, last, *batch,
            room.cash, room.lots, *self._extras(len(market.books)), inputs.index, inputs.start,
            *inputs.matrices, *inputs.parameters,
        )  # fmt: skip
        return batch

    def nothing(self) -> Batch:
        """Return the batch of one combination that has not run."""
        return Batch(np.zeros(1, ACCOUNT), np.zeros((1, BLOCKS, 5)))

    def _extras(self, n_symbols: int) -> list[NDArray[Any]]:
        if self.kind == "allocate":
            return [
                np.zeros(n_symbols, np.bool_), np.zeros((len(self.text.fields), n_symbols)),
                np.zeros((6, n_symbols)),
            ]  # fmt: skip
        if self._shape.takes_state:
            return [np.repeat(self._state, n_symbols), self._state]
        return []


_KERNELS: dict[Hashable, Kernel] = {}


def kernel_of(strategy: Strategy, features: Sequence[str], *, holes: bool, alone: bool) -> Kernel:
    """Return the kernel of a strategy's rule: made once a process for the same code."""
    if strategy.kind == "event":
        raise NotCompilable("An event strategy trades in its hooks: only the desk calls them.")
    shape = shape_of(strategy, tuple(features))
    own = tuple(type(getattr(strategy, name)) for name in shape.self_names)
    key = (
        code_key(shape.rule), shape.fields, shape.position_fields, shape.self_reads,
        shape.self_names, own, tuple(type(strategy).state.items()), strategy.kind,
        tuple(features), holes, alone,
    )  # fmt: skip
    if key not in _KERNELS:
        _KERNELS[key] = Kernel(strategy, shape, features, holes=holes, alone=alone)
    return _KERNELS[key]


def _entry_text(text: RuleText, takes_state: bool) -> str:
    """Write the function that runs a range of combinations one after the other."""
    world = ", ".join(_WORLD)
    extras = [f"x{i}" for i in range(text.extras)]
    matrices = [f"m{i}" for i in range(len(text.fields))]
    columns = [f"q{i}" for i in range(len(text.parameters))]
    state = ["state_0"] if takes_state else []
    arguments = ", ".join([*extras, *state, "index", "start", *matrices, *columns])
    rule = ", ".join(["index", "start", *extras, *matrices, *columns])
    reset_state = "\n        for p in range(len(x0)):\n            x0[p] = state_0[0]"
    return f"""
def entry(turn, closes, {world}, controls, account_0, books_0, exits, first, last, accounts,
          moments, cash, lots, {arguments}):
    w = World(account[0], {", ".join(_WORLD[1:])})
    rule = ({rule},)
    own = (account, controls)
    for c in range(first, last):
        account[0] = account_0[0]
        for p in range(len(books)):
            books[p] = books_0[p]
        w.account.stop_frac = exits[c, 0]
        w.account.take_frac = exits[c, 1]
        w.account.trail_frac = exits[c, 2]{reset_state if takes_state else ""}
        run(w, closes, c, rule, turn, own, moments[c - first], cash, lots)
        accounts[c - first] = account[0]
"""
