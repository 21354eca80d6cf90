"""Luck: published examples, CSCV worked by hand and by its definition, purgedcv, skfolio, laws."""

from __future__ import annotations

import math
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import purgedcv
import pytest
import skfolio.measures
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mqd import significance, statistics
from mqd.errors import UsageError

TABLES = Path(__file__).parents[1] / "tables"
PUBLISHED = pd.read_csv(TABLES / "significance.csv", comment="#")
SPLITS = pd.read_csv(TABLES / "overfitting_splits.csv", comment="#")


def _published(row: pd.Series) -> float:
    root = math.sqrt(row["periods"])
    sharpe, benchmark = row["sharpe"] / root, row["benchmark"] / root
    match row["what"]:
        case "psr":
            shape = row["n_returns"], row["skew"], row["kurtosis"]
            return significance.probabilistic_sharpe_ratio(sharpe, *shape, benchmark)
        case "track":
            record = significance.minimum_track_record(
                sharpe, row["skew"], row["kurtosis"], benchmark
            )
            return record / row["periods"]
        case "threshold":
            return significance.expected_max_sharpe(
                row["variance"] / row["periods"], row["n_trials"]
            )
        case "dsr":
            shape = row["n_returns"], row["skew"], row["kurtosis"]
            variance = row["variance"] / row["periods"]
            return significance.deflated_sharpe_ratio(sharpe, *shape, variance, row["n_trials"])
    raise AssertionError(row["what"])


@pytest.mark.parametrize("case", PUBLISHED["case"])
def test_published_examples(case: str) -> None:
    row = PUBLISHED[PUBLISHED["case"] == case].iloc[0]
    assert round(_published(row), int(row["digits"])) == row["answer"]


def _returns(seed: int, n: int = 700, mean: float = 0.0006) -> np.ndarray:
    return mean + 0.01 * np.random.default_rng(seed).standard_t(5, n)


def _table(returns: np.ndarray, n_blocks: int = 16) -> np.ndarray:
    return np.stack([significance.block_moments(row, n_blocks) for row in returns])


@pytest.mark.parametrize("seed", range(4))
def test_moments_equal_the_returns_own_statistics(seed: int) -> None:
    returns = _returns(seed, n=701)
    moments = significance.block_moments(returns)
    assert significance.n_returns_of(moments) == 701
    yearly = float(significance.sharpe_of(moments)) * math.sqrt(252)
    assert yearly == pytest.approx(statistics.sharpe(returns, 252), rel=1e-10)
    assert significance.skew_of(moments) == pytest.approx(stats.skew(returns), rel=1e-9)
    pearson = stats.kurtosis(returns, fisher=False)
    assert significance.kurtosis_of(moments) == pytest.approx(pearson, rel=1e-9)


def test_blocks_of_time_are_cut_as_the_sweep_cuts_them() -> None:
    moments = significance.block_moments(np.arange(35.0))
    expected = [sum(1 for k in range(35) if k * 16 // 35 == block) for block in range(16)]
    assert moments[:, 0].tolist() == expected
    assert moments[3].tolist() == [2.0, 15.0, 113.0, 855.0, 6497.0]  # steps 7 and 8


def test_moments_without_dispersion_have_no_ratio() -> None:
    for constant in (0.0, 0.01, 1e-9):
        moments = significance.block_moments(np.full(300, constant))
        for of in (significance.sharpe_of, significance.skew_of, significance.kurtosis_of):
            assert np.isnan(of(moments))
    assert np.isnan(significance.sharpe_of(np.zeros((16, 5))))
    assert np.isnan(significance.sharpe_of(significance.block_moments(np.array([0.01]))))
    lost = significance.block_moments(np.array([0.01, math.nan, 0.02]))
    assert np.isnan(significance.sharpe_of(lost))


def test_higher_moments_that_rounding_would_drown_are_refused() -> None:
    returns = 1.0 + 1e-5 * np.random.default_rng(0).normal(size=500)
    moments = significance.block_moments(returns)
    exact = returns.mean() / returns.std(ddof=1)
    assert significance.sharpe_of(moments) == pytest.approx(exact, rel=1e-4)
    assert np.isnan(significance.skew_of(moments))
    assert np.isnan(significance.kurtosis_of(moments))


@pytest.mark.parametrize("seed", range(4))
def test_psr_and_dsr_equal_skfolio(seed: int) -> None:
    returns = _returns(seed)
    moments = significance.block_moments(returns)
    own = (
        float(significance.sharpe_of(moments)),
        len(returns),
        float(significance.skew_of(moments)),
        float(significance.kurtosis_of(moments)),
    )
    theirs = skfolio.measures.probabilistic_sharpe_ratio(returns, 0.02)
    ours = significance.probabilistic_sharpe_ratio(*own, 0.02)
    assert ours == pytest.approx(theirs, abs=1e-9)
    trials = np.random.default_rng(seed).normal(0.0, 0.03, 40)
    spread = float(trials.var(ddof=1))
    deflated = significance.deflated_sharpe_ratio(*own, spread, 40)
    assert deflated == pytest.approx(
        skfolio.measures.deflated_sharpe_ratio(returns, trials), abs=1e-9
    )


@pytest.mark.parametrize("skew", [-2.0, 0.0, 1.0])
def test_minimum_track_record_equals_purgedcv(skew: float) -> None:
    ours = significance.minimum_track_record(0.11, skew, 8.0, 0.03, level_frac=0.99)
    theirs = purgedcv.min_track_record_length(0.11, 0.03, 0.01, skew, 8.0)
    assert ours == pytest.approx(theirs, abs=1.0)  # theirs is rounded up
    reached = significance.probabilistic_sharpe_ratio(0.11, ours, skew, 8.0, 0.03)
    assert reached == pytest.approx(0.99, abs=1e-12)


def test_what_has_no_meaning_is_nan() -> None:
    psr, best = significance.probabilistic_sharpe_ratio, significance.expected_max_sharpe
    assert math.isnan(psr(0.1, 1, 0.0, 3.0))
    assert math.isnan(psr(math.nan, 100, 0.0, 3.0))
    assert math.isnan(psr(0.1, 100, math.nan, 3.0))
    assert math.isnan(psr(1.0, 100, 3.0, 1.0))  # no returns have these moments
    assert math.isnan(significance.minimum_track_record(0.1, 0.0, 3.0, benchmark=0.1))
    assert math.isnan(significance.minimum_track_record(math.nan, 0.0, 3.0))
    assert math.isnan(best(0.5, 0))
    assert math.isnan(best(-0.5, 10))
    assert math.isnan(best(math.nan, 10))
    assert math.isnan(best(0.5, math.inf))
    assert best(0.5, 1) == 0.0
    with pytest.raises(UsageError, match="level_frac is 95"):
        significance.minimum_track_record(0.1, 0.0, 3.0, level_frac=95)


def test_arrays_are_answered_one_by_one() -> None:
    sharpes = np.array([0.05, math.nan, 0.1])
    together = significance.deflated_sharpe_ratio(sharpes, 500, -0.5, 6.0, 0.002, 30)
    apart = [
        significance.deflated_sharpe_ratio(float(one), 500, -0.5, 6.0, 0.002, 30) for one in sharpes
    ]
    np.testing.assert_array_equal(together, apart)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.3, 0.3),
    st.integers(3, 5000),
    st.floats(-2.0, 2.0),
    st.floats(0.0, 20.0),
    st.integers(1, 10**9),
)
def test_more_trials_never_raise_the_deflated_ratio(
    sharpe: float, n: int, skew: float, tails: float, n_trials: int
) -> None:
    kurtosis = 1.001 + skew * skew + tails  # Pearson: kurtosis >= skew^2 + 1
    few = significance.deflated_sharpe_ratio(sharpe, n, skew, kurtosis, 0.01, n_trials)
    many = significance.deflated_sharpe_ratio(sharpe, n, skew, kurtosis, 0.01, 2 * n_trials)
    plain = significance.probabilistic_sharpe_ratio(sharpe, n, skew, kurtosis)
    assert 0.0 <= many <= few <= plain <= 1.0


def test_expected_maximum_is_what_a_simulation_shows() -> None:
    drawn = np.random.default_rng(3).normal(size=(20_000, 200)).max(axis=1).mean()
    assert significance.expected_max_sharpe(1.0, 200) == pytest.approx(drawn, abs=0.03)


def test_pbo_worked_by_hand() -> None:
    halves = np.array([0.4, 0.6])
    blocks = {"A": [4.5, -0.5, -0.5, 0.5], "B": [1.5, 3.5, 3.5, -0.5], "C": [0.5, 0.5, -1.5, 3.5]}
    returns = np.stack([np.outer(row, halves).ravel() / 100 for row in blocks.values()])
    found = significance.pbo(_table(returns, 4), metric="mean")
    np.testing.assert_allclose(found.logits, np.log(SPLITS["odds"]), atol=1e-12)
    ins = SPLITS[["in_a", "in_b", "in_c"]].max(axis=1) / 400
    np.testing.assert_allclose(found.in_sample, ins, atol=1e-15)
    outs = [row[f"out_{row['best'].lower()}"] / 400 for _, row in SPLITS.iterrows()]
    np.testing.assert_allclose(found.out_of_sample, outs, atol=1e-15)
    assert found.pbo == pytest.approx(4 / 6)
    assert found.loss_frac == pytest.approx(2 / 6)
    assert found.slope == pytest.approx(-32 / 53)
    assert found.n_rows == 3


def _by_definition(returns: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and out-of-sample Sharpe of each split, from the returns themselves."""
    n = returns.shape[1]
    block = np.arange(n) * n_blocks // n
    logits, outside = [], []
    for chosen in combinations(range(n_blocks), n_blocks // 2):
        inside = np.isin(block, chosen)
        here, there = (
            part.mean(axis=1) / part.std(axis=1, ddof=1)
            for part in (returns[:, inside], returns[:, ~inside])
        )
        share = stats.rankdata(there)[here.argmax()] / (len(returns) + 1)
        logits.append(math.log(share / (1 - share)))
        outside.append(there[here.argmax()])
    return np.array(logits), np.array(outside)


@pytest.mark.parametrize(("n_rows", "n_bars", "n_blocks"), [(12, 333, 8), (2, 64, 6), (7, 101, 10)])
def test_pbo_equals_its_definition(n_rows: int, n_bars: int, n_blocks: int) -> None:
    returns = np.stack([_returns(seed, n_bars) for seed in range(n_rows)])
    returns[-1] += 0.002  # one that is really better
    logits, outside = _by_definition(returns, n_blocks)
    found = significance.pbo(_table(returns, n_blocks))
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-9)
    assert found.pbo == np.mean(logits <= 0)
    slope = np.polyfit(found.in_sample, outside, 1)[0]
    assert found.slope == pytest.approx(slope, rel=1e-8)


def test_pbo_equals_purgedcv() -> None:
    returns = np.stack([_returns(seed, 320) for seed in range(15)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = purgedcv.probability_of_backtest_overfitting(returns, n_splits=8)
    found = significance.pbo(_table(returns, 8))
    assert found.pbo == theirs.pbo
    assert found.slope == pytest.approx(theirs.slope, rel=1e-9)
    np.testing.assert_allclose(np.sort(found.logits), np.sort(theirs.logits), atol=1e-12)


def test_pbo_of_sixteen_splits_is_exact() -> None:
    returns = np.stack([_returns(seed, 480) for seed in range(6)])
    logits, _ = _by_definition(returns, 16)
    found = significance.pbo(_table(returns))
    assert len(found.logits) == 12_870
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)


def test_pbo_of_noise_of_skill_and_of_copies() -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.01, (200, 640))
    assert 0.2 < significance.pbo(_table(noise)).pbo < 0.9
    skilled = noise.copy()
    skilled[0] += 0.01
    won = significance.pbo(_table(skilled))
    assert won.pbo == 0.0
    assert won.loss_frac == 0.0
    copies = np.repeat(noise[:1], 9, axis=0)
    tied = significance.pbo(_table(copies))
    np.testing.assert_allclose(tied.logits, 0.0, atol=1e-12)


def test_pbo_where_rows_have_their_own_number_of_returns() -> None:
    long = np.stack([_returns(seed, 320) for seed in range(3)])
    short = np.stack([_returns(seed, 160) for seed in range(3, 6)])
    table = np.concatenate([_table(long, 4), _table(short, 4)])
    found = significance.pbo(table)
    first = [significance.sharpe_of(row[[0, 1]]) for row in table]
    assert found.in_sample[0] == pytest.approx(max(first), rel=1e-9)


def test_pbo_leaves_out_rows_without_numbers_and_says_so() -> None:
    table = _table(np.stack([_returns(seed, 320) for seed in range(8)]))
    broken = np.concatenate([table, np.full((2, 16, 5), np.nan), np.zeros((1, 16, 5))])
    assert significance.pbo(broken).n_rows == 8
    np.testing.assert_array_equal(significance.pbo(broken).logits, significance.pbo(table).logits)
    alone = significance.pbo(table[:1])
    assert math.isnan(alone.pbo)
    assert math.isnan(alone.slope)
    assert alone.n_rows == 1


def test_pbo_of_a_row_that_stands_aside() -> None:
    aside, winner, loser = np.zeros(64), _returns(0, 64, 0.02), _returns(1, 64, -0.02)
    found = significance.pbo(_table(np.stack([aside, winner, loser]), 4))
    assert found.pbo == 0.0
    beaten = significance.pbo(_table(np.stack([aside, loser, loser]), 4))
    np.testing.assert_array_equal(beaten.out_of_sample, 0.0)  # the best stood aside
    assert math.isnan(beaten.slope)


@pytest.mark.parametrize("shape", [(3, 15, 5), (3, 16, 4), (16, 5), (3, 0, 5)])
def test_pbo_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="even number of blocks"):
        significance.pbo(np.ones(shape))


def test_pbo_refuses_an_unknown_metric() -> None:
    with pytest.raises(UsageError, match="'sharpe' and 'mean', not 'calmar'"):
        significance.pbo(np.ones((2, 4, 5)), metric="calmar")


def test_moments_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(\.\.\., blocks, 5\)"):
        significance.sharpe_of(np.ones(5))
