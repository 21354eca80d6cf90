"""What a rule may return: a finite number in [-1, 1], or ``HOLD``."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.core.clock import iso
from mqd.core.signal import HOLD
from mqd.errors import BadWeight, StrategyRaised
from mqd.strategy.strategy import Strategy


def check_weight(strategy: Strategy, symbol: str, ts_ns: int, value: object) -> float:
    """Return the weight as a float; raise ``BadWeight`` unless it is in [-1, 1] or ``HOLD``."""
    if isinstance(value, float) and (-1.0 <= value <= 1.0 or value == HOLD):
        return value
    why = _fault(value)
    if why:
        raise BadWeight(type(strategy).__name__, symbol, iso(ts_ns), value, why)
    return float(value)  # type: ignore[arg-type]


def check_swept(strategy: Strategy, symbol: str, ts_close: Ints, weights: Floats) -> None:
    """Raise ``BadWeight`` for the first bad value of one symbol's weights, one a bar."""
    bad = ~((np.abs(weights) <= 1.0) | (weights == HOLD))
    if bad.any():
        row = int(np.argmax(bad))
        check_weight(strategy, symbol, int(ts_close[row]), float(weights[row]))


def check_weights(
    strategy: Strategy,
    symbols: Sequence[str],
    ts_ns: int,
    values: object,
    tradable: NDArray[np.bool_],
) -> Floats:
    """Return the weights of ``allocate``, one a symbol; a masked symbol's must be 0 or ``HOLD``.

    Raises ``BadWeight`` naming the first symbol at fault.
    """
    name = type(strategy).__name__
    array = np.asarray(values)
    if array.shape != (len(symbols),) or array.dtype.kind not in "fiub":
        shown = f"{array.dtype} of shape {array.shape}" if array.ndim else repr(values)
        why = f"allocate returns one number a symbol, an array of {len(symbols)}"
        raise BadWeight(name, ", ".join(symbols), iso(ts_ns), shown, why)
    weights = array.astype(np.float64)
    for index in np.flatnonzero(~((np.abs(weights) <= 1.0) | (weights == HOLD))).tolist():
        check_weight(strategy, symbols[index], ts_ns, float(weights[index]))
    masked = ~tradable & (weights != 0.0) & (weights != HOLD)
    for index in np.flatnonzero(masked).tolist():
        why = "the symbol is not tradable at this bar (now.tradable is False)"
        raise BadWeight(name, symbols[index], iso(ts_ns), float(weights[index]), why)
    return weights


def rule_raised(
    strategy: Strategy, where: str, symbol: str, ts_ns: int, cause: BaseException
) -> StrategyRaised:
    """Return the error that names strategy, symbol and bar; raise it ``from cause``."""
    return StrategyRaised(type(strategy).__name__, where, symbol, iso(ts_ns), cause)


def _fault(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return ""
    if not isinstance(value, numbers.Real):
        return "it is not a number"
    number = float(value)
    if math.isnan(number):
        return "it is not a number (NaN), often a division of 0 by 0"
    if math.isinf(number):
        return "it is infinite, often a division by 0"
    return "" if abs(number) <= 1.0 or number == HOLD else "it is outside [-1, 1]"
