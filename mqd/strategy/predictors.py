"""Models that strategies may ask, handed in by whoever starts the run.

A strategy names its model as ``NAME@SHA256`` and asks for scores like for any feature; the model
itself lives elsewhere, behind ``mqd.core.protocols.Predictor``. So a strategy holds no model, and
a run whose model was not handed in stops before its first bar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np

from mqd.core.bar import Floats, SymbolBars
from mqd.core.protocols import Predictor
from mqd.errors import StrategyError, UsageError

REFERENCE: Final = re.compile(r"[a-z][a-z0-9_]*@[0-9a-f]{64}")


class _Shelf:
    """The predictors of this process, by reference."""

    def __init__(self) -> None:
        self.predictors: dict[str, Predictor] = {}


_SHELF = _Shelf()


@contextmanager
def predicting(reference: str, predictor: Predictor) -> Iterator[None]:
    """Let strategies of this process ask ``predictor`` as ``reference`` until the block ends.

    ``reference`` is ``NAME@SHA256``, the whole hash of the model's file: it stands in the run's
    log and in the promotion record. Raises ``UsageError`` for another form, or one in use.
    """
    if not REFERENCE.fullmatch(reference):
        raise UsageError(
            f"A model is named NAME@SHA256, all 64 digits, not {reference!r}: the hash is what a"
            " log and a promotion record keep of it."
        )
    if reference in _SHELF.predictors:
        raise UsageError(f"The model {reference[:24]}… is handed in already.")
    _SHELF.predictors[reference] = predictor
    try:
        yield
    finally:
        del _SHELF.predictors[reference]


def scores_of(reference: str, bars: SymbolBars) -> Floats:
    """Return the scores of a model that was handed in, one a bar, NaN where it has none.

    Raises ``StrategyError`` when it was not handed in, or answers with something else than a number
    a bar; infinity is no score.
    """
    predictor = _SHELF.predictors.get(reference)
    if predictor is None:
        raise StrategyError(
            f"No model {reference or 'NAME@SHA256'!r} was handed in: name it with"
            " --set model=NAME@SHA256 and its registry with --models FOLDER, or wrap the call in"
            " mqd.strategy.predictors.predicting(...)."
        )
    said: object = predictor.scores(bars)
    try:
        found = np.asarray(said, dtype=np.float64)
    except (TypeError, ValueError) as error:
        what = f"The model {reference[:24]}… gave {type(said).__name__}, no numbers: {error}."
        raise StrategyError(what) from error
    if found.shape != (len(bars),):
        raise StrategyError(
            f"The model {reference[:24]}… gave {found.shape} scores for {len(bars)} bars."
        )
    return np.where(np.isfinite(found), found, np.nan)


def models_of(parameters: Mapping[str, object]) -> tuple[str, ...]:
    """Return the models that a strategy's parameters name, in their order: every text of the form
    ``NAME@SHA256``, and whatever a parameter called ``model`` holds."""
    named = (
        str(value)
        for name, value in parameters.items()
        if (name == "model" and value) or (isinstance(value, str) and REFERENCE.fullmatch(value))
    )
    return tuple(dict.fromkeys(named))


def handed_in() -> tuple[str, ...]:
    """Return the models that strategies of this process may ask now."""
    return tuple(_SHELF.predictors)


def trained_to_ns(reference: str) -> int | None:
    """Return the last instant (ns UTC) that a model which was handed in has learnt from, None when
    nobody says."""
    found = getattr(_SHELF.predictors.get(reference), "trained_to_ns", None)
    return None if found is None else int(found)


def is_champion(reference: str) -> bool:
    """Return whether a model was handed in as its name's champion: only such a one may trade."""
    return bool(getattr(_SHELF.predictors.get(reference), "is_champion", False))
