"""What a sweep keeps of a curve: sums over the closes, so that nothing of their number is kept."""

from __future__ import annotations

from math import nan
from typing import Any

BLOCKS = 16


def begin(a: Any, moments: Any) -> None:
    """Start at the first equity, with nothing in ``moments`` (block, 5)."""
    for block in range(BLOCKS):
        for power in range(5):
            moments[block, power] = 0.0
    a.previous = float(a.start_cash)
    a.top = a.previous
    a.low = a.previous


def ride(
    a: Any, sums: Any, base: int, per_tick: int, closes: Any, first: int, end: int
) -> None:  # fmt: skip
    """Add the closes ``first`` to ``end - 1``, at which equity is ``base + per_tick * close``.

    ``sums`` (5,) takes the sums of r to r**4 behind its first place, which is the caller's.
    """
    previous, top, low, worst = a.previous, a.top, a.low, a.drawdown_frac
    below, total = a.downside, a.mean_equity
    s1, s2, s3, s4 = sums[1], sums[2], sums[3], sums[4]
    moving = end if per_tick else first + 1
    for step in range(first, moving):
        equity = float(base + per_tick * closes[step])
        r = equity / previous - 1.0 if previous > 0.0 else nan
        square = r * r
        s1 += r
        s2 += square
        s3 += square * r
        s4 += square * square
        if r < 0.0:
            below += square
        if equity > top:
            worst = max(worst, 1.0 - low / top)
            top, low = equity, equity
        low = min(low, equity)
        previous = equity
        total += equity
    sums[1], sums[2], sums[3], sums[4] = s1, s2, s3, s4
    a.previous, a.top, a.low, a.drawdown_frac = previous, top, low, worst
    a.downside, a.mean_equity = below, total + previous * (end - moving)


def finish(a: Any, equity: int) -> None:
    """End at the last equity."""
    a.equity = equity
    a.drawdown_frac = max(a.drawdown_frac, 1.0 - a.low / a.top)
    a.mean_equity /= a.n_steps
