"""Vectorised, causal indicators: arrays in, arrays of the same length out.

Each value uses its own bar and earlier ones only; the start is NaN until the window is full.
Inputs are 1-d float arrays without NaN or infinity: TA-Lib turns a single NaN into NaN, or into a
wrong RSI of 0.0, for the rest of the series, so such an input is refused with ``StrategyError``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mqd.core.bar import Floats
from mqd.errors import StrategyError


def _clean(values: ArrayLike, what: str) -> Floats:
    """Return ``values`` as contiguous float64, refusing anything but finite 1-d numbers."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise StrategyError(f"{what} takes a 1-d array, not one of shape {array.shape}.")
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite))
        raise StrategyError(
            f"{what}: the input holds {array[row]} at row {row}. Indicators need finite numbers:"
            " cut or fill the input first, and keep warm-up rows out of it."
        )
    return array


def _window(n: int, least: int, what: str) -> int:
    if isinstance(n, bool) or int(n) != n or n < least:
        raise StrategyError(f"{what}: the window is {n!r}, but it must be at least {least}.")
    return int(n)


def _blank(array: Floats) -> Floats:
    return np.full(len(array), np.nan)


def sma(values: ArrayLike, n: int) -> Floats:
    """Simple moving average of the last ``n`` values; NaN for the first ``n - 1``."""
    import talib

    array, window = _clean(values, "sma"), _window(n, 1, "sma")
    if window == 1:
        return array.copy()
    return talib.SMA(array, window) if len(array) >= window else _blank(array)
