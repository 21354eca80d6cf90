"""Which metrics a sweep can be ordered by, and which of them are better when low."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UsageError, did_you_mean
from mqd.sweeps.evaluate import METRICS

LOW_IS_BETTER: Final = frozenset(
    {"volatility_frac", "turnover_frac", "fees_usd", "n_denied"}
    | {"ambiguous_bars", "capped_fills", "trimmed_fills"}
)


def check_metric(metric: str) -> str:
    """Return ``metric``; raise ``UsageError`` when no column of a sweep has that name."""
    if metric not in METRICS:
        raise UsageError(f"There is no metric {metric!r}.{did_you_mean(str(metric), METRICS)}")
    return metric


def scores(metric: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``values`` of a metric so that larger is better; NaN stays NaN."""
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    return -found if metric in LOW_IS_BETTER else found
