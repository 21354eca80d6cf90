"""Walk-forward windows: the past trains, what follows is tested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from mqd.errors import UsageError, did_you_mean
from mqd.splits.labels import (
    Ints,
    Split,
    apart,
    ascending,
    instants,
    not_empty,
    one_length,
    read_labels,
    row_count,
    whole,
)  # fmt: skip

Unit = Literal["bars", "sessions", "days"]

NS_PER_DAY: Final = 86_400_000_000_000


class WalkForward:
    """Train on a stretch, test on the next, move on by the test's length.

    ``train``, ``test`` and ``gap`` (left out between the two) are counted in ``unit``: "bars"
    (rows), "sessions" (distinct values of ``sessions``, one a row, ascending) or "days" (calendar
    days, UTC, of ``times``; left out, those of ``label_start`` or of X's own index). ``anchored``
    keeps the first row in every training stretch, which then grows from ``train`` on. Test
    stretches follow each other without overlap; a last one that is shorter than ``test`` is
    tested only with ``short_last``. A stretch of days without a row is passed over. Where several
    rows share an instant (several symbols) "bars" may cut through it: use sessions or days there.

    With ``label_start`` and ``label_end`` training rows whose label reaches into the test's
    labels are dropped as well; a gap of rows alone does not do that. Nothing after a test is
    ever trained on, so there is no embargo here.
    """

    def __init__(
        self,
        train: int,
        test: int,
        *,
        unit: Unit = "bars",
        anchored: bool = False,
        gap: int = 0,
        short_last: bool = False,
        times: Any = None,
        sessions: ArrayLike | None = None,
        label_start: Any = None,
        label_end: Any = None,
    ) -> None:
        if unit not in get_args(Unit):
            raise UsageError(f"unit = {unit!r} is unknown.{did_you_mean(unit, get_args(Unit))}")
        if (sessions is not None) != (unit == "sessions"):
            raise UsageError("sessions= (one a row) and unit='sessions' go together.")
        self.train, self.test = whole("train", train, 1), whole("test", test, 1)
        self.unit, self.anchored, self.short_last = unit, bool(anchored), bool(short_last)
        self.gap = whole("gap", gap, 0)
        labelled = label_start is not None or label_end is not None
        self._labels = read_labels(label_start, label_end) if labelled else None
        bound: dict[str, Ints] = {}
        if times is not None:
            bound["times"] = instants("times", times)[0]
            ascending("times", bound["times"])
        if sessions is not None:
            bound["sessions"] = _session_ranks(sessions)
        if self._labels is not None:
            bound["label_start"] = self._labels.label_start
        self._times = bound.get("times", bound.get("label_start"))
        self._sessions = bound.get("sessions")
        self._n_rows = one_length(bound)

    def split(
        self,
        X: Any = None,  # noqa: N803
        y: Any = None,  # noqa: ARG002
        groups: Any = None,  # noqa: ARG002
    ) -> Iterator[Split]:
        """Yield ``(train rows, test rows)`` in order of time; X may be None when times are bound.

        Raises ``UsageError`` when the rows do not fill one window or purging leaves no row.
        """
        windows = self._windows(X)
        if not windows:
            raise UsageError(
                f"No window fits: train {self.train} + gap {self.gap} + test {self.test}"
                f" {self.unit} are more than the data have. Shorten train or test."
            )
        for number, (first, last, test_first, test_last) in enumerate(windows):
            test = np.arange(test_first, test_last, dtype=np.int64)
            kept = np.arange(first, last, dtype=np.int64)
            if self._labels is not None:
                kept = kept[apart(self._labels, kept, test_first, test_last, 0)]
            yield not_empty(kept, number), test

    def get_n_splits(
        self,
        X: Any = None,  # noqa: N803
        y: Any = None,  # noqa: ARG002
        groups: Any = None,  # noqa: ARG002
    ) -> int:
        """Return the number of windows; X is needed when no times are bound."""
        return len(self._windows(X))

    def _windows(self, X: Any) -> list[tuple[int, int, int, int]]:  # noqa: N803
        """Return the rows (first and one past the last) of each window's train and test."""
        place = self._places(X)
        n_places = int(place[-1]) + 1 if len(place) else 0
        windows = []
        for begin in range(self.train + self.gap, n_places, self.test):
            if begin + self.test > n_places and not self.short_last:
                break
            train_end = begin - self.gap
            edges = (0 if self.anchored else train_end - self.train, train_end)
            first, last, test_first, test_last = (
                int(row) for row in np.searchsorted(place, (*edges, begin, begin + self.test))
            )
            if test_last > test_first:
                windows.append((first, last, test_first, test_last))
        return windows

    def _places(self, X: Any) -> Ints:  # noqa: N803
        """Return how many units after the first row each row lies, ascending from 0."""
        n_rows = row_count(X, self._n_rows)
        if self._sessions is not None:
            return self._sessions
        if self.unit == "bars":
            return np.arange(n_rows, dtype=np.int64)
        times = self._times
        if times is None:
            index = getattr(X, "index", None)
            if not hasattr(index, "as_unit"):
                raise UsageError("unit='days' needs times=, or X with a DatetimeIndex.")
            times = instants("X.index", index)[0]
            ascending("X.index", times)
        days: Ints = times // NS_PER_DAY
        return days - days[:1]

    def __repr__(self) -> str:
        words = f"train={self.train}, test={self.test}, unit={self.unit!r}"
        purged = ", purged" if self._labels is not None else ""
        return f"WalkForward({words}, anchored={self.anchored}, gap={self.gap}{purged})"


def _session_ranks(sessions: ArrayLike) -> Ints:
    """Return which session, counted from 0, each row belongs to."""
    values = np.asarray(sessions)
    if values.ndim != 1 or (values[1:] < values[:-1]).any():
        raise UsageError("sessions must ascend, one value a row.")
    new = np.concatenate(([0], values[1:] != values[:-1]))
    return np.cumsum(new)[: len(values)].astype(np.int64)
