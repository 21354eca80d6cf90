"""Options of commands that ask or watch models, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mqd.errors import ModelRefused, RunFolderExists, UsageError
from mqd.strategy.predictors import models_of, predicting

if TYPE_CHECKING:
    from mqd.ml.shadow.tap import ShadowTap
    from mqd.strategy.strategy import Strategy

MODELS = Path("models")


@Parameter(name="*")
@dataclass(frozen=True)
class ModelWords:
    """Where models are that a strategy asks."""

    models: Path = MODELS
    """Folder of the model registry."""


@Parameter(name="*")
@dataclass(frozen=True)
class ShadowWords:
    """Models that ride along."""

    shadow: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """A model to watch, NAME or NAME@SHA256; may be repeated. It cannot trade."""


MODEL_WORDS, SHADOW_WORDS = ModelWords(), ShadowWords()


@contextmanager
def asked_models(
    words: ModelWords, strategy: Strategy, *, champions_only: bool = False, trades: bool = False
) -> Iterator[None]:
    """Hand the strategy's models in while the block runs; nothing for one that asks none."""
    references = models_of(strategy.parameters)
    if not references:
        yield
        return
    from mqd.ml.inference.predictor import model_predictors
    from mqd.ml.registry.registry import ModelRegistry

    registry = ModelRegistry(existing_registry(words.models))
    with ExitStack() as stack:
        found = stack.enter_context(
            model_predictors(registry, references, champions_only=champions_only, trades=trades)
        )
        for name, predictor in found.items():
            if name not in references:
                raise UsageError(f"Name the model with its whole hash: model={name}.")
            stack.enter_context(predicting(name, predictor))
        yield


def shadow_of(run: Path | None) -> Path | None:
    """Return where the shadow of a run folder is kept: beside it, as ``NAME-shadow``."""
    return None if run is None else run.with_name(f"{run.name}-shadow")


def new_shadow_of(words: ShadowWords, run: Path | None) -> Path | None:
    """Return the same for a new run; raise ``RunFolderExists`` when one of both is there."""
    folder = shadow_of(run)
    for place in (run, folder) if words.shadow else ():
        if place is not None and place.exists():
            raise RunFolderExists(str(place))
    return folder


@contextmanager
def shadow_beside(
    words: ShadowWords, models: ModelWords, folder: Path | None, *, must_start: bool = True
) -> Iterator[ShadowTap | None]:
    """Start the shadow that ``--shadow`` asks for, in ``folder``; None without one.

    What it counted is said at the end; its failure is no failure of the run. ``must_start``: one
    that does not come up ends the run; a desk that trades starts without it. A wrong name is a
    wrong word for both.
    """
    if not words.shadow:
        yield None
        return
    if folder is None:
        raise UsageError("--shadow keeps its log beside the run folder: name one, --out FOLDER.")
    from mqd.cli import output
    from mqd.ml.registry.registry import ModelRegistry
    from mqd.ml.shadow.tap import ShadowTap

    registry = ModelRegistry(existing_registry(models.models))
    for reference in words.shadow:
        registry.get(reference)
    try:
        tap = ShadowTap(folder, models.models, words.shadow)
    except ModelRefused as error:
        if must_start:
            raise
        output.say(f"{error} The desk goes on without it.")
        yield None
        return
    try:
        yield tap
    finally:
        told = tap.close()
        if told["failure"]:
            output.say(
                f"The shadow failed: {told['failure']}. The run is not touched by it;"
                f" {told['lost']:,} bars were not heard."
            )
        else:
            output.say(f"Shadow: {told['bars']:,} bars heard, {told['lost']:,} lost; {folder}")
            for reference, why in told["silent"].items():
                output.say(f"  {reference[:24]}… did not answer in {why}")


def existing_registry(folder: Path) -> Path:
    """Return the folder of a registry; raise ``UsageError`` when it is not there."""
    if not folder.is_dir():
        raise UsageError(f"No model registry {folder}: name its folder with --models.")
    return folder
