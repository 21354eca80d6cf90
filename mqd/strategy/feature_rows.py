"""Combinations as columns: typed, grouped by equal values, cut into chunks; and rows of numbers."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.strategy.parameters import Declared, ParameterValue

Columns = Mapping[str, NDArray[Any]]

_BLOCK_NUMBERS = 1 << 20


class Groups(NamedTuple):
    """``inverse``: each combination's group; ``firsts``: each group's first combination.

    Groups are numbered by their first combination.
    """

    inverse: Ints
    firsts: Ints


def typed_column(strategy: str, declared: Declared, column: NDArray[Any]) -> NDArray[Any]:
    """Return values as the parameter's type: int64, float64, bool, or object for texts.

    Raises ``ParameterOutOfRange`` for a value that the strategy would refuse.
    """
    kinds = {int: "iu", float: "fiu", bool: "b", str: ""}[declared.kind]
    if column.dtype.kind in kinds and declared.choices is None:
        for extreme in (column.min(), column.max()):
            declared.check(strategy, extreme.item())
        return column.astype(declared.kind, copy=False)
    values = column.tolist()
    checked = {value: declared.check(strategy, value) for value in dict.fromkeys(values)}
    kind = object if declared.kind is str else declared.kind
    return np.array([checked[value] for value in values], dtype=kind)


def grouped(columns: Columns, names: Sequence[str], count: int) -> Groups:
    """Group ``count`` combinations by their values of ``names``; floats by their bits."""
    if not names:
        return Groups(np.zeros(count, dtype=np.int64), np.zeros(1, dtype=np.int64))
    inverse, n_groups = _codes(columns[names[0]])
    for name in names[1:]:
        more, n_more = _codes(columns[name])
        inverse, n_groups = _codes(inverse * n_more + more)
    firsts = np.empty(n_groups, dtype=np.int64)
    firsts[inverse[::-1]] = np.arange(count - 1, -1, -1)  # the last write stays
    return Groups(inverse, firsts)


def _codes(column: NDArray[Any]) -> tuple[Ints, int]:
    from pandas import factorize

    values = column.view(np.int64) if column.dtype == np.float64 else column
    codes, distinct = factorize(values, use_na_sentinel=False)
    return codes.astype(np.int64, copy=False), len(distinct)


def combinations(
    columns: Columns, names: Sequence[str], at: Ints
) -> Iterator[dict[str, ParameterValue]]:
    """Return the values of ``names`` of the combinations ``at``, as Python's own types."""
    if not names:
        return iter([{} for _ in range(len(at))])
    values = (columns[name][at].tolist() for name in names)
    return (dict(zip(names, one, strict=True)) for one in zip(*values, strict=True))


def split(codes: Sequence[Ints], start: int, rows_max: int, count_max: int) -> Iterator[slice]:
    """Cut combinations from ``start`` on, in order, into the longest chunks that fit.

    ``codes``: one array a feature, which row each combination reads. A chunk's rows over all
    features number at most ``rows_max``, its combinations ``count_max``; one always goes.
    """
    count = len(codes[0])
    previous = [_previous(code) for code in codes]
    while start < count:
        stop, rows, width = start, 0, max(1, rows_max // len(codes))
        end = min(count, start + count_max)
        while stop < end:
            block = slice(stop, min(stop + width, end))
            new = np.sum([before[block] < start for before in previous], axis=0)
            total = rows + np.cumsum(new)
            fitting = int(np.searchsorted(total, rows_max, side="right"))
            stop += fitting
            if fitting < len(total):
                break
            rows, width = int(total[-1]), width * 2
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


def _previous(codes: Ints) -> Ints:
    """Return the place of the previous equal code, -1 for the first of its kind."""
    order = np.argsort(codes, kind="stable")
    before = np.full(len(codes), -1, dtype=np.int64)
    same = codes[order[1:]] == codes[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    return before


class Rows:
    """One feature's distinct rows, written into ``matrix`` (rows, bars).

    Memory of an empty matrix is taken as rows are written. An array that is the very object of an
    earlier row, and that nobody can write to, gets that row.
    """

    def __init__(self, matrix: Floats) -> None:
        self._matrix = matrix
        self._count = 0
        self._places: dict[int, tuple[weakref.ref[Any], int]] = {}

    def add(self, column: Floats) -> int:
        """Return the row of ``column`` (float64, read-only, one number a bar)."""
        found = self._places.get(id(column))
        if found is not None and found[0]() is column:
            return found[1]
        if self._count == len(self._matrix):
            self.reserve(2 * self._count + 1)
        row = self._count
        self._matrix[row] = column
        self._places[id(column)] = (weakref.ref(column), row)
        self._count += 1
        return row

    def matrix(self) -> Floats:
        """Return the rows written so far."""
        return self._matrix[: self._count]

    def reserve(self, capacity: int) -> None:
        """Make room for ``capacity`` rows in all; more than enough costs nothing until written."""
        if capacity > len(self._matrix):
            larger = np.empty((capacity, self._matrix.shape[1]))
            larger[: self._count] = self._matrix[: self._count]
            self._matrix = larger


def rows_of(capacities: Sequence[int], n_bars: int) -> list[Rows]:
    """Return rows for several features, cut out of one block of memory."""
    ends = np.cumsum([0, *capacities]).tolist()
    block = np.empty((ends[-1], n_bars))
    return [Rows(block[a:b]) for a, b in itertools.pairwise(ends)]


def one_block(matrices: Sequence[Floats], n_bars: int) -> tuple[Floats, list[int]]:
    """Return matrices (rows, bars) of equal length as one, and the first row of each.

    Nothing is copied when `rows_of` made them.
    """
    block = matrices[0].base if matrices else np.empty((0, n_bars))
    if block is None or block.ndim != 2 or any(one.base is not block for one in matrices):
        firsts = np.cumsum([0, *map(len, matrices)]).tolist()
        return np.concatenate(matrices), firsts[:-1]
    starts = [one.__array_interface__["data"][0] for one in (block, *matrices)]
    return block, [(start - starts[0]) // block.strides[0] for start in starts[1:]]


def first_finite(matrix: Floats) -> tuple[Ints, bool]:
    """Return for each row the place from which on all is finite, and whether a row has holes.

    The place is the row's length where its last value is not finite. A hole is a value that is
    not finite after one that is.
    """
    count, length = matrix.shape
    first = np.zeros(count, dtype=np.int64)
    if not length:
        return first, False
    holes = False
    height = max(1, _BLOCK_NUMBERS // length)
    for start in range(0, count, height):
        bad = ~np.isfinite(matrix[start : start + height])
        counts = np.count_nonzero(bad, axis=1)
        early = np.where(counts == length, length, np.argmin(bad, axis=1))
        later = np.flatnonzero(early != counts)
        early[later] = length - np.argmax(bad[later, ::-1], axis=1)
        first[start : start + height] = early
        holes = holes or bool(len(later))
    return first, holes
