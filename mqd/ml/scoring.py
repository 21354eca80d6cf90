"""How good a shadow's predictions were: sums that a single pass over its log fills.

A model with the output "probability" says how likely its label is 1. Everything is taken over
matured predictions with a score. Latencies are counted in buckets of a twentieth of a decade.
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from mqd.core.bar import Floats
from mqd.ml.outcomes import Scored, joined
from mqd.ml.shadow_log import Watched

BINS: Final = 10
FINE_BINS: Final = 1000
RECENT: Final = 250
WILSON_Z: Final = 1.959963984540054
BUCKETS_A_DECADE: Final = 20
CLIP: Final = 1e-12


@dataclass(slots=True)
class ModelScore:
    """One model's sums over its matured predictions."""

    model: Watched
    n_said: int = 0
    n_none: int = 0
    n_waiting: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_ns: int = 0
    last_ns: int = 0
    n: int = 0
    n_up: int = 0
    n_right: int = 0
    sum_brier: float = 0.0
    sum_log_loss: float = 0.0
    n_signals: int = 0
    n_signals_right: int = 0
    sum_signal_ret: float = 0.0
    sum_ret: float = 0.0
    moments: Floats = field(default_factory=lambda: np.zeros(5))
    bin_n: Floats = field(default_factory=lambda: np.zeros(FINE_BINS))
    bin_up: Floats = field(default_factory=lambda: np.zeros(FINE_BINS))
    bin_score: Floats = field(default_factory=lambda: np.zeros(FINE_BINS))
    buckets: Counter[int] = field(default_factory=Counter)
    recent: deque[tuple[float, int, float]] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def threshold(self) -> float:
        """The score at which the model would trade; 0.5 where its manifest says none."""
        return 0.5 if self.model.threshold is None else self.model.threshold

    def take(self, scored: Scored) -> None:
        """Count a prediction, and with its outcome what it was worth."""
        said, outcome = scored
        self.n_said += 1
        self.sources[said.source] += 1
        self.first_ns = self.first_ns or said.ts_ns
        self.last_ns = max(self.last_ns, said.ts_ns)
        if said.latency_ns > 0:
            self.buckets[int(math.log10(said.latency_ns) * BUCKETS_A_DECADE)] += 1
        if said.error:
            self.errors[said.error.partition(":")[0]] += 1
        if not math.isfinite(said.score):
            self.n_none += 1
        elif outcome is None:
            self.n_waiting += 1
        else:
            self._score(said.score, int(outcome.label == 1), outcome.ret_frac)

    def _score(self, score: float, up: int, ret_frac: float) -> None:
        self.n += 1
        self.n_up += up
        self.sum_ret += ret_frac
        self.n_right += int((score > 0.5) == bool(up))
        if self.model.output == "probability":
            likely = min(max(score, CLIP), 1.0 - CLIP)
            self.sum_brier += (score - up) ** 2
            self.sum_log_loss -= math.log(likely if up else 1.0 - likely)
            place = min(int(score * FINE_BINS), FINE_BINS - 1)
            self.bin_n[place] += 1
            self.bin_up[place] += up
            self.bin_score[place] += score
        if score >= self.threshold:
            self.n_signals += 1
            self.n_signals_right += up
            self.sum_signal_ret += ret_frac
        self.moments += (score, ret_frac, score * score, ret_frac * ret_frac, score * ret_frac)
        self.recent.append((score, up, ret_frac))

    # --- what they say -----------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Return the figures, NaN where there is nothing to take them from."""
        low, high = wilson(self.n_signals_right, self.n_signals)
        return {
            "predictions": self.n_said, "matured": self.n, "waiting": self.n_waiting,
            "without_score": self.n_none,
            "base_rate_frac": _over(self.n_up, self.n),
            "hit_rate_frac": _over(self.n_right, self.n),
            "brier": _over(self.sum_brier, self.n), "log_loss": _over(self.sum_log_loss, self.n),
            "auc": auc_of(self.bin_n, self.bin_up), "information_coefficient": self._correlation(),
            "signals": self.n_signals,
            "precision_frac": _over(self.n_signals_right, self.n_signals),
            "precision_low_frac": low, "precision_high_frac": high,
            "signal_return_frac": _over(self.sum_signal_ret, self.n_signals),
            "mean_return_frac": _over(self.sum_ret, self.n),
            "recent_hit_rate_frac": _over(
                sum((score > 0.5) == bool(up) for score, up, _ in self.recent), len(self.recent)
            ),
            "recent_brier": _over(
                sum((score - up) ** 2 for score, up, _ in self.recent), len(self.recent)
            ),
            "latency_ms_p50": self._latency(0.5), "latency_ms_p99": self._latency(0.99),
        }  # fmt: skip

    def calibration(self) -> list[dict[str, float]]:
        """Return for tenths of the scores: predictions, their mean score, how often it was up."""
        width = FINE_BINS // BINS
        parts = [one.reshape(BINS, width).sum(axis=1) for one in (
            self.bin_n, self.bin_score, self.bin_up
        )]  # fmt: skip
        return [
            {
                "from": number / BINS, "to": (number + 1) / BINS, "n": float(n),
                "mean_score": _over(score, n), "up_frac": _over(up, n),
            }
            for number, (n, score, up) in enumerate(zip(*parts, strict=True))
        ]  # fmt: skip

    def _correlation(self) -> float:
        if self.n < 2:
            return math.nan
        score, ret, score2, ret2, cross = self.moments / self.n
        spread = (score2 - score * score) * (ret2 - ret * ret)
        return float((cross - score * ret) / math.sqrt(spread)) if spread > 0 else math.nan

    def _latency(self, quantile: float) -> float:
        """Return a quantile of the latency in ms: the upper edge of its bucket."""
        wanted, seen = quantile * sum(self.buckets.values()), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return float(10.0 ** ((bucket + 1) / BUCKETS_A_DECADE) / 1e6)
        return math.nan


def score_log(folder: str | os.PathLike[str]) -> dict[str, ModelScore]:
    """Return each model's sums by its hash, in the order in which models were named.

    One pass, in memory that does not grow with the log. Raises what ``read_records`` raises.
    """
    found: dict[str, ModelScore] = {}
    for record in joined(folder):
        if isinstance(record, Scored):
            found[record.said.model].take(record)
        else:
            for model in record:
                found.setdefault(model.sha256, ModelScore(model))
    return found


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """Return Wilson's interval of a frequency, 95 %. Source: E. Wilson (1927)."""
    if not n:
        return math.nan, math.nan
    p, z2 = n_right / n, WILSON_Z * WILSON_Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = WILSON_Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return middle - half, middle + half


def auc_of(bin_n: Any, bin_up: Any) -> float:
    """Return the area under the curve from counts by rising score; equal bins count half."""
    down = bin_n - bin_up
    n_up, n_down = float(bin_up.sum()), float(down.sum())
    if not n_up or not n_down:
        return math.nan
    below = np.cumsum(down) - down
    return float((bin_up * (below + down / 2)).sum() / (n_up * n_down))


def _over(value: float, n: float) -> float:
    return float(value) / float(n) if n else math.nan
