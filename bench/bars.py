"""The bars of the benchmark: a seeded random walk in cents, one minute each, round the clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIRST_NS = 1_577_836_800 * 10**9  # 2020-01-01 UTC
MINUTE_NS = 60 * 10**9
START_CENTS = 20_000


def random_walk(n: int, seed: int = 7) -> dict[str, NDArray[np.generic]]:
    """Return ``n`` bars as columns: ts_open (ns), open, high, low, close (in cents), volume."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.integers(-10, 11, n))
    drift = np.linspace(0, walk[-1], n).astype(np.int64)
    close = START_CENTS + walk - drift
    open_ = np.concatenate(([START_CENTS], close[:-1])) + rng.integers(-2, 3, n)
    high = np.maximum(open_, close) + rng.integers(0, 6, n)
    low = np.minimum(open_, close) - rng.integers(0, 6, n)
    volume = rng.integers(10_000, 100_000, n)
    columns = {"open": open_, "high": high, "low": low, "close": close}
    return {
        "ts_open": FIRST_NS + MINUTE_NS * np.arange(n, dtype=np.int64),
        **{name: values / 100.0 for name, values in columns.items()},
        "volume": volume.astype(np.float64),
    }


def mean(close: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the trailing mean of ``n`` closes, NaN before there are ``n``.

    Summed in whole cents, so that two means that are equal compare as equal in both engines.
    """
    total = np.concatenate(([0], np.cumsum(np.rint(np.asarray(close) * 100).astype(np.int64))))
    found = np.full(len(close), np.nan)
    found[n - 1 :] = (total[n:] - total[:-n]) / (100 * n)
    return found


def write(folder: Path, n: int) -> tuple[Path, Path]:
    """Write the bars as ``.npz`` (both engines) and ``.parquet`` (the loading test)."""
    import pandas as pd

    columns = random_walk(n)
    arrays, table = folder / f"bars_{n}.npz", folder / f"bars_{n}.parquet"
    np.savez(arrays, **columns)
    frame = pd.DataFrame(columns)
    frame.insert(0, "symbol", "WALK")
    frame["timestamp"] = pd.to_datetime(frame.pop("ts_open"), utc=True)
    frame.to_parquet(table, index=False)
    return arrays, table
