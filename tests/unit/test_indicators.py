"""Indicators against a published table (RSI), worked tables, pandas and hand-worked recursions."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd import indicators
from mqd.core.bar import SymbolBars
from mqd.errors import StrategyError

TABLES = Path(__file__).parents[1] / "tables"
RNG = np.random.default_rng(7)
CLOSE = 100.0 * np.exp(np.cumsum(RNG.normal(0.0, 0.01, 400)))
HIGH = CLOSE * (1.0 + RNG.uniform(0.0, 0.01, 400))
LOW = CLOSE * (1.0 - RNG.uniform(0.0, 0.01, 400))
SERIES = pd.Series(CLOSE)

ALL_CLOSE = {
    "sma": lambda x: indicators.sma(x, 7),
    "ema": lambda x: indicators.ema(x, 7),
    "rsi": lambda x: indicators.rsi(x, 7),
    "stddev": lambda x: indicators.stddev(x, 7),
    "bollinger": lambda x: indicators.bollinger(x, 7).upper,
    "zscore": lambda x: indicators.zscore(x, 7),
    "highest": lambda x: indicators.highest(x, 7),
    "lowest": lambda x: indicators.lowest(x, 7),
    "macd": lambda x: indicators.macd(x, 3, 7, 4).signal,
    "momentum": lambda x: indicators.momentum(x, 7),
    "roc": lambda x: indicators.roc(x, 7),
    "returns": indicators.returns,
    "log_returns": indicators.log_returns,
    "realised_vol": lambda x: indicators.realised_vol(x, 7),
    "donchian": lambda x: indicators.donchian(x, x, 7).upper,
    "true_range": lambda x: indicators.true_range(x, x, x),
    "atr": lambda x: indicators.atr(x, x, x, 7),
}
FIRST = {"sma": 6, "ema": 6, "rsi": 7, "stddev": 6, "bollinger": 6, "zscore": 6, "highest": 6,
         "lowest": 6, "macd": 9, "momentum": 7, "roc": 7, "returns": 1, "log_returns": 1,
         "realised_vol": 7, "donchian": 7, "true_range": 1, "atr": 7}  # fmt: skip


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / name, comment="#")


def same(ours: np.ndarray, theirs: object, rel: float = 1e-9, within: float = 1e-9) -> None:
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=rel, atol=within, equal_nan=True)


def test_rsi_equals_the_published_worked_example() -> None:
    expected = table("indicators_rsi.csv")
    same(indicators.rsi(expected["close"], 14), expected["rsi"], rel=0, within=0.0051)


@pytest.mark.parametrize("name", ["sma", "ema"])
def test_means_equal_the_worked_example(name: str) -> None:
    expected = table("indicators_means.csv")
    found = getattr(indicators, name)(expected["close"], 10)
    same(found, expected[name], rel=0, within=0.0051)


def test_rolling_statistics_equal_pandas() -> None:
    rolling = SERIES.rolling(20)
    same(indicators.sma(CLOSE, 20), rolling.mean())
    same(indicators.stddev(CLOSE, 20), rolling.std(ddof=0))
    same(indicators.stddev(CLOSE, 20, ddof=1), rolling.std(ddof=1))
    same(indicators.highest(CLOSE, 20), rolling.max())
    same(indicators.lowest(CLOSE, 20), rolling.min())
    same(indicators.zscore(CLOSE, 20), (SERIES - rolling.mean()) / rolling.std(ddof=0), 1e-7)
    upper, middle, lower = indicators.bollinger(CLOSE, 20, 2.5)
    same(upper, rolling.mean() + 2.5 * rolling.std(ddof=0))
    same(middle, rolling.mean())
    same(lower, rolling.mean() - 2.5 * rolling.std(ddof=0))


def test_donchian_is_the_channel_of_the_bars_before() -> None:
    channel = indicators.donchian(HIGH, LOW, 20)
    same(channel.upper, pd.Series(HIGH).rolling(20).max().shift(1))
    same(channel.lower, pd.Series(LOW).rolling(20).min().shift(1))


def test_changes_equal_pandas() -> None:
    same(indicators.momentum(CLOSE, 5), SERIES.diff(5))
    same(indicators.roc(CLOSE, 5), SERIES.pct_change(5))
    same(indicators.returns(CLOSE), SERIES.pct_change())
    logs = np.log(SERIES / SERIES.shift(1))
    same(indicators.log_returns(CLOSE), logs)
    same(indicators.realised_vol(CLOSE, 21), logs.rolling(21).std(ddof=1), 1e-7)


def test_true_range_and_atr_follow_wilder() -> None:
    previous = pd.Series(CLOSE).shift(1)
    ranges = pd.concat(
        [pd.Series(HIGH - LOW), (HIGH - previous).abs(), (LOW - previous).abs()], axis=1
    ).max(axis=1, skipna=False)
    same(indicators.true_range(HIGH, LOW, CLOSE), ranges)
    expected = [np.nan] * 14 + [ranges[1:15].mean()]
    for value in ranges[15:]:
        expected.append((expected[-1] * 13 + value) / 14)
    same(indicators.atr(HIGH, LOW, CLOSE, 14), expected)


def recursive_mean(values: np.ndarray, n: int, start: int) -> list[float]:
    """EMA seeded by the mean of the ``n`` values up to row ``start``."""
    out = [np.nan] * start + [float(np.mean(values[start - n + 1 : start + 1]))]
    for value in values[start + 1 :]:
        out.append(out[-1] + (value - out[-1]) * 2 / (n + 1))
    return out


def test_macd_follows_its_recursion() -> None:
    line = np.array(recursive_mean(CLOSE, 12, 25)) - np.array(recursive_mean(CLOSE, 26, 25))
    signal = np.array([np.nan] * 25 + recursive_mean(line[25:], 9, 8))
    line[:33] = np.nan
    found = indicators.macd(CLOSE)
    same(found.line, line)
    same(found.signal, signal)
    same(found.histogram, line - signal)


def session_bars(session: list[int], px: list[float], volume: list[float]) -> SymbolBars:
    n = len(px)
    prices, zeros = np.array(px), np.zeros(n)
    ts = np.arange(n, dtype=np.int64) * 60_000_000_000
    return SymbolBars(
        "X", Decimal("0.0001"), Decimal(1), ts, ts + 60_000_000_000, prices, prices + 3.0,
        prices - 3.0, prices, np.array(volume), np.array(session), zeros, zeros, zeros,
    )  # fmt: skip


def test_session_vwap_by_hand() -> None:
    # typical price = close; day 1: 10 x 100, 12 x 300; day 2: nothing, 20 x 50, 23 x 100
    bars = session_bars([1, 1, 2, 2, 2], [10, 12, 19, 20, 23], [100, 300, 0, 50, 100])
    same(indicators.session_vwap(bars), [10.0, 4600 / 400, np.nan, 20.0, 3300 / 150])


def test_flat_windows_have_no_deviation_and_no_score() -> None:
    flat = np.concatenate([CLOSE[:30] * 1000, np.full(30, 43_210.98)])
    assert (indicators.stddev(flat, 10)[39:] == 0.0).all()
    assert np.isnan(indicators.zscore(flat, 10)[39:]).all()


def test_the_window_of_one_is_the_value_itself() -> None:
    same(indicators.highest(CLOSE, 1), CLOSE)
    same(indicators.sma(CLOSE, 1), CLOSE)


@pytest.mark.parametrize("name", ALL_CLOSE)
def test_warm_up_is_nan_and_nothing_after_it(name: str) -> None:
    found = ALL_CLOSE[name](CLOSE)
    assert np.isnan(found[: FIRST[name]]).all()
    assert np.isfinite(found[FIRST[name] :]).all()
    assert found.shape == CLOSE.shape


@pytest.mark.parametrize("name", ALL_CLOSE)
@pytest.mark.parametrize("length", [0, 1, 2, 6, 7])
def test_series_shorter_than_the_window_are_all_nan_and_keep_their_length(
    name: str, length: int
) -> None:
    found = ALL_CLOSE[name](CLOSE[:length])
    assert found.shape == (length,)
    assert np.isnan(found[: FIRST[name]]).all()


@pytest.mark.parametrize("name", ALL_CLOSE)
@pytest.mark.parametrize("cut", [64, 200, 399])
def test_later_values_change_no_earlier_bit(name: str, cut: int) -> None:
    whole, short = ALL_CLOSE[name](CLOSE), ALL_CLOSE[name](CLOSE[:cut])
    assert whole[:cut].tobytes() == short.tobytes()


@pytest.mark.parametrize("name", ALL_CLOSE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_is_refused_with_its_row(name: str, bad: float) -> None:
    spoiled = CLOSE.copy()
    spoiled[123] = bad
    with pytest.raises(StrategyError, match="at row 123"):
        ALL_CLOSE[name](spoiled)


def test_warm_up_of_an_input_is_no_bad_value() -> None:
    inner = indicators.sma(CLOSE, 5)
    same(indicators.rsi(inner, 7)[4:], indicators.rsi(inner[4:], 7))
    assert np.isnan(indicators.sma(np.full(9, np.nan), 3)).all()


@pytest.mark.parametrize("window", [0, -1, 2.5, True])
def test_a_window_must_be_a_whole_number(window: object) -> None:
    with pytest.raises(StrategyError, match="window"):
        indicators.sma(CLOSE, window)


def test_inputs_of_different_lengths_and_shapes_are_refused() -> None:
    with pytest.raises(StrategyError, match="different lengths"):
        indicators.atr(HIGH, LOW[:-1], CLOSE)
    with pytest.raises(StrategyError, match="1-d"):
        indicators.sma(np.ones((3, 3)), 2)
    with pytest.raises(StrategyError, match="below slow"):
        indicators.macd(CLOSE, 26, 12)


@settings(max_examples=50)
@given(
    st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60),
    st.integers(2, 20),
)
def test_indicators_stay_in_their_ranges(values: list[float], n: int) -> None:
    array = np.array(values)
    score = indicators.rsi(array, n)
    known = score[~np.isnan(score)]
    assert ((known >= 0.0) & (known <= 100.0)).all()
    top, bottom = indicators.highest(array, n), indicators.lowest(array, n)
    mean = indicators.sma(array, n)
    full = ~np.isnan(mean)
    slack = 1e-9 * array.max()
    assert (bottom[full] - slack <= mean[full]).all()
    assert (mean[full] <= top[full] + slack).all()
    assert (indicators.stddev(array, n)[full] >= 0.0).all()


ONLINE = ["sma", "ema", "rsi", "atr", "highest", "lowest"]


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("n", [2, 14])
def test_a_handle_has_the_bits_of_the_batch(name: str, n: int) -> None:
    inputs = (HIGH, LOW, CLOSE) if name == "atr" else (CLOSE,)
    online = indicators.handle(name, n)
    values = np.array([online.update(*row) for row in zip(*inputs, strict=True)])
    assert values.tobytes() == getattr(indicators, name)(*inputs, n).tobytes()


def test_a_handle_refuses_what_it_cannot_take() -> None:
    with pytest.raises(StrategyError, match="Did you mean 'rsi'"):
        indicators.handle("rsii", 14)
    with pytest.raises(StrategyError, match="at least 2"):
        indicators.handle("rsi", 1)
    online = indicators.handle("sma", 2)
    for inputs in ((float("nan"),), (float("inf"),), (1.0, 2.0), ()):
        with pytest.raises(StrategyError, match="finite number"):
            online.update(*inputs)
    assert np.isnan(online.update(1.0))
    assert online.update(2.0) == 1.5
