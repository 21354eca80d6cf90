"""``mqd promote``: the evidence for one strategy, and the record that lets it trade."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from mqd.cli import output
from mqd.cli.models import MODEL_WORDS, ModelWords, asked_models
from mqd.cli.sweep import Repeated, grid_from_text
from mqd.cli.words import (
    ACCOUNT,
    COSTS,
    FILLS,
    AccountWords,
    CostWords,
    DataWords,
    FillWords,
    bars_of,
    data_words,
    pairs_of,
    settings_of,
    strategy_of,
)

if TYPE_CHECKING:
    from mqd.promotion.gates import Gate


@Parameter(name="*")
@dataclass(frozen=True)
class PromotionWords:
    """The walk-forward, the study, and what is left behind."""

    train: int | None = None
    """Length of a train span, in --unit; half the bars when train and test are left out."""
    test: int | None = None
    """Length of a test span, in --unit; an eighth of the bars when left out."""
    unit: Literal["bars", "sessions", "days"] = "bars"
    """What lengths count: bars, sessions or calendar days."""
    gap: int = 0
    """Left out between train and test, in --unit."""
    anchored: bool = False
    """Every train span begins at the first bar."""
    where: str | None = None
    """Keep the combinations of --grid for which this holds, such as 'fast<slow'."""
    study: Path | None = None
    """Folder in which the trials of the strategy are counted."""
    out: Path = Path("promotion.json")
    """Record to write; refused when it exists."""
    json: bool = False
    """Print one JSON document to stdout."""


def promote(
    strategy: str,
    /,
    *,
    data: DataWords,
    grid: Annotated[Repeated, Parameter(name="--grid")] = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    costs: CostWords = COSTS,
    fills: FillWords = FILLS,
    account: AccountWords = ACCOUNT,
    models: ModelWords = MODEL_WORDS,
    run: PromotionWords = PromotionWords(),
) -> int:
    """Run check, backtest, walk-forward and a rehearsal; write the record or name what failed.

    Exit code 1 when a gate failed; nothing is written then.

    Parameters
    ----------
    strategy
        A library name (sma_cross), module:Class or path.py:Class.
    grid
        The combinations that the parameters were chosen from: name=5:60, name=20:250:5,
        name=1,2,3; may be repeated. They are swept and counted as trials.
    set_
        A parameter of the strategy, name=value; may be repeated. These are promoted.
    """
    from mqd.live.rehearsal import DataSpec, rehearse
    from mqd.promotion.errors import PromotionRefused
    from mqd.promotion.promote import Windows
    from mqd.promotion.promote import promote as try_all

    chosen = strategy_of(strategy, set_)
    axes = grid_from_text(type(chosen), pairs_of(grid, "--grid", "fast=5:60"), ranges=False)
    words = settings_of(costs, fills, account, "event", 0)
    for name in ("engine", "seed", "account"):
        words.pop(name)
    source = DataSpec(data.data, data_words(data))
    try:
        with asked_models(models, chosen, champions_only=True):
            record = try_all(
                chosen, bars_of(data), out=run.out, grid=axes, where=run.where, study=run.study,
                rehearse=lambda one, **given: rehearse(one, source, **given),
                windows=Windows(
                    train=run.train, test=run.test, unit=run.unit, gap=run.gap,
                    anchored=run.anchored,
                ),
                **words,
            )  # fmt: skip
    except PromotionRefused as refused:
        _tell(run.json, {"promoted": False, "record": None}, refused.gates, str(refused))
        return 1
    told = {"promoted": True, "record": run.out, "sha256": record.sha256}
    _tell(run.json, told, record.gates, f"{chosen!r} is promoted: {run.out}")
    return 0


def _tell(json: bool, told: dict[str, Any], gates: Iterable[Gate], verdict: str) -> None:
    if json:
        output.print_json(told | {"gates": [gate._asdict() for gate in gates]})
        return
    for gate in gates:
        print(f"{'ok  ' if gate.passed else 'FAIL'}  {gate.name}: {gate.sentence}")
    print(verdict)
