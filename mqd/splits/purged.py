"""Splitters that train on both sides of what they test: purged K-fold and combinatorial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mqd.errors import UsageError
from mqd.splits.labels import (
    Ints,
    Span,
    Split,
    apart,
    embargo_span_ns,
    not_empty,
    read_labels,
    row_count,
    whole,
)  # fmt: skip


class _Purged:
    """What the two schemes share that train on both sides of what they test."""

    def __init__(
        self, n_blocks: int, starts: Any, ends: Any, embargo: Span | None, frac: float | None
    ) -> None:
        self._labels = read_labels(starts, ends)
        n_rows = len(self._labels.label_start)
        if n_blocks > n_rows:
            raise UsageError(f"{n_rows} rows cannot be cut into {n_blocks} blocks.")
        self.embargo_ns = embargo_span_ns(self._labels, embargo, frac)
        sizes = np.full(n_blocks, n_rows // n_blocks)
        sizes[: n_rows % n_blocks] += 1
        self._edges: list[int] = [0, *np.cumsum(sizes).tolist()]

    @cached_property
    def _choices(self) -> list[tuple[int, ...]]:
        """The blocks that each split tests."""
        raise NotImplementedError

    def split(
        self,
        X: Any = None,  # noqa: N803
        y: Any = None,  # noqa: ARG002
        groups: Any = None,  # noqa: ARG002
    ) -> Iterator[Split]:
        """Yield ``(train rows, test rows)``; X may be None, else it must have the labels' length.

        Raises ``UsageError`` when purge and embargo leave a split nothing to train on.
        """
        n_rows = row_count(X, len(self._labels.label_start))
        for number, blocks in enumerate(self._choices):
            kept = np.ones(n_rows, dtype=bool)
            for block in blocks:
                kept[self._edges[block] : self._edges[block + 1]] = False
            train = np.flatnonzero(kept).astype(np.int64)
            for block in blocks:
                first, last = self._edges[block], self._edges[block + 1]
                train = train[apart(self._labels, train, first, last, self.embargo_ns)]
            yield not_empty(train, number), self._tested(blocks)

    def get_n_splits(
        self,
        X: Any = None,  # noqa: ARG002, N803
        y: Any = None,  # noqa: ARG002
        groups: Any = None,  # noqa: ARG002
    ) -> int:
        """Return the number of splits; the arguments are not read."""
        return len(self._choices)

    def _tested(self, blocks: Sequence[int]) -> Ints:
        return np.concatenate(
            [np.arange(self._edges[b], self._edges[b + 1], dtype=np.int64) for b in blocks]
        )


class PurgedKFold(_Purged):
    """K blocks of rows in order of time, each tested once; the first blocks take the odd rows.

    ``label_start`` (ascending) and ``label_end`` hold one instant a row. Dropped from training:
    rows whose closed label interval meets that of any tested row, and rows whose label begins
    within the embargo after the last instant that a tested label knows. The embargo is a span of
    time (``embargo="5D"``, a timedelta) or ``embargo_frac`` of the time from the first label
    start to the last; never a number of rows.
    """

    def __init__(
        self,
        n_splits: int,
        label_start: Any,
        label_end: Any,
        *,
        embargo: Span | None = None,
        embargo_frac: float | None = None,
    ) -> None:
        self.n_splits = whole("n_splits", n_splits, 2)
        super().__init__(n_splits, label_start, label_end, embargo, embargo_frac)

    @cached_property
    def _choices(self) -> list[tuple[int, ...]]:
        return [(block,) for block in range(self.n_splits)]

    def __repr__(self) -> str:
        return f"PurgedKFold(n_splits={self.n_splits}, embargo_ns={self.embargo_ns})"


class CombinatorialPurged(_Purged):
    """Every choice of ``n_test_groups`` of ``n_groups`` blocks of rows is tested once.

    Labels, purge and embargo as in ``PurgedKFold``, around every tested block. There are
    C(n_groups, n_test_groups) splits, in the order of ``itertools.combinations``; every row is
    tested ``n_paths`` = C(n_groups - 1, n_test_groups - 1) times, so the tested pieces make up
    that many whole backtest paths (``paths``, ``stitch``).
    """

    def __init__(
        self,
        n_groups: int,
        n_test_groups: int,
        label_start: Any,
        label_end: Any,
        *,
        embargo: Span | None = None,
        embargo_frac: float | None = None,
    ) -> None:
        self.n_groups = whole("n_groups", n_groups, 2)
        self.n_test_groups = whole("n_test_groups", n_test_groups, 1)
        if n_test_groups >= n_groups:
            raise UsageError(
                f"n_test_groups = {n_test_groups} of {n_groups} groups leaves none to train on."
            )
        super().__init__(n_groups, label_start, label_end, embargo, embargo_frac)

    @cached_property
    def _choices(self) -> list[tuple[int, ...]]:
        return list(combinations(range(self.n_groups), self.n_test_groups))

    @property
    def n_paths(self) -> int:
        """The number of backtest paths, C(n_groups - 1, n_test_groups - 1)."""
        return math.comb(self.n_groups - 1, self.n_test_groups - 1)

    def paths(self) -> Ints:
        """Return which split tests each group in each path, shape (n_paths, n_groups).

        Path p takes a group from the (p + 1)-th split that tests it (figure 12.2 of the source).
        """
        table = np.empty((self.n_paths, self.n_groups), dtype=np.int64)
        for group in range(self.n_groups):
            table[:, group] = [n for n, blocks in enumerate(self._choices) if group in blocks]
        return table

    def stitch(self, predictions: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Return the paths of what was predicted, float64 of shape (n_paths, rows).

        ``predictions`` holds one array a split, in the order of ``split``, each with one value a
        tested row.
        """
        if len(predictions) != len(self._choices):
            raise UsageError(
                f"{len(predictions)} arrays of predictions for {len(self._choices)} splits."
            )
        pieces: dict[tuple[int, int], NDArray[np.float64]] = {}
        for number, (blocks, values) in enumerate(zip(self._choices, predictions, strict=True)):
            column = np.asarray(values, dtype=np.float64)
            sizes = [self._edges[b + 1] - self._edges[b] for b in blocks]
            if column.shape != (sum(sizes),):
                raise UsageError(
                    f"Split {number} tests {sum(sizes)} rows, its predictions have the shape"
                    f" {column.shape}."
                )
            cut = np.split(column, np.cumsum(sizes)[:-1])
            pieces |= {(number, block): part for block, part in zip(blocks, cut, strict=True)}
        return np.array(
            [
                np.concatenate([pieces[int(number), group] for group, number in enumerate(path)])
                for path in self.paths()
            ]
        )

    def __repr__(self) -> str:
        words = f"n_groups={self.n_groups}, n_test_groups={self.n_test_groups}"
        return f"CombinatorialPurged({words}, embargo_ns={self.embargo_ns})"
