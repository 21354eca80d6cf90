"""Statistics against empyrical-reloaded, hand-worked numbers, and laws."""

import math
import warnings

import empyrical
import empyrical.stats
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd import statistics

YEAR = 252.0


def _random_returns(seed: int, n: int = 700) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0004, 0.012, n)


def _same(ours: float, theirs: float) -> None:
    if math.isnan(theirs):
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


PAIRS = {
    "total": (
        lambda r, y: statistics.total_return_frac(r),
        lambda r, y: empyrical.cum_returns_final(r),
    ),
    "cagr": (statistics.cagr_frac, lambda r, y: empyrical.annual_return(r, annualization=y)),
    "volatility": (
        statistics.volatility_frac,
        lambda r, y: empyrical.annual_volatility(r, annualization=y),
    ),
    "sharpe": (statistics.sharpe, lambda r, y: empyrical.sharpe_ratio(r, annualization=y)),
    "sortino": (statistics.sortino, lambda r, y: empyrical.sortino_ratio(r, annualization=y)),
    "calmar": (statistics.calmar, lambda r, y: empyrical.calmar_ratio(r, annualization=y)),
    "drawdown": (
        lambda r, y: statistics.max_drawdown_frac(r),
        lambda r, y: empyrical.max_drawdown(r),
    ),
    "var": (
        lambda r, y: statistics.value_at_risk_frac(r),
        lambda r, y: empyrical.value_at_risk(r),
    ),
    "shortfall": (
        lambda r, y: statistics.expected_shortfall_frac(r),
        lambda r, y: empyrical.conditional_value_at_risk(r),
    ),
    "tail": (lambda r, y: statistics.tail_ratio(r), lambda r, y: empyrical.tail_ratio(r)),
}

CASES = {
    **{f"seed {seed}": (_random_returns(seed), YEAR) for seed in range(5)},
    "minutes": (_random_returns(11) / 20, 390 * YEAR),
    "crypto days": (_random_returns(12) * 3, 365.0),
    "all losses": (-np.abs(_random_returns(5, 60)), YEAR),
    "two bars": (np.array([0.02, -0.01]), YEAR),
    "one bar": (np.array([-0.01]), YEAR),
    "ruin": (np.array([0.1, -1.0, 0.0]), YEAR),
    "first bar loses": (np.array([-0.2, 0.1, 0.05]), YEAR),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("case", CASES)
def test_equal_to_empyrical(name: str, case: str) -> None:
    ours, theirs = PAIRS[name]
    returns, year = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = float(theirs(returns.copy(), year))
    _same(ours(returns, year), expected)


def test_drawdown_series_equals_empyrical() -> None:
    returns = _random_returns(3)
    ours = statistics.drawdown_series(returns)
    np.testing.assert_allclose(
        ours, empyrical.stats.drawdown_series(returns), rtol=1e-9, atol=1e-14
    )


def test_rolling_sharpe_equals_empyrical() -> None:
    returns = _random_returns(4, 200)
    ours = statistics.rolling_sharpe(returns, 30, YEAR)
    theirs = empyrical.roll_sharpe_ratio(returns, window=30, annualization=YEAR)
    assert np.isnan(ours[:29]).all()
    np.testing.assert_allclose(ours[29:], theirs, rtol=1e-9)


def test_constant_equity_has_no_ratio() -> None:
    flat = np.zeros(20)
    assert statistics.volatility_frac(flat, YEAR) == 0.0
    assert statistics.max_drawdown_frac(flat) == 0.0
    for ratio in (statistics.sharpe, statistics.sortino, statistics.calmar):
        assert math.isnan(ratio(flat, YEAR))
    assert math.isnan(statistics.tail_ratio(flat))
    assert np.isnan(statistics.rolling_sharpe(flat, 5, YEAR)).all()
    idle_then_busy = np.concatenate((np.zeros(30), _random_returns(1, 30)))
    assert np.isnan(statistics.rolling_sharpe(idle_then_busy, 20, YEAR)[:30]).all()
    assert np.isnan(statistics.rolling_sharpe(flat, 50, YEAR)).all()


def test_equal_gains_have_no_dispersion() -> None:
    assert math.isnan(statistics.sharpe(np.full(50, 0.1), YEAR))
    assert math.isnan(statistics.sortino(np.full(50, 0.1), YEAR))


def test_nothing_is_nan_not_zero() -> None:
    none = np.array([])
    for name in PAIRS:
        assert math.isnan(PAIRS[name][0](none, YEAR)), name
    assert math.isnan(statistics.ulcer_index_frac(none))
    assert math.isnan(statistics.exposure_frac(none))
    assert math.isnan(statistics.turnover_frac(none, none, YEAR))
    assert math.isnan(statistics.win_rate_frac(none))
    assert math.isnan(statistics.profit_factor(none))


@pytest.mark.parametrize("name", PAIRS)
def test_a_nan_is_not_skipped(name: str) -> None:
    assert math.isnan(PAIRS[name][0](np.array([0.01, math.nan, -0.02, 0.01]), YEAR))


def test_the_first_return_starts_from_the_cash() -> None:
    returns = statistics.returns_from_equity([110.0, 99.0, 99.0], 100.0)
    np.testing.assert_allclose(returns, [0.1, -0.1, 0.0], atol=1e-15)
    assert len(statistics.returns_from_equity([], 100.0)) == 0


def test_a_return_on_lost_equity_is_nan() -> None:
    returns = statistics.returns_from_equity([50.0, -10.0, 5.0, 6.0], 100.0)
    np.testing.assert_array_equal(np.isnan(returns), [False, False, True, False])
    assert math.isnan(statistics.cagr_frac([-1.5, 0.0], YEAR))


def test_ulcer_index_by_hand() -> None:
    # wealth 1.1, 0.88, 0.99: drawdowns 0, -0.2, -0.1; sqrt((0.04 + 0.01) / 3)
    assert statistics.ulcer_index_frac([0.1, -0.2, 0.125]) == pytest.approx(0.1290994448735806)


def test_trade_and_exposure_statistics_by_hand() -> None:
    assert statistics.win_rate_frac([10.0, -5.0, 0.0, 20.0]) == 0.5
    assert statistics.profit_factor([10.0, -5.0, 0.0, 20.0]) == 6.0
    assert math.isnan(statistics.profit_factor([10.0]))
    assert statistics.exposure_frac([0.0, 50.0, -50.0, 0.0]) == 0.5
    # 30,000 traded over 126 of 252 bars a year at a mean equity of 100,000: 0.6 a year
    equity = np.full(126, 100_000.0)
    assert statistics.turnover_frac([10_000.0, -20_000.0], equity, YEAR) == pytest.approx(0.6)
    assert math.isnan(statistics.turnover_frac([10_000.0], -equity, YEAR))


def test_metrics_has_the_keys_of_the_design() -> None:
    got = statistics.metrics(
        [101_000.0, 99_990.0, 102_000.0], starting_equity=100_000.0, periods_per_year=YEAR,
        gross=[50_000.0, 0.0, 0.0], fill_notional=[50_000.0, 51_000.0], trade_pnl=[990.0],
        fees_usd=10.0, n_orders=3, ambiguous_bars=1, capped_fills=2, trimmed_fills=4,
    )  # fmt: skip
    assert {
        "final_equity", "total_return_frac", "cagr_frac", "volatility_frac", "sharpe", "sortino",
        "calmar", "max_drawdown_frac", "exposure_frac", "turnover_frac", "fees_usd", "n_orders",
        "n_fills", "n_trades", "win_rate_frac", "profit_factor", "ambiguous_bars", "capped_fills",
        "trimmed_fills",
    } <= set(got)  # fmt: skip
    assert all(type(value) is float for value in got.values())
    assert got["final_equity"] == 102_000.0
    assert got["total_return_frac"] == pytest.approx(0.02)
    assert got["max_drawdown_frac"] == pytest.approx(-0.01)
    assert (got["n_orders"], got["n_fills"], got["n_trades"]) == (3.0, 2.0, 1.0)
    assert (got["ambiguous_bars"], got["capped_fills"], got["trimmed_fills"]) == (1.0, 2.0, 4.0)
    assert (got["fees_usd"], got["win_rate_frac"]) == (10.0, 1.0)
    assert math.isnan(got["profit_factor"])


returns_of_bars = st.lists(st.floats(-0.9, 2.0, allow_nan=False), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(returns_of_bars)
def test_laws_of_drawdown(returns: list[float]) -> None:
    below = statistics.drawdown_series(returns)
    assert ((below <= 0) & (below >= -1)).all()
    assert statistics.max_drawdown_frac(returns) == below.min()
    assert statistics.ulcer_index_frac(returns) <= -below.min() + 1e-12
    gains = np.abs(returns)
    assert statistics.max_drawdown_frac(gains) == 0.0


@settings(deadline=None, max_examples=60)
@given(returns_of_bars, st.floats(0.1, 10.0))
def test_ratios_ignore_the_scale_of_returns(returns: list[float], scale: float) -> None:
    rounded = np.round(returns, 6)
    for ratio in (statistics.sharpe, statistics.sortino):
        _same(ratio(rounded * scale, YEAR), ratio(rounded, YEAR))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=40))
def test_returns_rebuild_equity(equity: list[float]) -> None:
    returns = statistics.returns_from_equity(equity, 1000.0)
    np.testing.assert_allclose(1000.0 * np.cumprod(1 + returns), equity, rtol=1e-9)
