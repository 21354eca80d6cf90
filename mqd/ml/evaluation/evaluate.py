"""How good a model is on rows that it has not seen, and how much of that is luck.

``evaluate`` fits on the training rows of each split and predicts the tested ones. The splitters of
``mqd.splits`` purge by label interval; one whose training rows share time with a tested label is
refused, whoever made it.

Sources: Brier (1950); Wilson (1927); A. Murphy and R. Winkler (1977), reliability.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from mqd import trials
from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.core.clock import iso
from mqd.errors import UsageError
from mqd.ml.evaluation.dataset import Dataset
from mqd.ml.evaluation.paired import NO_INTERVAL, Interval, blocks_of, bootstrap
from mqd.ml.evaluation.scoring import auc_of, wilson
from mqd.ml.evaluation.shown import figure, table_html
from mqd.ml.evaluation.tried import TRIED, identity_of, tried
from mqd.splits import CombinatorialPurged
from mqd.splits.labels import Labels, apart, read_labels

if TYPE_CHECKING:
    import pandas as pd

BINS: Final = 10
LEVEL: Final = 0.95
BLOCKS_MIN: Final = 10
CLIP: Final = 1e-12
SHOWN: Final = (
    ("base_rate_frac", "base rate", ".1%"), ("brier", "Brier", ".4f"), ("skill", "skill", "+.4f"),
    ("auc", "AUC", ".3f"), ("hit_rate_frac", "right", ".1%"),
    ("precision_frac", "right at 0.5 or above", ".1%"),
    ("signal_return_frac", "their mean return", "+.3%"),
)  # fmt: skip


class Splitter(Protocol):
    """What ``mqd.splits`` gives."""

    def split(self, X: Any = None) -> Iterator[tuple[Ints, Ints]]:  # noqa: N803
        """Yield training and tested rows."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OutOfSample:
    """Scores of rows by models that have not seen them.

    ``score``: float64 (rows,), NaN for rows that no split tests; of combinatorial splits the mean
    over the paths, and ``paths`` holds each, float64 (paths, rows). ``n_counted``: trials of the
    ``study`` when this one was made, 1 without one.
    """

    data: Dataset
    score: Floats
    paths: Floats
    n_splits: int
    n_counted: int = 1
    study: str = ""

    @property
    def n_trials(self) -> int:
        """Trials counted in the study by now, those after this one too."""
        return max(self.n_counted, tried(self.study) if self.study else 1)

    @property
    def tested(self) -> Any:
        """Which rows have a score."""
        return np.isfinite(self.score)

    @property
    def span(self) -> tuple[str, str]:
        """The first and the last instant that have a score, as text: ``bars.between(*found.span)``
        are those that the predictions can trade."""
        if not self.tested.any():
            raise UsageError("No row was tested: there is no first and no last one.")
        tested = self.data.t0[self.tested]
        return iso(int(tested.min())), iso(int(tested.max()))

    def metrics(self, threshold: float = 0.5, *, seed: int = 0) -> dict[str, float]:
        """Return the figures of the tested rows; ``_low`` and ``_high`` are 95 % intervals.

        ``skill``: 1 - Brier / ``reference``, the Brier of the base rate. Precision is that of
        scores at or above ``threshold``, its interval Wilson's with each row counted as much as its
        label is its own (``Dataset.weight``). The other intervals are of a bootstrap of spans of
        the label's length, all symbols of an instant together; NaN for fewer than ten.
        """
        kept = self.tested
        rows = self.data.take(kept)
        p, y, ret = self.score[kept], rows.y, rows.ret_frac
        if not len(p):
            return {"rows": 0.0}
        likely = np.clip(p, CLIP, 1 - CLIP)
        brier, base, right = (p - y) ** 2, float(y.mean()), (p > 0.5) == y
        chosen = p >= threshold
        low, high = _wilson_of(rows, chosen)
        of_brier, of_right = (_interval(rows, one, seed) for one in (brier, right))
        of_signals = _interval(rows, ret, seed, chosen)
        reference = base * (1 - base)
        return {
            "rows": float(len(p)), "base_rate_frac": base, "brier": float(brier.mean()),
            "brier_low": of_brier.low, "brier_high": of_brier.high,
            "reference": reference,
            "skill": 1 - float(brier.mean()) / reference if reference else math.nan,
            "log_loss": float(-np.where(y == 1, np.log(likely), np.log(1 - likely)).mean()),
            "auc": _auc(p, y), "hit_rate_frac": float(right.mean()),
            "hit_rate_low_frac": of_right.low, "hit_rate_high_frac": of_right.high,
            "information_coefficient": _correlation(p, ret), "signals": float(chosen.sum()),
            "precision_frac": float(y[chosen].mean()) if chosen.any() else math.nan,
            "precision_low_frac": low, "precision_high_frac": high,
            "signal_return_frac": float(ret[chosen].mean()) if chosen.any() else math.nan,
            "signal_return_low_frac": of_signals.low, "signal_return_high_frac": of_signals.high,
            "trials": float(self.n_trials),
        }  # fmt: skip

    def calibration(self, bins: int = BINS) -> pd.DataFrame:
        """Return by tenths of the score: rows, mean score, how often it was up, Wilson's bounds as
        in ``metrics``."""
        import pandas as pd

        kept = self.tested
        held = self.data.take(kept)
        p, y = self.score[kept], held.y
        place = np.minimum((p * bins).astype(int), bins - 1)
        rows = []
        for number in range(bins):
            here = place == number
            if here.any():
                bounds = _wilson_of(held, here)
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

    def on_path(self, path: int) -> OutOfSample:
        """Return the same of one path alone, as a backtest would have had it. The mean over the
        paths of a combinatorial split is a committee of models, and better than any of them.

        Raises ``UsageError`` for a path that there is not.
        """
        if not 0 <= path < len(self.paths):
            raise UsageError(f"There is no path {path}: this split has {len(self.paths)}, from 0.")
        return replace(self, score=self.paths[path], paths=self.paths[path : path + 1])

    def by_path(self, threshold: float = 0.5, *, seed: int = 0) -> pd.DataFrame:
        """Return ``metrics`` of each path, one a row: how far they lie apart is how much of a
        figure hangs on the split."""
        import pandas as pd

        paths = range(len(self.paths))
        told = [self.on_path(path).metrics(threshold, seed=seed) for path in paths]
        return pd.DataFrame(told, pd.Index(paths, name="path"))

    def _repr_html_(self) -> str:
        found = self.metrics()
        if not found["rows"]:
            return table_html("Out of sample", [], "No row was tested.")
        rows = [
            (words, figure(found[name], form), _between(found, name, form))
            for name, words, form in SHOWN
        ]
        skill = "better" if found["brier_high"] < found["reference"] else "not shown to be better"
        said = (
            f"As a forecast it is {skill} than the base rate; trial {self.n_trials} of the study."
        )
        return table_html(f"Out of sample: {found['rows']:,.0f} rows", rows, said)


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

    ``weighted``: pass the rows' uniqueness to ``fit`` where it, or a pipeline's last step, takes
    ``sample_weight``. ``study``: a folder in which this counts as a trial; the same estimator with
    the same parameters, code and weights, trained and tested on the same rows, is no new one.

    Raises ``UsageError`` for a split whose training rows share time with a tested label, or hold
    one class alone or none; for rows out of order of ``t0``, and for NaN or inf in ``X``.
    """
    labels = read_labels(data.t0, data.t1)
    _refuse_no_number(data)
    pieces: list[tuple[Ints, Floats]] = []
    rows = hashlib.sha256()
    for number, (train, test) in enumerate(cv.split(data.X)):
        rows.update(f"{len(train)} {len(test)} ".encode() + train.tobytes() + test.tobytes())
        _refuse_leak(labels, train, test, number)
        model = _fitted(estimator, data, train, number, weighted=weighted)
        pieces.append((test, _scores(model, data.X[test])))
    paths = _paths(cv, pieces, len(data))
    counted = np.isfinite(paths).sum(axis=0)
    sums = np.where(np.isfinite(paths), paths, 0.0).sum(axis=0)
    score = np.divide(sums, counted, out=np.full(len(data), np.nan), where=counted > 0)
    folder = "" if study is None else str(study)
    if folder:
        trials.record(folder, TRIED, 1, identity_of(estimator, data, rows.hexdigest(), weighted))
    n_counted = tried(folder) if folder else 1
    return OutOfSample(data, score, paths, len(pieces), n_counted, folder)


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
    name = _weight_name(model)
    if weighted and name:
        words = {name: data.weight[train]}
    return model.fit(data.X[train], y, **words)


def _weight_name(model: Any) -> str:
    """Return the word of ``fit`` that takes weights, of a pipeline that of its last step, or ""."""
    from sklearn.utils.validation import has_fit_parameter

    steps = getattr(model, "steps", None)
    prefix, last = (f"{steps[-1][0]}__", steps[-1][1]) if steps else ("", model)
    return f"{prefix}sample_weight" if has_fit_parameter(last, "sample_weight") else ""


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


def _interval(rows: Dataset, values: Any, seed: int, chosen: Any = True) -> Interval:
    """Return the mean of the ``chosen`` values and its interval, from spans of the label."""
    blocks, _ = blocks_of(rows.t0, rows.t1)
    if not len(blocks) or blocks[-1] + 1 < BLOCKS_MIN:
        return NO_INTERVAL
    taken = np.broadcast_to(chosen, len(blocks)).astype(np.float64)
    sums, counts = np.bincount(blocks, weights=values * taken), np.bincount(blocks, weights=taken)
    return bootstrap(sums.astype(np.float64), counts.astype(np.float64), seed=seed, level=LEVEL)


def _wilson_of(rows: Dataset, chosen: Any) -> tuple[float, float]:
    """Return the interval of how often the ``chosen`` rows were up."""
    weight = rows.weight[chosen]
    if not len(weight):
        return math.nan, math.nan
    n = float(weight.sum())
    return wilson(float(rows.y[chosen].mean()) * n, n)


def _between(found: Mapping[str, float], name: str, form: str) -> str:
    """Return a figure's interval in words, "" where it has none."""
    stem, frac = (name[:-5], "_frac") if name.endswith("_frac") else (name, "")
    low, high = (found.get(f"{stem}_{side}{frac}", math.nan) for side in ("low", "high"))
    return "" if math.isnan(low) else f"{low:{form}} to {high:{form}}"
