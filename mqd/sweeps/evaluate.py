"""One chunk of combinations in, its metrics out: the seam that every way to compute shares.

Local threads, the desk and clusters all call an ``Evaluator``; who calls does not change a bit
of what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mqd.backtesting import backtest
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import AmountTooLarge, BadWeight, NotCompilable, StrategyRaised
from mqd.market_data.bars import Bars
from mqd.result import Result
from mqd.significance import N_BLOCKS, block_moments
from mqd.statistics import returns_from_equity
from mqd.strategy.strategy import Strategy
from mqd.sweeps.bars_file import BarsFile
from mqd.sweeps.settings import SweepSettings, Symbols

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]

BLOCKS: Final = N_BLOCKS
METRICS: Final = (
    "final_equity", "total_return_frac", "cagr_frac", "volatility_frac", "sharpe", "sortino",
    "calmar", "max_drawdown_frac", "exposure_frac", "turnover_frac", "fees_usd", "n_orders",
    "n_denied", "n_fills", "n_trades", "win_rate_frac", "profit_factor", "ambiguous_bars",
    "capped_fills", "trimmed_fills",
)  # fmt: skip
"""The metric columns of a sweep, defined as in ``mqd.statistics``."""

COUNTS: Final = frozenset(
    {"n_orders", "n_denied", "n_fills", "n_trades"}
    | {"ambiguous_bars", "capped_fills", "trimmed_fills"}
)
"""Those of ``METRICS`` that are int64; the others are float64."""

COMPILED_RATE_MIN: Final = 25e6
"""Bars a second and thread that a compiled sweep evaluates at least: what "slower" is told by."""


class Job(NamedTuple):
    """One strategy over one dataset, as it is sent to where it is computed.

    ``parameters``: the names of the grid; all others have the class's defaults. ``bars`` may be a
    file, which ``data`` reads.
    """

    strategy_cls: type[Strategy]
    bars: Bars | BarsFile
    settings: SweepSettings
    symbols: Symbols
    parameters: tuple[str, ...]

    @property
    def data(self) -> Bars:
        """The bars, read when they are a file."""
        return self.bars.load() if isinstance(self.bars, BarsFile) else self.bars

    @property
    def units(self) -> tuple[Bars, ...]:
        """What one combination runs on: each symbol alone when apart, all at once when pooled."""
        bars = self.data
        if self.symbols == "pooled":
            return (bars,)
        return tuple(bars.select([symbol]) for symbol in bars.symbols)


class Outcome(NamedTuple):
    """A chunk's rows: for each combination in turn, one row a unit.

    ``columns``: ``METRICS`` to arrays of (rows,), int64 for ``COUNTS``, else float64.
    ``moments``: float64 (rows, 16, 5): a time block's n and sums of r, r^2, r^3, r^4 of the
    returns a bar; step k of n_steps is in block k * 16 // n_steps. ``failed``: "" or why the row
    has no numbers; its columns are NaN or 0.
    """

    columns: dict[str, NDArray[Any]]
    moments: Floats
    failed: tuple[str, ...]


class Evaluator(Protocol):
    """Computes chunks. ``engine`` is "compiled" or "event"; ``notes`` are told once each."""

    @property
    def engine(self) -> str:
        """Which engine computes: "compiled" or "event"."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know; may grow with the first chunk."""

    def __call__(self, columns: Columns) -> Outcome:
        """Return the rows of a chunk: ``columns`` has one value a combination and parameter."""


def evaluator(job: Job) -> Evaluator:
    """Return the compiled evaluator of a job, or the desk's, by ``job.settings.engine``.

    "auto" takes the desk when the strategy cannot be compiled; its ``notes`` say why. With
    "compiled" that raises ``NotCompilable``.
    """
    if job.settings.engine == "event":
        return DeskEvaluator(job)
    try:
        from mqd.sweeps.compiled import CompiledEvaluator

        return CompiledEvaluator(job)
    except NotCompilable as error:
        if job.settings.engine == "compiled":
            raise
        return DeskEvaluator(job, why=str(error))


class DeskEvaluator:
    """Runs each row through the desk. A weight or a rule that fails ends its row alone."""

    engine = "event"

    def __init__(self, job: Job, why: str = "") -> None:
        self._job = job
        self._why = why
        self._clock = WallClock()
        self._bars_per_s = 0.0
        self._rates: list[float] = []
        self._units = job.units
        self._words = job.settings.backtest_words()

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the desk runs instead of the compiled loop, and how much slower; after a chunk."""
        if not self._why or not self._bars_per_s:
            return ()
        times = max(COMPILED_RATE_MIN / self._bars_per_s, 1.0)
        told = (
            f"{self._job.strategy_cls.__name__} is swept by the event engine: {self._why} It"
            f" evaluates about {self._bars_per_s:,.0f} bars/s, at least {times:,.0f} times slower"
            " than the compiled loop."
        )
        return (told,)

    def __call__(self, columns: Columns) -> Outcome:
        """Return the rows of a chunk, in order."""
        names = list(columns)
        values = [columns[name].tolist() for name in names]
        n_rows = len(values[0]) * len(self._units)
        outcome = blank(n_rows)
        failed = [""] * n_rows
        row = 0
        for combination in zip(*values, strict=True):
            strategy = self._job.strategy_cls(**dict(zip(names, combination, strict=True)))
            for unit in self._units:
                failed[row] = self.fill(outcome, row, strategy, unit)
                row += 1
        if not self._bars_per_s and self._rates:
            self._bars_per_s = max(self._rates)  # the first run also compiles the rule
        return outcome._replace(failed=tuple(failed))

    def fill(self, outcome: Outcome, row: int, strategy: Strategy, unit: Bars) -> str:
        """Run one row and write it; return "" or why it has no numbers."""
        began = self._clock.monotonic_ns()
        try:
            result = backtest(strategy, unit, engine="event", **self._words)
        except (AmountTooLarge, BadWeight, StrategyRaised) as error:
            return str(error)
        took = max(self._clock.monotonic_ns() - began, 1)
        self._rates.append(unit.n_bars * NS_PER_S / took)
        put(outcome, row, result)
        return ""


def blank(n_rows: int) -> Outcome:
    """Return the outcome of rows that all have failed: NaN, counts and moments 0."""
    columns = {
        name: np.zeros(n_rows, np.int64) if name in COUNTS else np.full(n_rows, np.nan)
        for name in METRICS
    }
    return Outcome(columns, np.zeros((n_rows, BLOCKS, 5)), ("",) * n_rows)


def put(outcome: Outcome, row: int, result: Result) -> None:
    """Write a run's metrics and moments into one row."""
    for name, column in outcome.columns.items():
        column[row] = result.metrics[name]
    equity = result.equity["equity"].to_numpy()
    outcome.moments[row] = block_moments(returns_from_equity(equity, result.starting_equity))
