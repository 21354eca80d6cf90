"""What every program of ``make bench-sweep`` shares: the bars, the windows, the money.

Daily bars, round the clock (365 a year in both engines). Prices have six decimals and the walk is
chosen so that no two means of it come closer than ``GAP_MIN``: the engines sum a mean in
different orders, and where two means were equal the last bit would decide a trade.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CASH, FEE_BPS, DAYS_A_YEAR = 100_000, 5, 365.3
VOLUME = 1e9  # a participation of 0.1 never binds
TICKS, GAP_MIN = 10**6, 1e-9
FIRST_DAY = "2010-01-01"
WINDOWS = {
    "142": range(2, 144),  # 10,011 pairs
    "46": range(2, 140, 3),  # 1,035 pairs
    "15": range(5, 80, 5),  # 105 pairs
}


class Case(NamedTuple):
    """One size of the SMA sweep: pairs of ``windows``, ``n_bars`` of each of ``n_symbols``."""

    windows: tuple[int, ...]
    n_bars: int
    n_symbols: int

    @property
    def pairs(self) -> NDArray[np.int64]:
        """All pairs fast < slow, shape (n_pairs, 2), in the order of every engine's rows."""
        return np.array(list(combinations(self.windows, 2)), dtype=np.int64)

    @property
    def evaluations(self) -> int:
        """Bars x symbols x pairs."""
        n = len(self.windows)
        return n * (n - 1) // 2 * self.n_bars * self.n_symbols


CASES = {
    "10,011 pairs": Case(tuple(WINDOWS["142"]), 2_500, 1),
    "1,035 pairs": Case(tuple(WINDOWS["46"]), 2_500, 1),
    "100 symbols": Case(tuple(WINDOWS["15"]), 2_500, 100),
}


def _walk(seed: int, n: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(2e-4, 0.012, n)))
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, 0.003, n))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0.0, 0.004, n)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0.0, 0.004, n)))
    prices = {"open": open_, "high": high, "low": low, "close": close}
    return {name: np.rint(column * TICKS) / TICKS for name, column in prices.items()}


def means(close: Floats, windows: tuple[int, ...]) -> Floats:
    """Return the trailing means, a row a window, NaN before there are enough; exact sums."""
    total = np.concatenate(([0], np.cumsum(np.rint(close * TICKS).astype(np.int64))))
    found = np.full((len(windows), len(close)), np.nan)
    for row, n in zip(found, windows, strict=True):
        row[n - 1 :] = (total[n:] - total[:-n]) / (TICKS * n)
    return found


def _gap(close: Floats, windows: tuple[int, ...]) -> float:
    rows = means(close, windows)
    gaps = [np.nanmin(np.abs(rows[i] - rows[i + 1 :])) for i in range(len(rows) - 1)]
    return float(min(gaps))


def columns(case: Case) -> dict[str, Floats]:
    """Return open, high, low and close of a case, each of shape (n_symbols, n_bars)."""
    found: list[dict[str, Floats]] = []
    seed = 0
    while len(found) < case.n_symbols:
        seed += 1
        walk = _walk(seed, case.n_bars)
        if _gap(walk["close"], case.windows) > GAP_MIN:
            found.append(walk)
    return {name: np.stack([walk[name] for walk in found]) for name in found[0]}


def write(folder: Path) -> None:
    """Write every case's bars as ``<case>.npz`` for the programs of one run."""
    for name, case in CASES.items():
        np.savez(folder / f"{name}.npz", **columns(case))  # type: ignore[arg-type]


def read(folder: Path, name: str) -> dict[str, Floats]:
    """Return the bars of a case as ``columns`` made them."""
    with np.load(folder / f"{name}.npz") as arrays:
        return {column: arrays[column] for column in arrays.files}
