"""Bootstrap intervals against arch and laws; neighbours against tables worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd import robustness, statistics
from mqd.errors import UsageError
from mqd.robustness import bootstrap_interval, neighbour_stability


def _series(seed: int, n: int, memory: float) -> np.ndarray:
    shocks = np.random.default_rng(seed).normal(0.0, 0.01, n)
    values = shocks.copy()
    for bar in range(1, n):
        values[bar] += memory * values[bar - 1]
    return values + 0.0005


def _sharpe(returns: np.ndarray) -> float:
    return statistics.sharpe(returns, 252)


@pytest.mark.parametrize("memory", [0.1, 0.3, 0.6, 0.9, -0.3, -0.8])
def test_block_length_equals_arch(memory: float) -> None:
    for seed, n in ((1, 300), (2, 1000), (3, 2517)):
        returns = _series(seed, n, memory)
        theirs = float(optimal_block_length(returns)["stationary"].iloc[0])
        ours = robustness.block_length(returns)
        assert ours == pytest.approx(max(theirs, 1.0), rel=1e-9)


def test_block_length_of_what_has_none() -> None:
    assert math.isnan(robustness.block_length(np.zeros(9)))
    assert math.isnan(robustness.block_length(np.array([0.01] * 20 + [math.nan])))
    assert robustness.block_length(np.full(50, 0.01)) == 1.0


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_interval_equals_arch_up_to_chance(memory: float) -> None:
    returns = _series(5, 800, memory)
    ours = bootstrap_interval(returns, _sharpe, n_resamples=3000, seed=1)
    theirs = StationaryBootstrap(ours.block_bars, returns, seed=2)
    low, high = theirs.conf_int(_sharpe, 3000, method="percentile").ravel()
    width = high - low
    assert ours.low == pytest.approx(low, abs=0.06 * width)
    assert ours.high == pytest.approx(high, abs=0.06 * width)
    assert ours.estimate == _sharpe(returns)
    assert ours.n_undefined == 0


def test_dependence_widens_the_interval_of_a_mean() -> None:
    returns = _series(6, 1500, 0.7)
    blocks = bootstrap_interval(returns, lambda r: float(r.mean()), n_resamples=800)
    single = bootstrap_interval(returns, lambda r: float(r.mean()), n_resamples=800, block_bars=1.0)
    assert blocks.high - blocks.low > 1.5 * (single.high - single.low)
    spread = returns.std(ddof=0) / math.sqrt(len(returns))
    assert single.high - single.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_blocks_are_runs_of_bars_of_the_asked_length() -> None:
    rows = np.concatenate(list(robustness._resamples(500, 8.0, 400, seed=3)))
    assert rows.shape == (400, 500)
    follows = (rows[:, 1:] - rows[:, :-1]) % 500 == 1
    assert 1.0 / (1.0 - follows.mean()) == pytest.approx(8.0, rel=0.03)
    counts = np.bincount(rows.ravel(), minlength=500)  # no bar is favoured, not the ends either
    assert counts.min() > 300
    assert counts.max() < 500


def test_a_seed_gives_one_answer_and_another_seed_another() -> None:
    returns = _series(7, 300, 0.2)
    first = bootstrap_interval(returns, _sharpe, n_resamples=200, seed=4)
    assert first == bootstrap_interval(returns, _sharpe, n_resamples=200, seed=4)
    assert first != bootstrap_interval(returns, _sharpe, n_resamples=200, seed=5)
    wider = bootstrap_interval(returns, _sharpe, level_frac=0.99, n_resamples=200, seed=4)
    assert wider.low <= first.low < first.high <= wider.high


def test_undefined_statistics_are_counted_and_leave_no_interval() -> None:
    returns = np.zeros(60)
    returns[30] = 0.01  # many resamples never draw it
    found = bootstrap_interval(returns, _sharpe, n_resamples=100)
    assert found.n_undefined > 0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.estimate == _sharpe(returns)
    gap = bootstrap_interval(np.array([0.01] * 20 + [math.nan]), _sharpe)
    assert math.isnan(gap.estimate)


@pytest.mark.parametrize("bad", [{"level_frac": 95}, {"n_resamples": 0}, {"block_bars": 0.5}])
def test_bad_settings_are_refused(bad: dict) -> None:
    with pytest.raises(UsageError, match="bootstrap_interval: level_frac"):
        bootstrap_interval(np.zeros(20), _sharpe, **bad)


def _grid(values: dict[tuple, float], names: str = "ab") -> pd.DataFrame:
    table = pd.DataFrame(list(values), columns=list(names))
    table["sharpe"] = list(values.values())
    return table


PLATEAU = {
    (10, 1): 0.2, (10, 2): 0.4, (10, 5): 0.1,
    (20, 1): 0.6, (20, 2): 1.0, (20, 5): 0.8,
    (50, 1): 0.0, (50, 2): 0.6, (50, 5): 0.5,
}  # fmt: skip


def test_neighbours_of_the_best_worked_by_hand() -> None:
    found = neighbour_stability(_grid(PLATEAU), ["a", "b"], "sharpe")
    assert (found.row, found.best, found.n_neighbours, found.n_missing) == (4, 1.0, 4, 0)
    assert found.mean == pytest.approx((0.4 + 0.6 + 0.8 + 0.6) / 4)
    assert found.kept_frac == pytest.approx(0.6)
    assert found.worst == 0.4
    assert found.smoothed[4] == pytest.approx((1.0 + 0.4 + 0.6 + 0.8 + 0.6) / 5)
    assert found.smoothed[0] == pytest.approx((0.2 + 0.4 + 0.6) / 3)  # a corner has two
    assert found.smoothed[8] == pytest.approx((0.5 + 0.8 + 0.6) / 3)


def test_missing_and_failed_neighbours_are_counted() -> None:
    values = dict(PLATEAU)
    del values[10, 2]
    values[50, 2] = math.nan
    found = neighbour_stability(_grid(values), ["a", "b"], "sharpe")
    assert (found.n_neighbours, found.n_missing) == (2, 1)
    assert found.kept_frac == pytest.approx(0.7)
    assert np.isnan(found.smoothed[6])


def test_texts_and_flags_have_no_neighbours_among_themselves() -> None:
    values = {
        (a, way): PLATEAU[a, 1] + (way == "long") for a in (10, 20, 50) for way in ("long", "x")
    }
    found = neighbour_stability(_grid(values), ["a", "b"], "sharpe")
    assert found.best == 1.6
    assert found.mean == pytest.approx((1.2 + 1.0) / 2)
    flags = _grid({(a, flag): PLATEAU[a, 1] + flag for a in (10, 20, 50) for flag in (True, False)})
    assert neighbour_stability(flags, ["a", "b"], "sharpe").mean == pytest.approx((1.2 + 1.0) / 2)


def test_symbols_of_one_combination_are_averaged() -> None:
    table = _grid(PLATEAU)
    other = table.assign(sharpe=table["sharpe"] - 0.2)
    holes = table.assign(sharpe=math.nan)
    found = neighbour_stability(pd.concat([table, other, holes]), ["a", "b"], "sharpe")
    assert found.best == pytest.approx(0.9)
    assert found.mean == pytest.approx(0.5)
    assert len(found.smoothed) == 27


def test_a_lone_row_a_loser_and_no_number() -> None:
    lone = neighbour_stability({"a": [1], "sharpe": [2.0]}, ["a"], "sharpe")
    assert (lone.best, lone.n_neighbours, lone.smoothed.tolist()) == (2.0, 0, [2.0])
    assert math.isnan(lone.kept_frac)
    loser = neighbour_stability({"a": [1, 2], "sharpe": [-1.0, -2.0]}, ["a"], "sharpe")
    assert math.isnan(loser.kept_frac)
    assert loser.mean == -2.0
    none = neighbour_stability({"a": [1, 2], "sharpe": [math.nan] * 2}, ["a"], "sharpe")
    assert (none.row, none.n_neighbours) == (-1, 0)
    assert math.isnan(none.best)
    with pytest.raises(UsageError, match="at least one row and one parameter"):
        neighbour_stability({"a": [], "sharpe": []}, ["a"], "sharpe")


def test_a_random_search_is_cut_into_levels() -> None:
    drawn = np.random.default_rng(0).random((2000, 2))
    table = pd.DataFrame(drawn, columns=["a", "b"])
    table["sharpe"] = 1.0 - ((drawn - 0.5) ** 2).sum(axis=1)
    smooth = neighbour_stability(table, ["a", "b"], "sharpe")
    assert smooth.n_neighbours == 4
    assert smooth.kept_frac > 0.97
    noise = table.assign(sharpe=np.random.default_rng(1).normal(size=2000))
    assert neighbour_stability(noise, ["a", "b"], "sharpe").kept_frac < 0.6


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_order_of_rows_and_names_of_levels_do_not_matter(n_a: int, n_b: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    cells = [(a, b) for a in range(n_a) for b in range(n_b)]
    table = _grid(dict(zip(cells, chance.normal(size=len(cells)), strict=True)))
    found = neighbour_stability(table, ["a", "b"], "sharpe")
    mixed = table.assign(a=np.exp(table["a"]), b=-table["b"]).sample(frac=1.0, random_state=seed)
    again = neighbour_stability(mixed, ["b", "a"], "sharpe")
    assert again.best == found.best
    assert again.n_neighbours == found.n_neighbours
    np.testing.assert_allclose(again.mean, found.mean, rtol=1e-12)
    np.testing.assert_allclose(again.smoothed, found.smoothed[mixed.index], rtol=1e-12)
