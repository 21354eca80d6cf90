"""What a result hangs on: costs that end the profit, and what bars cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from mqd.checks.report import Finding
from mqd.report.tables import format_frac
from mqd.result import Result

RUNS_MAX: Final = 5
BPS_MAX: Final = 1000.0
NEAR_ZERO_FRAC: Final = 0.02


def breakeven_cost(run: Callable[..., Result], full: Result) -> Iterator[Finding]:
    """Yield a note on the slippage, in basis points, at which the total return is zero.

    Found by secants over at most ``RUNS_MAX`` backtests whose other costs stay. ``full`` is the
    run with its own costs.
    """
    if full.fills.empty:
        yield Finding("breakeven cost", "The strategy never traded: no cost can matter.")
        return
    costs = full.terms.costs

    def gain(bps: float) -> float:
        return float(run(costs=replace(costs, slippage_bps=bps)).metrics["total_return_frac"])

    ours = float(full.metrics["total_return_frac"])
    said = f"total return {format_frac(ours)} at {costs.slippage_bps:g} bps slippage"
    free = gain(0.0) if ours <= 0 and costs.slippage_bps else ours
    if free <= 0:
        sentence = f"{said}, {format_frac(free)} without any: there is no breakeven cost."
        yield Finding("breakeven cost", sentence)
        return
    guess = costs.slippage_bps + 1e4 * ours / _turnover(full)
    bps = _zero(gain, (costs.slippage_bps, ours), guess, free)
    if bps >= BPS_MAX:
        yield Finding("breakeven cost", f"{said}; it stays positive up to {BPS_MAX:g} bps.")
        return
    yield Finding(
        "breakeven cost",
        f"{said}; it is zero at about {bps:.1f} bps. Compare that with your spread and impact.",
        value=bps,
    )


def _turnover(full: Result) -> float:
    """Return the traded notional as a multiple of the starting equity."""
    notional = float(np.sum(full.fills["qty"].to_numpy(float) * full.fills["px"].to_numpy(float)))
    return max(notional / full.starting_equity, 1e-9)


def _zero(
    gain: Callable[[float], float], first: tuple[float, float], guess: float, free: float
) -> float:
    """Return where ``gain`` is zero within a fiftieth of its value without slippage."""
    (x0, y0), x1 = first, min(max(guess, 0.0), BPS_MAX)
    for _ in range(RUNS_MAX):
        y1 = gain(x1)
        if abs(y1) <= NEAR_ZERO_FRAC * free or x0 == x1 or y0 == y1 or (x1 == BPS_MAX and y1 > 0):
            break
        x0, y0, x1 = x1, y1, min(max(x1 - y1 * (x1 - x0) / (y1 - y0), 0.0), BPS_MAX)
    return x1


def bar_time_ambiguity(full: Result) -> Iterator[Finding]:
    """Yield notes on what the bars leave open: the path within a bar, and gaps over night."""
    counts = full.source.counts
    if counts.ambiguous_bars:
        yield Finding(
            "bar-time ambiguity",
            f"{counts.ambiguous_bars} bars held both the stop and the target; the stop was taken"
            " first. Shorter bars would tell.",
            value=float(counts.ambiguous_bars),
        )
    if counts.gap_fills:
        yield Finding(
            "bar-time ambiguity",
            f"{counts.gap_fills} stops filled at an open beyond their level.",
            value=float(counts.gap_fills),
        )
    overnight = _overnight(full)
    if overnight:
        yield Finding(
            "bar-time ambiguity",
            f"{overnight} orders were decided at a session's last close and could fill at the"
            " next session's open at the earliest.",
            value=float(overnight),
        )


def _overnight(full: Result) -> int:
    """Return how many orders were decided at a session's last close; 0 for daily bars."""
    bars = full.bars
    if bars.bars_per_session <= 1:
        return 0
    last = [bars[s].ts_close[bars[s].minutes_to_close <= 0] for s in bars.symbols]
    decided = full.orders["decided"].dt.as_unit("ns").astype("int64").to_numpy()
    return int(np.isin(decided, np.concatenate(last)).sum())
