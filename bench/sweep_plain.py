"""The hand-written peer: the same sweep as one plain numba loop in float64, nothing else in it.

Long while the fast mean is above the slow one; sized in whole shares at the decision's close,
filled at the next open, cut to what the cash pays there, a fee a fill; total return, Sharpe and
maximum drawdown of per-bar returns, one division a bar. It can do nothing that it was not written
for: no other rule, no exits, no limits, no records, no exact money.

``sweep_plain.py FOLDER WORKERS CASE...``: one fresh process, one JSON line.
"""

from __future__ import annotations

import sys
from math import floor, nan, sqrt
from pathlib import Path

import numba
import numpy as np
import sweep_data as data
import sweep_run
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CALLS = 5


def one(
    fast: Floats, slow: Floats, open_: Floats, close: Floats, cash: float, fee: float, year: float
) -> tuple[float, float, float]:
    """Return total return, Sharpe and maximum drawdown (negative) of one pair of means."""
    start, before, peak, deepest = cash, cash, cash, 0.0
    total, squares, shares, ordered, long = 0.0, 0.0, 0.0, 0.0, False
    for i in range(len(close)):
        if ordered > 0.0:
            px = open_[i]
            if ordered * px * (1.0 + fee) > cash:
                ordered = floor(cash / (px * (1.0 + fee)))
            cash -= ordered * px * (1.0 + fee)
            shares = ordered
        elif ordered < 0.0:
            cash += shares * open_[i] * (1.0 - fee)
            shares = 0.0
        ordered = 0.0
        equity = cash + shares * close[i]
        move = equity / before - 1.0
        before = equity
        total += move
        squares += move * move
        if equity > peak:
            peak = equity
        elif equity < peak * (1.0 + deepest):
            deepest = equity / peak - 1.0
        above = fast[i] > slow[i]
        if above != long:
            long = above
            ordered = floor(equity / close[i]) if above else -1.0
    n = len(close)
    variance = (squares - total * total / n) / (n - 1)
    sharpe = total / n / sqrt(variance) * sqrt(year) if variance > 0.0 else nan
    return before / start - 1.0, sharpe, deepest


_one = numba.njit(one, cache=False)


def _all(
    rows: Floats, pairs: NDArray[np.int64], open_: Floats, close: Floats, cash: float, fee: float,
    year: float,
) -> Floats:  # fmt: skip
    found = np.empty((3, len(pairs)))
    for k in numba.prange(len(pairs)):
        fast, slow = rows[pairs[k, 0]], rows[pairs[k, 1]]
        found[0, k], found[1, k], found[2, k] = _one(fast, slow, open_, close, cash, fee, year)
    return found


serial = numba.njit(_all, error_model="numpy")
threaded = numba.njit(_all, error_model="numpy", parallel=True)


def sweep(bars: dict[str, Floats], windows: tuple[int, ...], workers: int) -> Floats:
    """Return the three metrics of all pairs, shape (3, n_symbols, n_pairs); means included."""
    index = np.array([(i, j) for i in range(len(windows)) for j in range(i + 1, len(windows))])
    run = serial if workers == 1 else threaded
    if workers > 1:
        numba.set_num_threads(workers)
    return np.stack(
        [
            run(
                data.means(close, windows), index, open_, close,
                float(data.CASH), data.FEE_BPS / 1e4, float(data.DAYS_A_YEAR),
            )
            for open_, close in zip(bars["open"], bars["close"], strict=True)
        ],
        axis=1,
    )  # fmt: skip


def main() -> None:
    """Measure each case named; the first call compiles."""
    workers = int(sys.argv[2])
    sweep_run.measure(
        f"plain {workers}", Path(sys.argv[1]), sys.argv[3:], prepare=dict,
        run=lambda bars, case: sweep(bars, case.windows, workers), calls=CALLS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
