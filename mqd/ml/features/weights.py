"""Sample weights: how much of a label is its own.

Labels whose spans overlap share returns, and a model that counts each fully believes one event many
times. The weight of a label is the mean, over the bars of its span, of one over the number of
labels that are open there. Pass weights to ``fit(..., sample_weight=)``.

Source: M. Lopez de Prado, "Advances in Financial Machine Learning" (2018), chapter 4: concurrency,
average uniqueness, return attribution and time decay. A span holds the returns of the bars after
``t0`` up to and with ``t1``.
"""

from __future__ import annotations

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.errors import UsageError
from mqd.ml.features.labels import LabelTable


def concurrency(table: LabelTable, n_bars: int) -> Ints:
    """Return how many labels are open in the return of each bar, int64 (n_bars,)."""
    _refuse(table, n_bars)
    opened = np.bincount(table.rows + 1, minlength=n_bars + 1)
    closed = np.bincount(table.touch + 1, minlength=n_bars + 2)
    found: Ints = (np.cumsum(opened[: n_bars + 1]) - np.cumsum(closed[: n_bars + 1]))[:n_bars]
    return found.astype(np.int64)


def uniqueness(table: LabelTable, n_bars: int) -> Floats:
    """Return the average uniqueness of each label, float64 in (0, 1]; 1: it overlaps no other."""
    open_labels = concurrency(table, n_bars)
    shares = np.divide(1.0, open_labels, out=np.zeros(n_bars), where=open_labels > 0)
    sums = np.concatenate(([0.0], np.cumsum(shares)))
    spans = table.touch - table.rows
    found: Floats = (sums[table.touch + 1] - sums[table.rows + 1]) / spans
    return found


def return_attribution(table: LabelTable, close: Floats) -> Floats:
    """Return weights by the absolute log return that is a label's own; their mean is 1."""
    open_labels = concurrency(table, len(close))
    returns = np.concatenate(([0.0], np.diff(np.log(close))))
    own = np.divide(returns, open_labels, out=np.zeros(len(close)), where=open_labels > 0)
    sums = np.concatenate(([0.0], np.cumsum(own)))
    weights = np.abs(sums[table.touch + 1] - sums[table.rows + 1])
    total = float(weights.sum())
    return weights * (len(weights) / total) if total else np.ones(len(weights))


def time_decay(unique: Floats, oldest: float) -> Floats:
    """Return weights that fall linearly with age, counted in uniqueness: 1 for the newest label,
    ``oldest`` for the first. A negative ``oldest`` forgets that share of the oldest altogether.

    Raises ``UsageError`` outside (-1, 1].
    """
    if not -1 < oldest <= 1:
        raise UsageError(f"oldest = {oldest}: it must lie in (-1, 1].")
    age = np.cumsum(unique)
    if not len(age):
        return age
    total = float(age[-1])
    slope = (1.0 - oldest) / total if oldest >= 0 else 1.0 / ((oldest + 1.0) * total)
    found: Floats = np.maximum(1.0 - slope * total + slope * age, 0.0)
    return found


def embargo_ns(table: LabelTable) -> int:
    """Return the longest span of a label, ns: the embargo that its own length asks for."""
    return int((table.t1 - table.t0).max(initial=0))


def _refuse(table: LabelTable, n_bars: int) -> None:
    if len(table.touch) and int(table.touch.max()) >= n_bars:
        raise UsageError(f"A label ends at row {int(table.touch.max())} of {n_bars} bars.")
