"""``mqd walk-forward``: choose parameters in each train span, trade them in the span behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mqd.cli import output
from mqd.cli.sweep import Repeated, check_named, grid_from_text
from mqd.cli.words import (
    ACCOUNT,
    COSTS,
    FILLS,
    AccountWords,
    CostWords,
    DataWords,
    FillWords,
    bars_of,
    pairs_of,
    settings_of,
    workers_of,
)
from mqd.errors import UsageError


@Parameter(name="*")
@dataclass(frozen=True)
class WindowWords:
    """How the bars are cut, and what is chosen in each window."""

    train: int
    """Length of a train span, in --unit."""
    test: int
    """Length of a test span, in --unit; windows move on by it."""
    unit: Literal["bars", "sessions", "days"] = "bars"
    """What lengths count: bars, sessions or calendar days."""
    gap: int = 0
    """Left out between train and test, in --unit."""
    anchored: bool = False
    """Every train span begins at the first bar."""
    short_last: bool = False
    """Trade a last test span that is shorter, too."""
    metric: str = "sharpe"
    """What the chosen combination has most of in the train span."""
    where: str | None = None
    """Keep the combinations for which this holds, such as 'fast<slow'."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """All of the grid, a draw of it, or Optuna's choice."""
    n: int | None = None
    """Combinations that random and optuna run, a window."""


@Parameter(name="*")
@dataclass(frozen=True)
class WalkWords:
    """How it runs and what it leaves behind."""

    engine: Literal["auto", "event", "compiled"] = "auto"
    """Which engine; auto compiles where it can."""
    study: Path | None = None
    """Folder in which the combinations tried are counted."""
    memory_mb: int = 400
    """What features and results of a window may take, MiB."""
    workers: str | None = None
    """Threads, all cores when left out; or a Dask cluster: its scheduler's address, such as
    tcp://10.0.0.5:8786, or dask for the one that DASK_SCHEDULER_ADDRESS names."""
    seed: int = 0
    """Seed of random and optuna."""
    json: bool = False
    """Print one JSON document to stdout."""


def walk_forward(
    strategy: str,
    /,
    *,
    data: DataWords,
    window: WindowWords,
    grid: Annotated[Repeated, Parameter(name="--grid")] = (),
    set_: Annotated[Repeated, Parameter(name="--set")] = (),
    costs: CostWords = COSTS,
    fills: FillWords = FILLS,
    account: AccountWords = ACCOUNT,
    run: WalkWords = WalkWords(),
) -> int:
    """Choose in each train span, trade the test span behind it, print windows and metrics.

    Parameters
    ----------
    strategy
        A library name (sma_cross), module:Class or path.py:Class.
    grid
        Values of a parameter: name=5:60 (60 included), name=20:250:5 (in steps), name=1,2,3; may
        be repeated, the last one changes fastest. With --search random or optuna name=5:60 is a
        range.
    set_
        A parameter with one value, name=value; may be repeated.
    """
    import mqd
    from mqd.strategy.loading import parameters_from_text, resolve

    kind = resolve(strategy)
    texts = pairs_of(grid, "--grid", "fast=5:60")
    axes = grid_from_text(kind, texts, ranges=window.search != "grid")
    fixed = parameters_from_text(kind, pairs_of(set_, "--set", "fast=20"))
    twice = axes.keys() & fixed.keys()
    if twice:
        raise UsageError(f"{min(twice)} is named by --grid and by --set: keep one.")
    check_named(axes | fixed)
    found = mqd.walk_forward(
        kind, bars_of(data), axes | fixed, train=window.train, test=window.test,
        unit=window.unit, gap=window.gap, anchored=window.anchored, short_last=window.short_last,
        metric=window.metric, where=window.where, search=window.search, n=window.n,
        study=run.study, memory_mb=run.memory_mb, workers=workers_of(run.workers),
        **settings_of(costs, fills, account, run.engine, run.seed),
    )  # fmt: skip
    if not run.json:
        print(found)
        return 0
    output.print_json(found.summary())
    for note in found.notes:
        output.say(note)
    return 0
