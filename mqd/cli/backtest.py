"""``mqd backtest``: replay a strategy over bars and print what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from mqd.cli import output
from mqd.cli.models import (
    MODEL_WORDS,
    SHADOW_WORDS,
    ModelWords,
    ShadowWords,
    asked_models,
    new_shadow_of,
    shadow_beside,
)
from mqd.cli.words import (
    ACCOUNT,
    COSTS,
    FILLS,
    AccountWords,
    CostWords,
    DataWords,
    FillWords,
    bars_of,
    settings_of,
    strategy_of,
)
from mqd.errors import UsageError

if TYPE_CHECKING:
    from mqd import Result


@Parameter(name="*")
@dataclass(frozen=True)
class RunWords:
    """How it runs and what it leaves behind."""

    engine: Literal["auto", "event", "compiled"] = "auto"
    """Which engine; auto chooses."""
    out: Path | None = None
    """Run folder to make; refused when it exists."""
    report: Annotated[bool | None, Parameter(negative="--no-report")] = None
    """Write report.html into the run folder; by default when there is one."""
    seed: int = 0
    """Recorded in the log; nothing in a replay is random."""
    study: Path | None = None
    """Folder of a study in which the run is counted as a trial."""
    stress: bool = False
    """Run the stress scenarios too, and print their table."""
    json: bool = False
    """Print one JSON document to stdout."""


def backtest(
    strategy: str,
    /,
    *,
    data: DataWords,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    costs: CostWords = COSTS,
    fills: FillWords = FILLS,
    account: AccountWords = ACCOUNT,
    models: ModelWords = MODEL_WORDS,
    shadow: ShadowWords = SHADOW_WORDS,
    run: RunWords = RunWords(),
) -> int:
    """Replay a strategy over bars and print what came of it.

    Parameters
    ----------
    strategy
        A library name (sma_cross), module:Class or path.py:Class.
    set_
        A parameter of the strategy, name=value; may be repeated.
    """
    import mqd

    _check(run)
    chosen = strategy_of(strategy, set_)
    settings = settings_of(costs, fills, account, run.engine, run.seed)
    bars = bars_of(data)
    place = new_shadow_of(shadow, run.out)
    with asked_models(models, chosen), shadow_beside(shadow, models, place) as listener:
        result = mqd.backtest(
            chosen, bars, out=run.out, study=run.study, listener=listener, **settings
        )
        stressed = mqd.stress(chosen, bars, **settings) if run.stress else None
    document = dict(result.summary())
    if run.out is not None and run.report is not False:
        document["report"] = str(result.report(run.out / "report.html"))
    if run.json:
        output.print_json(document | ({"stress": stressed.records()} if stressed else {}))
        return 0
    _print(result, document)
    if stressed is not None:
        print(f"\n{stressed!r}")
    return 0


def _check(run: RunWords) -> None:
    """Refuse what cannot be done before anything is loaded."""
    if run.report and run.out is None:
        raise UsageError("--report writes into the run folder; name one with --out FOLDER.")


def _print(result: Result, document: dict[str, Any]) -> None:
    """Print the run for a person: what ran, its metrics, and where its record is."""
    from mqd.report.tables import text_table

    words = ", ".join(f"{name}={value}" for name, value in document["parameters"].items())
    print(f"{document['strategy']}({words}), {document['engine']} engine")
    print(text_table({str(name): value for name, value in result.metrics.items()}))
    for name in ("log_sha256", "run", "report"):
        if document.get(name):
            print(f"{name}: {document[name]}")
    for note in result.notes:
        output.say(note)
    if result.metrics["n_denied"] and document["run"]:
        output.say(f"All refused orders: {document['run']}/mqd.jsonl")
