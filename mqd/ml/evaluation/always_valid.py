"""Evidence that may be read every day: a test martingale for bounded differences.

Whoever looks at an ordinary p-value each day and stops when it is small is wrong far more often
than it says. Here two bets are kept on whether the mean of a bounded difference is above, or
below, 0. Under the null neither is expected to grow, so the chance that one ever exceeds 1 / a is
at most a, however often it is read (Ville's inequality). Each bet is fixed before its value is
known.

The values must be one after another and not overlap: differences of predictions whose labels share
time are averaged over blocks of the label's horizon before they come here.

Source: I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting"
(2024), appendix B: approximate growth-rate adaptive bets (aGRAPA), truncated so that no bet can
lose all. What a bet is made of lies before its value: also the bound that truncates it is one for
all, for a bound of each value's own scores would weigh the mean by how much the models disagree.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from mqd.core.bar import Floats
from mqd.errors import UsageError

RISK_MAX: Final = 0.75
"""The largest share of its wealth that a bet can lose."""
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


def evidence(
    values: Floats, bounds: Floats, *, bound: float = 1.0, level: float = 0.95
) -> Evidence:
    """Return the evidence about the mean of ``values`` in their order.

    ``bounds``: the largest size that each could have; of a difference of losses that is what the
    scores allow. The first is where the variance begins, the largest is as far as the interval
    looks. ``bound``: the largest size that any could have. No values leave everything open. Raises
    ``UsageError`` for a value beyond its bound.
    """
    beyond = np.abs(values) > bounds * (1.0 + 1e-9) + 1e-15
    beyond |= bounds > bound * (1.0 + 1e-9)
    if beyond.any():
        at = int(np.argmax(beyond))
        raise UsageError(
            f"Value {at} is {values[at]}, beyond its bound of {min(bounds[at], bound)}."
        )
    if not len(values):
        return Evidence(1.0, 1.0, 1.0, math.nan, math.nan, level, 0)
    past = past_of(values, bounds)
    above, below = _largest(values, past, bound, 0.0)
    wealth = math.exp(min(above, 700.0)), math.exp(min(below, 700.0))
    low, high = _interval(values, past, (bound, float(bounds.max())), level)
    return Evidence(*wealth, min(1.0, 2.0 / max(wealth)), low, high, level, len(values))


class Past(NamedTuple):
    """Mean and variance of the values before each one, drawn to 0 and to its bound at first."""

    mean: Floats
    variance: Floats


def past_of(values: Floats, bounds: Floats) -> Past:
    """Return what is known before each value."""
    n = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / (n + 1)
    variance = (bounds[0] ** 2 + np.cumsum((values - mean) ** 2)) / (n + 1)
    return Past(
        np.concatenate(([0.0], mean[:-1])), np.concatenate(([bounds[0] ** 2], variance[:-1]))
    )


def _largest(values: Floats, past: Past, bound: float, mean: float) -> tuple[float, float]:
    """Return the largest logarithms of wealth of the bets that the mean is above, below ``mean``.

    Each bets what would grow fastest if the past were the truth, and nothing against it.
    """
    allowed, edge = RISK_MAX / (bound + abs(mean)), past.mean - mean
    spread = past.variance + edge * edge
    wanted = np.divide(edge, spread, out=np.zeros(len(edge)), where=spread > 0)
    bets = np.clip(wanted, -allowed, allowed)
    away = values - mean
    above = np.cumsum(np.log1p(np.maximum(bets, 0.0) * away)).max()
    below = np.cumsum(np.log1p(np.minimum(bets, 0.0) * away)).max()
    return max(0.0, float(above)), max(0.0, float(below))


def _interval(
    values: Floats, past: Past, reach: tuple[float, float], level: float
) -> tuple[float, float]:
    """Return the means that no bet against them has refuted; ``reach``: bound, and how far to
    look."""
    against = math.log(2.0 / (1.0 - level))
    bound, widest = reach
    means = np.linspace(-widest, widest, GRID)
    kept = [one for one in means if max(_largest(values, past, bound, float(one))) < against]
    if not kept:
        return math.nan, math.nan
    step = 2.0 * widest / (GRID - 1)
    return max(-widest, float(kept[0]) - step), min(widest, float(kept[-1]) + step)
