"""Two models on the same bars: which is better, by how much, and how sure that is.

Losses are squared errors of probabilities (Brier). A pair is a bar for which both gave a score and
whose outcome is known; all is taken over pairs alone, in order of time. Bars of one instant share
their market, and labels that overlap share their returns. So pairs are averaged over blocks of the
label's length, whose neighbours may still overlap (the tests count that), and the evidence that may
be read daily takes only the first instant of each block: those labels share no time at all.

Sources: F. Diebold and R. Mariano (1995); D. Harvey, S. Leybourne and P. Newbold (1997), their
correction; Q. McNemar (1947); H. Kuensch (1989), blocks of a bootstrap; ``mqd.ml.always_valid``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import UsageError, did_you_mean
from mqd.ml.always_valid import Evidence, evidence
from mqd.ml.outcomes import Scored, joined
from mqd.ml.scoring import ModelScore
from mqd.ml.shadow_log import Matured, Watched

if TYPE_CHECKING:
    import pandas as pd

PAIRS_MIN: Final = 30
RESAMPLES: Final = 2000
LEVEL: Final = 0.95


class Pairs(NamedTuple):
    """Paired scores in order of time: instants, their ends, both scores, up (0 or 1), return."""

    t0: Ints
    t1: Ints
    a: Floats
    b: Floats
    up: Ints
    ret_frac: Floats


class Interval(NamedTuple):
    """A mean with its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


class Test(NamedTuple):
    """A test statistic and its two-sided p-value, NaN where it cannot be taken."""

    statistic: float
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found; differences are a's minus b's, so that above 0 favours b in loss.

    ``loss``: difference of Brier losses. ``pnl_frac``: difference of the mean return of a bar,
    b's minus a's, where each is in the market from its threshold on (costs left out). ``dm``:
    Diebold-Mariano with its correction. ``mcnemar``: whether one is right where the other is
    wrong. ``evidence`` holds however often it is read.
    """

    a: ModelScore
    b: ModelScore
    n_pairs: int
    n_blocks: int
    loss: Interval
    pnl_frac: Interval
    dm: Test
    mcnemar: Test
    evidence: Evidence
    level: float
    pairs: Pairs

    def frame(self) -> pd.DataFrame:
        """Return the pairs in order of time: scores, losses, outcome and return."""
        import pandas as pd

        t0, _, a, b, up, ret_frac = self.pairs
        columns = {
            "a": a, "b": b, "loss_a": (a - up) ** 2, "loss_b": (b - up) ** 2, "up": up,
            "ret_frac": ret_frac,
        }  # fmt: skip
        return pd.DataFrame(columns, pd.DatetimeIndex(t0, tz="UTC", name="ts_close"))

    @property
    def better(self) -> str:
        """Which one the evidence that may be read daily favours at the level: "a", "b" or ""."""
        against = 2.0 / (1.0 - self.level)
        if self.evidence.e_above >= against:
            return "b"
        return "a" if self.evidence.e_below >= against else ""

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        a, b = _short(self.a.model), _short(self.b.model)
        if self.n_pairs < PAIRS_MIN:
            return f"Only {self.n_pairs} pairs of {a} and {b}: {PAIRS_MIN} are the least to judge."
        said = (
            f"Brier of {a} minus {b}: {self.loss.mean:+.5f}, {self.level:.0%} interval"
            f" [{self.loss.low:+.5f}, {self.loss.high:+.5f}], {self.n_pairs} pairs"
        )
        e = max(self.evidence.e_above, self.evidence.e_below)
        if not self.better:
            return f"Neither is shown to be better. {said}; evidence e = {e:.3g}."
        winner = b if self.better == "b" else a
        return f"{winner} is better. {said}; evidence e = {e:.3g}, valid at every look."

    def summary(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {
            "a": self.a.model.reference, "b": self.b.model.reference, "pairs": self.n_pairs,
            "blocks": self.n_blocks, "loss_difference": self.loss._asdict(),
            "pnl_difference_frac": self.pnl_frac._asdict(), "diebold_mariano": self.dm._asdict(),
            "mcnemar": self.mcnemar._asdict(), "evidence": self.evidence._asdict(),
            "better": self.better, "verdict": self.verdict,
            "metrics": {"a": self.a.metrics(), "b": self.b.metrics()},
            "calibration": {"a": self.a.calibration(), "b": self.b.calibration()},
        }  # fmt: skip


def compare(
    folder: str | os.PathLike[str], a: str, b: str, *, seed: int = 0, level: float = LEVEL
) -> Comparison:
    """Compare two models of a shadow's log on the bars that both have scored.

    ``a`` and ``b``: name, ``name@sha256`` or the beginning of a hash. ``seed`` is the bootstrap's.
    Raises ``UsageError`` for a model that the log does not name, or two with different labels.
    """
    models: dict[str, Watched] = {}
    held: dict[str, dict[tuple[str, int], tuple[float, Matured]]] = {}
    scores: dict[str, ModelScore] = {}
    for record in joined(folder):
        if isinstance(record, Scored):
            said, outcome = record
            if outcome is not None and math.isfinite(said.score):
                held[said.model][said.symbol, said.ts_ns] = (said.score, outcome)
            continue
        for model in record:
            models[model.sha256] = model
            held.setdefault(model.sha256, {})
    chosen = [models[find_model(models, one)] for one in (a, b)]
    if chosen[0].sha256 == chosen[1].sha256:
        raise UsageError(f"{a} and {b} are the same model: name two.")
    if chosen[0].horizon != chosen[1].horizon:
        raise UsageError(
            f"{_short(chosen[0])} predicts {chosen[0].label}, {_short(chosen[1])}"
            f" {chosen[1].label}: their losses cannot be compared."
        )
    sides = [held[one.sha256] for one in chosen]
    pairs = pair(sides[0], sides[1])
    for one, side in zip(chosen, sides, strict=True):
        scores[one.sha256] = _scored(one, side, pairs)
    return judge(scores[chosen[0].sha256], scores[chosen[1].sha256], pairs, seed=seed, level=level)


def find_model(models: Mapping[str, Watched], wanted: str) -> str:
    """Return the hash of the model that ``wanted`` names; the newest of a name."""
    name, _, digest = wanted.partition("@")
    found = [
        one.sha256
        for one in models.values()
        if (one.name == name and one.sha256.startswith(digest)) or one.sha256.startswith(wanted)
    ]
    if not found:
        known = [f"{one.name}@{one.sha256[:12]}" for one in models.values()]
        raise UsageError(f"No model {wanted!r} in this shadow.{did_you_mean(wanted, known)}")
    return found[-1]


def pair(
    a: Mapping[tuple[str, int], tuple[float, Matured]],
    b: Mapping[tuple[str, int], tuple[float, Matured]],
) -> Pairs:
    """Return the bars that both have scored, in order of time."""
    keys = sorted(a.keys() & b.keys(), key=lambda key: (key[1], key[0]))
    outcomes = [a[key][1] for key in keys]
    return Pairs(
        np.array([one.ts_ns for one in outcomes], dtype=np.int64),
        np.array([one.t1 for one in outcomes], dtype=np.int64),
        np.array([a[key][0] for key in keys]),
        np.array([b[key][0] for key in keys]),
        np.array([int(one.label == 1) for one in outcomes], dtype=np.int64),
        np.array([one.ret_frac for one in outcomes]),
    )


def judge(
    a: ModelScore, b: ModelScore, pairs: Pairs, *, seed: int = 0, level: float = LEVEL
) -> Comparison:
    """Return what the pairs say of the two models."""
    loss = (pairs.a - pairs.up) ** 2 - (pairs.b - pairs.up) ** 2
    pnl = ((pairs.b >= b.threshold) * 1.0 - (pairs.a >= a.threshold)) * pairs.ret_frac
    blocks, leads = blocks_of(pairs.t0, pairs.t1)
    losses, pnls = means_of(loss, blocks), means_of(pnl, blocks)
    enough = len(pairs.t0) >= PAIRS_MIN
    apart = means_of(loss[leads], blocks[leads])
    bounds = means_of(largest_difference(pairs.a, pairs.b)[leads], blocks[leads])
    return Comparison(
        a, b, len(pairs.t0), len(losses),
        bootstrap(losses, seed=seed, level=level) if enough else _NOTHING,
        bootstrap(pnls, seed=seed, level=level) if enough else _NOTHING,
        diebold_mariano(losses, horizon=2) if enough else _NO_TEST,
        mcnemar((pairs.a > 0.5) == pairs.up, (pairs.b > 0.5) == pairs.up),
        evidence(apart, bounds, level=level), level, pairs,
    )  # fmt: skip


def largest_difference(a: Floats, b: Floats) -> Floats:
    """Return how far apart two Brier losses can come, before the outcome is known."""
    found: Floats = np.maximum(np.abs(a**2 - b**2), np.abs((1.0 - a) ** 2 - (1.0 - b) ** 2))
    return found


_NOTHING: Final = Interval(math.nan, math.nan, math.nan)
_NO_TEST: Final = Test(math.nan, math.nan)


def blocks_of(t0: Ints, t1: Ints) -> tuple[Ints, NDArray[np.bool]]:
    """Return each pair's block, counted from 0, and whether it is of its block's first instant.

    A block ends where a pair begins at or after the end of all labels of its first instant: the
    labels of first instants share no time, and a block overlaps its neighbours alone.
    """
    block, leads = np.zeros(len(t0), dtype=np.int64), np.zeros(len(t0), dtype=np.bool_)
    number, first, until = -1, -1, -1
    for place, (start, end) in enumerate(zip(t0.tolist(), t1.tolist(), strict=True)):
        if start >= until:
            number, first, until = number + 1, start, end
        elif start == first:
            until = max(until, end)
        block[place], leads[place] = number, start == first
    return block, leads


def means_of(values: Floats, blocks: Ints) -> Floats:
    """Return the mean of each block."""
    if not len(values):
        return values
    n_blocks = int(blocks[-1]) + 1
    sums = np.bincount(blocks, weights=values, minlength=n_blocks)
    found: Floats = sums / np.bincount(blocks, minlength=n_blocks)
    return found


def diebold_mariano(differences: Floats, horizon: int = 1) -> Test:
    """Return the test that the mean loss difference is 0, corrected for few values.

    ``horizon``: in steps of ``differences``; that many minus one autocovariances count. The
    p-value is of Student's t with n - 1 degrees of freedom.
    """
    from scipy import stats

    n = len(differences)
    if n < 2 or not 1 <= horizon < n:
        return _NO_TEST
    centred = differences - differences.mean()
    variance = float(centred @ centred) / n
    for lag in range(1, horizon):
        variance += 2.0 * float(centred[lag:] @ centred[:-lag]) / n
    if variance <= 0:
        return _NO_TEST
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    statistic = float(differences.mean()) / math.sqrt(variance / n) * correction
    return Test(statistic, float(2.0 * stats.t.sf(abs(statistic), n - 1)))


def mcnemar(a_right: Any, b_right: Any) -> Test:
    """Return the exact test that both are right equally often: a binomial of the pairs in which
    one alone is right. The statistic is that count for b minus that for a."""
    from scipy import stats

    only_a = int((a_right & ~b_right).sum())
    only_b = int((~a_right & b_right).sum())
    if not only_a + only_b:
        return _NO_TEST
    p = stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
    return Test(float(only_b - only_a), float(p))


def bootstrap(values: Floats, *, seed: int, level: float, length: int | None = None) -> Interval:
    """Return the mean and its interval from moving blocks of ``length`` values (default: the cube
    root of their number), wrapped around the end."""
    n = len(values)
    if n < 2:
        return _NOTHING
    length = length or max(1, round(n ** (1.0 / 3.0)))
    n_blocks = math.ceil(n / length)
    starts = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n_blocks))
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values[:length])))))
    means = (sums[starts + length] - sums[starts]).mean(axis=1) / length
    low, high = np.quantile(means, ((1.0 - level) / 2.0, (1.0 + level) / 2.0))
    return Interval(float(values.mean()), float(low), float(high))


def _scored(
    model: Watched, side: Mapping[tuple[str, int], tuple[float, Matured]], pairs: Pairs
) -> ModelScore:
    """Return a model's figures over the pairs' bars alone."""
    from mqd.ml.shadow_log import Prediction

    paired = set(pairs.t0.tolist())
    found = ModelScore(model)
    for (symbol, ts_ns), (score, outcome) in side.items():
        if ts_ns in paired:
            said = Prediction(ts_ns, symbol, model.sha256, score, "model", 0)
            found.take(Scored(said, outcome))
    return found


def _short(model: Watched) -> str:
    return f"{model.name}@{model.sha256[:8]}"
