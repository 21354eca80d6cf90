"""Vectorised, causal indicators: arrays in, arrays of the same length out.

Each value uses its own bar and earlier ones only; it is NaN until the window is full. Inputs are
1-d numbers. NaN at the start counts as warm-up, so an indicator of an indicator works; a NaN or
infinity after the first number is refused with ``StrategyError``, because TA-Lib would turn it
into NaN, or into a wrong RSI of 0.0, for the rest of the series. Windows are in bars. Recursive
indicators (``ema``, ``rsi``, ``atr``, ``macd``) depend on the first bar that they are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mqd.core.bar import Floats, SymbolBars
from mqd.errors import StrategyError, did_you_mean
from mqd.features import mark


class Bands(NamedTuple):
    """Upper, middle and lower band."""

    upper: Floats
    middle: Floats
    lower: Floats


class Channel(NamedTuple):
    """Highest and lowest of a channel."""

    upper: Floats
    lower: Floats


class Macd(NamedTuple):
    """MACD line, its signal line, and their difference."""

    line: Floats
    signal: Floats
    histogram: Floats


_indicator = mark(fresh=True)


@_indicator
def sma(values: ArrayLike, n: int) -> Floats:
    """Simple moving average of the last ``n`` values; NaN for the first ``n - 1``."""
    return _apply("sma", _talib().SMA, [values], _window("sma", n, 1))


@_indicator
def ema(values: ArrayLike, n: int) -> Floats:
    """Exponential moving average, smoothing 2 / (n + 1), seeded by the mean of the first ``n``.

    NaN for the first ``n - 1``. Source: TA-Lib EMA.
    """
    return _apply("ema", _talib().EMA, [values], _window("ema", n, 2))


@_indicator
def rsi(values: ArrayLike, n: int = 14) -> Floats:
    """Relative strength index in [0, 100] with Wilder's smoothing; NaN for the first ``n``.

    Source: Wilder, "New Concepts in Technical Trading Systems" (1978). Without any change in
    the window the value is 0 (TA-Lib's convention).
    """
    return _apply("rsi", _talib().RSI, [values], _window("rsi", n, 2))


@_indicator
def true_range(high: ArrayLike, low: ArrayLike, close: ArrayLike) -> Floats:
    """Largest of high - low, |high - previous close|, |low - previous close|; first NaN.

    Source: Wilder (1978).
    """
    return _apply("true_range", _talib().TRANGE, [high, low, close])


@_indicator
def atr(high: ArrayLike, low: ArrayLike, close: ArrayLike, n: int = 14) -> Floats:
    """Average true range, Wilder's smoothing, price units; NaN for the first ``n``.

    Seeded by the mean of the first ``n`` true ranges, which start at the second bar. Source:
    Wilder (1978).
    """
    return _apply("atr", _talib().ATR, [high, low, close], _window("atr", n, 1))


@_indicator
def stddev(values: ArrayLike, n: int, ddof: int = 0) -> Floats:
    """Standard deviation of the last ``n`` values, divisor ``n - ddof`` (0 = population).

    Exactly 0 where all values of the window are equal; NaN for the first ``n - 1``.
    """
    window = _window("stddev", n, 2)
    scale = np.sqrt(window / (window - ddof)) if ddof else 1.0
    return _apply("stddev", _stddev, [values], window) * scale


@mark(Bands._fields, fresh=True)
def bollinger(values: ArrayLike, n: int = 20, width: float = 2.0) -> Bands:
    """Bands ``width`` population standard deviations around the mean of ``n`` values.

    Source: Bollinger, "Bollinger on Bollinger Bands" (2001).
    """
    middle, spread = sma(values, n), width * stddev(values, n)
    return Bands(middle + spread, middle, middle - spread)


@_indicator
def zscore(values: ArrayLike, n: int) -> Floats:
    """Distance from the mean of ``n`` values in population standard deviations.

    NaN for the first ``n - 1`` and wherever all values of the window are equal.
    """
    deviation = stddev(values, n)
    distance: Floats = np.asarray(values, dtype=np.float64) - sma(values, n)
    score: Floats = np.divide(distance, deviation, out=_blank(distance), where=deviation > 0.0)
    return score


@_indicator
def highest(values: ArrayLike, n: int) -> Floats:
    """Maximum of the last ``n`` values, its own bar's included; NaN for the first ``n - 1``."""
    return _extreme("highest", _talib().MAX, values, n)


@_indicator
def lowest(values: ArrayLike, n: int) -> Floats:
    """Minimum of the last ``n`` values, its own bar's included; NaN for the first ``n - 1``."""
    return _extreme("lowest", _talib().MIN, values, n)


@mark(Channel._fields, fresh=True)
def donchian(high: ArrayLike, low: ArrayLike, n: int = 20) -> Channel:
    """Highest high and lowest low of the ``n`` bars *before* each bar; NaN for the first ``n``.

    The bar's own range is left out, so a close beyond the channel is a breakout. Source:
    Donchian's four-week rule.
    """
    return Channel(_previous(highest(high, n)), _previous(lowest(low, n)))


@mark(Macd._fields, fresh=True)
def macd(values: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """MACD: fast minus slow EMA, its EMA, and the difference; NaN for ``slow + signal - 2``.

    As TA-Lib does, both means start together at bar ``slow - 1``. Source: Appel (1979).
    """
    if fast >= slow:
        raise StrategyError(f"macd: fast is {fast}, but it must be below slow = {slow}.")
    array, start = _clean("macd", values)
    windows = (_window("macd", fast, 2), _window("macd", slow, 2), _window("macd", signal, 1))
    parts = [_blank(array) for _ in range(3)]
    for part, found in zip(parts, _talib().MACD(array[start:], *windows), strict=True):
        part[start:] = found
    return Macd(*parts)


@_indicator
def momentum(values: ArrayLike, n: int) -> Floats:
    """Difference to the value ``n`` bars earlier; NaN for the first ``n``."""
    window = _window("momentum", n, 1)
    return _apply("momentum", lambda v, w: v[w:] - v[:-w], [values], window)


@_indicator
def roc(values: ArrayLike, n: int) -> Floats:
    """Rate of change as a fraction: value / value ``n`` bars earlier - 1; NaN for the first ``n``.

    NaN too where the earlier value is 0.
    """
    return _apply("roc", lambda v, w: _ratio(v[w:], v[:-w]) - 1.0, [values], _window("roc", n, 1))


@_indicator
def returns(values: ArrayLike) -> Floats:
    """Simple return of each bar as a fraction; the first is NaN."""
    return roc(values, 1)


@_indicator
def log_returns(values: ArrayLike) -> Floats:
    """Natural logarithm of value / previous value; the first is NaN, as is one of a value <= 0."""

    def logs(array: Floats, lag: int) -> Floats:
        ratio = _ratio(array[lag:], array[:-lag])
        return np.log(ratio, out=_blank(ratio), where=ratio > 0.0)

    return _apply("log_returns", logs, [values], 1)


@_indicator
def realised_vol(values: ArrayLike, n: int) -> Floats:
    """Sample standard deviation (ddof 1) of the last ``n`` log returns, a bar, not annualised.

    NaN for the first ``n``. Multiply by the root of the bars a year to annualise.
    """
    return stddev(log_returns(values), n, ddof=1)


@_indicator
def session_vwap(bars: SymbolBars) -> Floats:
    """Volume-weighted mean of (high + low + close) / 3 since the session's open, this bar included.

    NaN while the session has no volume. Each session starts anew.
    """
    volume = np.asarray(bars.volume, dtype=np.float64)
    traded = (bars.high + bars.low + bars.close) / 3.0 * volume
    money, shares = traded.copy(), volume.copy()
    starts = np.flatnonzero(np.diff(bars.session, prepend=bars.session[:1] - 1))
    ends = np.append(starts[1:], len(bars))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > 1:
            np.cumsum(traded[start:end], out=money[start:end])
            np.cumsum(volume[start:end], out=shares[start:end])
    return np.divide(money, shares, out=_blank(money), where=shares > 0.0)


class Handle:
    """One indicator fed bar by bar; its values have the bits of the batch function.

    ``update`` takes one bar's inputs (high, low, close for ``atr``, else one value) and returns
    the indicator at that bar, NaN while warming up. It must be fed every bar since the run's
    first: a handle cannot be pickled and is rebuilt from history after a restart.
    """

    def __init__(self, name: str, n: int) -> None:
        if name not in _ONLINE:
            raise StrategyError(f"No online indicator {name!r}.{did_you_mean(name, _ONLINE)}")
        self._name, self._n = name, _window(name, n, 2)
        self._function, self._inputs, more = _ONLINE[name]
        self._needed = self._n + more
        self._early: list[tuple[float, ...]] = []
        self._stream: Any = None

    def update(self, *inputs: float) -> float:
        """Take one bar's inputs and return the value at that bar."""
        if len(inputs) != self._inputs or not np.isfinite(inputs).all():
            raise StrategyError(
                f"{self._name} takes {self._inputs} finite number(s) a bar, not {inputs}."
            )
        if self._stream is not None:
            return float(self._stream.update(*inputs))
        self._early.append(inputs)
        if len(self._early) < self._needed:
            return float("nan")
        columns = [np.array(column, dtype=np.float64) for column in zip(*self._early, strict=True)]
        self._stream = getattr(_talib().stream, self._function)(*columns, self._n)
        self._early.clear()
        return float(self._stream.value)


_ONLINE = {
    "sma": ("SMA", 1, 0), "ema": ("EMA", 1, 0), "rsi": ("RSI", 1, 1), "atr": ("ATR", 3, 1),
    "highest": ("MAX", 1, 0), "lowest": ("MIN", 1, 0),
}  # fmt: skip
"""Online indicators: TA-Lib's name, inputs a bar, and bars beyond the window that it needs."""


def handle(name: str, n: int) -> Handle:
    """Return a fresh online handle: ``handle("rsi", 14).update(close)`` once a bar.

    For ``sma``, ``ema``, ``rsi``, ``atr``, ``highest``, ``lowest`` with windows of at least 2.
    """
    return Handle(name, n)


def _talib() -> Any:
    import talib

    return talib


def _clean(what: str, values: ArrayLike) -> tuple[Floats, int]:
    """Return contiguous float64 and the row of the first number; refuse later NaN, infinity."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise StrategyError(f"{what} takes a 1-d array, not one of shape {array.shape}.")
    finite = np.isfinite(array)
    if finite.all():
        return array, 0
    known = ~np.isnan(array)
    start = int(np.argmax(known)) if known.any() else len(array)
    if not finite[start:].all():
        row = start + int(np.argmin(finite[start:]))
        raise StrategyError(
            f"{what}: the input holds {array[row]} at row {row}. One such value spoils all later"
            " ones: drop or fill it before the indicator sees it."
        )
    return array, start


def _window(what: str, n: int, least: int) -> int:
    if isinstance(n, bool) or int(n) != n or n < least:
        raise StrategyError(
            f"{what}: the window is {n!r}, but it must be a whole number of at least {least}."
        )
    return int(n)


def _apply(
    what: str, function: Callable[..., Floats], inputs: list[ArrayLike], *windows: int
) -> Floats:
    """Call ``function`` from the first row that all inputs know; its result ends at the last."""
    cleaned = [_clean(what, values) for values in inputs]
    lengths = {len(array) for array, _ in cleaned}
    if len(lengths) > 1:
        raise StrategyError(f"{what}: the inputs have different lengths {sorted(lengths)}.")
    start = max(start for _, start in cleaned)
    out = _blank(cleaned[0][0])
    if len(out) - start > max(windows, default=1) - 1:
        found = function(*(array[start:] for array, _ in cleaned), *windows)
        out[len(out) - len(found) :] = found
    return out


def _stddev(values: Floats, window: int) -> Floats:
    talib = _talib()
    shifted = values - values[0]  # smaller squares lose fewer digits
    deviation: Floats = talib.STDDEV(shifted, window)
    deviation[talib.MAX(values, window) == talib.MIN(values, window)] = 0.0
    return deviation


def _extreme(what: str, function: Callable[..., Floats], values: ArrayLike, n: int) -> Floats:
    window = _window(what, n, 1)
    if window == 1:  # TA-Lib starts at 2
        return _apply(what, lambda array: array, [values])
    return _apply(what, function, [values], window)


def _previous(values: Floats) -> Floats:
    return np.concatenate([np.full(min(1, len(values)), np.nan), values[:-1]])


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=_blank(numerator), where=denominator != 0.0)


def _blank(array: Floats) -> Floats:
    return np.full(len(array), np.nan)
