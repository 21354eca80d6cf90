"""A sweep's table as cells: the levels of a parameter, and one value a pair of levels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.errors import UsageError, did_you_mean

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Merge = Literal["max", "mean"]
Best = Literal["max", "min"]

LEVELS_MAX = 120
TEXT_MAX = 18


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The levels of one parameter in a table.

    ``of``: each row's level, shape (rows,). ``shown``: what stands on the axis, a level each:
    numbers when they are evenly spaced (``even``), else escaped texts. ``ordered``: whether they
    are numbers, so that one level lies between two others. ``exact``: whether each level is one
    value, not a bin.
    """

    name: str
    of: Ints
    shown: list[Any]
    even: bool
    ordered: bool
    exact: bool


def column(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return a column; raise ``UsageError`` that names the nearest when there is none."""
    if name not in table.columns:
        known = [str(column) for column in table.columns]
        raise UsageError(
            f"The table of the sweep has no column {name!r}.{did_you_mean(name, known)}"
        )
    return table[name]


def numbers(table: pd.DataFrame, name: str) -> Floats:
    """Return a column as float64, infinities as NaN."""
    values = column(table, name).to_numpy(dtype=np.float64, na_value=math.nan)
    return np.where(np.isfinite(values), values, math.nan)


def is_numeric(table: pd.DataFrame, name: str) -> bool:
    """Return whether a column holds numbers (a flag is none)."""
    kind = column(table, name).dtype
    return bool(pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind))


def levels(
    table: pd.DataFrame, name: str, levels_max: int = LEVELS_MAX, text_max: int = TEXT_MAX
) -> Levels:
    """Return the levels of a parameter, at most ``levels_max``.

    More numbers than that are cut into bins of equally many distinct values, shown as their mean.
    More texts than that: the most frequent keep their names, the others share "others".
    """
    values = column(table, name)
    if not is_numeric(table, name):
        return _named(name, values.astype(str), levels_max, text_max)
    plain = values.to_numpy(dtype=np.float64, na_value=math.nan)
    distinct, of = np.unique(plain, return_inverse=True)
    exact = len(distinct) <= levels_max
    if not exact:
        coarse = np.arange(len(distinct)) * levels_max // len(distinct)
        distinct = np.bincount(coarse, distinct) / np.bincount(coarse)
        of = coarse[of]
    steps = np.diff(distinct)
    even = len(steps) == 0 or bool(steps.max() - steps.min() <= 1e-6 * abs(steps.max()))
    digits = 6 if exact else 3
    shown = distinct.tolist() if even else [f"{value:,.{digits}g}" for value in distinct.tolist()]
    return Levels(name, of.astype(np.int64), _apart(shown), even, ordered=True, exact=exact)


def _short(texts: list[str], text_max: int) -> list[str]:
    """Return escaped texts of at most ``text_max`` letters; a number tells equals apart."""
    cut = [text if len(text) <= text_max else f"{text[: text_max - 1]}…" for text in texts]
    return [escape(text) for text in _apart(cut)]


def _apart(shown: list[Any]) -> list[Any]:
    """Return the same with a number behind those that read alike, so that an axis keeps both."""
    times = Counter(shown)
    return [
        value if times[value] == 1 else f"{value} ({place})" for place, value in enumerate(shown, 1)
    ]


def _named(name: str, texts: pd.Series[Any], levels_max: int, text_max: int) -> Levels:
    if texts.nunique() > levels_max:
        kept = texts.value_counts().index[: levels_max - 1]
        texts = texts.where(texts.isin(kept), "others")
    codes, distinct = pd.factorize(texts, sort=True)
    shown = _short([str(text) for text in distinct], text_max)
    return Levels(name, codes.astype(np.int64), shown, even=False, ordered=False, exact=True)


def chosen(table: pd.DataFrame, fixed: Mapping[str, object]) -> pd.DataFrame:
    """Return the rows in which each fixed column has its value; ``UsageError`` when none has."""
    keep = np.ones(len(table), dtype=bool)
    for name, value in fixed.items():
        keep &= (column(table, name) == value).to_numpy(dtype=bool)
    if not keep.any():
        wanted = ", ".join(f"{name}={value!r}" for name, value in fixed.items()) or "any value"
        raise UsageError(f"No row of the sweep has {wanted}. Choose values that the table holds.")
    return table[keep]


def merged(values: Floats, cell: Ints, n_cells: int, how: Merge) -> Floats:
    """Return one value a cell: the largest or the mean of its numbers; NaN in a cell without."""
    known = np.isfinite(values)
    out = np.full(n_cells, math.nan)
    if how == "max":
        np.fmax.at(out, cell[known], values[known])
        return out
    counts = np.bincount(cell[known], minlength=n_cells)
    sums = np.bincount(cell[known], values[known], n_cells)
    np.divide(sums, counts, out=out, where=counts > 0)
    return out


def explained_frac(table: pd.DataFrame, name: str, metric: str) -> float:
    """Return the share of the metric's variance between the levels of one parameter, 0 to 1."""
    values = numbers(table, metric)
    known = np.isfinite(values)
    spread = float(np.var(values[known])) if known.any() else 0.0
    if spread == 0.0:
        return 0.0
    of = levels(table, name).of[known]
    counts = np.bincount(of)
    means = np.bincount(of, values[known])[counts > 0] / counts[counts > 0]
    between = counts[counts > 0] @ np.square(means - values[known].mean()) / known.sum()
    return float(between) / spread


def by_weight(table: pd.DataFrame, parameters: Sequence[str], metric: str) -> list[str]:
    """Return the parameters that vary, those that move the metric most first."""
    varied = [name for name in parameters if column(table, name).nunique(dropna=False) > 1]
    return sorted(varied, key=lambda name: -explained_frac(table, name, metric))


def sign(best: Best) -> float:
    """Return 1 when the largest value is wanted, -1 when the smallest is."""
    return 1.0 if best == "max" else -1.0


def plain(value: object) -> str:
    """Return a value as escaped text, a number with at most six digits."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return f"{value:,.6g}" if is_number else escape(str(value))
