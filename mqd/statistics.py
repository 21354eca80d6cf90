"""Performance statistics: arrays in, numbers out, NaN and never a sentinel.

Shared rules, so that the functions below need not repeat them:

- ``returns`` is float64 of shape (n_bars,): simple returns as fractions, one a bar of the base
  timeframe, the first one measured from the starting equity (``returns_from_equity``).
- ``periods_per_year`` is bars a session x sessions a year of the calendar. Nothing here assumes
  252: a 24/7 market of daily bars passes 365, minute bars of New York pass 390 x 252.
- A ``_frac`` is a fraction: 0.25 is a quarter. Drawdowns are negative or zero.
- NaN rule: one NaN among the inputs makes the answer NaN (a gap is never skipped in silence),
  and a ratio whose divisor is zero is NaN, never infinity.

Sources: W. F. Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1994); F. Sortino
and L. Price, "Performance Measurement in a Downside Risk Framework", Journal of Investing 3
(1994); T. W. Young, "Calmar Ratio: A Smoother Tool", Futures 20 (1991); P. G. Martin and B. B.
McCann, "The Investor's Guide to Fidelity Funds" (1989) for the ulcer index. Where
empyrical-reloaded has the same definition the numbers agree to 1e-9.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mqd.robustness import (
    Interval,
    NeighbourStability,
    block_length,
    bootstrap_interval,
    neighbour_stability,
)
from mqd.significance import (
    PboResult,
    block_moments,
    deflated_sharpe_ratio,
    expected_max_sharpe,
    kurtosis_of,
    minimum_track_record,
    n_returns_of,
    pbo,
    probabilistic_sharpe_ratio,
    sharpe_of,
    skew_of,
)

__all__ = [
    "NAN",
    "Floats",
    "Interval",
    "NeighbourStability",
    "PboResult",
    "block_length",
    "block_moments",
    "bootstrap_interval",
    "cagr_frac",
    "calmar",
    "deflated_sharpe_ratio",
    "drawdown_series",
    "expected_max_sharpe",
    "expected_shortfall_frac",
    "exposure_frac",
    "kurtosis_of",
    "max_drawdown_frac",
    "metrics",
    "minimum_track_record",
    "n_returns_of",
    "neighbour_stability",
    "pbo",
    "probabilistic_sharpe_ratio",
    "profit_factor",
    "returns_from_equity",
    "rolling_sharpe",
    "sharpe",
    "sharpe_of",
    "skew_of",
    "sortino",
    "tail_ratio",
    "total_return_frac",
    "turnover_frac",
    "ulcer_index_frac",
    "value_at_risk_frac",
    "volatility_frac",
    "win_rate_frac",
]

Floats = NDArray[np.float64]

NAN = math.nan


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _ratio(above: float, below: float) -> float:
    """Return ``above / below``, NaN when the divisor is zero or the quotient is not finite."""
    if below == 0.0 or math.isnan(below):
        return NAN
    quotient = above / below
    return quotient if math.isfinite(quotient) else NAN


def returns_from_equity(equity: ArrayLike, starting_equity: float) -> Floats:
    """Return simple returns, one a bar: ``r[i] = equity[i] / equity[i - 1] - 1``.

    ``equity`` has shape (n_bars,) in USD at each bar's close; ``r[0]`` is measured from
    ``starting_equity``. A return on equity that was not positive has no meaning and is NaN.
    """
    now = _floats(equity)
    before = np.concatenate(([float(starting_equity)], now[:-1])) if len(now) else now
    returns = np.full(len(now), NAN)
    np.divide(now, before, out=returns, where=before > 0)
    return returns - 1.0


def total_return_frac(returns: ArrayLike) -> float:
    """Return the compounded return of the whole span, ``prod(1 + r) - 1``; NaN without bars."""
    values = _floats(returns)
    return float(np.prod(1.0 + values) - 1.0) if len(values) else NAN


def cagr_frac(returns: ArrayLike, periods_per_year: float) -> float:
    """Return the compound annual growth rate, ``prod(1 + r) ** (1 / years) - 1``.

    ``years = n_bars / periods_per_year``: trading time, as in empyrical's ``annual_return``, not
    the calendar days between first and last bar. NaN without bars or when the growth is negative
    (more than everything was lost) or too large for a float.
    """
    values = _floats(returns)
    growth = total_return_frac(values) + 1.0
    if not len(values) or math.isnan(growth) or growth < 0:
        return NAN
    if growth == 0.0:
        return -1.0
    exponent = math.log(growth) * periods_per_year / len(values)
    return math.expm1(exponent) if exponent < 700.0 else NAN


def _deviation(values: Floats) -> float:
    """Sample deviation (ddof 1), exactly 0 when all values are equal, NaN below two values."""
    if len(values) < 2:
        return NAN
    if values.max() == values.min():
        return 0.0
    return float(np.std(values, ddof=1))


def volatility_frac(returns: ArrayLike, periods_per_year: float) -> float:
    """Return the annualised sample deviation, ``std(r, ddof=1) x sqrt(periods_per_year)``.

    NaN below two bars; 0 when all returns are equal.
    """
    return _deviation(_floats(returns)) * math.sqrt(periods_per_year)


def sharpe(returns: ArrayLike, periods_per_year: float) -> float:
    """Return ``mean(r) / std(r, ddof=1) x sqrt(periods_per_year)``, risk-free rate 0.

    NaN below two bars and when all returns are equal (no dispersion, no ratio).
    """
    values = _floats(returns)
    if len(values) < 2:
        return NAN
    return _ratio(float(values.mean()), _deviation(values)) * math.sqrt(periods_per_year)


def sortino(returns: ArrayLike, periods_per_year: float) -> float:
    """Return ``mean(r) / downside x sqrt(periods_per_year)``, target return 0.

    ``downside = sqrt(mean(min(r, 0) ** 2))`` over *all* bars, the losing and the others, as in
    Sortino and Price. NaN below two bars and when no bar lost.
    """
    values = _floats(returns)
    if len(values) < 2:
        return NAN
    downside = math.sqrt(float(np.mean(np.square(np.minimum(values, 0.0)))))
    return _ratio(float(values.mean()), downside) * math.sqrt(periods_per_year)


def drawdown_series(returns: ArrayLike) -> Floats:
    """Return the fraction below the running peak at each bar, shape (n_bars,), <= 0.

    The peak includes the starting equity: a first bar that loses is a drawdown.
    """
    wealth = np.cumprod(1.0 + _floats(returns))
    peak = np.maximum.accumulate(np.maximum(wealth, 1.0))
    below: Floats = wealth / peak - 1.0
    return below


def max_drawdown_frac(returns: ArrayLike) -> float:
    """Return the deepest drawdown as a fraction <= 0 (-0.25: a quarter was lost)."""
    below = drawdown_series(returns)
    return float(below.min()) if len(below) else NAN


def calmar(returns: ArrayLike, periods_per_year: float) -> float:
    """Return ``cagr_frac / |max_drawdown_frac|`` over the whole span; NaN without a drawdown."""
    return _ratio(cagr_frac(returns, periods_per_year), abs(max_drawdown_frac(returns)))


def ulcer_index_frac(returns: ArrayLike) -> float:
    """Return the root mean square drawdown, ``sqrt(mean(drawdown ** 2))``, as a fraction."""
    below = drawdown_series(returns)
    return math.sqrt(float(np.mean(np.square(below)))) if len(below) else NAN


def value_at_risk_frac(returns: ArrayLike, tail_frac: float = 0.05) -> float:
    """Return the ``tail_frac`` quantile of one-bar returns, linearly interpolated."""
    values = _floats(returns)
    return float(np.quantile(values, tail_frac)) if len(values) else NAN


def expected_shortfall_frac(returns: ArrayLike, tail_frac: float = 0.05) -> float:
    """Return the mean of the worst ``floor((n - 1) x tail_frac) + 1`` one-bar returns."""
    values = np.sort(_floats(returns))
    if not len(values) or np.isnan(values[-1]):
        return NAN
    return float(values[: int((len(values) - 1) * tail_frac) + 1].mean())


def tail_ratio(returns: ArrayLike) -> float:
    """Return ``|95 % quantile| / |5 % quantile|`` of one-bar returns; above 1: fatter gains."""
    values = _floats(returns)
    if not len(values):
        return NAN
    low, high = np.quantile(values, (0.05, 0.95))
    return _ratio(abs(float(high)), abs(float(low)))


def _rolling_sum(values: Floats, window: int) -> Floats:
    sums = np.concatenate(([0.0], np.cumsum(values)))
    rolled: Floats = sums[window:] - sums[:-window]
    return rolled


def rolling_sharpe(returns: ArrayLike, window: int, periods_per_year: float) -> Floats:
    """Return ``sharpe`` of the last ``window`` bars at each bar, shape (n_bars,).

    One pass over running sums, whatever the window. NaN in the first ``window - 1`` bars, and
    in windows whose deviation is zero or below a millionth of the whole span's: running sums
    cannot resolve it. ``window`` >= 2.
    """
    values = _floats(returns)
    out = np.full(len(values), NAN)
    if len(values) < window:
        return out
    centre = values.mean()
    apart = values - centre
    mean = _rolling_sum(apart, window) / window
    variance = (_rolling_sum(np.square(apart), window) - window * np.square(mean)) / (window - 1)
    deviation = np.sqrt(np.maximum(variance, 0.0))
    ratio = np.full(len(mean), NAN)
    np.divide(mean + centre, deviation, out=ratio, where=deviation > 1e-6 * _deviation(values))
    out[window - 1 :] = ratio * math.sqrt(periods_per_year)
    return out


def exposure_frac(gross: ArrayLike) -> float:
    """Return the share of bars at whose close anything was held, ``mean(|gross| > 0)``."""
    values = _floats(gross)
    if not len(values) or np.isnan(values).any():
        return NAN
    return float(np.mean(np.abs(values) > 0))


def turnover_frac(fill_notional: ArrayLike, equity: ArrayLike, periods_per_year: float) -> float:
    """Return traded notional a year over mean equity: 2.0 is one full in and out a year.

    ``fill_notional`` has one ``qty x px`` a fill (USD, sign ignored, both sides counted). NaN when
    the mean equity is not above 0.
    """
    values = _floats(equity)
    if not len(values):
        return NAN
    years = len(values) / periods_per_year
    traded = float(np.abs(_floats(fill_notional)).sum())
    mean = float(values.mean())
    return _ratio(traded, mean * years) if mean > 0.0 else NAN


def win_rate_frac(trade_pnl: ArrayLike) -> float:
    """Return the share of closed round trips with a net profit above 0; NaN without trades."""
    values = _floats(trade_pnl)
    if not len(values) or np.isnan(values).any():
        return NAN
    return float(np.mean(values > 0))


def profit_factor(trade_pnl: ArrayLike) -> float:
    """Return the sum of net profits / |sum of net losses| of closed round trips.

    NaN without trades and without a losing one.
    """
    values = _floats(trade_pnl)
    lost = float(np.minimum(values, 0.0).sum())
    return _ratio(float(np.maximum(values, 0.0).sum()), abs(lost))


def metrics(
    equity: ArrayLike,
    *,
    starting_equity: float,
    periods_per_year: float,
    gross: ArrayLike,
    fill_notional: ArrayLike,
    trade_pnl: ArrayLike,
    fees_usd: float,
    n_orders: int,
    n_denied: int = 0,
    ambiguous_bars: int = 0,
    capped_fills: int = 0,
    trimmed_fills: int = 0,
) -> dict[str, float]:
    """Return the metrics of one run; each is defined by the function of its name.

    ``equity`` and ``gross`` are USD at each bar's close, shape (n_bars,); ``fill_notional`` is
    ``qty x px`` of each fill; ``trade_pnl`` is USD net of fees of each closed round trip.
    ``fees_usd`` is what the ledger charged, ``n_orders`` counts orders sent,
    ``n_denied`` those that a control refused. ``ambiguous_bars``
    (stop and target hit in one bar), ``capped_fills`` (by participation) and ``trimmed_fills``
    (by buying power) are counted by the simulated broker and passed through.
    Beyond the usual ones: ``ulcer_index_frac``, ``value_at_risk_frac`` and
    ``expected_shortfall_frac`` (one bar, 5 % tail).
    """
    values = _floats(equity)
    returns = returns_from_equity(values, starting_equity)
    return {
        "final_equity": float(values[-1]) if len(values) else NAN,
        "total_return_frac": total_return_frac(returns),
        "cagr_frac": cagr_frac(returns, periods_per_year),
        "volatility_frac": volatility_frac(returns, periods_per_year),
        "sharpe": sharpe(returns, periods_per_year),
        "sortino": sortino(returns, periods_per_year),
        "calmar": calmar(returns, periods_per_year),
        "max_drawdown_frac": max_drawdown_frac(returns),
        "ulcer_index_frac": ulcer_index_frac(returns),
        "value_at_risk_frac": value_at_risk_frac(returns),
        "expected_shortfall_frac": expected_shortfall_frac(returns),
        "exposure_frac": exposure_frac(gross),
        "turnover_frac": turnover_frac(fill_notional, values, periods_per_year),
        "fees_usd": float(fees_usd),
        "n_orders": float(n_orders),
        "n_denied": float(n_denied),
        "n_fills": float(len(_floats(fill_notional))),
        "n_trades": float(len(_floats(trade_pnl))),
        "win_rate_frac": win_rate_frac(trade_pnl),
        "profit_factor": profit_factor(trade_pnl),
        "ambiguous_bars": float(ambiguous_bars),
        "capped_fills": float(capped_fills),
        "trimmed_fills": float(trimmed_fills),
    }
