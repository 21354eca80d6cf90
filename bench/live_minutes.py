"""Minutes of made-up stocks on one real day: what the live benchmarks trade, from a fixed seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mqd
from mqd.core.bar import SymbolBars
from mqd.live.rehearsal import DataSpec

DAY = "2022-05-19"
OPENS = pd.Timestamp("2022-05-19 13:30", tz="UTC")
MINUTES = 390


def names(n_symbols: int) -> list[str]:
    """Return the names of the stocks: B00, B01 and on."""
    return [f"B{n:02d}" for n in range(n_symbols)]


def write(folder: Path, n_symbols: int, n_minutes: int = MINUTES, seed: int = 7) -> DataSpec:
    """Write seeded random walks in cents as a parquet file and return how it is read."""
    rng = np.random.default_rng(seed)
    frames = []
    for symbol in names(n_symbols):
        close = 10_000 + np.cumsum(rng.integers(-5, 6, n_minutes))
        opened = np.concatenate(([10_000], close[:-1]))
        cents = {
            "open": opened, "close": close,
            "high": np.maximum(opened, close) + rng.integers(0, 4, n_minutes),
            "low": np.minimum(opened, close) - rng.integers(0, 4, n_minutes),
        }  # fmt: skip
        columns = {name: values / 100.0 for name, values in cents.items()}
        columns["volume"] = rng.integers(50_000, 100_000, n_minutes).astype(np.float64)
        frame = pd.DataFrame(columns)
        frame["timestamp"] = pd.date_range(OPENS, periods=n_minutes, freq="1min")
        frame["symbol"] = symbol
        frames.append(frame)
    file = folder / "minutes.parquet"
    pd.concat(frames, ignore_index=True).to_parquet(file, index=False)
    return DataSpec(file, {"tick": "0.01"})


class Flip(mqd.Strategy):
    """In for one bar, out for the next: an order a bar and symbol."""

    def features(self, bars: SymbolBars) -> dict[str, np.ndarray]:
        """Return whether a bar is an odd one of the run."""
        return {"odd": (np.arange(len(bars.close)) % 2).astype(np.float64)}

    def decide(self, now: Any, position: Any) -> float:  # noqa: ARG002
        """Return the target weight at a bar's close."""
        return 1.0 if now.odd > 0.5 else 0.0
