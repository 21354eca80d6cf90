"""Drift: whether features and scores still look like those a model was trained on.

A reference keeps, for each column, ten bins with equal shares of the training rows and a hundred
quantiles: small enough for a manifest. Against it stand, of newer rows,

* PSI, the population stability index: the sum over bins of (new - old) x ln(new / old), shares
  smoothed by half a row each so that an empty bin is finite. Below 0.1 is read as stable, above
  0.25 as changed, both only where chance alone would not come as far. Rows
  that are no number have a bin of their own;
* KS, the largest distance between the two distributions (Kolmogorov-Smirnov), the old one linear
  between its quantiles, and how often it comes out as large by chance. Rows next to one another are
  no independent draws, so that the p-value is too small: read the distance.

Sources: B. Yurdakul, "Statistical properties of population stability index" (2018); A. Kolmogorov
(1933), N. Smirnov (1948); the p-value is Stephens' approximation (1970).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike

from mqd.core.bar import Floats
from mqd.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

BINS: Final = 10
QUANTILES: Final = 101
ROWS_MIN: Final = 20
SMOOTHING_ROWS: Final = 0.5
STABLE_MAX: Final = 0.1
CHANGED_MIN: Final = 0.25
TERMS: Final = 100


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a reference: ``counts`` of rows up to each of ``edges``, above the last, and
    of those that are no number; ``quantiles`` from the smallest to the largest value."""

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the columns of a sample looked like."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, X: ArrayLike, names: Sequence[str]) -> Self:  # noqa: N803
        """Return the reference of a float matrix (n, k) with ``names`` for its columns.

        Raises ``UsageError`` for another shape, and for a column with fewer than 20 numbers.
        """
        matrix = _matrix(X, names)
        return cls(tuple(_column(name, matrix[:, at]) for at, name in enumerate(names)))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(one.name for one in self.columns)

    def spec(self) -> dict[str, Any]:
        """Return it JSON-ready, for a manifest's metrics."""
        return {
            one.name: {
                "edges": list(one.edges), "counts": list(one.counts),
                "quantiles": list(one.quantiles),
            }
            for one in self.columns
        }  # fmt: skip

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """Return the reference that ``spec`` describes; raise ``UsageError`` when it is none."""
        try:
            return cls(
                tuple(
                    Column(name, *(tuple(told[part]) for part in ("edges", "counts", "quantiles")))
                    for name, told in spec.items()
                )
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"This is no reference for drift: {error!r}.") from error


def drift(reference: Reference, X: ArrayLike) -> pd.DataFrame:  # noqa: N803
    """Return how far the columns of ``X`` (n, k), in the reference's order, have moved.

    One row a column: ``n`` numbers, ``missing_frac``, ``psi``, ``ks``, ``ks_p``, and ``state``:
    "stable", "moving" or "changed" by PSI. With fewer than 20 numbers the figures are NaN and the
    state is "too few". Raises ``UsageError`` for another number of columns.
    """
    import pandas as pd

    matrix = _matrix(X, reference.names)
    rows = [_moved(one, matrix[:, at]) for at, one in enumerate(reference.columns)]
    return pd.DataFrame(rows, index=pd.Index(reference.names, name="column"))


def psi(old: ArrayLike, new: ArrayLike) -> float:
    """Return the population stability index of two sequences of counts by bin, smoothed by half a
    row a bin; NaN when one has no rows."""
    shares = []
    for counts in (old, new):
        smoothed = np.asarray(counts, dtype=np.float64)
        if not smoothed.sum():
            return math.nan
        smoothed = smoothed + SMOOTHING_ROWS
        shares.append(smoothed / smoothed.sum())
    before, after = shares
    return float(((after - before) * np.log(after / before)).sum())


def ks_two_samples(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """Return the largest distance between two samples' distributions and its p-value."""
    first, second = (np.sort(np.asarray(one, dtype=np.float64)) for one in (a, b))
    if not len(first) or not len(second):
        return math.nan, math.nan
    both = np.concatenate((first, second))
    below = [np.searchsorted(one, both, side="right") / len(one) for one in (first, second)]
    distance = float(np.abs(below[0] - below[1]).max())
    return distance, ks_p(distance, len(first) * len(second) / (len(first) + len(second)))


def ks_p(distance: float, n: float) -> float:
    """Return how often a distance this large comes by chance, for ``n`` effective rows."""
    root = math.sqrt(n)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.2:  # the series does not converge there, and its sum is 1
        return 1.0
    term = np.arange(1, TERMS + 1)
    total = 2.0 * float(((-1.0) ** (term - 1) * np.exp(-2.0 * (term * scaled) ** 2)).sum())
    return min(max(total, 0.0), 1.0)


def _matrix(X: ArrayLike, names: Sequence[str]) -> Floats:  # noqa: N803
    matrix = np.asarray(X, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise UsageError(
            f"Drift is of a matrix with {len(names)} columns ({', '.join(names)}), not of shape"
            f" {matrix.shape}."
        )
    return matrix


def _column(name: str, values: Floats) -> Column:
    numbers = values[np.isfinite(values)]
    if len(numbers) < ROWS_MIN:
        raise UsageError(f"{name}: {len(numbers)} numbers; a reference takes {ROWS_MIN} or more.")
    edges = np.unique(np.quantile(numbers, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    quantiles = np.quantile(numbers, np.linspace(0.0, 1.0, QUANTILES))
    counts = _counts(edges, values)
    return Column(name, tuple(edges.tolist()), tuple(counts), tuple(quantiles.tolist()))


def _counts(edges: Floats, values: Floats) -> list[int]:
    numbers = values[np.isfinite(values)]
    places = np.searchsorted(edges, numbers, side="left")
    counts: list[int] = np.bincount(places, minlength=len(edges) + 1).tolist()
    return [*counts, len(values) - len(numbers)]


def _moved(column: Column, values: Floats) -> dict[str, Any]:
    numbers = np.sort(values[np.isfinite(values)])
    row: dict[str, Any] = {
        "n": len(numbers),
        "missing_frac": 1.0 - len(numbers) / len(values) if len(values) else math.nan,
    }
    if len(numbers) < ROWS_MIN:
        nothing = {"psi": math.nan, "ks": math.nan, "ks_p": math.nan}
        return row | nothing | {"state": "too few"}
    index = psi(column.counts, _counts(np.array(column.edges), values))
    distance = _distance(np.array(column.quantiles), numbers)
    n_old = sum(column.counts[:-1])
    chance = _by_chance(len(column.counts), n_old, len(numbers))
    bounds = max(STABLE_MAX, chance), max(CHANGED_MIN, chance)
    moved = "changed" if index > bounds[1] else "moving" if index > bounds[0] else "stable"
    return row | {
        "psi": index, "ks": distance,
        "ks_p": ks_p(distance, n_old * len(numbers) / (n_old + len(numbers))), "state": moved,
    }  # fmt: skip


def _by_chance(n_bins: int, n_old: int, n_new: int) -> float:
    """Return what the index of an unchanged column stays below 99 times in 100: with few rows that
    is more than any rule of thumb. Source: Yurdakul, the index as a scaled chi-square."""
    from scipy import stats

    return float(stats.chi2.ppf(0.99, n_bins - 1)) * (1.0 / n_old + 1.0 / n_new)


def _distance(quantiles: Floats, numbers: Floats) -> float:
    """Return the largest distance of sorted numbers from a distribution given by its quantiles.

    A value that several quantiles share is a step: below it stands the first one's share, at it the
    last one's.
    """
    shares = np.linspace(0.0, 1.0, len(quantiles))
    is_new = np.append(True, quantiles[1:] != quantiles[:-1])
    knots, from_share = quantiles[is_new], shares[is_new]
    to_share = shares[np.append(is_new[1:], True)]
    values = np.union1d(knots, numbers)
    at = np.clip(np.searchsorted(knots, values, side="right") - 1, 0, len(knots) - 1)
    behind = np.minimum(at + 1, len(knots) - 1)
    width = np.where(behind > at, knots[behind] - knots[at], 1.0)
    way = np.clip((values - knots[at]) / width, 0.0, 1.0)
    share = to_share[at] + way * np.maximum(from_share[behind] - to_share[at], 0.0)
    share = np.where(values < knots[0], 0.0, share)
    under = np.where(values == knots[at], from_share[at], share)
    n = len(numbers)
    seen = np.searchsorted(numbers, values, side="right") / n
    seen_under = np.searchsorted(numbers, values, side="left") / n
    return float(max(np.abs(seen - share).max(), np.abs(seen_under - under).max()))
