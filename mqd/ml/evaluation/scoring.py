"""How good a shadow's predictions were: sums that a single pass over its log fills.

A model with the output "probability" says how likely its label is 1. Everything is taken over
matured predictions with a score. Latencies are counted in buckets of a twentieth of a decade.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.ml.evaluation.shown import figure, table_html, with_interval
from mqd.ml.shadow.outcomes import Joined, joined
from mqd.ml.shadow.records import Watched

BINS: Final = 10
FINE_BINS: Final = 1000
RECENT: Final = 250
CONSTANT_LEAST: Final = 30
"""So many equal scores in a row are no answer to what was asked."""
WILSON_Z: Final = 1.959963984540054
BUCKETS_A_DECADE: Final = 20
BUCKETS: Final = 20 * BUCKETS_A_DECADE
OWN: Final = "model"
CLIP: Final = 1e-12


@dataclass(slots=True, repr=False)
class ModelScore:
    """One model's sums over its matured predictions.

    Only what the model itself answered is scored: what others said in its place is counted, and so
    is what it said of bars that its training has seen (``n_trained_on``).
    """

    model: Watched
    n_said: int = 0
    n_none: int = 0
    n_waiting: int = 0
    n_trained_on: int = 0
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
    buckets: Ints = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))
    recent: Floats = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def threshold(self) -> float:
        """The score at which the model would trade; ``middle`` where its manifest says none."""
        return self.middle if self.model.threshold is None else self.model.threshold

    @property
    def middle(self) -> float:
        """The score above which it says up: half for a probability, 0 for another score."""
        return 0.5 if self.is_probability else 0.0

    @property
    def is_probability(self) -> bool:
        """Whether its scores say how likely label 1 is."""
        return self.model.output == "probability"

    @property
    def constant(self) -> float | None:
        """The score that it gave to all of its last matured bars, 30 of them at least."""
        recent = self.recent[:, 0]
        same = len(recent) >= CONSTANT_LEAST and (recent == recent[0]).all()
        return float(recent[0]) if same else None

    def take(self, part: Joined) -> None:
        """Count predictions of this model, in order, and with their outcomes what they were
        worth."""
        if not len(part.score):
            return
        words = part.words.texts
        self.n_said += len(part.score)
        self.first_ns = min(self.first_ns or int(part.ts_ns[0]), int(part.ts_ns.min()))
        self.last_ns = max(self.last_ns, int(part.ts_ns.max()))
        for counter, column in ((self.sources, part.source), (self.errors, part.cause)):
            for code, n in zip(*np.unique(column, return_counts=True), strict=True):
                if words[code]:
                    counter[words[code]] += int(n)
        timed = part.latency_ns[part.latency_ns > 0]
        place = (np.log10(timed) * BUCKETS_A_DECADE).astype(np.int64)
        self.buckets += np.bincount(np.minimum(place, BUCKETS - 1), minlength=BUCKETS)
        said = np.isfinite(part.score)
        self.n_none += int((~said).sum())
        own = said & (part.source == part.words.code(OWN))
        self.n_waiting += int((own & ~part.matured).sum())
        fresh = part.ts_ns > self.model.trained_to_ns
        self.n_trained_on += int((own & part.matured & ~fresh).sum())
        kept = part.where(own & part.matured & fresh)
        self._score(kept.score, (kept.label == 1).astype(np.float64), kept.ret_frac)

    def _score(self, score: Floats, up: Floats, ret_frac: Floats) -> None:
        self.n += len(score)
        self.n_up += int(up.sum())
        self.sum_ret += float(ret_frac.sum())
        self.n_right += int(((score > self.middle) == (up > 0)).sum())
        if self.is_probability:
            likely = np.clip(score, CLIP, 1.0 - CLIP)
            self.sum_brier += float(((score - up) ** 2).sum())
            self.sum_log_loss -= float(np.log(np.where(up > 0, likely, 1.0 - likely)).sum())
            place = np.clip((score * FINE_BINS).astype(np.int64), 0, FINE_BINS - 1)
            self.bin_n += np.bincount(place, minlength=FINE_BINS)
            self.bin_up += np.bincount(place, weights=up, minlength=FINE_BINS)
            self.bin_score += np.bincount(place, weights=score, minlength=FINE_BINS)
        signals = score >= self.threshold
        self.n_signals += int(signals.sum())
        self.n_signals_right += int(up[signals].sum())
        self.sum_signal_ret += float(ret_frac[signals].sum())
        pairs = (score, ret_frac, score * score, ret_frac * ret_frac, score * ret_frac)
        self.moments += [float(one.sum()) for one in pairs]
        self.recent = np.vstack((self.recent, np.column_stack((score, up))))[-RECENT:]

    # --- what they say -----------------------------------------------------------------------

    def metrics(self) -> dict[str, float]:
        """Return the figures, NaN where there is nothing to take them from."""
        low, high = wilson(self.n_signals_right, self.n_signals)
        recent, recent_up = self.recent.T
        n_probable = self.n if self.is_probability else 0
        n_recent = len(recent) if self.is_probability else 0
        own = self.n + self.n_waiting + self.n_trained_on
        return {
            "predictions": self.n_said, "matured": self.n, "waiting": self.n_waiting,
            "without_score": self.n_none,
            "on_training_rows": self.n_trained_on,
            "from_others": self.n_said - self.n_none - own,
            "coverage_frac": _over(own, self.n_said),
            "base_rate_frac": _over(self.n_up, self.n),
            "hit_rate_frac": _over(self.n_right, self.n),
            "brier": _over(self.sum_brier, n_probable),
            "log_loss": _over(self.sum_log_loss, n_probable),
            "auc": auc_of(self.bin_n, self.bin_up), "information_coefficient": self._correlation(),
            "signals": self.n_signals,
            "precision_frac": _over(self.n_signals_right, self.n_signals),
            "precision_low_frac": low, "precision_high_frac": high,
            "signal_return_frac": _over(self.sum_signal_ret, self.n_signals),
            "mean_return_frac": _over(self.sum_ret, self.n),
            "recent_hit_rate_frac": _over(
                ((recent > self.middle) == (recent_up > 0)).sum(), len(recent)
            ),
            "recent_brier": _over(((recent - recent_up) ** 2).sum(), n_recent),
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

    def __repr__(self) -> str:
        right = figure(_over(self.n_right, self.n), ".1%")
        known = f"{self.n:,} of {self.n_said:,} predictions matured"
        return f"ModelScore({self.model.name}@{self.model.sha256[:8]}: {known}, {right} right)"

    def _repr_html_(self) -> str:
        told = self.metrics()
        base, brier = told["base_rate_frac"], told["brier"]
        precision = [told[f"precision{end}_frac"] for end in ("", "_low", "_high")]
        none = f"{self.n_none:,} without a score, {told['from_others']:,.0f} from others"
        others = f"{none}, {self.n_trained_on:,} on training rows"
        rows = (
            ("Predictions", f"{self.n_said:,}", f"{self.n_waiting:,} wait for their outcome"),
            ("Not counted", f"{self.n_said - self.n - self.n_waiting:,}", others),
            ("Right", figure(told["hit_rate_frac"], ".1%"), f"{figure(base, '.1%')} were up"),
            ("Brier", figure(brier, ".4f"), _against_base_rate(brier, base)),
            ("AUC", figure(told["auc"], ".3f"), "0.5 is chance"),
            ("Right of its signals", with_interval(precision, ".1%"),
             f"{self.n_signals:,} at {self.threshold:g} or above{_place(base, *precision[1:])}"),
            ("Return of a signal", figure(told["signal_return_frac"] * 1e4, "+.2f", " bps"),
             f"of all bars {figure(told['mean_return_frac'] * 1e4, '+.2f', ' bps')}, no costs"),
            ("Latency, median", figure(told["latency_ms_p50"], ".3g", " ms"),
             f"99 of 100 within {figure(told['latency_ms_p99'], '.3g', ' ms')}"),
        )  # fmt: skip
        said = f"{self.n:,} predictions have an outcome and count."
        return table_html(f"{self.model.name}@{self.model.sha256[:8]}", rows, said)

    def _correlation(self) -> float:
        if self.n < 2:
            return math.nan
        score, ret, score2, ret2, cross = self.moments / self.n
        spread = (score2 - score * score) * (ret2 - ret * ret)
        return float((cross - score * ret) / math.sqrt(spread)) if spread > 0 else math.nan

    def _latency(self, quantile: float) -> float:
        """Return a quantile of the latency in ms: the upper edge of its bucket."""
        seen = np.cumsum(self.buckets)
        if not seen[-1]:
            return math.nan
        bucket = int(np.searchsorted(seen, quantile * seen[-1]))
        return float(10.0 ** ((bucket + 1) / BUCKETS_A_DECADE) / 1e6)


def score_log(folder: str | os.PathLike[str]) -> dict[str, ModelScore]:
    """Return each model's sums by its hash, in the order in which models were named.

    One pass, in memory that does not grow with the log. Raises what ``joined`` raises.
    """
    found: dict[str, ModelScore] = {}
    for part in joined(folder):
        if isinstance(part, Joined):
            for code in np.unique(part.model).tolist():
                found[part.words.texts[code]].take(part.where(part.model == code))
        else:
            for model in part:
                found.setdefault(model.sha256, ModelScore(model))
    return found


def wilson(n_right: float, n: float) -> tuple[float, float]:
    """Return Wilson's interval of a frequency, 95 %. Source: E. Wilson (1927).

    Counts may be fractions: those of values that are not whole because they overlap.
    """
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


def _against_base_rate(brier: float, base: float) -> str:
    """Return how a Brier loss stands to that of always saying how often it was up."""
    if math.isnan(brier):
        return ""
    alone = base * (1.0 - base)
    word = "less than" if brier < alone else "no less than"
    return f"{word} the {alone:.4f} of always saying how often it was up"


def _place(base: float, low: float, high: float) -> str:
    """Return where the base rate lies from the interval of a precision."""
    if math.isnan(low):
        return ""
    where = "below" if base < low else "above" if base > high else "within"
    return f"; the share that were up lies {where} the interval"


def _over(value: float, n: float) -> float:
    return float(value) / float(n) if n else math.nan
