"""The compiled evaluator: chunks of combinations through the kernel, on threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats
from mqd.kernel.layout import DONE, REJECTED
from mqd.kernel.market import Market, market_of
from mqd.kernel.program import Batch, Inputs, Kernel, Ready, kernel_of, no_room
from mqd.kernel.program import blank as no_batch
from mqd.kernel.settings import settings_of
from mqd.kernel.single import failure, share_of
from mqd.market_data.bars import Bars
from mqd.strategy.compiled import refuse_texts
from mqd.strategy.feature_table import FeaturePlan, FeatureTable
from mqd.strategy.strategy import Strategy
from mqd.sweeps.evaluate import Columns, DeskEvaluator, Job, Outcome, blank
from mqd.sweeps.summary import metric_columns

_EXITS = ("stop_loss_frac", "take_profit_frac", "trailing_stop_frac")
_SLICES = 4
_MEGABYTE = 2**20


class _Unit(NamedTuple):
    """What one combination runs on, laid out once: bars, market, and a plan a symbol."""

    bars: Bars
    market: Market
    plans: tuple[FeaturePlan, ...]


class CompiledEvaluator:
    """Runs each row through the compiled loop. A weight or rule that fails ends its row alone.

    Raises ``NotCompilable`` with the reason when only the desk can run the job.
    """

    engine = "compiled"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._strategy = job.strategy_cls()
        refuse_texts(self._strategy)
        self._desk = DeskEvaluator(job)
        self.notes: tuple[str, ...] = ()
        self._kernels: dict[bool, Kernel] = {}
        self._threads = job.settings.workers or os.cpu_count() or 1
        self._units = [self._lay_out(bars) for bars in job.units]
        self._alone = self._units[0].market.alone
        first = {name: np.array([getattr(self._strategy, name)]) for name in job.parameters}
        names = self._features(self._units[0], first)[0].names
        self._names = names
        self._kernel(holes=False)

    def __call__(self, columns: Columns) -> Outcome:
        """Return the rows of a chunk, in order."""
        if not columns:
            columns = {
                name: np.array([getattr(self._strategy, name)]) for name in self._job.parameters
            }
        n = len(next(iter(columns.values()))) if columns else 1
        outcome = blank(n * len(self._units))
        failed = [""] * (n * len(self._units))
        for place, unit in enumerate(self._units):
            for part in self._chunks(unit, columns):
                at = slice(place + part.start * len(self._units), None, len(self._units))
                chunk = {name: values[part] for name, values in columns.items()}
                self._compute(unit, chunk, part.stop - part.start, outcome, failed, at)
        return outcome._replace(failed=tuple(failed))

    def _compute(
        self, unit: _Unit, columns: Columns, n: int, outcome: Outcome, failed: list[str],
        at: slice,
    ) -> None:  # fmt: skip
        """Run a chunk on a unit; its rows are those from ``at.start`` on, ``at.step`` apart."""
        rows = range(at.start, at.start + n * at.step, at.step)
        batch, raised = self._run(unit, columns, n)
        self._put(outcome, slice(rows.start, rows.stop, rows.step), unit, batch)
        for c in np.flatnonzero(batch.accounts["status"] != DONE).tolist():
            failed[rows[c]] = self._fail(outcome, rows[c], unit, batch.accounts[c], columns, c)
        for c, why in raised.items():
            failed[rows[c]] = why
            clear(outcome, rows[c])

    def _chunks(self, unit: _Unit, columns: Columns) -> Iterable[slice]:
        """Cut combinations so that the features of a chunk take half of their memory."""
        if not columns:
            return [slice(0, 1)]
        return unit.plans[0].chunks(columns, self._budget(unit))

    def _budget(self, unit: _Unit) -> int:
        return self._job.settings.memory_mb * _MEGABYTE // 2 // len(unit.plans)

    # --- what a unit and a chunk are made of ---------------------------------------------------

    def _lay_out(self, bars: Bars) -> _Unit:
        settings = settings_of(bars, **self._job.settings.backtest_words())
        plans = tuple(
            FeaturePlan(self._job.strategy_cls, bars[symbol], self._job.parameters, {})
            for symbol in bars.symbols
        )
        return _Unit(bars, market_of(bars, settings, self._job.strategy_cls.__name__), plans)

    def _features(self, unit: _Unit, columns: Columns) -> list[FeatureTable]:
        return [plan.table(columns, self._budget(unit)) for plan in unit.plans]

    def _kernel(self, *, holes: bool) -> Kernel:
        if holes not in self._kernels:
            self._kernels[holes] = kernel_of(
                self._strategy, self._names, holes=holes, alone=self._alone
            )
        return self._kernels[holes]

    def _inputs(self, unit: _Unit, columns: Columns, n: int) -> tuple[Kernel, Ready]:
        tables = self._features(unit, columns)
        holes = any(table.holes for table in tables)
        kernel = self._kernel(holes=holes)
        longest = max(len(unit.bars[symbol]) for symbol in unit.bars.symbols)
        n_features = len(self._names)
        matrices = [
            _stacked([table.matrices[f] for table in tables], longest) for f in range(n_features)
        ]
        for name in kernel.text.fields[n_features:]:
            lines = [getattr(unit.bars[symbol], name)[None, :] for symbol in unit.bars.symbols]
            matrices.append(_stacked([np.ascontiguousarray(one) for one in lines], longest))
        index = np.zeros((len(matrices), len(tables), n), dtype=np.int64)
        start = np.zeros((len(tables), n), dtype=np.int64)
        for p, table in enumerate(tables):
            for f in range(n_features):
                index[f, p] = table.index[f]
                if not holes:  # else every bar is looked at: rows before a hole are known too
                    np.maximum(start[p], table.first[f][table.index[f]], out=start[p])
        parameters = tuple(self._column(name, columns, n) for name in kernel.text.parameters)
        exits = np.stack([self._column(name, columns, n) for name in _EXITS], axis=1)
        exits = np.ascontiguousarray(exits, np.float64)
        return kernel, kernel.ready(Inputs(tuple(matrices), index, start, parameters, exits))

    def _column(self, name: str, columns: Columns, n: int) -> NDArray[Any]:
        value = getattr(self._strategy, name)
        dtype = np.array(value).dtype
        if name in columns:
            return np.ascontiguousarray(columns[name], dtype=dtype)
        return np.full(n, value, dtype=dtype)

    # --- running it ------------------------------------------------------------------------------

    def _run(self, unit: _Unit, columns: Columns, n: int) -> tuple[Batch, dict[int, str]]:
        kernel, ready = self._inputs(unit, columns, n)
        share = share_of(self._strategy, unit.bars)
        width = n if self._threads == 1 else max(1, -(-n // (self._threads * _SLICES)))
        cuts = [(a, min(a + width, n)) for a in range(0, n, width)]
        batch, raised = no_batch(n), dict[int, str]()

        def run(cut: tuple[int, int]) -> None:
            try:
                kernel(unit.market, ready, share, cut, no_room(), batch)
            except Exception:  # noqa: BLE001 - the user's rule raised: found one by one
                self._one_by_one(kernel, unit, ready, share, cut, batch, raised)

        if len(cuts) == 1:
            run(cuts[0])
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(run, cuts))
        return batch, raised

    def _one_by_one(
        self, kernel: Kernel, unit: _Unit, ready: Ready, share: float, cut: tuple[int, int],
        batch: Batch, raised: dict[int, str],
    ) -> None:  # fmt: skip
        for c in range(*cut):
            try:
                kernel(unit.market, ready, share, (c, c + 1), no_room(), batch)
            except Exception as error:  # noqa: BLE001 - whatever the user's rule raises
                name = type(self._strategy).__name__
                raised[c] = f"{name}.{kernel.kind} raised {type(error).__name__}: {error}"
                batch.accounts[c], batch.moments[c] = no_batch(1).accounts[0], 0.0

    # --- rows ----------------------------------------------------------------------------------

    def _put(self, outcome: Outcome, rows: slice, unit: _Unit, batch: Batch) -> None:
        outcome.moments[rows] = batch.moments
        for name, values in metric_columns(unit.market, batch).items():
            outcome.columns[name][rows] = values

    def _fail(
        self, outcome: Outcome, row: int, unit: _Unit, account: np.void, columns: Columns, c: int
    ) -> str:
        """Return why a row has no numbers; what only the desk can run, it runs."""
        clear(outcome, row)
        chosen = {name: values[c : c + 1].tolist()[0] for name, values in columns.items()}
        strategy: Strategy = self._job.strategy_cls(**chosen)
        if account["status"] == REJECTED:
            return self._desk.fill(outcome, row, strategy, unit.bars)
        return str(failure(strategy, unit.bars, unit.market, account))


def clear(outcome: Outcome, row: int) -> None:
    """Empty a row that has no numbers."""
    outcome.moments[row] = 0.0
    for column in outcome.columns.values():
        column[row] = 0 if column.dtype.kind == "i" else np.nan


def _stacked(lines: Sequence[Floats], longest: int) -> Floats:
    """Return float64 (symbol, distinct, row) of one matrix a symbol, padded with NaN."""
    if len(lines) == 1:
        return np.ascontiguousarray(lines[0])[None]
    distinct = max(len(one) for one in lines)
    out = np.full((len(lines), distinct, longest), np.nan)
    for p, one in enumerate(lines):
        out[p, : one.shape[0], : one.shape[1]] = one
    return out
