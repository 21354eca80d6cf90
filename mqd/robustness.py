"""How far a result holds: bootstrap intervals, and what the neighbours of the best keep.

NaN and never a sentinel, as in ``mqd.statistics``. Sources: D. N. Politis and J. P. Romano, "The
Stationary Bootstrap", Journal of the American Statistical Association 89 (1994); the block length
of D. N. Politis and H. White, "Automatic Block-Length Selection for the Dependent Bootstrap",
Econometric Reviews 23 (2004), with the correction of A. Patton, D. N. Politis and H. White,
Econometric Reviews 28 (2009). Where ``arch`` has the same definition the numbers agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mqd.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHUNK = 1 << 20  # resampled returns at a time: 8 MB an array
_LEVELS_LEAST = 2


class Table(Protocol):
    """Columns by name: a pandas frame, or a mapping of names to arrays."""

    def __getitem__(self, name: str, /) -> ArrayLike:
        """Return the column of that name."""


def block_length(returns: ArrayLike) -> float:
    """Return the mean block length, in bars, that the stationary bootstrap of ``returns`` needs.

    Politis and White's rule: the autocovariances up to M lags, weighted by their flat-top window;
    M is twice the first lag from which five autocorrelations in a row are insignificant
    (below 2 sqrt(log10(n) / n)). At least 1, at most 3 sqrt(n) and n / 3. NaN below ten returns;
    1 when all are equal.
    """
    values = np.asarray(returns, dtype=np.float64)
    n = len(values)
    if n < 10 or not np.isfinite(values).all():
        return math.nan
    apart = values - values.mean()
    run = 5
    lags_max = math.ceil(math.sqrt(n)) + run
    lags = range(min(lags_max, n - 1) + 1)
    covariance = np.array([apart[lag:] @ apart[: n - lag] / n for lag in lags])
    if covariance[0] <= 1e-30 * float(np.square(values).mean()):
        return 1.0
    small = np.abs(covariance / covariance[0]) < 2.0 * math.sqrt(math.log10(n) / n)
    starts = (lag for lag in range(1, len(small) - run) if small[lag : lag + run].all())
    window = min(2 * next(starts, len(small)), len(small) - 1)
    lag = np.arange(1, window + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - lag / window))
    slope = 2.0 * float((weight * lag) @ covariance[1 : window + 1])
    level = covariance[0] + 2.0 * float(weight @ covariance[1 : window + 1])
    if level == 0.0:
        return 1.0
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    return float(min(max(abs(slope / level) ** (2 / 3) * n ** (1 / 3), 1.0), longest))


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its bootstrap interval.

    ``estimate``: of the returns as they are. ``low``, ``high``: the percentiles that hold
    ``level_frac`` of the resampled values; NaN when the statistic is undefined in any resample
    (``n_undefined`` counts those). ``block_bars``: mean length of the blocks.
    """

    estimate: float
    low: float
    high: float
    level_frac: float
    block_bars: float
    n_resamples: int
    n_undefined: int


def _resamples(n: int, block_bars: float, n_resamples: int, seed: int) -> Iterator[Ints]:
    """Yield rows of indices, (some, n): blocks of geometric length that wrap at the end."""
    chance = np.random.default_rng(seed)
    bar = np.arange(n)
    step = max(1, _CHUNK // n)
    for start in range(0, n_resamples, step):
        shape = (min(step, n_resamples - start), n)
        fresh = chance.random(shape) < 1.0 / block_bars
        fresh[:, 0] = True
        first = chance.integers(0, n, shape)
        since = np.maximum.accumulate(np.where(fresh, bar, 0), axis=1)
        yield (np.take_along_axis(first, since, axis=1) + bar - since) % n


def bootstrap_interval(
    returns: ArrayLike,
    statistic: Callable[[Floats], float],
    level_frac: float = 0.95,
    n_resamples: int = 2_000,
    seed: int = 0,
    block_bars: float | None = None,
) -> Interval:
    """Return the percentile interval of ``statistic`` by the stationary bootstrap (1994).

    ``returns`` has shape (n_bars,); ``statistic`` maps returns of that shape to a number, for
    example ``lambda r: statistics.sharpe(r, 252)``: the interval has its unit. Blocks keep the
    dependence between neighbouring bars; their mean length is ``block_bars``, or the rule of
    ``block_length``. One seed gives one answer. NaN when a return is NaN or there are fewer than
    ten. Raises ``UsageError`` for a level outside (0, 1), no resample or a block below one bar.
    """
    if not 0.0 < level_frac < 1.0 or n_resamples < 1 or (block_bars is not None and block_bars < 1):
        raise UsageError(
            f"bootstrap_interval: level_frac {level_frac} lies between 0 and 1, n_resamples"
            f" {n_resamples} and block_bars {block_bars} are at least 1."
        )
    values = np.asarray(returns, dtype=np.float64)
    length = block_length(values)
    if math.isnan(length):
        return Interval(math.nan, math.nan, math.nan, level_frac, math.nan, n_resamples, 0)
    length = length if block_bars is None else block_bars
    found = np.array(
        [
            statistic(values[row])
            for rows in _resamples(len(values), length, n_resamples, seed)
            for row in rows
        ]
    )
    tail = (1.0 - level_frac) / 2.0
    low, high = np.quantile(found, (tail, 1.0 - tail))
    n_undefined = int(np.isnan(found).sum())
    own = float(statistic(values))
    return Interval(own, float(low), float(high), level_frac, length, n_resamples, n_undefined)


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourStability:
    """How much of the best's metric its neighbours keep.

    ``kept_frac`` = ``mean`` / ``best``: 1.0 is a plateau, near 0 or below a lone spike; NaN
    unless the best is above 0 and has a neighbour with a number. ``worst`` is the lowest
    neighbour, ``n_neighbours`` how many have a number and ``n_missing`` how many are NaN.
    ``row`` is the best's row in the table (of several symbols or cells: the first), -1 when no
    row has a number. ``smoothed`` has shape (rows,): the mean of each row's cell and its
    neighbours, NaN where the cell is NaN.
    """

    kept_frac: float
    best: float
    mean: float
    worst: float
    n_neighbours: int
    n_missing: int
    row: int
    smoothed: Floats


def _levels(column: ArrayLike) -> tuple[Ints, int, bool]:
    """Return each row's level, their number, and whether the levels have an order."""
    values = np.asarray(column)
    ordered = bool(np.issubdtype(values.dtype, np.number))
    plain = values if ordered or values.dtype == bool else values.astype(str)
    distinct, level = np.unique(plain, return_inverse=True)
    return level.astype(np.int64).reshape(-1), len(distinct), ordered


def _cut(level: Ints, n_levels: int, n_wanted: int) -> tuple[Ints, int]:
    """Return coarser levels that hold about equally many rows each."""
    share = np.cumsum(np.bincount(level, minlength=n_levels)) / len(level)
    coarse = np.minimum((share - 0.5 / len(level)) * n_wanted, n_wanted - 1).astype(np.int64)
    return coarse[level], n_wanted


class _Cells:
    """The distinct combinations of a table, as sorted keys of a grid of levels."""

    def __init__(self, parts: Sequence[tuple[Ints, int, bool]], values: Floats) -> None:
        self._parts = parts
        key = np.zeros(len(values), dtype=np.int64)
        for level, size, _ in parts:
            key = key * size + level
        self.keys, self.row, self.of = np.unique(key, return_index=True, return_inverse=True)
        finite = np.isfinite(values)
        counts = np.bincount(self.of[finite], minlength=len(self.keys))
        sums = np.bincount(self.of[finite], values[finite], len(self.keys))
        self.values = np.full(len(self.keys), math.nan)
        np.divide(sums, counts, out=self.values, where=counts > 0)

    def neighbours(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield (cells, their neighbours): one ordered parameter one level up, then one down."""
        stride = 1
        for level, size, ordered in reversed(self._parts):
            if ordered:
                for step in (1, -1):
                    inside = (level[self.row] + step >= 0) & (level[self.row] + step < size)
                    here = np.flatnonzero(inside)
                    wanted = self.keys[here] + step * stride
                    found = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
                    there = self.keys[found] == wanted
                    yield here[there], found[there]
            stride *= size


def _cells(parts: list[tuple[Ints, int, bool]], values: Floats) -> tuple[_Cells, Ints]:
    """Return the cells and the number of neighbours that each has."""
    cells = _Cells(parts, values)
    count = np.zeros(len(cells.keys), dtype=np.int64)
    for here, _ in cells.neighbours():
        count[here] += 1
    return cells, count


def _grid(table: Table, parameters: Sequence[str], values: Floats) -> _Cells:
    """Return the table's cells; a search without a grid is cut into levels first."""
    parts = [_levels(table[name]) for name in parameters]
    if math.prod(size for _, size, _ in parts) < 2**62:
        cells, count = _cells(parts, values)
        if np.count_nonzero(count) * 2 >= len(count):
            return cells
    swept = sum(ordered for _, _, ordered in parts)
    wanted = max(_LEVELS_LEAST, int((len(values) / 4.0) ** (1.0 / max(swept, 1))))
    wanted = min(wanted, int(2.0 ** (60.0 / max(len(parts), 1))))
    coarse = [
        (*_cut(level, size, wanted), ordered)
        if ordered and size > wanted
        else (level, size, ordered)
        for level, size, ordered in parts
    ]
    return _cells(coarse, values)[0]


def neighbour_stability(table: Table, parameters: Sequence[str], metric: str) -> NeighbourStability:
    """Return what is left of the best row's metric when one parameter moves by one step.

    ``table`` has a column a parameter and the metric (higher is better), one row a combination;
    rows of one combination (symbols, datasets) are averaged, those without a number left out of
    the mean. Neighbours differ in exactly one numeric parameter, by one level of those in the
    table; a text or a flag has no order and stays as it is. Where most combinations have no
    neighbour (a random search) each numeric parameter is cut into levels of equally many rows
    first. Raises ``UsageError`` without parameters or rows.
    """
    values = np.asarray(table[metric], dtype=np.float64)
    if not len(values) or not parameters:
        raise UsageError("neighbour_stability needs at least one row and one parameter.")
    cells = _grid(table, parameters, values)
    known = np.isfinite(cells.values)
    best = int(np.argmax(np.where(known, cells.values, -math.inf)))
    sums = np.where(known, cells.values, 0.0)
    counts = known.astype(np.int64)
    around: list[float] = []
    own = sums.copy(), counts.copy()
    for here, there in cells.neighbours():
        sums[here] += own[0][there]
        counts[here] += own[1][there]
        around += cells.values[there[here == best]].tolist()
    smooth = np.full(len(sums), math.nan)
    np.divide(sums, counts, out=smooth, where=known)
    finite = [value for value in around if not math.isnan(value)]
    top = float(cells.values[best])
    mean = sum(finite) / len(finite) if finite else math.nan
    return NeighbourStability(
        kept_frac=mean / top if top > 0.0 else math.nan,
        best=top,
        mean=mean,
        worst=min(finite, default=math.nan),
        n_neighbours=len(finite),
        n_missing=len(around) - len(finite),
        row=int(cells.row[best]) if known.any() else -1,
        smoothed=smooth[cells.of],
    )
