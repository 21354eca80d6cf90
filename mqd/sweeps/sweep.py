"""``sweep``: every combination of a grid, or a search of it, backtested."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from mqd import trials
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import EmptyBars, UsageError
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars, load_bars
from mqd.portfolio.sizing import Sizer
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits
from mqd.strategy.compiled import fingerprint
from mqd.strategy.strategy import Strategy
from mqd.sweeps.bars_file import BarsFile
from mqd.sweeps.constraint import Constraint, Where
from mqd.sweeps.evaluate import Job, Outcome, evaluator
from mqd.sweeps.grid import Grid, grid_of
from mqd.sweeps.metrics import check_metric, scores
from mqd.sweeps.parts import RESERVED, Layout, Part
from mqd.sweeps.pools import Pool, Workers, pool_of
from mqd.sweeps.progress import Progress, peak_mb
from mqd.sweeps.result import Ran, Sweep
from mqd.sweeps.search import Block, Search, SearchName, search_of
from mqd.sweeps.settings import Engine, SweepSettings, Symbols, sweep_settings
from mqd.sweeps.store import FileStore, MemoryStore, Store
from mqd.sweeps.workers import Here, OnWorkers, Runner, surveyed

Dataset = Bars | str | Path
Progressed = Generator[tuple[float, int]]

COMPILED_EVALUATIONS: Final = 500_000
"""Bar evaluations from which on compiling a strategy takes less time than the desk would."""

COMPILED_CHUNK: Final = 50e6
EVENT_CHUNK: Final = 20e3
"""Bars that one chunk evaluates: a fraction of a second, then the rows are kept."""
EVENT_OVERHEAD: Final = 500
"""What the beginning of a run costs in the desk, in bars."""
REMOTE_CHUNKS: Final = 20
"""Compiled chunks that a worker runs in one go: seconds, beside which reading bars is little."""
ROW_BYTES: Final = 2_000
"""What a row takes on its way: metrics, moments, and their copies."""


def sweep(
    strategy_cls: type[Strategy],
    bars: Bars | Mapping[str, Dataset],
    grid: Mapping[str, Any],
    *,
    where: Where = None,
    symbols: Symbols = "apart",
    search: SearchName = "grid",
    n: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    memory_mb: int = 400,
    workers: Workers = None,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    account: Literal["margin", "cash"] = "margin",
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
    seed: int = 0,
    engine: Engine = "auto",
    study: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    metric: str = "sharpe",
) -> Sweep:
    """Backtest ``strategy_cls`` with many combinations of parameters and return all their results.

    ``grid`` maps parameters to values (``mqd.sweeps.grid``): ranges, lists, arrays, or single
    values; what it leaves out has the strategy's default. ``where`` keeps the combinations for
    which it is true: a function of a dict (``lambda p: p["fast"] < p["slow"]``) or a text
    (``"fast < slow"``). ``bars``: the data, or several named datasets ``{"train": ...}``.
    A named dataset may be the path of a file for ``mqd.load_bars``.
    ``symbols="apart"`` runs each symbol with its own account, ``"pooled"`` all with one.

    ``search="grid"`` runs all; ``"random"`` draws ``n`` by ``seed`` without replacement;
    ``"optuna"`` asks Optuna's TPE sampler for ``n``, to make ``metric`` better (its mean over
    symbols and datasets). With those two ``(low, high)`` is a range of values.

    ``resume="x.parquet"`` keeps results in that file while they come in: after a kill or Ctrl-C
    the same call goes on where it stopped and returns the table of a sweep that was never
    stopped; a file of another strategy, grid, setting or data is refused. Without it, results
    beyond ``memory_mb`` (MiB, for features and results together) wait in a temporary folder.

    ``cash ... seed`` are those of ``mqd.backtest``. ``engine="auto"`` is the compiled loop, and
    the desk when the strategy cannot be compiled (``Sweep.notes`` say why, and what it costs) or
    the sweep is so small (below 500,000 bar evaluations) that compiling would take longer.
    ``workers``: threads; None takes all cores. Or where else: a Dask ``Client``, ``"dask"`` (the
    one that is open, else that of Dask's setting ``scheduler-address``), a scheduler's address
    ``"tcp://..."``, ``"ray"``, or a joblib backend such as
    ``"loky"`` (processes of this machine): the same rows to the bit, in the same order. Bars are
    sent to each worker once, datasets that are paths are read by the workers (one absolute path
    must be one file on all of them), what a worker that dies had in hand is computed again
    (``WorkersLost`` when they keep dying). ``memory_mb`` then holds for each.

    ``study``: a folder in which every combination tried is counted (``mqd.trials``).
    ``progress``: a bar on stderr; None shows it on a terminal and in notebooks.

    A combination whose rule raises or returns no weight ends as a failed row. Ctrl-C returns
    what is done, with a note. Raises ``ConfigError``, ``StrategyError``, ``DataError``,
    ``MoneyError``; ``SweepFileTaken`` while another sweep writes the file; ``SweepWriteFailed``
    when the disk is full: what was written is kept.
    """
    began_ns = WallClock().monotonic_ns()
    settings = sweep_settings(
        cash=cash, sizer=sizer, costs=costs, fills=fills, limits=limits, rules=rules,
        account=account, multiplier=multiplier, rebalance_band_frac=rebalance_band_frac,
        seed=seed, engine=engine, memory_mb=memory_mb,
        workers=workers if workers is None or isinstance(workers, int) else 1,
    )  # fmt: skip
    check_metric(metric)
    pool = pool_of(workers)
    try:
        plan = _plan(strategy_cls, bars, grid, where, symbols, search, n, metric, settings, pool)
        counted = _Counted(plan, study)
        return _run(plan, _store(plan, resume), counted, progress, began_ns)
    finally:
        if pool is not None:
            pool.close()


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided before the first combination runs."""

    jobs: tuple[Job, ...]
    layout: Layout
    grid: Grid
    constraint: Constraint
    search: Search
    runner: Runner
    metric: str

    @property
    def n_bars(self) -> int:
        """Bars that one combination evaluates, over all datasets."""
        return sum(job.bars.n_bars for job in self.jobs)

    @property
    def engine(self) -> str:
        """What computes: "compiled", or "event" when any dataset needs the desk."""
        return self.runner.engine

    @property
    def notes(self) -> tuple[str, ...]:
        """What the evaluators have to say by now: those of the first dataset that has any."""
        return self.runner.notes

    @property
    def chunk(self) -> int:
        """Combinations a block: a chunk here, ``runner.slices`` of them on workers."""
        settings = self.jobs[0].settings
        compiled = self.engine == "compiled"
        threads = settings.workers or os.cpu_count() or 1
        n_units = max(len(symbols) or 1 for symbols in self.layout.symbols)
        n_bars = self.n_bars
        if isinstance(self.runner, OnWorkers):
            n_bars = max(job.bars.n_bars for job in self.jobs)
            threads = REMOTE_CHUNKS * self.runner.slices
        by_time = COMPILED_CHUNK * threads / max(n_bars, 1)
        if not compiled:
            by_time = EVENT_CHUNK * self.runner.slices / (n_bars + EVENT_OVERHEAD * n_units)
        by_memory = settings.memory_mb * 2**20 / 8 / (ROW_BYTES * n_units)
        return max(int(min(by_time, by_memory)), 1)

    def identity(self) -> dict[str, str]:
        """Return what decides the numbers of this sweep, by name, as text."""
        job = self.jobs[0]
        first = next(self.search.blocks(1)).columns
        strategy = job.strategy_cls(**{k: v[0].item() for k, v in first.items()})
        names = self.layout.datasets or ("data",)
        from mqd import __version__

        return {
            "mqd": __version__,
            "strategy": job.strategy_cls.__name__,
            "code": fingerprint(strategy),
            "engine": self.engine,
            **{f"grid of {name}": axis.text for name, axis in self.grid.axes.items()},
            "where": self.constraint.text,
            "search": self.search.text,
            "symbols": job.symbols,
            **job.settings.identity(),
            **{
                f"bars of {name}": f"{','.join(one.bars.symbols)} {one.bars.sha256}"
                for name, one in zip(names, self.jobs, strict=True)
            },
        }


def _plan(
    strategy_cls: type[Strategy],
    bars: Bars | Mapping[str, Dataset],
    grid: Mapping[str, Any],
    where: Where,
    symbols: Symbols,
    search: SearchName,
    n: int | None,
    metric: str,
    settings: SweepSettings,
    pool: Pool | None,
) -> Plan:
    if symbols not in ("apart", "pooled"):
        raise UsageError(f"symbols = {symbols!r}; it must be 'apart' or 'pooled'.")
    axes = grid_of(strategy_cls, grid, ranges=search != "grid")
    for name in axes.axes:
        if name in RESERVED:
            raise UsageError(f"The parameter {name!r} is named like a column of the table.")
    datasets = _datasets(bars, pool)
    constraint = Constraint(where, tuple(axes.axes))
    found = search_of(search, axes, constraint, n=n, seed=settings.seed, metric=metric)
    n_bars = sum(one.n_bars for one in datasets.values())
    if settings.engine == "auto" and found.total * n_bars < COMPILED_EVALUATIONS:
        settings = replace(settings, engine="event")
    jobs = tuple(
        Job(strategy_cls, one, settings, symbols, tuple(axes.axes)) for one in datasets.values()
    )
    named = () if isinstance(bars, Bars) else tuple(datasets)
    units = tuple(one.symbols if symbols == "apart" else () for one in datasets.values())
    return Plan(
        jobs, Layout(named, units), axes, constraint, found,
        Here([evaluator(job) for job in jobs]) if pool is None else OnWorkers(pool, jobs), metric,
    )  # fmt: skip


def _datasets(bars: Bars | Mapping[str, Dataset], pool: Pool | None) -> dict[str, Bars | BarsFile]:
    named = {"": bars} if isinstance(bars, Bars) else bars
    shape: object = named
    if not isinstance(shape, Mapping) or not shape:
        raise UsageError(
            f"bars is {bars!r}: give Bars (mqd.load_bars(path)), or named ones {{'train': bars}}."
        )
    for name, one in named.items():
        pair: tuple[object, object] = (name, one)
        if not (isinstance(pair[0], str) and isinstance(pair[1], Bars | str | Path)):
            raise UsageError(
                f"bars[{name!r}] is {type(one).__name__}; names go with Bars or a file's path."
            )
        if isinstance(one, Bars) and (
            not one.symbols or any(len(one[symbol]) == 0 for symbol in one.symbols)
        ):
            raise EmptyBars(name or one.source, "nothing is there to replay")
    paths = {name: Path(one) for name, one in named.items() if not isinstance(one, Bars)}
    read: Mapping[str, Bars | BarsFile]
    if pool is None:
        read = {name: load_bars(path) for name, path in paths.items()}
    else:
        read = surveyed(pool, paths)
    return {name: one if isinstance(one, Bars) else read[name] for name, one in named.items()}


def _store(plan: Plan, resume: str | os.PathLike[str] | None) -> Store:
    if resume is None:
        return MemoryStore(plan.layout, plan.jobs[0].settings.memory_mb / 4)
    store = FileStore(resume, plan.layout, plan.identity())
    if not store.is_whole:
        plan.search.write_to(store.path.with_suffix(".optuna.journal"))
    return store


def _run(
    plan: Plan,
    store: Store,
    counted: _Counted,
    progress: bool | None,
    began_ns: int,
) -> Sweep:
    notes: list[str] = []
    n_new = n_seen = n_more = 0
    whole = False
    try:
        kept = [_Kept(store.parts(place, moments=False)) for place in range(len(plan.jobs))]
        with Progress(plan.search.total, plan.n_bars, progress) as bar:
            n_done = store.done(0) if store.is_whole else 0
            for block in () if store.is_whole else plan.search.blocks(plan.chunk):
                for share, n_more in _block(plan, store, kept, block):
                    seen = n_seen + int((block.seen - n_seen) * share)
                    bar.reached(seen, n_new + int(n_more * share), plan.notes)
                n_new, n_seen = n_new + n_more, block.seen
                n_done = block.first + block.n
                counted.reached(n_done)
            counted.reached(n_done)
        whole = True
    except KeyboardInterrupt:
        n_done = min(store.done(place) for place in range(len(plan.jobs)))
        if not n_done:
            raise
        notes.append(_stopped(n_done, store))
    finally:
        store.finish(whole=whole)
    seconds = max(WallClock().monotonic_ns() - began_ns, 1) / NS_PER_S
    return Sweep(
        Ran(
            jobs=plan.jobs, layout=plan.layout, parameters=tuple(plan.grid.axes), store=store,
            n_combinations=n_done, engine=plan.engine, seconds=seconds,
            bar_evaluations_per_s=n_new * plan.n_bars / seconds, peak_mb=peak_mb(),
            n_trials=counted.n, is_whole=whole, notes=(*notes, *plan.notes),
        )
    )  # fmt: skip


def _block(plan: Plan, store: Store, kept: Sequence[_Kept], block: Block) -> Progressed:
    """Evaluate what of a block is not kept yet, and keep it.

    Yields the share of it that is done by now, and how many combinations are new with all of it.
    """
    adaptive = plan.search.adaptive
    first = {place: max(store.done(place), block.first) for place in range(len(plan.jobs))}
    n_wanted = {place: max(block.first + block.n - at, 0) for place, at in first.items()}
    wanted = {
        place: {name: values[block.n - n :] for name, values in block.columns.items()}
        for place, n in n_wanted.items()
        if n
    }
    outcomes: dict[int, Outcome] = {}
    n_new, n_kept, n_all = max(n_wanted.values()), 0, sum(n_wanted.values())
    with closing(plan.runner.pieces(wanted, whole=adaptive)) as pieces:
        for place, columns, outcome in pieces:
            part = Part(place, first[place], columns, outcome)
            store.add(part)
            first[place] += part.n
            n_kept += part.n
            if adaptive:
                outcomes[place] = outcome
            yield n_kept / n_all, n_new
    if adaptive:
        found = [
            outcomes[place] if place in outcomes else kept[place].block(block) for place in first
        ]
        values = [scores(plan.metric, one.columns[plan.metric]) for one in found]
        rows = [one.reshape(block.n, -1) for one in values]
        plan.search.tell(block, np.concatenate(rows, axis=1).mean(axis=1))
    yield 1.0, n_new


class _Kept:
    """What is kept of blocks that a resumed search asks for again, one after the other."""

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._part: Part | None = None

    def block(self, block: Block) -> Outcome:
        """Return the rows of a block, which lies in one part."""
        part = self._part
        while part is None or block.first >= part.first + part.n:
            part = self._part = next(self._parts)
        return part.tail(block.first - part.first).head(block.n).outcome


def _stopped(n_done: int, store: Store) -> str:
    kept = f"Stopped by Ctrl-C: the first {n_done:,} combinations are kept"
    if isinstance(store, FileStore):
        return f"{kept} in {store.folder}; the same call with resume= goes on from there."
    return f"{kept}."


class _Counted:
    """The trials of this sweep in its study's folder: every row is one."""

    def __init__(self, plan: Plan, study: str | os.PathLike[str] | None) -> None:
        self._folder = None if study is None else Path(study)
        self._n_rows = sum(len(symbols) or 1 for symbols in plan.layout.symbols)
        self.n = 0
        if self._folder is not None:
            same = {k: v for k, v in plan.identity().items() if k not in ("engine", "mqd")}
            self._identity = hashlib.sha256(repr(sorted(same.items())).encode()).hexdigest()

    def reached(self, n_combinations: int) -> None:
        """Count the rows of the combinations so far; ``n`` is the study's count then."""
        self.n = n_combinations * self._n_rows
        if self._folder is not None:
            self.n = trials.record(self._folder, "sweep", self.n, self._identity).n
