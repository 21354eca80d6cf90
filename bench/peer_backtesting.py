"""One run of the bench strategy in backtesting.py, in its own environment; prints one JSON line.

``peer_backtesting.py BARS.npz``: long 10 units while SMA(10) > SMA(50), 5 bps fee, fills at the
next open, the last position marked at the last close. Written against backtesting.py 0.6.6.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

import bars as bench_bars
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

FAST, SLOW, UNITS, FEE_FRAC, CASH = 10, 50, 10, 0.0005, 100_000


class SmaCross(Strategy):
    """Long 10 units while the fast mean is above the slow one, flat otherwise."""

    def init(self) -> None:
        """Prepare both means over all bars."""
        self.fast = self.I(bench_bars.mean, self.data.Close, FAST)
        self.slow = self.I(bench_bars.mean, self.data.Close, SLOW)

    def next(self) -> None:
        """Buy or close at the bar's close; both fill at the next open."""
        if self.fast[-1] > self.slow[-1]:
            if not self.position:
                self.buy(size=UNITS)
        elif self.position:
            self.position.close()


def main() -> None:
    """Run once and print what was measured."""
    warnings.simplefilter("ignore")
    columns = np.load(sys.argv[1])
    index = pd.to_datetime(columns["ts_open"])
    frame = pd.DataFrame(
        {name.capitalize(): columns[name] for name in ("open", "high", "low", "close", "volume")},
        index=index,
    )
    test = Backtest(
        frame, SmaCross, cash=CASH, commission=FEE_FRAC, trade_on_close=False,
        exclusive_orders=False, finalize_trades=False,
    )  # fmt: skip
    start = time.perf_counter()
    stats = test.run()
    seconds = time.perf_counter() - start
    open_trades = stats["_strategy"].trades
    document = {
        "engine": "backtesting.py",
        "bars": len(frame),
        "seconds": seconds,
        "fills": 2 * len(stats["_trades"]) + len(open_trades),
        "final_equity": float(stats["Equity Final [$]"]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
