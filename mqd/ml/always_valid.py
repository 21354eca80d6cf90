"""Evidence that may be read every day: a test martingale for bounded differences.

Whoever looks at an ordinary p-value each day and stops when it is small is wrong far more often
than it says. Here two bets are kept on whether the mean of a bounded difference is above, or
below, 0. Under the null neither is expected to grow, so the chance that one ever exceeds 1 / a is
at most a, however often it is read (Ville's inequality). Each bet is fixed before its value is
known.

The values must be one after another and not overlap: differences of predictions whose labels share
time are averaged over blocks of the label's horizon before they come here.

Source: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting"
(2024), section 4: predictable plug-in bets, truncated at half.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from mqd.core.bar import Floats
from mqd.errors import UsageError

BET_MAX: Final = 0.5
GRID: Final = 401


class Evidence(NamedTuple):
    """What the bets came to.

    ``e_above``, ``e_below``: largest wealth so far of the bet that the mean is above, below 0.
    ``p_any``: p-value that holds whenever it is read, two-sided. ``low``, ``high``: an interval
    of the mean that holds at all times, at ``level``; NaN when no mean fits all of them, because it
    changed on the way. ``n``: values seen.
    """

    e_above: float
    e_below: float
    p_any: float
    low: float
    high: float
    level: float
    n: int


def evidence(values: Floats, bound: float, *, level: float = 0.95) -> Evidence:
    """Return the evidence about the mean of ``values``, each in [-bound, bound], in their order.

    No values leave everything open: the interval is the whole range. Raises ``UsageError`` for a
    value outside the bounds.
    """
    if len(values) and not (np.abs(values) <= bound * (1 + 1e-9)).all():
        worst = float(values[int(np.argmax(np.abs(values)))])
        raise UsageError(f"A difference of {worst} lies outside [-{bound}, {bound}].")
    scaled = np.clip((values / bound + 1.0) / 2.0, 0.0, 1.0)  # in [0, 1]; 0 becomes 1/2
    bets = plug_in_bets(scaled, level)
    above = _largest(np.log1p(bets * (scaled - 0.5)))
    below = _largest(np.log1p(-bets * (scaled - 0.5)))
    both = (math.exp(min(above, 700.0)), math.exp(min(below, 700.0)))
    p_any = min(1.0, 2.0 / max(both)) if len(values) else 1.0
    low, high = _interval(scaled, bets, level)
    return Evidence(
        *both, p_any, (2.0 * low - 1.0) * bound, (2.0 * high - 1.0) * bound, level, len(values)
    )


def plug_in_bets(scaled: Floats, level: float) -> Floats:
    """Return each value's bet, made of the values before it alone."""
    n = np.arange(1, len(scaled) + 1)
    mean = (0.5 + np.cumsum(scaled)) / (n + 1)
    variance = (0.25 + np.cumsum((scaled - mean) ** 2)) / (n + 1)
    before = np.concatenate(([0.25], variance[:-1]))[: len(scaled)]
    wanted = np.sqrt(2.0 * math.log(2.0 / (1.0 - level)) / (before * n * np.log(n + 1)))
    return np.minimum(wanted, BET_MAX)


def _largest(log_growth: Floats) -> float:
    """Return the largest logarithm of wealth so far, 0 at the start."""
    return float(max(0.0, np.cumsum(log_growth).max())) if len(log_growth) else 0.0


def _interval(scaled: Floats, bets: Floats, level: float) -> tuple[float, float]:
    """Return the means that half the wealth against them never refuted."""
    if not len(scaled):
        return 0.0, 1.0
    against = math.log(2.0 / (1.0 - level))
    means = np.linspace(0.0, 1.0, GRID)
    kept = []
    for mean in means:
        up = _largest(np.log1p(bets * (scaled - mean)))
        down = _largest(np.log1p(-bets * (scaled - mean)))
        if max(up, down) < against:
            kept.append(float(mean))
    step = 1.0 / (GRID - 1)
    if not kept:
        return math.nan, math.nan
    return max(0.0, kept[0] - step), min(1.0, kept[-1] + step)
