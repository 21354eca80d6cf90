"""``mqd sweep``: backtest every combination of a grid, and say how much of the best is luck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from mqd.cli import output
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
from mqd.errors import UnknownParameter, UsageError

if TYPE_CHECKING:
    from mqd import Sweep
    from mqd.strategy.parameters import Declared
    from mqd.strategy.strategy import Strategy

INTERRUPTED: Final = 130
VALUES_MAX: Final = 1_000_000
ROWS_SHOWN: Final = 20
Repeated = Annotated[tuple[str, ...], Parameter(show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True)
class SearchWords:
    """Which combinations are run."""

    where: str | None = None
    """Keep the combinations for which this holds, such as 'fast<slow'."""
    search: Literal["grid", "random", "optuna"] = "grid"
    """All of the grid, a draw of it, or Optuna's choice."""
    n: int | None = None
    """Combinations that random and optuna run."""
    pooled: bool = False
    """One account for all symbols; by default each has its own."""
    metric: str = "sharpe"
    """What the best has most of, and what optuna searches for."""


@Parameter(name="*")
@dataclass(frozen=True)
class SweepWords:
    """How it runs and what it leaves behind."""

    engine: Literal["auto", "event", "compiled"] = "auto"
    """Which engine; auto compiles where it can."""
    out: Path | None = None
    """New .parquet file of all rows; refused when it exists."""
    resume: Path | None = None
    """The same, but a sweep that was stopped goes on."""
    report: Path | None = None
    """HTML page to write."""
    study: Path | None = None
    """Folder in which the combinations tried are counted."""
    memory_mb: int = 400
    """What features and results may take, MiB."""
    workers: str | None = None
    """Threads, all cores when left out; or a Dask cluster: its scheduler's address, such as
    tcp://10.0.0.5:8786, or dask for the one that DASK_SCHEDULER_ADDRESS names."""
    seed: int = 0
    """Seed of random and optuna."""
    json: bool = False
    """Print one JSON document to stdout."""


def sweep(
    strategy: str,
    /,
    *,
    data: DataWords,
    grid: Annotated[Repeated, Parameter(name="--grid")] = (),
    set_: Annotated[Repeated, Parameter(name="--set")] = (),
    choice: SearchWords = SearchWords(),
    costs: CostWords = COSTS,
    fills: FillWords = FILLS,
    account: AccountWords = ACCOUNT,
    run: SweepWords = SweepWords(),
) -> int:
    """Backtest every combination of a grid and print the best, and how much of it is luck.

    With --json the document has ``table``: the path of the file when there is one (--out,
    --resume), else the 20 best rows.

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

    _check(run)
    kind = resolve(strategy)
    axes = grid_from_text(
        kind, pairs_of(grid, "--grid", "fast=5:60"), ranges=choice.search != "grid"
    )
    twice = axes.keys() & pairs_of(set_, "--set", "fast=20").keys()
    if twice:
        raise UsageError(f"{min(twice)} is named by --grid and by --set: keep one.")
    fixed = parameters_from_text(kind, pairs_of(set_, "--set", "fast=20"))
    check_named(axes | fixed)
    settings = settings_of(costs, fills, account, run.engine, run.seed)
    found = mqd.sweep(
        kind, bars_of(data), axes | fixed, where=choice.where,
        symbols="pooled" if choice.pooled else "apart", search=choice.search, n=choice.n,
        resume=run.resume or run.out, memory_mb=run.memory_mb, workers=workers_of(run.workers),
        study=run.study, metric=choice.metric, **settings,
    )  # fmt: skip
    _tell(found, kind, choice.metric, run)
    return 0 if found.is_whole else INTERRUPTED


def check_named(grid: dict[str, Any]) -> None:
    """Refuse a command that names no parameter."""
    if not grid:
        raise UsageError("No --grid: name parameters and their values, such as --grid fast=5:60.")


def _check(run: SweepWords) -> None:
    """Refuse what cannot be done before anything is loaded."""
    if run.report is not None and not run.report.absolute().parent.is_dir():
        raise UsageError(f"--report {run.report}: its folder does not exist. Make it first.")
    if run.out is not None and run.resume is not None:
        raise UsageError("--out makes a new file, --resume goes on with one: name one of them.")
    if run.out is not None and (
        run.out.exists() or run.out.with_name(f"{run.out.name}.parts").exists()
    ):
        raise UsageError(f"--out {run.out}: it exists. Name a new file, or say --resume {run.out}.")


def _tell(found: Sweep, kind: type[Strategy], metric: str, run: SweepWords) -> None:
    """Print the sweep for a person or for a machine, and write its page."""
    if run.report is not None:
        found.report(run.report, metric)
    if run.json:
        output.print_json(document(found, kind.__name__, metric, run.resume or run.out))
    else:
        print(found)
        for line in _luck_lines(found):
            print(line)
        for name, path in (("Table", run.resume or run.out), ("Report", run.report)):
            if path is not None:
                print(f"{name}: {path}")
    if run.json:
        for note in found.notes:
            output.say(note)


def luck(found: Sweep) -> dict[str, Any]:
    """Return deflated Sharpe, PBO (a number, or one a symbol) and the trials; None: no number."""
    by_unit = found.pbo_by_unit()
    pbo = by_unit["all"] if list(by_unit) == ["all"] else by_unit
    traded = found.table["sharpe"].notna().any()
    return {
        "deflated_sharpe": found.deflated_sharpe() if traded else None,
        "pbo": pbo,
        "trials": found.trials,
    }


def _luck_lines(found: Sweep) -> Iterator[str]:
    """Yield the same for a person: a line each, PBO a line a symbol."""
    told = luck(found)
    deflated, pbo = told["deflated_sharpe"], told["pbo"]
    by_unit = pbo if isinstance(pbo, dict) else {"": pbo}
    yield f"Deflated Sharpe: {_frac(deflated)} (probability that the best is more than luck)"
    for unit, value in by_unit.items():
        yield f"PBO{' ' if unit else ''}{unit}: {_frac(value)} (probability of overfitting)"
    yield f"Trials: {told['trials']:,}"


def _frac(value: float | None) -> str:
    return "none" if value is None or isnan(value) else f"{value:.4f}"


def document(found: Sweep, name: str, metric: str, file: Path | None) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    ranked = found.table[metric].notna().any()
    best = found.best(metric, n=ROWS_SHOWN).to_dict("records") if ranked else []
    return {
        "strategy": name,
        "combinations": found.n_combinations,
        "bar_evaluations_per_s": found.bar_evaluations_per_s,
        "seconds": found.seconds,
        "peak_mb": found.peak_mb,
        "best": best[0] if best else None,
        **luck(found),
        "table": file if file is not None else best,
    }


def grid_from_text(kind: type[Strategy], texts: dict[str, str], *, ranges: bool) -> dict[str, Any]:
    """Return a grid from ``name=text`` pairs: ``a:b[:step]`` with b, ``1,2,3`` or one value.

    ``ranges``: ``a:b`` without a step is a range for a search.
    """
    known = kind.declared()
    axes = {}
    for name, text in texts.items():
        if name not in known:
            raise UnknownParameter(kind.__name__, name, known)
        if ":" in text and known[name].kind in (int, float):
            axes[name] = _span(known[name], text, ranges=ranges)
        else:
            axes[name] = [known[name].parse(kind.__name__, one) for one in text.split(",")]
    return axes


def _span(declared: Declared, text: str, *, ranges: bool) -> Any:
    parts = text.split(":")
    said = f"--grid {declared.name}={text}"
    try:
        low, high, *steps = map(Decimal, parts)
    except (InvalidOperation, ValueError) as error:
        raise UsageError(f"{said}: write low:high or low:high:step, in numbers.") from error
    if len(steps) > 1 or not all(one.is_finite() for one in (low, high, *steps)):
        raise UsageError(f"{said}: write low:high or low:high:step, in numbers.")
    if low > high:
        raise UsageError(f"{said}: {low} is above {high}.")
    whole = declared.kind is int
    if whole and any(one != one.to_integral_value() for one in (low, high, *steps)):
        raise UsageError(f"{said}: {declared.name} takes whole numbers.")
    if ranges and not steps:
        return (int(low), int(high)) if whole else (float(low), float(high))
    if not (steps or whole):
        raise UsageError(f"{said}: {declared.name} is no whole number; add a step: {text}:0.1.")
    step = steps[0] if steps else Decimal(1)
    if step <= 0:
        raise UsageError(f"{said}: the step must be above 0.")
    if whole:
        return range(int(low), int(high) + 1, int(step))
    count = int((high - low) / step) + 1
    if count > VALUES_MAX:
        raise UsageError(f"{said} has {count:,} values; take a larger step.")
    return [float(low + step * place) for place in range(count)]
