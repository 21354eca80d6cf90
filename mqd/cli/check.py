"""``mqd check``: look for lookahead and the other ways in which a backtest fools its author."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from mqd.cli import output
from mqd.cli.models import MODEL_WORDS, ModelWords, asked_models
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


@Parameter(name="*")
@dataclass(frozen=True)
class CheckWords:
    """How thoroughly, and in which form."""

    cuts: int = 8
    """Random cuts a symbol, beside those at session ends, jumps and extremes."""
    seed: int = 0
    """Chooses the random cuts."""
    json: bool = False
    """Print one JSON document to stdout."""


def check(
    strategy: str,
    /,
    *,
    data: DataWords,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
    costs: CostWords = COSTS,
    fills: FillWords = FILLS,
    account: AccountWords = ACCOUNT,
    models: ModelWords = MODEL_WORDS,
    how: CheckWords = CheckWords(),
) -> int:
    """Look for lookahead, impurity, chance and differences between engines.

    Exit code 0 when nothing of these was found (notes may be), 1 otherwise.

    Parameters
    ----------
    strategy
        A library name (sma_cross), module:Class or path.py:Class.
    set_
        A parameter of the strategy, name=value; may be repeated.
    """
    import mqd

    chosen = strategy_of(strategy, set_)
    settings = settings_of(costs, fills, account, "auto", how.seed)
    settings.pop("engine")
    with asked_models(models, chosen):
        report = mqd.check(chosen, bars_of(data), n_cuts=how.cuts, **settings)
    if how.json:
        output.print_json(report.to_dict())
    else:
        print(repr(report))
    return 0 if report.ok else 1
