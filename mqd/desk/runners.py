"""From bars to signals: each kind of strategy, driven one step at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats
from mqd.core.signal import HOLD, PositionView, Signal
from mqd.desk.market import NEVER, Market
from mqd.desk.slots import Holding
from mqd.strategy.causality import check_causal
from mqd.strategy.compiled import Program, program
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy
from mqd.strategy.weights import check_weight, check_weights, rule_raised

_PLACE = {name: place for place, name in enumerate(PositionView._fields)}


class Runner(Protocol):
    """One strategy's way from a step to its signals."""

    @property
    def program(self) -> Program:
        """The rule, compiled or plain."""
        ...

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return the signals of a step's close; ``equity`` gives the account's in quanta."""
        ...

    def next_step(self, step: int) -> int:
        """Return the first later step in which there may be a signal."""
        ...

    def restore(self, symbol: str, weight: float) -> None:
        """Take a standing target that a log tells of for the last one said."""
        ...


def _columns(
    features: Features, fields: Sequence[str], market: Market, symbol: str
) -> tuple[Floats, ...]:
    named = dict(zip(features.names, features.columns, strict=True))
    bars = market.bars[symbol]
    return tuple(
        named[field] if field in named else np.ascontiguousarray(getattr(bars, field))
        for field in fields
    )


def _features(strategy: Strategy, market: Market) -> dict[str, Features]:
    features = {}
    for symbol in market.symbols:
        bars = market.bars[symbol]
        features[symbol] = compute_features(strategy, bars)
        check_causal(strategy, bars, features[symbol])
    return features


class _Made:
    """What all runners have: the strategy's name and its rule."""

    name: str
    _made: Program

    @property
    def program(self) -> Program:
        """The rule, compiled or plain."""
        return self._made

    def restore(self, symbol: str, weight: float) -> None:
        """Do nothing: what is said at a bar does not depend on what was said before."""


class PureRunner(_Made):
    """A ``decide`` that reads neither position nor state: weights are a function of the bars.

    They are computed in one compiled call; a step without a changed weight has no signal.
    ``needs_resize(symbol)`` asks for the weight of a bar although it did not change; ``every``
    gives a signal a bar (a rebalance band is set).
    """

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        market: Market,
        made: Program,
        features: dict[str, Features],
        needs_resize: Callable[[str], bool],
        every: bool,
    ) -> None:
        self.name, self._made = name, made
        self._strategy, self._market = strategy, market
        self._needs_resize, self._every = needs_resize, every
        self._weights: dict[str, Floats] = {}
        steps: set[int] = set()
        self._due: dict[str, frozenset[int]] = {}
        for symbol in market.symbols:
            bars = market.bars[symbol]
            columns = _columns(features[symbol], made.fields, market, symbol)
            weights = made.sweep(columns, features[symbol].ready, symbol, bars.ts_close)
            self._weights[symbol] = weights
            rows = range(len(weights)) if every else _changes(weights)
            self._due[symbol] = frozenset(rows)
            steps.update(market.steps_of(symbol, rows))
        self._steps = sorted(steps)

    def signals(
        self,
        step: int,
        rows: Sequence[int],
        equity: Callable[[], int],  # noqa: ARG002
    ) -> list[Signal]:
        """Return a signal for each symbol whose weight changed or whose remainder waits."""
        out = []
        ts_ns = self._market.ts_close[step]
        for symbol, row in zip(self._market.symbols, rows, strict=True):
            if row >= 0 and (row in self._due[symbol] or self._needs_resize(symbol)):
                weight = float(self._weights[symbol][row])
                check_weight(self._strategy, symbol, ts_ns, weight)
                out.append(Signal(ts_ns, self.name, symbol, weight))
        return out

    def next_step(self, step: int) -> int:
        """Return the first later step with a changed weight."""
        place = bisect_right(self._steps, step)
        return self._steps[place] if place < len(self._steps) else NEVER


def _changes(weights: Floats) -> list[int]:
    """Return the rows at which the standing target (HOLD carried on) differs from before."""
    said = np.flatnonzero(weights != HOLD)
    rounded = np.round(weights[said] * 1e6)
    before = np.concatenate([[0.0], rounded[:-1]])
    rows: list[int] = said[rounded != before].tolist()
    return rows


class Column(Protocol):
    """One field of a symbol by row."""

    def __getitem__(self, row: int, /) -> float: ...


class Table(Protocol):
    """One field of all symbols by step."""

    def __getitem__(self, step: int, /) -> NDArray[Any]: ...


class SlotRunner(_Made):
    """A ``decide`` that reads its position or state: called at every bar of every symbol.

    A bar that is skipped (a feature is not finite) says HOLD where a remainder waits.
    """

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        market: Market,
        made: Program,
        features: dict[str, Features],
        holdings: dict[str, Holding],
        allocation: float,
        needs_resize: Callable[[str], bool],
    ) -> None:
        self.name, self._made = name, made
        self._strategy, self._market, self._holdings = strategy, market, holdings
        self._needs_resize = needs_resize
        self._share = allocation / len(market.symbols)
        self._places = tuple(_PLACE[field] for field in made.position_fields)
        self._ready = {s: features[s].ready.tolist() for s in market.symbols}
        self._columns: dict[str, tuple[Column, ...]] = {
            s: tuple(c.data for c in _columns(features[s], made.fields, market, s))
            for s in market.symbols
        }
        self._states = {s: made.new_state() for s in market.symbols}

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return a signal for each symbol that is ready, and for each remainder."""
        ts_ns = self._market.ts_close[step]
        slot = float(equity()) * self._share
        out = []
        for symbol, row in zip(self._market.symbols, rows, strict=True):
            if row < 0:
                continue
            if self._ready[symbol][row]:
                weight = self._weight(symbol, row, ts_ns, slot)
                out.append(Signal(ts_ns, self.name, symbol, weight))
            elif self._needs_resize(symbol):
                out.append(Signal(ts_ns, self.name, symbol, HOLD))
        return out

    def _weight(self, symbol: str, row: int, ts_ns: int, slot: float) -> float:
        now = tuple([column[row] for column in self._columns[symbol]])
        position: tuple[float, ...] = ()
        if self._places:
            close = self._market.tapes[symbol].close[row]
            view = self._holdings[symbol].view(row, close, slot)
            position = tuple([view[place] for place in self._places])
        try:
            if self._made.has_state:
                value = self._made.call(now, position, self._states[symbol])
            else:
                value = self._made.call(now, position)
        except Exception as error:
            raise rule_raised(self._strategy, "decide", symbol, ts_ns, error) from error
        return check_weight(self._strategy, symbol, ts_ns, value)

    def next_step(self, step: int) -> int:
        """Return the next step: any bar may change the answer."""
        return step + 1


class AllocateRunner(_Made):
    """An ``allocate``: called at every step with arrays over symbols."""

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        market: Market,
        made: Program,
        features: dict[str, Features],
        holdings: dict[str, Holding],
        allocation: float,
        needs_resize: Callable[[str], bool],
        check_allocation: Callable[[str, int, Sequence[float], Sequence[bool]], None],
    ) -> None:
        self.use(name, strategy, market, made, holdings, allocation, needs_resize, check_allocation)
        shape = (market.n_steps, len(market.symbols))
        tradable = np.zeros(shape, dtype=np.bool_)
        fields = [field for field in made.fields if field != "tradable"]
        matrices = {field: np.full(shape, np.nan) for field in fields}
        for place, symbol in enumerate(market.symbols):
            steps = market.steps_of(symbol, range(len(market.bars[symbol])))
            tradable[steps, place] = features[symbol].ready
            for field, column in zip(
                fields, _columns(features[symbol], fields, market, symbol), strict=True
            ):
                matrices[field][steps, place] = column
        for array in (tradable, *matrices.values()):
            array.setflags(write=False)
        self._tradable: Table = tradable
        self._matrices: Mapping[str, Table] = matrices

    def use(
        self,
        name: str,
        strategy: Strategy,
        market: Market,
        made: Program,
        holdings: dict[str, Holding],
        allocation: float,
        needs_resize: Callable[[str], bool],
        check_allocation: Callable[[str, int, Sequence[float], Sequence[bool]], None],
    ) -> None:
        """Keep what every step needs."""
        self.name, self._made, self._needs_resize = name, made, needs_resize
        self._strategy, self._market, self._holdings = strategy, market, holdings
        self._allocation, self._check_allocation = allocation, check_allocation
        self._places = tuple(_PLACE[field] for field in made.position_fields)

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return a signal for each symbol once one of them is ready."""
        tradable = self._tradable[step]
        ts_ns = self._market.ts_close[step]
        if not tradable.any():
            waiting = filter(self._needs_resize, self._market.symbols)
            return [Signal(ts_ns, self.name, symbol, HOLD, "allocate") for symbol in waiting]
        now = tuple(
            tradable if field == "tradable" else self._matrices[field][step]
            for field in self._made.fields
        )
        symbols = self._market.symbols
        try:
            values = self._made.call(now, self._positions(rows, equity()))
        except Exception as error:
            raise rule_raised(
                self._strategy, "allocate", ", ".join(symbols), ts_ns, error
            ) from error
        weights = check_weights(self._strategy, symbols, ts_ns, values, tradable).tolist()
        self._check_allocation(self.name, ts_ns, weights, tradable.tolist())
        return [
            Signal(ts_ns, self.name, symbol, weight, "allocate")
            for symbol, weight in zip(symbols, weights, strict=True)
        ]

    def _positions(self, rows: Sequence[int], equity: int) -> tuple[Floats, ...]:
        if not self._places:
            return ()
        slot = float(equity) * self._allocation
        views = np.zeros((len(PositionView._fields), len(rows)))
        for place, symbol in enumerate(self._market.symbols):
            row = self._market.row_now(symbol)
            if row >= 0:
                close = self._market.tapes[symbol].close[row]
                views[:, place] = self._holdings[symbol].view(row, close, slot)
        views.setflags(write=False)
        return tuple(views[place] for place in self._places)

    def next_step(self, step: int) -> int:
        """Return the next step."""
        return step + 1


class MakeRunner(Protocol):
    """How a run drives its strategies; ``make_runner`` is a replay's way."""

    def __call__(
        self,
        name: str,
        strategy: Strategy,
        market: Market,
        holdings: dict[str, Holding],
        allocation: float,
        *,
        needs_resize: Callable[[str], bool],
        check_allocation: Callable[[str, int, Sequence[float], Sequence[bool]], None],
        every: bool,
    ) -> Runner | None:
        """Return the runner of a strategy, None for one that trades in its hooks alone."""
        ...


def make_runner(
    name: str,
    strategy: Strategy,
    market: Market,
    holdings: dict[str, Holding],
    allocation: float,
    *,
    needs_resize: Callable[[str], bool],
    check_allocation: Callable[[str, int, Sequence[float], Sequence[bool]], None],
    every: bool,
) -> Runner | None:
    """Build the runner of a strategy, None for one that trades in its hooks alone."""
    if strategy.kind == "event":
        return None
    features = _features(strategy, market)
    names = features[market.symbols[0]].names
    made = program(strategy, names)
    if strategy.kind == "allocate":
        return AllocateRunner(
            name, strategy, market, made, features, holdings, allocation, needs_resize,
            check_allocation,
        )  # fmt: skip
    if made.pure:
        return PureRunner(name, strategy, market, made, features, needs_resize, every)
    return SlotRunner(name, strategy, market, made, features, holdings, allocation, needs_resize)
