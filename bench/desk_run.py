"""One run of the bench strategy in mqd's event engine; prints one JSON line.

``desk_run.py BARS.npz FOLDER trade|flat``: all stages on, with a run folder (log and store).
``flat`` runs the same features and rule with means of one length, so that no order is ever sent:
the difference of the two is what the orders cost.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import bars as bench_bars
import numpy as np
import pandas as pd

import mqd
from mqd.core.bar import SymbolBars

FAST, SLOW, UNITS, FEE_BPS, CASH, WARM_BARS = 10, 50, 10, 5, 100_000, 2_000
LENGTHS = {"trade": (FAST, SLOW), "flat": (SLOW, SLOW)}


class SmaCross(mqd.Strategy):
    """Long while the fast mean is above the slow one, flat otherwise."""

    fast: int = FAST
    slow: int = SLOW

    def features(self, bars: SymbolBars) -> dict[str, np.ndarray]:
        """Return both means; from one bar later on, as backtesting.py's first call is."""
        fast, slow = (bench_bars.mean(bars.close, n) for n in (self.fast, self.slow))
        slow[: self.slow] = np.nan
        return {"fast": fast, "slow": slow}

    def decide(self, now: Any, position: Any) -> float:  # noqa: ARG002
        """Return the target weight at a bar's close."""
        return 1.0 if now.fast > now.slow else 0.0


def load(path: str, n: int | None = None) -> mqd.Bars:
    """Return the bench bars as the engine's own object; a round-the-clock calendar."""
    columns = np.load(path)
    frame = pd.DataFrame({name: columns[name][:n] for name in columns.files})
    frame["timestamp"] = pd.to_datetime(frame.pop("ts_open"), utc=True)
    frame["symbol"] = "WALK"
    return mqd.Bars.from_pandas(frame, calendar="24/7", tick="0.01", lot="1")


def run(bars: mqd.Bars, folder: Path, what: str) -> mqd.Result:
    """Replay the bench strategy: 10 units, 5 bps, next open, research limits."""
    fast, slow = LENGTHS[what]
    return mqd.backtest(
        SmaCross(fast=fast, slow=slow),
        bars,
        cash=CASH,
        sizer=mqd.FixedQuantity(UNITS),
        costs=mqd.Costs(fee_bps=FEE_BPS),
        engine="event",
        out=folder,
    )


def main() -> None:
    """Run once, after a short run that loads and compiles what the first run needs."""
    path, folder, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    run(load(path, WARM_BARS), folder / "warm", what)
    bars = load(path)
    start = time.perf_counter()
    result = run(bars, folder / "run", what)
    metrics = result.metrics
    seconds = time.perf_counter() - start
    document = {
        "engine": f"mqd {what}",
        "bars": bars.n_bars,
        "seconds": seconds,
        "orders": int(metrics["n_orders"]),
        "fills": int(metrics["n_fills"]),
        "final_equity": float(metrics["final_equity"]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
