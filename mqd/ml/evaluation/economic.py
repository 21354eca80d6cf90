"""What predictions are worth: the desk trades them, with its costs, where they reach.

Source: D. Bailey and M. Lopez de Prado, "The Deflated Sharpe Ratio" (2014).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mqd import trials
from mqd.core.bar import Floats
from mqd.core.clock import iso
from mqd.errors import UsageError
from mqd.ml.evaluation.evaluate import OutOfSample, TablePredictor
from mqd.ml.evaluation.tried import TRADED
from mqd.significance import deflated_sharpe_ratio


def economic_value(
    found: OutOfSample, run: Callable[[TablePredictor], Any], *, sharpe_trials: Any = None
) -> dict[str, float]:
    """Return what the predictions earn at the desk: the metrics of ``run(predictor)``.

    ``run`` backtests a strategy that asks the predictor on ``bars.between(*found.span)``, costs on,
    and returns its result. ``sharpe_bar``: Sharpe ratio of a bar. ``deflated_sharpe``: the
    probability that it is more than the best of as many trials as the study has counted, each
    other way to trade the predictions among them; ``sharpe_trials`` are the Sharpe ratios of a bar
    of all of them. NaN where there are several trials and these are not given.

    Raises ``UsageError`` for a run on bars beyond the first and last prediction, for one without
    costs, and for ``sharpe_trials`` that are fewer than two or than the trials, or no numbers.
    """
    result = run(found.predictor())
    _refuse_beyond(found, result)
    metrics: Mapping[str, Any] = result.metrics
    told = {str(name): float(value) for name, value in metrics.items()}
    equity = np.asarray(result.equity["equity"], dtype=np.float64)
    if len(result.fills) and not result.costs["fees"] + result.costs["slippage"]:
        raise UsageError("The run was free of costs: a value without them is none. Give costs=.")
    if found.study:
        what = hashlib.sha256(found.score.tobytes() + equity.tobytes()).hexdigest()
        trials.record(found.study, TRADED, 1, what)
    returns = np.diff(equity) / equity[:-1]
    deviation = float(returns.std(ddof=1)) if len(returns) > 2 else 0.0
    told["trials"] = float(found.n_trials)
    told["sharpe_bar"] = float(returns.mean()) / deviation if deviation else math.nan
    told["deflated_sharpe"] = _deflated(returns, told["sharpe_bar"], found.n_trials, sharpe_trials)
    return told


def _refuse_beyond(found: OutOfSample, result: Any) -> None:
    """Refuse a run on bars before the first prediction or behind the last."""
    series = [result.bars[symbol].ts_close for symbol in result.bars.symbols]
    first = iso(min(int(closes[0]) for closes in series if len(closes)))
    last = iso(max(int(closes[-1]) for closes in series if len(closes)))
    if first < found.span[0] or last > found.span[1]:
        raise UsageError(
            f"The run trades from {first} to {last}, and the predictions reach from"
            f" {found.span[0]} to {found.span[1]}: give it bars.between(*found.span)."
        )


def _deflated(returns: Floats, sharpe: float, n_trials: int, sharpe_trials: Any) -> float:
    sharpes = None if sharpe_trials is None else np.asarray(sharpe_trials, dtype=np.float64)
    if sharpes is not None:
        _refuse_few(sharpes, n_trials)
    if math.isnan(sharpe) or (n_trials > 1 and sharpes is None):
        return math.nan
    centred = returns - returns.mean()
    spread = float((centred**2).mean()) ** 0.5
    found = deflated_sharpe_ratio(
        sharpe, len(returns),
        float((centred**3).mean()) / spread**3, float((centred**4).mean()) / spread**4,
        0.0 if sharpes is None else float(sharpes.var(ddof=1)),
        1 if sharpes is None else max(n_trials, len(sharpes)),
    )  # fmt: skip
    return float(found)


def _refuse_few(sharpes: Floats, n_trials: int) -> None:
    if sharpes.ndim != 1 or len(sharpes) < 2 or not np.isfinite(sharpes).all():
        raise UsageError("sharpe_trials: give the Sharpe ratios of two trials or more, as numbers.")
    if len(sharpes) < n_trials:
        raise UsageError(
            f"sharpe_trials: {len(sharpes)} ratios, and the study has counted {n_trials} trials."
            " Give those of all, also of what was dropped."
        )
