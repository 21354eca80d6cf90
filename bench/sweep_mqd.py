"""The SMA sweep in mqd; one fresh process, one JSON line.

``sweep_mqd.py FOLDER WORKERS CASE...``: the first call is the one on the first case.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import sweep_data as data
import sweep_rules
import sweep_run

import mqd
import mqd.kernel
import mqd.sweeps

METRICS = ["total_return_frac", "sharpe", "max_drawdown_frac"]
CALLS = 5


def import_all() -> None:
    """Import what the first call would: figures leave imports out, as the peers' do."""
    for package in (mqd.kernel, mqd.sweeps):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def bars_of(columns: dict[str, data.Floats], freq: str = "D") -> mqd.Bars:
    """Return ``sweep_data``'s columns as mqd's own object: round the clock, whole shares."""
    n_symbols, n_bars = columns["close"].shape
    frame = pd.DataFrame({name: column.ravel() for name, column in columns.items()})
    frame["volume"] = data.VOLUME
    stamps = pd.date_range(data.FIRST_DAY, periods=n_bars, freq=freq, tz="UTC")
    frame["timestamp"] = np.tile(stamps, n_symbols)
    frame["symbol"] = np.repeat([f"S{i:03d}" for i in range(n_symbols)], n_bars)
    return mqd.Bars.from_pandas(frame, calendar="24/7", tick="0.000001", lot="1")


def sweep(bars: mqd.Bars, windows: tuple[int, ...], workers: int) -> mqd.Sweep:
    """Sweep all pairs of ``windows``: costs on, each symbol an account of its own."""
    return mqd.sweep(
        sweep_rules.SmaPair, bars, {"fast": windows, "slow": windows}, where="fast < slow",
        cash=data.CASH, costs=mqd.Costs(fee_bps=data.FEE_BPS), workers=workers,
        engine="compiled", progress=False,
    )  # fmt: skip


def metrics(found: mqd.Sweep, n_symbols: int) -> data.Floats:
    """Return total return, Sharpe and maximum drawdown, shape (3, n_symbols, n_pairs)."""
    table = found.table[METRICS].to_numpy()
    return table.reshape(-1, n_symbols, len(METRICS)).transpose(2, 1, 0)


def main() -> None:
    """Measure each case named; building the bars is not timed."""
    workers = int(sys.argv[2])
    import_all()
    sweep_run.measure(
        f"mqd {workers}", Path(sys.argv[1]), sys.argv[3:], prepare=bars_of,
        run=lambda bars, case: metrics(sweep(bars, case.windows, workers), case.n_symbols),
        calls=CALLS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
