"""What counts as a trial of a study: each evaluation that differs, and each way to trade one.

A model that was evaluated and then traded at a threshold is one trial; every further threshold is
one more. So of both counts the larger one counts, beside what else the study has tried.
"""

from __future__ import annotations

import hashlib
import re
import site
import sysconfig
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any, Final

import numpy as np

from mqd import trials
from mqd.ml.evaluation.dataset import Dataset

TRIED: Final = "model"
TRADED: Final = "traded model"
_INSTALLED: Final = (
    sysconfig.get_paths()["purelib"], sysconfig.get_paths()["stdlib"], *site.getsitepackages()
)  # fmt: skip


def tried(study: str) -> int:
    """Return the trials of a study by now."""
    found = trials.read(study)
    both = [found.n_by_kind.get(kind, 0) for kind in (TRIED, TRADED)]
    return found.n - min(both)


def identity_of(estimator: Any, data: Dataset, rows: str, weighted: bool) -> str:
    """Return what makes an evaluation another one: ``rows`` is the hash of what it was trained and
    tested on."""
    told = [
        data.training, data.names, rows, weighted, type(estimator), *sorted(_parameters(estimator)),
        *sorted(set(_codes(estimator))),
    ]  # fmt: skip
    return hashlib.sha256("|".join(_text(one) for one in told).encode()).hexdigest()


def _parameters(estimator: Any) -> Iterator[str]:
    """Yield all parameters of an estimator and of its parts: its repr leaves some out."""
    for name, value in estimator.get_params(deep=True).items():
        yield f"{name}={_text(value)}"


def _codes(estimator: Any) -> Iterator[str]:
    """Yield the code of the classes and functions of one's own that an estimator is made of."""
    for part in (estimator, *estimator.get_params(deep=True).values()):
        if isinstance(part, FunctionType):
            yield from _code(part)
        for kind in type(part).__mro__:
            for value in vars(kind).values():
                if isinstance(value, FunctionType):
                    yield from _code(value)


def _code(function: FunctionType) -> Iterator[str]:
    """Yield what a function does, unless it is installed: its name, version and parameters say
    that already."""
    code = function.__code__
    if not code.co_filename.startswith(_INSTALLED):
        yield f"{function.__qualname__}:{_does(code)}"


def _does(code: CodeType) -> str:
    constants = [_does(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    parts = [code.co_code.hex(), *code.co_names, *code.co_varnames, *constants]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _text(value: Any) -> str:
    """Return a text that is the same for the same value, in every process."""
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
