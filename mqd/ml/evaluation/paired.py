"""Statistics of paired values that follow one another: blocks, tests and intervals.

Sources: F. Diebold and R. Mariano, "Comparing predictive accuracy" (1995); D. Harvey, S. Leybourne
and P. Newbold, "Testing the equality of prediction mean squared errors" (1997), the correction;
Q. McNemar (1947), here exact; H. Kuensch (1989), blocks of a bootstrap, wrapped around the end as
by D. Politis and J. Romano (1992).
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints

RESAMPLES: Final = 2000


class Interval(NamedTuple):
    """A mean with its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


class Test(NamedTuple):
    """A test statistic and its two-sided p-value, NaN where it cannot be taken."""

    statistic: float
    p: float


NO_INTERVAL: Final = Interval(math.nan, math.nan, math.nan)
NO_TEST: Final = Test(math.nan, math.nan)


def blocks_of(t0: Ints, t1: Ints) -> tuple[Ints, NDArray[np.bool]]:
    """Return each pair's block, counted from 0, and whether it is of its block's first instant.

    A block ends where a pair begins at or after the end of all labels of its first instant: the
    labels of first instants share no time. Labels of one length overlap the neighbouring blocks
    alone; those that end at barriers may reach further.
    """
    block, leads = np.zeros(len(t0), dtype=np.int64), np.zeros(len(t0), dtype=np.bool_)
    number, first, until = -1, -1, -1
    for place, (start, end) in enumerate(zip(t0.tolist(), t1.tolist(), strict=True)):
        if start >= until:
            number, first, until = number + 1, start, end
        elif start == first:
            until = max(until, end)
        block[place], leads[place] = number, start == first
    return block, leads


def means_of(values: Floats, blocks: Ints) -> Floats:
    """Return the mean of each block."""
    if not len(values):
        return values
    n_blocks = int(blocks[-1]) + 1
    sums = np.bincount(blocks, weights=values, minlength=n_blocks)
    found: Floats = sums / np.bincount(blocks, minlength=n_blocks)
    return found


def linearised(values: Floats, blocks: Ints) -> Floats:
    """Return one value a block, so that their mean is that of all ``values``.

    Blocks differ in size, and where a label ends early their size depends on the outcome: a mean
    of the blocks' means would be that of another quantity. This is the ratio estimator's first
    order: the mean, and what each block's sum has above it, over the mean size.
    """
    if not len(values):
        return values
    counts = np.bincount(blocks)
    mean, sums = float(values.mean()), np.bincount(blocks, weights=values)
    found: Floats = mean + (sums - mean * counts) / counts.mean()
    return found


def student_interval(values: Floats, *, level: float, horizon: int = 1) -> Interval:
    """Return the mean and its interval by Student's t, with the variance and the correction of
    ``diebold_mariano``; neighbours that take turns do not make it narrower."""
    from scipy import stats

    n = len(values)
    if n < 2 or not 1 <= horizon < n:
        return NO_INTERVAL
    centred = values - values.mean()
    plain = float(centred @ centred) / n
    lagged = sum(2.0 * float(centred[lag:] @ centred[:-lag]) / n for lag in range(1, horizon))
    error = math.sqrt(max(plain, plain + lagged) / n) / _correction(n, horizon)
    half = float(stats.t.ppf((1.0 + level) / 2.0, n - 1)) * error
    mean = float(values.mean())
    return Interval(mean, mean - half, mean + half)


def _correction(n: int, horizon: int) -> float:
    return math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)


def diebold_mariano(differences: Floats, horizon: int = 1) -> Test:
    """Return the test that the mean loss difference is 0, corrected for few values.

    ``horizon``: in steps of ``differences``; that many minus one autocovariances count. The
    p-value is of Student's t with n - 1 degrees of freedom.
    """
    from scipy import stats

    n = len(differences)
    if n < 2 or not 1 <= horizon < n:
        return NO_TEST
    centred = differences - differences.mean()
    variance = float(centred @ centred) / n
    for lag in range(1, horizon):
        variance += 2.0 * float(centred[lag:] @ centred[:-lag]) / n
    if variance <= 0:
        return NO_TEST
    statistic = float(differences.mean()) / math.sqrt(variance / n) * _correction(n, horizon)
    return Test(statistic, float(2.0 * stats.t.sf(abs(statistic), n - 1)))


def mcnemar(a_right: Any, b_right: Any) -> Test:
    """Return the exact test that both are right equally often: a binomial of the pairs in which
    one alone is right. The statistic is that count for b minus that for a. Pairs are taken for
    independent."""
    from scipy import stats

    only_a = int((a_right & ~b_right).sum())
    only_b = int((~a_right & b_right).sum())
    if not only_a + only_b:
        return NO_TEST
    p = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    return Test(float(only_b - only_a), float(p))


def bootstrap(
    sums: Floats, counts: Floats | None = None, *, seed: int, level: float,
    length: int | None = None,
) -> Interval:  # fmt: skip
    """Return a mean and its interval from moving runs of ``length`` blocks (default: the cube root
    of their number), wrapped around the end.

    ``sums`` are those of the blocks, ``counts`` how many values each has: 1 when left out, so that
    every block counts alike. NaN for fewer than two, and where a resample has no value.
    """
    n = len(sums)
    counts = np.ones(n) if counts is None else counts
    if n < 2 or not counts.any():
        return NO_INTERVAL
    length = length or max(1, round(n ** (1.0 / 3.0)))
    starts = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, math.ceil(n / length)))
    drawn, held = (_runs(one, length)[starts].sum(axis=1) for one in (sums, counts))
    means = np.divide(drawn, held, out=np.full(RESAMPLES, math.nan), where=held > 0)
    low, high = np.quantile(means, ((1.0 - level) / 2.0, (1.0 + level) / 2.0))
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))


def _runs(values: Floats, length: int) -> Floats:
    """Return the sum of ``length`` values from each place on, wrapped around the end."""
    total = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[:length])))))
    found: Floats = total[length : length + len(values)] - total[: len(values)]
    return found
