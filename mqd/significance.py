"""How much of a Sharpe ratio is luck: arrays in, numbers out, NaN and never a sentinel.

Shared rules, so that the functions below need not repeat them:

- A Sharpe ratio here is *per period*: mean / deviation of one-bar returns, not annualised. An
  annualised one is divided by ``sqrt(periods_per_year)`` first; mixing them is the usual mistake.
- ``kurtosis`` is Pearson's: 3 for a normal distribution, not 0. ``skew`` is 0 there.
- ``moments`` is float64 of shape (..., n_blocks, 5): for each of ``n_blocks`` consecutive blocks
  of time the number of one-bar returns and the sums of r, r^2, r^3 and r^4 (``block_moments``).
- NaN rule: one NaN among the inputs makes the answer NaN; what has no meaning is NaN.

Sources. PSR and the minimum track record: D. H. Bailey and M. López de Prado, "The Sharpe Ratio
Efficient Frontier", Journal of Risk 15 (2012). DSR: the same, "The Deflated Sharpe Ratio:
Correcting for Selection Bias, Backtest Overfitting and Non-Normality", Journal of Portfolio
Management 40 (2014). PBO: D. H. Bailey, J. M. Borwein, M. López de Prado and Q. J. Zhu, "The
Probability of Backtest Overfitting", Journal of Computational Finance 20 (2017; first 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mqd.errors import UsageError

Floats = NDArray[np.float64]
Metric = Literal["sharpe", "mean"]

N_BLOCKS = 16
_EULER_GAMMA = 0.5772156649015329
_CHUNK = 1 << 18  # Sharpe ratios at a time: 2 MB an array, which stays in the cache
_GROUP = 4  # blocks whose subsets are summed beforehand
_TIE = 1e-12  # equal rows differ in the last bits when sums are added in another order
_NORMAL = NormalDist()
_erfc = np.frompyfunc(math.erfc, 1, 1)


def _normal_cdf(z: Floats) -> Floats:
    return np.asarray(_erfc(-z / math.sqrt(2.0)), dtype=np.float64) / 2.0


def _sharpe_factor(sharpe: Floats, skew: Floats, kurtosis: Floats) -> Floats:
    """Return ``1 - skew x SR + (kurtosis - 1) / 4 x SR^2``, NaN unless it is above 0.

    Divided by n - 1 it is the variance of an estimated Sharpe ratio of non-normal returns.
    """
    factor = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * np.square(sharpe)
    return np.where(factor > 0.0, factor, math.nan)


@overload
def probabilistic_sharpe_ratio(
    sharpe: float, n_returns: float, skew: float, kurtosis: float, benchmark: float = 0.0
) -> float: ...
@overload
def probabilistic_sharpe_ratio(
    sharpe: Floats, n_returns: ArrayLike, skew: ArrayLike, kurtosis: ArrayLike,
    benchmark: float = 0.0,
) -> Floats: ...  # fmt: skip
def probabilistic_sharpe_ratio(
    sharpe: float | Floats,
    n_returns: ArrayLike,
    skew: ArrayLike,
    kurtosis: ArrayLike,
    benchmark: float = 0.0,
) -> float | Floats:
    """Return the probability that the true Sharpe ratio is above ``benchmark`` (PSR, 2012).

    ``Phi((SR - benchmark) x sqrt(n - 1) / sqrt(1 - skew x SR + (kurtosis - 1) / 4 x SR^2))``,
    in [0, 1]. ``sharpe`` and ``benchmark`` per period. Numbers give a number, arrays of one
    shape an array. NaN below two returns.
    """
    ratio, n = np.asarray(sharpe, dtype=np.float64), np.asarray(n_returns, dtype=np.float64)
    factor = _sharpe_factor(ratio, np.asarray(skew), np.asarray(kurtosis))
    root = np.sqrt(np.where(n >= 2.0, n - 1.0, math.nan))
    probability = _normal_cdf(np.asarray((ratio - benchmark) * root / np.sqrt(factor)))
    return probability if probability.ndim else float(probability)


def minimum_track_record(
    sharpe: float, skew: float, kurtosis: float, benchmark: float = 0.0, level_frac: float = 0.95
) -> float:
    """Return how many returns it takes until PSR(benchmark) reaches ``level_frac`` (MinTRL, 2012).

    ``1 + (1 - skew x SR + (kurtosis - 1) / 4 x SR^2) x (Phi^-1(level) / (SR - benchmark))^2``:
    a number of periods, not rounded. Ratios per period. NaN unless ``sharpe`` is above
    ``benchmark``: then no record is long enough. ``level_frac`` lies in (0.5, 1).
    """
    if not 0.5 < level_frac < 1.0:
        raise UsageError(f"level_frac is {level_frac}; it lies between 0.5 and 1, as 0.95 does.")
    if not sharpe > benchmark:
        return math.nan
    factor = float(_sharpe_factor(np.asarray(sharpe), np.asarray(skew), np.asarray(kurtosis)))
    return 1.0 + factor * (_NORMAL.inv_cdf(level_frac) / (sharpe - benchmark)) ** 2


def expected_max_sharpe(sharpes_variance: float, n_trials: float) -> float:
    """Return the Sharpe ratio that the best of ``n_trials`` without skill is expected to show.

    ``sqrt(V) x ((1 - g) x Phi^-1(1 - 1 / n) + g x Phi^-1(1 - 1 / (n e)))`` with Euler's g (DSR
    paper, 2014). ``sharpes_variance`` is V, the variance of the trials' ratios; the answer has
    its unit: per period when they are. One trial selects nothing: 0. NaN below one trial and for a
    negative variance. ``n_trials`` may be an effective, fractional number.
    """
    if not (n_trials >= 1.0 and sharpes_variance >= 0.0 and math.isfinite(n_trials)):
        return math.nan
    if n_trials == 1.0:
        return 0.0
    typical = -_NORMAL.inv_cdf(1.0 / n_trials)
    extreme = -_NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    expected = (1.0 - _EULER_GAMMA) * typical + _EULER_GAMMA * extreme
    return math.sqrt(sharpes_variance) * max(expected, 0.0)


@overload
def deflated_sharpe_ratio(
    sharpe: float, n_returns: float, skew: float, kurtosis: float, sharpes_variance: float,
    n_trials: float,
) -> float: ...  # fmt: skip
@overload
def deflated_sharpe_ratio(
    sharpe: Floats, n_returns: ArrayLike, skew: ArrayLike, kurtosis: ArrayLike,
    sharpes_variance: float, n_trials: float,
) -> Floats: ...  # fmt: skip
def deflated_sharpe_ratio(
    sharpe: float | Floats,
    n_returns: ArrayLike,
    skew: ArrayLike,
    kurtosis: ArrayLike,
    sharpes_variance: float,
    n_trials: float,
) -> float | Floats:
    """Return the probability that the best of ``n_trials`` has skill at all (DSR, 2014).

    The PSR against ``expected_max_sharpe(sharpes_variance, n_trials)``. ``sharpe``, ``skew``,
    ``kurtosis`` and ``n_returns`` are the selected one's, per period; ``sharpes_variance`` is the
    variance of the *per-period* Sharpe ratios over all trials, ``n_trials`` how many were made,
    the discarded included.
    """
    expected = expected_max_sharpe(sharpes_variance, n_trials)
    return probabilistic_sharpe_ratio(
        np.asarray(sharpe, dtype=np.float64), n_returns, skew, kurtosis, benchmark=expected
    )


def block_moments(returns: ArrayLike, n_blocks: int = N_BLOCKS) -> Floats:
    """Return n and the sums of r, r^2, r^3, r^4 of each block of time, shape (n_blocks, 5).

    ``returns`` has shape (n_bars,); the return of step k is in block ``k x n_blocks // n_bars``.
    """
    values = np.asarray(returns, dtype=np.float64)
    n = len(values)
    block = np.arange(n) * n_blocks // max(n, 1)
    square = values * values
    powers = (np.ones(n), values, square, square * values, square * square)
    return np.stack([np.bincount(block, power, n_blocks) for power in powers], axis=-1)


def _totals(moments: ArrayLike) -> tuple[Floats, ...]:
    """Return n, mean, and the means of r^2, r^3 and r^4 over all blocks; NaN where n is 0."""
    table = np.asarray(moments, dtype=np.float64)
    if table.ndim < 2 or table.shape[-1] != 5:
        raise UsageError(f"moments have the shape (..., blocks, 5), not {table.shape}.")
    sums = table.sum(axis=-2)
    n = np.where(sums[..., 0] > 0.0, sums[..., 0], math.nan)
    return (n, *(sums[..., power] / n for power in range(1, 5)))


def n_returns_of(moments: ArrayLike) -> NDArray[np.int64]:
    """Return the number of returns in ``moments`` (..., n_blocks, 5), shape (...)."""
    counts: NDArray[np.int64] = np.asarray(moments)[..., 0].sum(axis=-1).astype(np.int64)
    return counts


def sharpe_of(moments: ArrayLike) -> Floats:
    """Return mean / deviation (ddof 1) *per period* of ``moments`` (..., n_blocks, 5), shape (...).

    ``mqd.statistics.sharpe`` is this x sqrt(periods_per_year). NaN below two returns, and when
    the variance is below 1e-12 of the mean square: the sums cannot resolve it.
    """
    n, mean, square, _, _ = _totals(moments)
    variance = square - mean * mean
    resolved = (variance > 1e-12 * square) & (n >= 2.0)
    deviation = np.sqrt(np.where(resolved, variance * n / np.maximum(n - 1.0, 1.0), math.nan))
    ratio: Floats = mean / deviation
    return ratio


def _variance_for_shape(mean: Floats, square: Floats) -> Floats:
    """Return the population variance; NaN below a millionth of the mean square.

    There third and fourth central moments drown in the rounding of the sums.
    """
    variance = square - mean * mean
    return np.where(variance > 1e-6 * square, variance, math.nan)


def skew_of(moments: ArrayLike) -> Floats:
    """Return the skewness m3 / m2^1.5 (population moments) of (..., n_blocks, 5), shape (...).

    NaN when the deviation is below a thousandth of the root mean square.
    """
    _, mean, square, cube, _ = _totals(moments)
    variance = _variance_for_shape(mean, square)
    third = cube - 3.0 * mean * square + 2.0 * mean**3
    skew: Floats = third / variance**1.5
    return skew


def kurtosis_of(moments: ArrayLike) -> Floats:
    """Return Pearson's kurtosis m4 / m2^2 (normal: 3) of (..., n_blocks, 5), shape (...).

    NaN when the deviation is below a thousandth of the root mean square.
    """
    _, mean, square, cube, fourth_power = _totals(moments)
    variance = _variance_for_shape(mean, square)
    fourth = fourth_power - 4.0 * mean * cube + 6.0 * mean**2 * square - 3.0 * mean**4
    kurtosis: Floats = fourth / variance**2
    return kurtosis


@dataclass(frozen=True, slots=True, eq=False)
class PboResult:
    """What ``pbo`` found; arrays have one value a split, in the order of ``combinations``.

    ``pbo``: share of splits whose in-sample best came in the lower half out of sample.
    ``logits``: ln(w / (1 - w)), w = its rank out of sample / (rows + 1); below 0: lower half.
    ``slope``: of the regression of ``out_of_sample`` on ``in_sample`` (performance degradation).
    ``loss_frac``: share of splits whose in-sample best lost out of sample.
    ``in_sample``, ``out_of_sample``: the best's metric, per period. ``n_rows``: rows compared.
    """

    pbo: float
    logits: Floats
    slope: float
    loss_frac: float
    in_sample: Floats
    out_of_sample: Floats
    n_rows: int


def _subset_sums(part: Floats) -> list[Floats]:
    """Return, for each four blocks of ``part`` (blocks, rows), the sums of all their subsets.

    A union of blocks is then four rows added up, in one order for all rows; a product of matrices
    would start a library's threads, which under load takes ten times as long.
    """
    tables = []
    for start in range(0, len(part), _GROUP):
        group = part[start : start + _GROUP]
        sums = np.zeros((1 << len(group), part.shape[1]))
        for place, block in enumerate(group):
            np.add(sums[: 1 << place], block, out=sums[1 << place : 2 << place])
        tables.append(sums)
    return tables


def _union(tables: list[Floats], masks: NDArray[np.int64]) -> Floats:
    """Return the sums over unions of blocks, (splits, rows); ``masks`` is (splits, tables)."""
    total: Floats = tables[0][masks[:, 0]]
    for table, mask in zip(tables[1:], masks.T[1:], strict=True):
        total += table[mask]
    return total


def _performance(
    masks: NDArray[np.int64], sums: tuple[list[Floats], ...], metric: Metric
) -> Floats:
    """Return the metric of unions of blocks, (splits, rows); without dispersion Sharpe is 0.

    ``sums`` are the subset sums of n, r and r^2; n has one row when it is one for all.
    """
    n, first, second = (_union(tables, masks) for tables in sums)
    mean: Floats = first / n
    if metric == "mean":
        return mean
    spread = second - first * mean
    resolved = spread > 1e-12 * second
    np.divide(spread, n - 1.0, out=spread)
    np.sqrt(spread, out=spread, where=resolved)
    np.divide(mean, spread, out=mean, where=resolved)
    mean[~resolved] = 0.0
    return mean


def _best_elsewhere(here: Floats, there: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the best's metric here, its metric there, and its relative rank there (each split)."""
    splits = np.arange(len(here))
    best = here.argmax(axis=1)
    found = there[splits, best]
    edge = _TIE * (1.0 + np.abs(found))
    below = np.count_nonzero(there < (found - edge)[:, None], axis=1)
    above = np.count_nonzero(there > (found + edge)[:, None], axis=1)
    n_rows = here.shape[1]
    rank = below + (n_rows - below - above + 1) / 2.0
    return here[splits, best], found, rank / (n_rows + 1.0)


def _splits(table: Floats, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Return in-sample metric, out-of-sample metric and relative rank of each split's best.

    A split and its mirror image share their sums: combination i and the i-th from the end are
    complements, so one half of the combinations is enough.
    """
    n_rows, n_blocks, _ = table.shape
    halves = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    masks = np.zeros((len(halves), -(-n_blocks // _GROUP)), dtype=np.int64)
    np.add.at(masks, (np.arange(len(halves))[:, None], halves // _GROUP), 1 << halves % _GROUP)
    counts = table[:, :, 0]
    counts = counts[:1] if (counts == counts[0]).all() else counts
    parts = (counts, table[:, :, 1], table[:, :, 2])
    sums = tuple(_subset_sums(part.T) for part in parts)
    answers = np.empty((3, len(halves)))
    step = max(1, _CHUNK // n_rows)
    for start in range(0, len(halves) // 2, step):
        rows = slice(start, min(start + step, len(halves) // 2))
        mirrored = len(halves) - 1 - np.arange(rows.start, rows.stop)
        here = _performance(masks[rows], sums, metric)
        there = _performance(masks[mirrored], sums, metric)
        answers[:, rows] = _best_elsewhere(here, there)
        answers[:, mirrored] = _best_elsewhere(there, here)
    return answers[0], answers[1], answers[2]


def pbo(moments: ArrayLike, metric: Metric = "sharpe") -> PboResult:
    """Return the probability of backtest overfitting by CSCV, exact over all splits.

    ``moments`` has shape (rows, n_blocks, 5), one row a configuration, all over the *same* bars;
    n_blocks is even: 16 gives 12,870 splits. For each choice of half of the blocks the row best
    there ("sharpe", or "mean" return) is ranked among all rows in the other half; ties share the
    mean rank. A row without dispersion in a half scores a Sharpe ratio of 0: it stood aside.
    Rows with a non-finite sum or an empty block are left out (``n_rows`` says how many were
    compared). NaN below two rows. Seconds for 10,000 rows, in proportion beyond; memory is about
    1.5 kB a row beyond ``moments``, and 20 MB.
    """
    table = np.asarray(moments, dtype=np.float64)
    if table.ndim != 3 or table.shape[2] != 5 or table.shape[1] < 2 or table.shape[1] % 2:
        raise UsageError(
            f"pbo takes moments of shape (rows, blocks, 5) with an even number of blocks, not"
            f" {table.shape}. sweep.moments has it; block_moments makes one row from returns."
        )
    if metric not in ("sharpe", "mean"):
        raise UsageError(f"pbo knows the metrics 'sharpe' and 'mean', not {metric!r}.")
    whole = np.isfinite(table).all(axis=(1, 2)) & (table[:, :, 0] > 0.0).all(axis=1)
    table = table if whole.all() else table[whole]
    if len(table) < 2:
        none = np.empty(0)
        return PboResult(math.nan, none, math.nan, math.nan, none, none, len(table))
    inside, outside, rank = _splits(table, metric)
    logits = np.log(rank / (1.0 - rank))
    apart = inside - inside.mean()
    spread = float(apart @ apart)
    slope = float(apart @ outside) / spread if spread > 0.0 else math.nan
    share, lost = float(np.mean(logits <= 0.0)), float(np.mean(outside < 0.0))
    return PboResult(share, logits, slope, lost, inside, outside, len(table))
