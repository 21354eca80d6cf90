"""How good a model is on rows that it has not seen, and how much of that is luck.

``evaluate`` fits on the training rows of each split and predicts the tested ones. The splitters of
``mqd.splits`` purge by label interval; one whose training rows share time with a tested label is
refused, whoever made it. ``economic_value`` lets the desk trade the predictions, with its costs.

Sources: Brier (1950); Wilson (1927); D. Bailey and M. Lopez de Prado, "The Deflated Sharpe Ratio"
(2014); A. Murphy and R. Winkler (1977), reliability.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mqd import trials
from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.errors import UsageError
from mqd.ml.dataset import Dataset
from mqd.ml.scoring import auc_of, wilson
from mqd.significance import deflated_sharpe_ratio
from mqd.splits import CombinatorialPurged
from mqd.splits.labels import Labels, apart, read_labels

if TYPE_CHECKING:
    import pandas as pd

BINS: Final = 10
RESAMPLES: Final = 1000
CLIP: Final = 1e-12


class Splitter(Protocol):
    """What ``mqd.splits`` gives."""

    def split(self, X: Any = None) -> Iterator[tuple[Ints, Ints]]:  # noqa: N803
        """Yield training and tested rows."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OutOfSample:
    """Scores of rows by models that have not seen them.

    ``score``: float64 (rows,), NaN for rows that no split tests; of combinatorial splits the mean
    over the paths, and ``paths`` holds each, float64 (paths, rows). ``n_trials``: evaluations
    counted in the study, 1 without one.
    """

    data: Dataset
    score: Floats
    paths: Floats
    n_splits: int
    n_trials: int

    @property
    def tested(self) -> Any:
        """Which rows have a score."""
        return np.isfinite(self.score)

    def metrics(self, threshold: float = 0.5, *, seed: int = 0) -> dict[str, float]:
        """Return the figures of the tested rows; ``_low`` and ``_high`` are 95 % intervals.

        ``skill``: 1 - Brier / Brier of the base rate. Precision is that of scores at or above
        ``threshold`` (Wilson). Brier's interval is that of a bootstrap of whole sessions.
        """
        kept = self.tested
        p, y, ret = self.score[kept], self.data.y[kept], self.data.ret_frac[kept]
        if not len(p):
            return {"rows": 0.0}
        likely = np.clip(p, CLIP, 1 - CLIP)
        brier, base = (p - y) ** 2, float(y.mean())
        chosen = p >= threshold
        low, high = wilson(int(y[chosen].sum()), int(chosen.sum()))
        brier_low, brier_high = _interval(brier, self.data.t0[kept], seed)
        reference = base * (1 - base)
        return {
            "rows": float(len(p)), "base_rate_frac": base, "brier": float(brier.mean()),
            "brier_low": brier_low, "brier_high": brier_high,
            "skill": 1 - float(brier.mean()) / reference if reference else math.nan,
            "log_loss": float(-np.where(y == 1, np.log(likely), np.log(1 - likely)).mean()),
            "auc": _auc(p, y), "hit_rate_frac": float(((p > 0.5) == y).mean()),
            "information_coefficient": _correlation(p, ret), "signals": float(chosen.sum()),
            "precision_frac": float(y[chosen].mean()) if chosen.any() else math.nan,
            "precision_low_frac": low, "precision_high_frac": high,
            "signal_return_frac": float(ret[chosen].mean()) if chosen.any() else math.nan,
            "trials": float(self.n_trials),
        }  # fmt: skip

    def calibration(self, bins: int = BINS) -> pd.DataFrame:
        """Return by tenths of the score: rows, mean score, how often it was up, Wilson's bounds."""
        import pandas as pd

        kept = self.tested
        p, y = self.score[kept], self.data.y[kept]
        place = np.minimum((p * bins).astype(int), bins - 1)
        rows = []
        for number in range(bins):
            here = place == number
            if here.any():
                bounds = wilson(int(y[here].sum()), int(here.sum()))
                rows.append((number / bins, here.sum(), p[here].mean(), y[here].mean(), *bounds))
        columns = ["from", "n", "mean_score", "up_frac", "low_frac", "high_frac"]
        return pd.DataFrame(rows, columns=columns)

    def calibration_error(self, bins: int = BINS) -> float:
        """Return the expected calibration error: mean distance of score and frequency by bin."""
        table = self.calibration(bins)
        distance = (table["mean_score"] - table["up_frac"]).abs()
        return float((distance * table["n"]).sum() / table["n"].sum()) if len(table) else math.nan

    def predictor(self) -> TablePredictor:
        """Return the scores as a ``Predictor``, for the desk to trade."""
        return TablePredictor(self)


class TablePredictor:
    """Out-of-sample scores as a strategy asks for them: by symbol and close, NaN elsewhere."""

    def __init__(self, found: OutOfSample) -> None:
        self._by_symbol: dict[str, tuple[Ints, Floats]] = {}
        for symbol in dict.fromkeys(found.data.symbol.tolist()):
            mine = found.data.symbol == symbol
            self._by_symbol[symbol] = (found.data.t0[mine], found.score[mine])

    def scores(self, bars: SymbolBars) -> Floats:
        """Return the score as of each close."""
        scores = np.full(len(bars), np.nan)
        if bars.symbol in self._by_symbol and len(bars):
            t0, found = self._by_symbol[bars.symbol]
            rows = np.minimum(np.searchsorted(bars.ts_close, t0), len(bars) - 1)
            there = bars.ts_close[rows] == t0
            scores[rows[there]] = found[there]
        return scores


def evaluate(
    estimator: Any,
    data: Dataset,
    cv: Splitter,
    *,
    weighted: bool = True,
    study: str | os.PathLike[str] | None = None,
) -> OutOfSample:
    """Fit a clone of ``estimator`` in each split of ``cv`` and score the rows that it tests.

    ``weighted``: pass the rows' uniqueness to ``fit`` where it takes ``sample_weight``. ``study``:
    a folder in which this counts as a trial; the same estimator on the same rows is no new one.

    Raises ``UsageError`` for a split whose training rows share time with a tested label, or hold
    one class alone or none; for rows out of order of ``t0``, and for NaN or inf in ``X``.
    """
    labels = read_labels(data.t0, data.t1)
    _refuse_no_number(data)
    pieces: list[tuple[Ints, Floats]] = []
    for number, (train, test) in enumerate(cv.split(data.X)):
        _refuse_leak(labels, train, test, number)
        model = _fitted(estimator, data, train, number, weighted=weighted)
        pieces.append((test, _scores(model, data.X[test])))
    paths = _paths(cv, pieces, len(data))
    counted = np.isfinite(paths).sum(axis=0)
    sums = np.where(np.isfinite(paths), paths, 0.0).sum(axis=0)
    score = np.divide(sums, counted, out=np.full(len(data), np.nan), where=counted > 0)
    n_trials = 1
    if study is not None:
        n_trials = trials.record(str(study), "model", 1, _identity(estimator, data, cv)).n
    return OutOfSample(data, score, paths, len(pieces), n_trials)


def economic_value(
    found: OutOfSample, run: Callable[[TablePredictor], Any], *, sharpe_trials: Any = None
) -> dict[str, float]:
    """Return what the predictions earn at the desk: the metrics of ``run(predictor)``.

    ``run`` backtests a strategy that asks the predictor, costs on, and returns its result.
    ``deflated_sharpe``: the probability that the Sharpe ratio is more than the best of as many
    trials as the study has counted; ``sharpe_trials`` are their Sharpe ratios a bar. NaN where
    there are several trials and these are not given.
    """
    result = run(found.predictor())
    metrics: Mapping[str, Any] = result.metrics
    told = {str(name): float(value) for name, value in metrics.items()}
    equity = np.asarray(result.equity["equity"], dtype=np.float64)
    returns = np.diff(equity) / equity[:-1]
    told["trials"] = float(found.n_trials)
    told["deflated_sharpe"] = _deflated(returns, found.n_trials, sharpe_trials)
    return told


def _deflated(returns: Floats, n_trials: int, sharpes: Any) -> float:
    deviation = float(returns.std(ddof=1)) if len(returns) > 2 else 0.0
    if not deviation:
        return math.nan
    centred = returns - returns.mean()
    spread = float((centred**2).mean()) ** 0.5
    if n_trials > 1 and sharpes is None:
        return math.nan
    variance = 0.0 if n_trials == 1 else float(np.var(sharpes, ddof=1))
    found = deflated_sharpe_ratio(
        float(returns.mean()) / deviation, len(returns),
        float((centred**3).mean()) / spread**3, float((centred**4).mean()) / spread**4,
        variance, n_trials,
    )  # fmt: skip
    return float(found)


def _refuse_no_number(data: Dataset) -> None:
    places = np.argwhere(~np.isfinite(data.X))
    if len(places):
        row, column = places[0]
        raise UsageError(
            f"X holds {data.X[row, column]} in row {row}, column {data.names[column]!r};"
            f" {len(places)} places are no finite numbers. make_dataset() leaves such rows out."
        )


def _refuse_leak(labels: Labels, train: Ints, test: Ints, number: int) -> None:
    """Refuse a training row whose label shares time with that of a tested row."""
    runs = np.split(test, np.flatnonzero(np.diff(test) != 1) + 1)
    for one in runs:
        if not len(one):
            continue
        shared = train[~apart(labels, train, int(one[0]), int(one[-1]) + 1, 0)]
        if len(shared):
            raise UsageError(
                f"Split {number} trains on row {shared[0]}, whose label shares time with that of a"
                f" tested row, {one[0]} or one that follows it: that is leakage. Bind the splitter"
                " to the labels: label_start=data.t0, label_end=data.t1."
            )


def _fitted(estimator: Any, data: Dataset, train: Ints, number: int, *, weighted: bool) -> Any:
    from sklearn.base import clone
    from sklearn.utils.validation import has_fit_parameter

    y = data.y[train]
    if not len(y):
        raise UsageError(f"Split {number} trains on no row: its labels are as long as the rows.")
    if (y == y[0]).all():
        raise UsageError(
            f"Split {number} trains on {len(y)} rows that are all {'up' if y[0] else 'not up'}:"
            " there is nothing to learn. Take longer train spans or another label."
        )
    model = clone(estimator)
    words = {}
    if weighted and has_fit_parameter(model, "sample_weight"):
        words = {"sample_weight": data.weight[train]}
    return model.fit(data.X[train], y, **words)


def _scores(model: Any, X: Floats) -> Floats:  # noqa: N803
    if hasattr(model, "predict_proba"):
        place = [int(one) for one in model.classes_].index(1)
        found: Floats = np.asarray(model.predict_proba(X)[:, place], dtype=np.float64)
        return found
    return np.asarray(model.predict(X), dtype=np.float64)


def _paths(cv: Any, pieces: list[tuple[Ints, Floats]], n_rows: int) -> Floats:
    """Return whole backtest paths of combinatorial splits, else the one path."""
    if isinstance(cv, CombinatorialPurged):
        return np.asarray(cv.stitch([scores for _, scores in pieces]), dtype=np.float64)
    path = np.full((1, n_rows), np.nan)
    for test, scores in pieces:
        path[0, test] = scores
    return path


def _identity(estimator: Any, data: Dataset, cv: Any) -> str:
    text = f"{estimator!r}|{data.training}|{data.names}|{cv!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def _auc(p: Floats, y: Ints) -> float:
    """Return the area under the curve, ties counted half."""
    _, place = np.unique(p, return_inverse=True)
    n_bins = int(place.max()) + 1
    up = np.bincount(place, weights=y, minlength=n_bins)
    return auc_of(np.bincount(place, minlength=n_bins), up)


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < 2 or not a.std() or not b.std():
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _interval(values: Floats, t0: Ints, seed: int) -> tuple[float, float]:
    """Return a 95 % interval of the mean by drawing instants with all their rows."""
    _, place = np.unique(t0 // 86_400_000_000_000, return_inverse=True)
    n = int(place.max()) + 1
    if n < 2:
        return math.nan, math.nan
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
