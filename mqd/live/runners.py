"""Strategies on bars that arrive one by one: the same rules, the features of what is known.

Features are recomputed since the run's first bar at every step, so that they equal the replay's
to the bit; a recursive indicator on a trimmed window would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats
from mqd.core.signal import HOLD, Signal
from mqd.desk.market import Market
from mqd.desk.runners import AllocateRunner, Runner, SlotRunner
from mqd.desk.slots import Holding
from mqd.errors import StrategyRaised
from mqd.live.market import GrowingMarket
from mqd.strategy.causality import CUT_BARS_MIN
from mqd.strategy.compiled import Program, program
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

_NONE: Floats = np.zeros(0)
Asks = Callable[[str], bool]
CheckAllocation = Callable[[str, int, Sequence[float], Sequence[bool]], None]


class LastRow:
    """The newest value of each feature and bar field that a rule reads, by symbol."""

    def __init__(self, strategy: Strategy, market: GrowingMarket) -> None:
        self._strategy, self.market = strategy, market
        self.names: tuple[str, ...] = ()

    def learn(self, symbol: str) -> Features | None:
        """Return a symbol's features of all bars so far, None where there are too few for them."""
        bars = self.market.known(symbol)
        try:
            found = compute_features(self._strategy, bars)
        except StrategyRaised:
            if len(bars) >= CUT_BARS_MIN:
                raise
            return None
        self.names = found.names
        return found

    def values(
        self, symbol: str, found: Features | None, wanted: Sequence[str], row: int
    ) -> tuple[float, ...]:
        """Return the values of the fields ``wanted`` at a row."""
        assert found is not None, "a row that is ready has features"
        named = dict(zip(found.names, found.columns, strict=True))
        bars = self.market.bars[symbol]
        return tuple(
            float(named[field][row]) if field in named else float(getattr(bars, field)[row])
            for field in wanted
        )


class GrowingSlotRunner(SlotRunner):
    """A ``decide`` called at every bar as it arrives.

    A rule that reads neither position nor state gives a signal only when its weight changes, or
    when a remainder asks for it, as in a replay.
    """

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        market: GrowingMarket,
        made: Program,
        source: LastRow,
        holdings: dict[str, Holding],
        allocation: float,
        needs_resize: Asks,
        every: bool,
    ) -> None:
        empty = Features(source.names, (_NONE,) * len(source.names), np.zeros(0, np.bool_))
        features = dict.fromkeys(market.symbols, empty)
        super().__init__(name, strategy, market, made, features, holdings, allocation, needs_resize)
        self._source, self._growing, self._every = source, market, every
        self._ready = {symbol: [] for symbol in market.symbols}
        self._values: dict[str, list[tuple[float, ...]]] = {s: [] for s in market.symbols}
        self._columns = {
            symbol: tuple(_Column(self._values[symbol], at) for at in range(len(made.fields)))
            for symbol in market.symbols
        }
        self._said = dict.fromkeys(market.symbols, 0.0)

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return the signals of a step whose bars have arrived."""
        for symbol, row in zip(self._growing.symbols, rows, strict=True):
            if row >= 0:
                self._learn(symbol, self._growing.n_rows[symbol] - 1)
        found = super().signals(step, rows, equity)
        return self._changed(found, rows) if self._made.pure else found

    def restore(self, symbol: str, weight: float) -> None:
        """Take a standing target that a log tells of for the last one said."""
        self._said[symbol] = float(np.round(weight * 1e6))

    def take_past(self) -> None:
        """Take in all bars so far: they are over, and nobody decides on them."""
        for symbol, n_rows in self._growing.n_rows.items():
            if n_rows:
                self._learn(symbol, n_rows)

    def _learn(self, symbol: str, n_past: int) -> None:
        """Take in a symbol's bars that are new since the last call; ``n_past`` rows are over."""
        found = self._source.learn(symbol)
        nothing = (float("nan"),) * len(self._made.fields)
        for row in range(len(self._ready[symbol]), self._growing.n_rows[symbol]):
            ready = found is not None and bool(found.ready[row])
            values = self._source.values(symbol, found, self._made.fields, row) if ready else None
            self._ready[symbol].append(ready)
            self._values[symbol].append(nothing if values is None else values)
            if values is not None and self._made.has_state and row < n_past:
                self._warm(symbol, values)

    def _warm(self, symbol: str, values: tuple[float, ...]) -> None:
        """Let a bar of the past move the rule's state; its answer is dead."""
        self._made.call(values, (0.0,) * len(self._places), self._states[symbol])

    def _changed(self, found: list[Signal], rows: Sequence[int]) -> list[Signal]:
        """Keep the signals that a replay would give of a rule that is a function of the bars."""
        if self._every:
            heard = {signal.symbol for signal in found}
            pairs = zip(self._growing.symbols, rows, strict=True)
            silent = [symbol for symbol, row in pairs if row >= 0 and symbol not in heard]
            ts_ns = self._growing.ts_close[self._growing.step]
            return [*found, *(Signal(ts_ns, self.name, symbol, HOLD) for symbol in silent)]
        kept = []
        for signal in found:
            rounded = float(np.round(signal.weight * 1e6))
            changed = signal.weight != HOLD and rounded != self._said[signal.symbol]
            if changed or self._needs_resize(signal.symbol):
                kept.append(signal)
            if signal.weight != HOLD:
                self._said[signal.symbol] = rounded
        return kept


class _Column:
    """One field over the rows of a symbol."""

    __slots__ = ("_at", "_rows")

    def __init__(self, rows: list[tuple[float, ...]], at: int) -> None:
        self._rows, self._at = rows, at

    def __getitem__(self, row: int) -> float:
        return self._rows[row][self._at]


class GrowingAllocateRunner(AllocateRunner):
    """An ``allocate`` called at every step as its bars arrive."""

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        market: GrowingMarket,
        made: Program,
        source: LastRow,
        holdings: dict[str, Holding],
        allocation: float,
        needs_resize: Asks,
        check_allocation: CheckAllocation,
    ) -> None:
        self.use(name, strategy, market, made, holdings, allocation, needs_resize, check_allocation)
        self._source, self._growing = source, market
        self._fields = [field for field in made.fields if field != "tradable"]
        n = len(market.symbols)
        self._now_tradable = self._tradable = _Rows(np.zeros(n, np.bool_))
        self._now = {field: _Rows(np.full(n, np.nan)) for field in self._fields}
        self._matrices = self._now

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return the signals of a step whose bars have arrived."""
        n = len(self._growing.symbols)
        tradable = np.zeros(n, np.bool_)
        table = np.full((len(self._fields), n), np.nan)
        for place, (symbol, row) in enumerate(zip(self._growing.symbols, rows, strict=True)):
            found = self._source.learn(symbol) if row >= 0 else None
            if found is not None:
                tradable[place] = bool(found.ready[-1])
                table[:, place] = self._source.values(symbol, found, self._fields, row)
        tradable.setflags(write=False)
        table.setflags(write=False)
        self._now_tradable.put(step, tradable)
        for field, values in zip(self._fields, table, strict=True):
            self._now[field].put(step, values)
        return super().signals(step, rows, equity)


class _Rows:
    """The newest row of a table, by step; any other step reads as nothing."""

    def __init__(self, nothing: NDArray[Any]) -> None:
        self._nothing, self._row, self._step = nothing, nothing, -1

    def put(self, step: int, row: NDArray[Any]) -> None:
        """Make ``row`` the row of ``step``."""
        self._step, self._row = step, row

    def __getitem__(self, step: int) -> NDArray[Any]:
        return self._row if step == self._step else self._nothing


class LateRunner:
    """A runner that is built at the first bar, when the strategy's features have names."""

    def __init__(self, build: Callable[[LastRow], Runner], source: LastRow) -> None:
        self._build, self._source = build, source
        self._symbols = source.market.symbols
        self._runner: Runner | None = None
        self._standing: dict[str, float] = {}

    @property
    def program(self) -> Program:
        """The rule, compiled or plain."""
        assert self._runner is not None, "no bar has arrived"
        return self._runner.program

    def signals(self, step: int, rows: Sequence[int], equity: Callable[[], int]) -> list[Signal]:
        """Return the signals of a step, none while no symbol has features."""
        present = [s for s, row in zip(self._symbols, rows, strict=True) if row >= 0]
        runner = self._runner or self._built(present)
        return [] if runner is None else runner.signals(step, rows, equity)

    def get_ready(self) -> Program | None:
        """Build the runner from the bars so far and take them in; None where they are too few."""
        n_rows = self._source.market.n_rows
        runner = self._runner or self._built([s for s in self._symbols if n_rows[s]])
        if isinstance(runner, GrowingSlotRunner):
            runner.take_past()
        return None if runner is None else runner.program

    def learn(self, symbol: str) -> None:
        """Compute a symbol's features and forget them."""
        self._source.learn(symbol)

    def _built(self, present: Sequence[str]) -> Runner | None:
        """Build the runner, if a symbol among ``present`` has features."""
        if not any(self._source.learn(symbol) for symbol in present):
            return None
        self._runner = self._build(self._source)
        for symbol, weight in self._standing.items():
            self._runner.restore(symbol, weight)
        return self._runner

    def restore(self, symbol: str, weight: float) -> None:
        """Take a standing target that a log tells of for the last one said."""
        self._standing[symbol] = weight
        if self._runner is not None:
            self._runner.restore(symbol, weight)

    def next_step(self, step: int) -> int:
        """Return the next step."""
        return step + 1


def make_live_runner(
    name: str,
    strategy: Strategy,
    market: Market,
    holdings: dict[str, Holding],
    allocation: float,
    *,
    needs_resize: Asks,
    check_allocation: CheckAllocation,
    every: bool,
) -> Runner | None:
    """Return the runner of a strategy, None for one that trades in its hooks alone."""
    assert isinstance(market, GrowingMarket), "live strategies run on a growing market"
    if strategy.kind == "event":
        return None

    def build(source: LastRow) -> Runner:
        made = program(strategy, source.names)
        if strategy.kind == "allocate":
            return GrowingAllocateRunner(
                name, strategy, market, made, source, holdings, allocation, needs_resize,
                check_allocation,
            )  # fmt: skip
        return GrowingSlotRunner(
            name, strategy, market, made, source, holdings, allocation, needs_resize, every
        )

    return LateRunner(build, LastRow(strategy, market))
