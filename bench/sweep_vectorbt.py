"""The SMA sweep in vectorbt 1.2, numba or Rust engine; one fresh process, one JSON line.

``sweep_vectorbt.py FOLDER numba|rust CASE...``: the first call is the one on the first case.

How vectorbt is told to trade as mqd does, with nothing else differing:

- ``size`` is NaN (no order) but for the bar after a change of the rule: 1 or 0 there;
- the size type is the target as a share of equity, with ``val_price=-inf``: sized by equity and
  price at the close before, which is the decision's;
- ``price`` = the open of that bar, ``fees`` in proportion, whole shares (``size_granularity``);
- a purchase that the cash does not pay at the open is cut to the shares that it does;
- ``year_freq`` 365.3 days (the calendar's mean of ten years), ddof 1, the first return measured
  from the starting cash.

So what is timed is what is compared. The usual ``ma_crossed_above`` with ``from_signals`` takes
about as long, and cannot size at the decision's close.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import sweep_data as data
import sweep_run
import vectorbt as vbt

Floats = data.Floats
TARGET_SHARE = 5  # of vectorbt.portfolio.enums.SizeType: a target as a share of equity


def sweep(bars: dict[str, Floats], windows: tuple[int, ...]) -> Floats:
    """Return total return, Sharpe and maximum drawdown, shape (3, n_symbols, n_pairs)."""
    index = pd.date_range(data.FIRST_DAY, periods=bars["close"].shape[1], freq="D")
    close = pd.DataFrame(bars["close"].T, index=index)
    fast, slow = vbt.MA.run_combs(close, window=list(windows), r=2, short_names=["fast", "slow"])
    above = fast.ma.to_numpy() > slow.ma.to_numpy()
    size = np.full(above.shape, np.nan)
    size[1] = np.where(above[0], 1.0, np.nan)
    changed = above[1:-1] != above[:-2]
    size[2:][changed] = above[1:-1][changed]
    n_symbols = len(bars["close"])
    n_pairs = above.shape[1] // n_symbols
    wide = close if n_symbols == 1 else pd.DataFrame(np.tile(close, (1, n_pairs)), index=index)
    opens = bars["open"].T if n_symbols == 1 else np.tile(bars["open"].T, (1, n_pairs))
    portfolio = vbt.Portfolio.from_orders(
        wide, size=size, size_type=TARGET_SHARE, direction="longonly", price=opens,
        val_price=-np.inf, fees=data.FEE_BPS / 1e4, size_granularity=1.0, init_cash=data.CASH,
        freq="D",
    )  # fmt: skip
    found = (portfolio.total_return(), portfolio.sharpe_ratio(), portfolio.max_drawdown())
    return np.stack([np.asarray(one).reshape(n_pairs, n_symbols).T for one in found])


def main() -> None:
    """Measure each case named, twice after the first call."""
    engine = sys.argv[2]
    vbt.settings["engine"] = engine
    vbt.settings.returns["year_freq"] = f"{data.DAYS_A_YEAR} days"
    sweep_run.measure(
        f"vectorbt {engine}", Path(sys.argv[1]), sys.argv[3:], prepare=dict,
        run=lambda bars, case: sweep(bars, case.windows), calls=2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
