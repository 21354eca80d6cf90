"""``mqd rehearse``: a strategy on the local venue, over Alpaca's own interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    data_words,
    settings_of,
    strategy_of,
)

if TYPE_CHECKING:
    from mqd.live.rehearsal import Rehearsal


@Parameter(name="*")
@dataclass(frozen=True)
class RehearsalWords:
    """How the rehearsal runs and what it leaves behind."""

    speed: str = "max"
    """max (the venue waits for the desk), 1x, or a factor such as 60x."""
    faults: str | None = None
    """all, random, or a TOML file of faults; none when left out."""
    seed: int = 0
    """Seed of the faults."""
    out: Path | None = None
    """Run folder to make; refused when it exists. By default the next free runs/rehearsal-NNNN."""
    replay: Annotated[bool, Parameter(negative="--no-replay")] = True
    """Replay the same bars and compare order by order."""
    json: bool = False
    """Print one JSON document to stdout."""


def rehearse(
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
    run: RehearsalWords = RehearsalWords(),
) -> int:
    """Trade a strategy on a local venue that speaks Alpaca's interface; no account is needed.

    Exit code 1 when anything was lost, sent twice or does not agree with the venue at the end.

    Parameters
    ----------
    strategy
        A library name (sma_cross), module:Class or path.py:Class.
    set_
        A parameter of the strategy, name=value; may be repeated.
    """
    from mqd.live.rehearsal import DataSpec, Pace, rehearse

    chosen = strategy_of(strategy, set_)
    words = settings_of(costs, fills, account, "event", 0)
    for name in ("engine", "seed"):
        words.pop(name)
    out = run.out or _free_folder()
    place = new_shadow_of(shadow, out)
    with asked_models(models, chosen), shadow_beside(shadow, models, place) as listener:
        done = rehearse(
            chosen, DataSpec(data.data, data_words(data)), out=out, pace=Pace.of(run.speed),
            faults=run.faults, seed=run.seed, replay=run.replay, listener=listener, **words,
        )  # fmt: skip
    if run.json:
        output.print_json(done.summary())
    else:
        _print(done)
    return 0 if done.clean else 1


def _free_folder() -> Path:
    """Return the first ``runs/rehearsal-NNNN`` that does not exist."""
    number = 1
    while (folder := Path("runs") / f"rehearsal-{number:04d}").exists():
        number += 1
    return folder


def _print(done: Rehearsal) -> None:
    """Print what came of it for a person."""
    summary = done.summary()
    counts = ("orders", "fills", "breaks", "duplicates", "lost_fills")
    for name in counts:
        print(f"{name:<10}  {summary[name]:>6,}")
    for name, ns in done.latency_ns.items():
        print(f"{name}: {ns / 1e6:.2f} ms")
    if done.equal is not None:
        print("Equal to the replay, order by order." if done.equal else "Not equal to the replay:")
    if done.equal is False:
        print("  orders by cause: " + ", ".join(f"{k} {n}" for k, n in done.causes.items()))
    for line in (*done.differences, *done.breaks):
        print(f"  {line}")
    print(f"log_sha256: {done.log_sha256}")
    print(f"decision_sha256: {done.decision_sha256}")
    print(f"run: {done.run}")
