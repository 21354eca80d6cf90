"""Tests of paired values against worked cases, scipy, statsmodels and arch."""

import math

import numpy as np
import pytest
from arch.bootstrap import CircularBlockBootstrap
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar

from mqd.ml.evaluation.paired import (
    blocks_of,
    bootstrap,
    diebold_mariano,
    linearised,
    mcnemar,
    means_of,
    student_interval,
)

RNG = np.random.default_rng(3)
NOISE = RNG.normal(size=201)
DEPENDENT = (NOISE[1:] + 0.6 * NOISE[:-1]) + 0.2


def right(both, only_a, only_b, neither):
    """Return who was right in a table of four counts."""
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat(
        [True, False, True, False], counts
    )


# 794, 150, 86, 570: approval of a president at two polls (A. Agresti, "Categorical Data Analysis",
# 2nd ed., table 10.1), there with 4.2 deviations, p below 0.0001.
@pytest.mark.parametrize("table", [(794, 150, 86, 570), (10, 1, 8, 4), (3, 12, 5, 2), (0, 2, 2, 0)])
def test_mcnemar_equals_statsmodels(table):
    both, only_a, only_b, neither = table
    theirs = their_mcnemar([[both, only_a], [only_b, neither]], exact=True)
    found = mcnemar(*right(*table))
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.statistic == only_b - only_a


def test_mcnemar_by_hand():
    """One against eight: twice the chance of none or one head in nine, 2 x (1 + 9) / 512."""
    assert mcnemar(*right(40, 1, 8, 20)).p == pytest.approx(20 / 512)
    assert mcnemar(*right(794, 150, 86, 570)).p < 1e-4


def test_mcnemar_needs_a_pair_that_disagrees():
    assert math.isnan(mcnemar(*right(10, 0, 0, 5)).p)


def test_diebold_mariano_of_one_step_is_students_test():
    theirs = stats.ttest_1samp(DEPENDENT, 0.0)
    found = diebold_mariano(DEPENDENT, 1)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.p == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("horizon", [2, 3, 5])
def test_diebold_mariano_has_the_variance_of_statsmodels_and_the_correction(horizon):
    """Newey-West without weights, up to one lag below the horizon; the factor is equation 9 of
    Harvey, Leybourne and Newbold."""
    n = len(DEPENDENT)
    words = {"maxlags": horizon - 1, "kernel": "uniform", "use_correction": False}
    theirs = OLS(DEPENDENT, np.ones(n)).fit(cov_type="HAC", cov_kwds=words).tvalues[0]
    factor = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano(DEPENDENT, horizon)
    assert found.statistic == pytest.approx(theirs * factor)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(theirs * factor), n - 1))


def test_diebold_mariano_by_hand():
    """Differences 1, 2, 3, 2: mean 2, variance (1 + 0 + 1 + 0) / 4 = 1/2, first autocovariance 0.
    For two steps: 2 / sqrt(1/8) x sqrt((4 + 1 - 4 + 2/4) / 4)."""
    found = diebold_mariano(np.array([1.0, 2.0, 3.0, 2.0]), 2)
    assert found.statistic == pytest.approx(2 / math.sqrt(1 / 8) * math.sqrt(1.5 / 4))


@pytest.mark.parametrize(
    ("values", "horizon"),
    [([1.0], 1), ([], 1), ([1.0, 1.0, 1.0], 1), ([1.0, -1.0] * 9, 2), ([1.0, 2.0], 2)],
)
def test_diebold_mariano_without_a_variance_is_nan(values, horizon):
    assert all(map(math.isnan, diebold_mariano(np.array(values), horizon)))


@pytest.mark.parametrize("length", [1, 6])
def test_the_bootstrap_has_the_interval_of_arch(length):
    theirs = CircularBlockBootstrap(length, DEPENDENT, seed=4).conf_int(
        np.mean, reps=3000, method="percentile"
    )
    found = bootstrap(DEPENDENT, seed=1, level=0.95, length=length)
    assert found.mean == pytest.approx(DEPENDENT.mean())
    assert (found.low, found.high) == pytest.approx(tuple(theirs[:, 0]), abs=0.03)


def test_longer_blocks_know_of_dependence():
    short, long = (bootstrap(DEPENDENT, seed=1, level=0.95, length=n) for n in (1, 6))
    assert long.high - long.low > 1.15 * (short.high - short.low)


def test_a_seed_makes_the_interval_again_and_a_level_widens_it():
    found = bootstrap(DEPENDENT, seed=1, level=0.9)
    assert found == bootstrap(DEPENDENT, seed=1, level=0.9)
    assert found != bootstrap(DEPENDENT, seed=2, level=0.9)
    wider = bootstrap(DEPENDENT, seed=1, level=0.99)
    assert wider.low < found.low < found.high < wider.high


def test_one_value_has_no_interval():
    assert all(map(math.isnan, bootstrap(np.array([1.0]), seed=1, level=0.95)))


def test_blocks_end_where_the_labels_of_their_first_instant_end():
    """Bars 0 to 7, labels of three bars; at 0 and 3 two symbols, one of them with a longer label
    at 3."""
    t0 = np.array([0, 0, 1, 2, 3, 3, 4, 5, 6, 7])
    t1 = np.array([3, 3, 4, 5, 6, 7, 7, 8, 9, 10])
    blocks, leads = blocks_of(t0, t1)
    assert blocks.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]
    assert t0[leads].tolist() == [0, 0, 3, 3, 7]
    values = np.arange(10.0)
    assert means_of(values, blocks).tolist() == [1.5, 6.0, 9.0]
    assert means_of(values[leads], blocks[leads]).tolist() == [0.5, 4.5, 9.0]


def test_no_pairs_have_no_blocks():
    nothing = np.zeros(0, dtype=np.int64)
    blocks, leads = blocks_of(nothing, nothing)
    assert len(blocks) == len(leads) == len(means_of(np.zeros(0), blocks)) == 0


def test_a_mean_over_blocks_of_unequal_size_is_that_of_all_values():
    dice = np.random.default_rng(5)
    blocks = np.repeat(np.arange(60), dice.integers(1, 9, 60))
    values = dice.normal(size=len(blocks)) + 1.0 / np.bincount(blocks)[blocks]
    found = linearised(values, blocks)
    assert found.mean() == pytest.approx(values.mean())
    assert abs(means_of(values, blocks).mean() - values.mean()) > 0.03
    even = np.repeat(np.arange(20), 3)
    np.testing.assert_allclose(linearised(values[:60], even), means_of(values[:60], even))


def test_an_interval_of_few_blocks_by_hand_and_by_its_promise():
    found = student_interval(np.array([1.0, 2.0, 3.0, 4.0]), level=0.95)
    half = stats.t.ppf(0.975, 3) * np.std([1, 2, 3, 4], ddof=1) / 2.0
    assert found == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    dice, held = np.random.default_rng(6), 0
    for _ in range(400):
        steps = dice.normal(size=13)
        one = student_interval((steps[1:] + 0.5 * steps[:-1])[:12], level=0.95, horizon=2)
        held += one.low <= 0.0 <= one.high
    assert 0.9 * 400 <= held <= 0.99 * 400
    assert all(map(math.isnan, student_interval(np.array([1.0]), level=0.95)))
