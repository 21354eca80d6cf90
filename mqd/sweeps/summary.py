"""The metrics of many combinations at once, from what the kernel summed; as in ``statistics``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mqd.kernel.market import Market
from mqd.kernel.program import Batch
from mqd.significance import sharpe_of

Column = NDArray[np.float64] | NDArray[np.int64]


def metric_columns(market: Market, batch: Batch) -> dict[str, Column]:
    """Return each metric of a sweep's table, shape (n,): int64 for counts, else float64."""
    a, moments = batch.accounts, batch.moments
    per_unit = float(1 / market.quantum)
    periods = float(market.account["bars_per_year"][0])
    start = float(market.account["start_cash"][0])
    n = float(len(market.steps))
    sums = moments[:, 0, 1:].copy()
    for block in range(1, moments.shape[1]):
        sums += moments[:, block, 1:]
    known = ~np.isnan(sums[:, 0])
    with np.errstate(all="ignore"):
        growth = np.where(known, a["equity"] / start, np.nan)
        mean = sums[:, 0] / n
        variance = np.maximum(sums[:, 1] - n * mean * mean, 0.0) / (n - 1.0 if n > 1 else np.nan)
        cagr = _cagr(growth, periods, n)
        drawdown = np.where(known, -a["drawdown_frac"], np.nan)
        downside = np.sqrt(a["downside"] / n)
        years = n / periods
        mean_usd = a["mean_equity"] / per_unit
        turnover = np.where(mean_usd > 0, a["traded"] / per_unit / (mean_usd * years), np.nan)
    return {
        "final_equity": a["equity"] / per_unit,
        "total_return_frac": growth - 1.0,
        "cagr_frac": cagr,
        "volatility_frac": np.sqrt(variance) * np.sqrt(periods)
        if n > 1
        else np.full(len(a), np.nan),
        "sharpe": sharpe_of(moments) * np.sqrt(periods),
        "sortino": _ratio(mean, downside) * np.sqrt(periods),
        "calmar": _ratio(cagr, np.abs(drawdown)),
        "max_drawdown_frac": drawdown,
        "exposure_frac": a["exposed"] / n,
        "turnover_frac": turnover,
        "fees_usd": a["fees"] / per_unit,
        "win_rate_frac": _ratio(a["n_wins"], a["n_trades"]),
        "profit_factor": _ratio(a["gained"], a["losses"]),
        "n_orders": a["n_orders"],
        "n_denied": a["n_denied"],
        "n_fills": a["n_fills"],
        "n_trades": a["n_trades"],
        "ambiguous_bars": a["ambiguous"],
        "capped_fills": a["capped"],
        "trimmed_fills": a["trimmed"],
    }


def _cagr(growth: NDArray[np.float64], periods: float, n: float) -> NDArray[np.float64]:
    exponent = np.log(growth) * periods / n
    rate = np.where(exponent < 700.0, np.expm1(np.minimum(exponent, 700.0)), np.nan)
    return np.where(growth == 0.0, -1.0, np.where(growth < 0.0, np.nan, rate))


def _ratio(above: Column, below: Column) -> NDArray[np.float64]:
    """Return ``above / below``, NaN where the divisor is zero or the quotient not finite."""
    with np.errstate(all="ignore"):
        quotient = np.asarray(above, dtype=np.float64) / below
    return np.where(np.isfinite(quotient), quotient, np.nan)
