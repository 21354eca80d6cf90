"""A strategy compiled into the loop, and its runs over a market."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import NotCompilable
from mqd.kernel.core import array_of, core_type, rule_types, world_types
from mqd.kernel.layout import ACCOUNT, BOOK, UNFINISHED, World
from mqd.kernel.loop import run_many
from mqd.kernel.market import Market
from mqd.kernel.records import FILL_FIELDS, ORDER_FIELDS
from mqd.kernel.rule import RuleText, bind, next_change, rule_text
from mqd.kernel.sums import BLOCKS
from mqd.strategy import jit
from mqd.strategy.compiled import shape_of
from mqd.strategy.entries import Shape
from mqd.strategy.feature_rows import one_block
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


def blank(n: int) -> Batch:
    """Return the batch of ``n`` combinations that have not run."""
    return Batch(np.zeros(n, ACCOUNT), np.zeros((n, BLOCKS, 5)))


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


class Ready(NamedTuple):
    """Inputs as a kernel's entry takes them."""

    exits: Floats
    arguments: tuple[NDArray[Any], ...]


def own_types(strategy: Strategy, shape: Shape) -> tuple[Any, ...]:
    """Return numba's types of what a rule reads of its strategy."""
    return tuple(jit.type_of(getattr(strategy, name)) for name in shape.self_names)


class Kernel:
    """The loop with one strategy's rule, compiled or loaded from disk.

    ``features`` are the names that the strategy's ``features`` returns; ``holes`` asks at every
    bar whether all of them are finite. Raises ``NotCompilable`` with the reason.
    """

    def __init__(
        self, strategy: Strategy, shape: Shape, features: Sequence[str], *, holes: bool
    ) -> None:
        self.kind = strategy.kind
        self.pure = self.kind == "decide" and not (shape.position_fields or shape.takes_state)
        methods = [name for name in shape.self_reads if name not in shape.self_names]
        if methods:
            raise NotCompilable(f"{shape.rule.__qualname__}: self.{methods[0]} is no number.")
        for name, kind in zip(shape.self_names, own_types(strategy, shape), strict=True):
            if not jit.is_number(kind):
                raise NotCompilable(
                    f"{shape.rule.__qualname__}: self.{name} is {getattr(strategy, name)!r}; the"
                    " compiled loop takes single numbers."
                )
        self._shape, self._features = shape, tuple(features)
        self._own = own_types(strategy, shape)
        self.text = self._write(holes=holes)
        try:
            self._entry = self._compile(strategy)
        except jit.NotCompiled as error:
            raise NotCompilable(str(error)) from error

    def _write(self, *, holes: bool) -> RuleText:
        """Return the text of the rule."""
        raise NotImplementedError

    def _compile(self, strategy: Strategy) -> Any:
        """Return the compiled rule, with the loop around it or for the core to ask."""
        raise NotImplementedError

    def _run(
        self, market: Market, account: NDArray[np.void], ready: Ready, first: int, last: int,
        batch: Batch, room: Room,
    ) -> None:  # fmt: skip
        """Run combinations into ``batch``."""
        raise NotImplementedError

    def ready(self, inputs: Inputs) -> Ready:
        """Return inputs as this kernel takes them."""
        raise NotImplementedError

    def __call__(
        self, market: Market, ready: Ready, share: float, cut: tuple[int, int], room: Room,
        batch: Batch,
    ) -> None:  # fmt: skip
        """Run the combinations from ``cut[0]`` up to ``cut[1]`` of ``ready`` into ``batch``."""
        first, last = cut
        account = market.account.copy()
        account["share"] = share
        account["exits"] = ready.exits.any()
        account["pure"] = self.pure
        account["recording"] = len(room.orders) > 0
        part = Batch(batch.accounts[first:last], batch.moments[first:last])
        self._run(market, account, ready, first, last, part, room)


class KernelAlone(Kernel):
    """For one symbol and a rule without state: the core runs, and asks the rule."""

    def _write(self, *, holes: bool) -> RuleText:
        watched = self._features if holes else ()
        return next_change(self._shape, self._features, watched, self._own)

    def _compile(self, _strategy: Strategy) -> Any:
        return jit.compile_entry(
            self.text.source, self.text.scope, rule_types(), self._shape.rule, jit.returns_number
        )

    def ready(self, inputs: Inputs) -> Ready:
        """Lay all features one below the other, and each combination's numbers side by side."""
        n, n_features = len(inputs.exits), len(self._features)
        matrices = [matrix[0] for matrix in inputs.matrices]
        n_bars = matrices[0].shape[1] if matrices else 0
        rows, firsts = one_block(matrices[:n_features], n_bars)
        columns = np.concatenate([np.empty((0, n_bars)), *matrices[n_features:]])
        floats = np.zeros((n, 1 + len(inputs.parameters)))
        ints = np.zeros((n, n_features + len(inputs.parameters)), np.int64)
        for place, first in enumerate(firsts):
            ints[:, place] = inputs.index[place, 0] + first
        for place, column in enumerate(inputs.parameters):
            if column.dtype.kind == "f":
                floats[:, 1 + place] = column
            else:
                ints[:, n_features + place] = column
        return Ready(inputs.exits, (rows, columns, ints, floats, inputs.start[0]))

    def _run(
        self, market: Market, account: NDArray[np.void], ready: Ready, first: int, last: int,
        batch: Batch, room: Room,
    ) -> None:  # fmt: skip
        for whole in (False, True):
            market.core.alone()(
                self._entry, market.core.turn(whole=whole), market.closes, account.copy(),
                market.books.copy(), market.tape,
                market.steps, market.rows, market.actions, room.orders, room.fills,
                market.controls.copy(), account, market.books, ready.exits, first, last, *batch,
                room.cash, room.lots, *ready.arguments,
            )  # fmt: skip
            if not (batch.accounts["status"] == UNFINISHED).any():
                return


class KernelMany(Kernel):
    """For several symbols, or a rule with state: the rule is inside."""

    def _write(self, *, holes: bool) -> RuleText:
        return rule_text(self._shape, self.kind, self._features, holes)

    def _compile(self, strategy: Strategy) -> Any:
        start = type(strategy).state
        self._state = np.zeros(1, dtype=[(name, np.float64) for name in start] or np.float64)
        for name, value in start.items():
            self._state[name] = value
        loop = rebuild(run_many, bind(self.text), allocates=self.kind == "allocate", inside=True)
        scope = {
            "rule": self.text.scope["ask"], "run": loop,
            "World": jit.argument_type("World", _WORLD),
        }  # fmt: skip
        returns = jit.returns_weights if self.kind == "allocate" else jit.returns_number
        source = _entry_text(self.text, self._shape.takes_state)
        return jit.compile_entry(source, scope, self._signature(), self._shape.rule, returns)

    def _signature(self) -> tuple[Any, ...]:
        from numba import boolean, float64, int64

        world = world_types()
        starts = [array_of(kind, 1, readonly=True) for kind in (ACCOUNT, BOOK)]
        out = [world[0], array_of(float64, 3), array_of(int64, 1), array_of(int64, 2)]
        extras: list[Any] = []
        if self.kind == "allocate":
            extras = [array_of(boolean, 1), array_of(float64, 2), array_of(float64, 2)]
        elif self._shape.takes_state:
            extras = [jit.type_of(self._state), jit.type_of(self._state)]
        rule = [array_of(int64, 3, readonly=True), array_of(int64, 2, readonly=True)]
        matrices = [array_of(float64, 3, readonly=True) for _ in self.text.fields]
        columns = [array_of(kind, 1, readonly=True) for kind in self._own]
        return (
            core_type(), array_of(int64, 1, readonly=True), *world, *starts,
            array_of(float64, 2, readonly=True), int64, int64, *out, *extras, *rule, *matrices,
            *columns,
        )  # fmt: skip

    def ready(self, inputs: Inputs) -> Ready:
        """Hand all arrays over one by one."""
        arguments = (inputs.index, inputs.start, *inputs.matrices, *inputs.parameters)
        return Ready(inputs.exits, arguments)

    def _run(
        self, market: Market, account: NDArray[np.void], ready: Ready, first: int, last: int,
        batch: Batch, room: Room,
    ) -> None:  # fmt: skip
        self._entry(
            market.core.turn(), market.closes, account.copy(), market.books.copy(), market.tape,
            market.steps, market.rows, market.actions, room.orders, room.fills,
            market.controls.copy(), account, market.books, ready.exits, first, last, *batch,
            room.cash, room.lots, *self._extras(len(market.books)), *ready.arguments,
        )  # fmt: skip

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
        asked = alone and strategy.kind == "decide" and not shape.takes_state
        made = KernelAlone if asked else KernelMany
        _KERNELS[key] = made(strategy, shape, features, holes=holes)
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
