"""Values of features against pandas and numpy, written from their definitions."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.ml import FeatureEngineer

LOG_OF_2 = 0.6931471805599453


@pytest.fixture(scope="module")
def ibm():
    return mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["IBM"])["IBM"]


def wilder(values, n):
    """Return Wilder's mean: the first n values' mean, then 1/n of each new one."""
    found = np.full(len(values), np.nan)
    start = int(np.argmax(np.isfinite(values)))
    found[start + n - 1] = values[start : start + n].mean()
    for at in range(start + n, len(values)):
        found[at] = found[at - 1] + (values[at] - found[at - 1]) / n
    return pd.Series(found)


DEFINITIONS = {
    "gap_frac": lambda f: f.open / f.close.shift() - 1,
    "lag_return(2)": lambda f: np.log(f.close.shift(2) / f.close.shift(3)),
    "bollinger(20)": lambda f: (
        (f.close - f.close.rolling(20).mean()) / (2 * f.close.rolling(20).std(ddof=0))
    ),
    "cci(20)": lambda f: _cci(f, 20),
    "range_vol(20)": lambda f: np.sqrt(
        (np.log(f.high / f.low) ** 2).rolling(20).mean() / (4 * LOG_OF_2)
    ),
    "vol_ratio(5, 60)": lambda f: _vol(f, 5) / _vol(f, 60),
    "volume_correlation(20)": lambda f: f.close.rolling(20).corr(f.volume),
    "autocorrelation(20)": lambda f: _returns(f).rolling(20).corr(_returns(f).shift()),
    "slope(20)": lambda f: (
        f.close.rolling(20).apply(lambda y: np.polyfit(range(20), y, 1)[0], raw=True) / f.close
    ),
    "mfi(14)": lambda f: _mfi(f, 14),
    "aroon(14)": lambda f: _aroon(f, 14),
    "rsi(14)": lambda f: _rsi(f, 14),
    "ema_gap(20)": lambda f: f.close / _ema(f.close, 20) - 1,
    "trix(15)": lambda f: _ema(_ema(_ema(f.close, 15), 15), 15).pct_change(fill_method=None),
    "macd_hist(12, 26, 9)": lambda f: _macd_hist(f, 12, 26, 9),
    "di_gap(14)": lambda f: _di(f, 14, lambda plus, minus: plus - minus),
    "adx(14)": lambda f: wilder(
        _di(f, 14, lambda plus, minus: (plus - minus).abs() / (plus + minus)).to_numpy(), 14
    ),
    "kama_gap(10)": lambda f: f.close / _kama(f.close, 10) - 1,
}


def _returns(f):
    return np.log(f.close / f.close.shift())


def _vol(f, n):
    return _returns(f).rolling(n).std(ddof=0)


def _cci(f, n):
    typical = (f.high + f.low + f.close) / 3
    spread = typical.rolling(n).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    return (typical - typical.rolling(n).mean()) / (0.015 * spread) / 100


def _mfi(f, n):
    typical = (f.high + f.low + f.close) / 3
    flow, step = typical * f.volume, typical.diff()
    up, down = (flow.where(side, 0.0).where(step.notna()) for side in (step > 0, step < 0))
    return up.rolling(n).sum() / (up.rolling(n).sum() + down.rolling(n).sum())


def _aroon(f, n):
    high = f.high.rolling(n + 1).apply(lambda x: n - np.argmax(x[::-1]), raw=True)
    low = f.low.rolling(n + 1).apply(lambda x: n - np.argmin(x[::-1]), raw=True)
    return (high - low) / n


def _rsi(f, n):
    step = f.close.diff().to_numpy()
    up, down = wilder(np.maximum(step, 0), n), wilder(np.maximum(-step, 0), n)
    return up / (up + down)


def _ema(values, n):
    found, known = values.copy() * np.nan, values.dropna()
    at = known.index[n - 1]
    found[at] = known.iloc[:n].mean()
    for i in known.index[n:]:
        found[i] = found[i - 1] + 2 / (n + 1) * (values[i] - found[i - 1])
    return found


def _macd_hist(f, fast, slow, signal):
    line = _ema(f.close, fast) - _ema(f.close, slow)
    return (line - _ema(line, signal)) / f.close


def _di(f, n, of):
    up, down = f.high.diff(), -f.low.diff()
    plus, minus = up.where((up > down) & (up > 0), 0.0), down.where((down > up) & (down > 0), 0.0)
    before = f.close.shift()
    spread = np.maximum(f.high, before) - np.minimum(f.low, before)
    spread[0] = plus[0] = minus[0] = np.nan
    mean = wilder(spread.to_numpy(), n)
    return of(wilder(plus.to_numpy(), n) / mean, wilder(minus.to_numpy(), n) / mean)


def _kama(close, n):
    """Kaufman's mean: the smoothing lies between those of 2 and 30 bars."""
    efficiency = (close - close.shift(n)).abs() / close.diff().abs().rolling(n).sum()
    slow, fast = 2 / 31, 2 / 3
    smoothing = (efficiency * (fast - slow) + slow) ** 2
    found = close * np.nan
    found[n - 1] = close[n - 1]
    for i in range(n, len(close)):
        found[i] = found[i - 1] + smoothing[i] * (close[i] - found[i - 1])
    return found


@pytest.mark.parametrize("feature", DEFINITIONS)
def test_a_feature_has_the_value_of_its_definition(ibm, feature):
    frame = pd.DataFrame(
        {name: getattr(ibm, name)[:900] for name in ("open", "high", "low", "close", "volume")}
    )
    found = FeatureEngineer([feature]).transform(frame).iloc[500:, 0].to_numpy()
    wanted = DEFINITIONS[feature](frame).iloc[500:].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_weekdays_go_round_in_seven_from_monday(ibm):
    sine, cosine = FeatureEngineer(["weekday_sin", "weekday_cos"]).matrix(ibm)[:500].T
    epoch = dt.date(1970, 1, 1)
    days = [(epoch + dt.timedelta(int(day))).weekday() for day in ibm.session[:500]]
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * np.array(days) / 7), atol=1e-12)
    np.testing.assert_allclose(cosine, np.cos(2 * np.pi * np.array(days) / 7), atol=1e-12)


def test_the_place_in_the_session_goes_round_once():
    minutes = {"minutes_from_open": [0.0, 15.0, 30.0, 45.0], "minutes_to_close": [60, 45, 30, 15.0]}
    zeros = dict.fromkeys(("open", "high", "low", "close", "volume", "session"), np.zeros(4))
    columns = zeros | {name: np.array(values) for name, values in minutes.items()}
    found = FeatureEngineer(["session_sin", "session_cos"]).of_columns(columns)
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-12)
