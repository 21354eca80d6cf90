"""Two models on the same bars: which is better, by how much, and how sure that is.

Losses are squared errors of probabilities (Brier); of other scores, whether the side was wrong. A
pair is a bar that both models scored themselves and whose outcome is known; all is taken over pairs
alone, in order of time. Bars of one instant share their market, and labels that overlap share their
returns. So pairs are put together in blocks of the label's length, whose neighbours may still
overlap (the tests count that); means are those of the pairs, whatever the blocks' sizes. And the
evidence that may be read daily takes only the first instant of each block: those labels share no
time at all. It counts what ``settled`` says, so that what is read tomorrow only adds to what was
read today; a correction of an outcome alone changes what was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import UsageError, did_you_mean
from mqd.ml.evaluation.always_valid import Evidence, evidence
from mqd.ml.evaluation.paired import (
    NO_INTERVAL,
    NO_TEST,
    Interval,
    Test,
    blocks_of,
    bootstrap,
    diebold_mariano,
    linearised,
    mcnemar,
    means_of,
    student_interval,
)
from mqd.ml.evaluation.scoring import OWN, ModelScore
from mqd.ml.evaluation.settled import log_clock, patience_ns, settled
from mqd.ml.evaluation.shown import figure, table_html, with_interval
from mqd.ml.features.labels import label_text
from mqd.ml.shadow.outcomes import Joined, joined
from mqd.ml.shadow.records import Watched, read_watched

if TYPE_CHECKING:
    import pandas as pd

PAIRS_MIN: Final = 30
BLOCKS_MIN: Final = 10
BOOTSTRAP_BLOCKS: Final = 100
"""Of fewer a bootstrap's interval is too narrow: Student's t has them."""
LEVEL: Final = 0.95


class Pairs(NamedTuple):
    """Paired scores in order of time: instants, their ends, both scores, up (0 or 1), return."""

    t0: Ints
    t1: Ints
    a: Floats
    b: Floats
    up: Ints
    ret_frac: Floats


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """What a comparison found; differences are a's minus b's, so that above 0 favours b in loss.

    ``loss``: difference of losses, of the kind ``loss_name``. ``pnl_frac``: difference of the mean
    return over a label's span, b's minus a's, where each is in the market from its threshold on
    (costs left out). ``dm``: Diebold-Mariano with its correction. ``mcnemar``: whether one is right
    where the other is wrong, over bars whose labels share no time. ``evidence`` holds however often
    it is read. What fewer than ``PAIRS_MIN`` pairs or ``BLOCKS_MIN`` blocks cannot say is NaN.
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
        loss_a, loss_b, _ = losses_of(self.a, self.b, self.pairs)
        columns = {
            "a": a, "b": b, "loss_a": loss_a, "loss_b": loss_b, "up": up, "ret_frac": ret_frac,
        }  # fmt: skip
        return pd.DataFrame(columns, pd.DatetimeIndex(t0, tz="UTC", name="ts_close"))

    @property
    def enough(self) -> bool:
        """Whether there are pairs and blocks enough to judge."""
        return self.n_pairs >= PAIRS_MIN and self.n_blocks >= BLOCKS_MIN

    @property
    def loss_name(self) -> str:
        """What is compared: "Brier", or "Share of wrong sides" unless both are probabilities."""
        both = self.a.is_probability and self.b.is_probability
        return "Brier" if both else "Share of wrong sides"

    @property
    def better(self) -> str:
        """Which one the evidence that may be read daily favours at the level: "a", "b" or "". Also
        "" when each was better for a time."""
        if not self.enough:
            return ""
        shown = [name for name, e in self._evidence if e >= self._against]
        return shown[0] if len(shown) == 1 else ""

    @property
    def _evidence(self) -> tuple[tuple[str, float], ...]:
        return ("b", self.evidence.e_above), ("a", self.evidence.e_below)

    @property
    def _against(self) -> float:
        return 2.0 / (1.0 - self.level)

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        a, b = _short(self.a.model), _short(self.b.model)
        if not self.enough:
            return (
                f"Too few pairs of {a} and {b} to judge: {self.n_pairs} bars in {self.n_blocks}"
                f" spans of the label, and {PAIRS_MIN} in {BLOCKS_MIN} are the least."
            )
        said = (
            f"{self.loss_name} of {a} minus {b}: {self.loss.mean:+.5f}, {self.level:.0%} interval"
            f" [{self.loss.low:+.5f}, {self.loss.high:+.5f}], {self.n_pairs} pairs"
        )
        e = max(e for _, e in self._evidence)
        if min(e for _, e in self._evidence) >= self._against:
            return f"Each was better for a time: which one changed on the way. {said}."
        if not self.better:
            wanted = f"evidence e = {e:.3g} of the {self._against:.0f} it takes"
            one_look = self.loss.low > 0 or self.loss.high < 0
            hint = " Of a single look the interval would say more." if one_look else ""
            return f"Neither is shown to be better, read daily: {wanted}. {said}.{hint}"
        winner = b if self.better == "b" else a
        return f"{winner} is better. {said}; evidence e = {e:.3g}, valid at every look."

    @property
    def _names(self) -> tuple[str, str]:
        a, b = self.a.model, self.b.model
        return (a.name, b.name) if a.name != b.name else (_short(a), _short(b))

    @property
    def _finding(self) -> str:
        """The verdict in a few words."""
        if not self.enough:
            return "too few pairs to judge"
        if min(e for _, e in self._evidence) >= self._against:
            return "each was better for a time"
        if not self.better:
            return "neither is shown to be better"
        return f"{self._names[self.better == 'b']} is better"

    def __repr__(self) -> str:
        a, b = self._names
        return f"Comparison({a} and {b}, {self.n_pairs:,} pairs: {self._finding})"

    def _repr_html_(self) -> str:
        a, b = self._names
        e = max(e for _, e in self._evidence)
        pnl = (1e4 * value for value in self.pnl_frac)
        rows = (
            ("Pairs", f"{self.n_pairs:,}", f"in {self.n_blocks:,} spans of the label"),
            (f"{self.loss_name}, {a} minus {b}", with_interval(self.loss, "+.5f"),
             _sided(self.loss, f"{a} loses more", f"{b} loses more")),
            (f"Return of a span, {b} minus {a}", with_interval(pnl, "+.2f", " bps"),
             _sided(self.pnl_frac, f"{b} earns more", f"{a} earns more")),
            ("Diebold-Mariano", f"p = {figure(self.dm.p, '.2g')}", self._by_chance(self.dm)),
            ("McNemar", f"p = {figure(self.mcnemar.p, '.2g')}", self._by_chance(self.mcnemar)),
            ("Evidence, read daily", f"e = {e:.3g} of {self._against:.0f}", self._finding),
        )  # fmt: skip
        said = (
            f"Intervals are of {self.level:.0%}. The evidence holds however often it is read, the"
            f" rest at one look. {PAIRS_MIN} pairs in {BLOCKS_MIN} spans are the least to judge."
        )
        return table_html(f"{a} and {b}: {self._finding}", rows, said)

    def _by_chance(self, test: Test) -> str:
        if np.isnan(test.p):
            return ""
        return "more than chance" if test.p < 1.0 - self.level else "may be chance"

    def summary(self) -> dict[str, Any]:
        """Return all of it, JSON-ready."""
        return {
            "a": self.a.model.reference, "b": self.b.model.reference, "pairs": self.n_pairs,
            "blocks": self.n_blocks, "loss": self.loss_name, "loss_difference": self.loss._asdict(),
            "pnl_difference_frac": self.pnl_frac._asdict(), "diebold_mariano": self.dm._asdict(),
            "mcnemar": self.mcnemar._asdict(), "evidence": self.evidence._asdict(),
            "better": self.better, "verdict": self.verdict,
            "metrics": {"a": self.a.metrics(), "b": self.b.metrics()},
            "calibration": {"a": self.a.calibration(), "b": self.b.calibration()},
        }  # fmt: skip

    def figures(self) -> pd.DataFrame:
        """Return the figures of both models side by side, one a row; NaN where there is none."""
        import pandas as pd

        return pd.DataFrame({_short(one.model): one.metrics() for one in (self.a, self.b)})

    def calibration(self) -> pd.DataFrame:
        """Return the calibration of both side by side: a row for each tenth of the scores."""
        import pandas as pd

        edges = ["from", "to"]
        sides = {_short(one.model): pd.DataFrame(one.calibration()) for one in (self.a, self.b)}
        parts = {name: frame.drop(columns=edges) for name, frame in sides.items()}
        shared = next(iter(sides.values()))[edges]
        return pd.concat({"score": shared, **parts}, axis=1)


def compare(
    folder: str | os.PathLike[str], a: str, b: str, *, seed: int = 0, level: float = LEVEL
) -> Comparison:
    """Compare two models of a shadow's log on the bars that both have scored.

    ``a`` and ``b``: name, ``name@sha256`` or the beginning of a hash. ``seed`` is the bootstrap's.
    Bars that the training of one of them has seen are left out. Memory grows with the pairs of
    these two alone. Raises ``UsageError`` for a model that the log
    does not name, for one compared with itself, and for two with different labels.
    """
    models = read_watched(folder)
    chosen = [models[find_model(models, one)] for one in (a, b)]
    if chosen[0].sha256 == chosen[1].sha256:
        raise UsageError(f"{a} and {b} are the same model: name two.")
    if chosen[0].horizon != chosen[1].horizon:
        raise UsageError(
            f"{_short(chosen[0])} predicts {label_text(chosen[0].label)}, {_short(chosen[1])}"
            f" {label_text(chosen[1].label)}: their losses cannot be compared."
        )
    held: list[list[Joined]] = [[], []]
    awaited = [np.zeros(0, np.int64)]
    trained_to_ns = max(one.trained_to_ns for one in chosen)
    for part in joined(folder):
        if not isinstance(part, Joined):
            continue
        own = np.isfinite(part.score) & (part.source == part.words.code(OWN))
        own &= part.ts_ns > trained_to_ns
        for model, side in zip(chosen, held, strict=True):
            of_model = own & (part.model == part.words.code(model.sha256))
            side.append(part.where(of_model & part.matured))
            awaited.append(part.ts_ns[of_model & ~part.matured])
    first, second = (ModelScore(one) for one in chosen)
    if not held[0]:
        return judge(first, second, _NO_PAIRS, seed=seed, level=level)
    sides = [_one(side) for side in held]
    rows = paired(*sides)
    left, right = (side.where(chosen) for side, chosen in zip(sides, rows, strict=True))
    clocks = [log_clock(side.t1) for side in sides]
    came = np.maximum(*(clock[chosen] for clock, chosen in zip(clocks, rows, strict=True)))
    now_ns = max((int(clock[-1]) for clock in clocks if len(clock)), default=-1)
    counted = settled(
        left.ts_ns, came, np.concatenate(awaited), now_ns, patience_ns(first.model.label)
    )
    first.take(left)
    second.take(right)
    up = (left.label == 1).astype(np.int64)
    pairs = Pairs(left.ts_ns, left.t1, left.score, right.score, up, left.ret_frac)
    return judge(first, second, pairs, seed=seed, level=level, counted=counted)


def find_model(models: Mapping[str, Watched], wanted: str) -> str:
    """Return the hash of the model that ``wanted`` names; the newest of a name.

    Raises ``UsageError`` for none, and for the beginning of several hashes.
    """
    name, _, digest = wanted.partition("@")
    named = [
        one.sha256 for one in models.values() if one.name == name and one.sha256.startswith(digest)
    ]
    hashed = [one for one in models if wanted and one.startswith(wanted)]
    if not named and len(hashed) == 1:
        return hashed[0]
    if named and (not digest or len(named) == 1):
        return named[-1]
    known = [f"{one.name}@{one.sha256[:12]}" for one in models.values()]
    if named or hashed:
        raise UsageError(f"{wanted!r} begins the hash of several models: {', '.join(known)}.")
    words = known if digest else {one.name for one in models.values()}
    raise UsageError(f"No model {wanted!r} in this shadow.{did_you_mean(wanted, words)}")


def paired(a: Joined, b: Joined) -> tuple[Ints, Ints]:
    """Return the rows of both of the bars that both have scored, in order of time."""
    order_a, order_b = (np.lexsort((one.symbol, one.ts_ns)) for one in (a, b))
    a, b = a.where(order_a), b.where(order_b)
    both = np.zeros(len(a.ts_ns) + len(b.ts_ns), dtype=[("ts", np.int64), ("symbol", np.int64)])
    both["ts"] = np.concatenate((a.ts_ns, b.ts_ns))
    both["symbol"] = np.concatenate((a.symbol, b.symbol))
    _, key = np.unique(both, return_inverse=True)
    _, rows_a, rows_b = np.intersect1d(
        key[: len(a.ts_ns)], key[len(a.ts_ns) :], return_indices=True
    )
    return order_a[rows_a], order_b[rows_b]


def judge(
    a: ModelScore,
    b: ModelScore,
    pairs: Pairs,
    *,
    seed: int = 0,
    level: float = LEVEL,
    counted: NDArray[np.bool] | None = None,
) -> Comparison:
    """Return what the pairs say of the two models; the evidence, what the ``counted`` ones say
    (None: all)."""
    loss_a, loss_b, bounds = losses_of(a, b, pairs)
    loss = loss_a - loss_b
    right_a, right_b = (
        (score > one.middle) == (pairs.up == 1) for one, score in ((a, pairs.a), (b, pairs.b))
    )
    pnl = ((pairs.b >= b.threshold) * 1.0 - (pairs.a >= a.threshold)) * pairs.ret_frac
    blocks, leads = blocks_of(pairs.t0, pairs.t1)
    losses, pnls = linearised(loss, blocks), linearised(pnl, blocks)
    enough = len(pairs.t0) >= PAIRS_MIN and len(losses) >= BLOCKS_MIN
    apart, bounds = _apart(pairs, loss, bounds, counted)
    return Comparison(
        a, b, len(pairs.t0), len(losses),
        _interval(losses, seed=seed, level=level) if enough else NO_INTERVAL,
        _interval(pnls, seed=seed, level=level) if enough else NO_INTERVAL,
        diebold_mariano(losses, horizon=2) if enough else NO_TEST,
        mcnemar(right_a[leads], right_b[leads]) if enough else NO_TEST,
        evidence(apart, bounds, level=level), level, pairs,
    )  # fmt: skip


def _apart(
    pairs: Pairs, loss: Floats, bounds: Floats, counted: NDArray[np.bool] | None
) -> tuple[Floats, Floats]:
    """Return what the evidence reads: the mean of the first instant of each block, whose labels
    share no time, and its bound."""
    kept = slice(None) if counted is None else counted
    blocks, leads = blocks_of(pairs.t0[kept], pairs.t1[kept])
    values, widths = (means_of(one[kept][leads], blocks[leads]) for one in (loss, bounds))
    return values, widths


def _interval(values: Floats, *, seed: int, level: float) -> Interval:
    """Return the interval of blocks' mean: of a bootstrap where there are blocks enough for one."""
    if len(values) < BOOTSTRAP_BLOCKS:
        return student_interval(values, level=level, horizon=2)
    return bootstrap(values, seed=seed, level=level)


def losses_of(a: ModelScore, b: ModelScore, pairs: Pairs) -> tuple[Floats, Floats, Floats]:
    """Return both losses of each pair, and how far apart they can come before the outcome is
    known: squared errors of probabilities, else 1 for the wrong side."""
    if a.is_probability and b.is_probability:
        of_a, of_b = (np.clip(one, 0.0, 1.0) for one in (pairs.a, pairs.b))
        return (of_a - pairs.up) ** 2, (of_b - pairs.up) ** 2, largest_difference(of_a, of_b)
    up_a, up_b = pairs.a > a.middle, pairs.b > b.middle
    wrong_a, wrong_b = ((side != (pairs.up == 1)).astype(np.float64) for side in (up_a, up_b))
    return wrong_a, wrong_b, (up_a != up_b).astype(np.float64)


def largest_difference(a: Floats, b: Floats) -> Floats:
    """Return how far apart two Brier losses can come, before the outcome is known."""
    found: Floats = np.maximum(np.abs(a**2 - b**2), np.abs((1.0 - a) ** 2 - (1.0 - b) ** 2))
    return found


def _sided(found: Interval, above: str, below: str) -> str:
    """Return what an interval says of a difference, looked at once."""
    if np.isnan(found.mean):
        return ""
    return above if found.low > 0 else below if found.high < 0 else "either sign is possible"


_NO_PAIRS: Final = Pairs(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 2,
                         np.zeros(0, np.int64), np.zeros(0))  # fmt: skip


def _one(parts: list[Joined]) -> Joined:
    columns = zip(*(part[1:] for part in parts), strict=True)
    return Joined(parts[0].words, *map(np.concatenate, columns))


def _short(model: Watched) -> str:
    return f"{model.name}@{model.sha256[:8]}"
