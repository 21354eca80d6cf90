"""Fewer points for a line that looks the same: every bucket keeps its lowest and highest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def keep_extremes(values: NDArray[np.float64], points_max: int) -> NDArray[np.int64]:
    """Return the rows to keep, ascending, at most ``points_max`` (>= 4) of ``len(values)``.

    The rows are cut into equal buckets; of each, the rows of the minimum and the maximum stay
    (the first of equals; NaN counts as neither), and so do the first and the last row. No peak,
    trough or final value is lost, which keeping every n-th row would do.
    """
    n = len(values)
    if n <= points_max:
        return np.arange(n, dtype=np.int64)
    edges = np.linspace(0, n, (points_max - 2) // 2 + 1).astype(np.int64)
    low = np.where(np.isnan(values), np.inf, values)
    high = np.where(np.isnan(values), -np.inf, values)
    rows = {0, n - 1}
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        rows.add(start + int(low[start:stop].argmin()))
        rows.add(start + int(high[start:stop].argmax()))
    return np.array(sorted(rows), dtype=np.int64)
