"""Which combinations are run, and in which order: the whole grid, a draw of it, or Optuna's.

Each search yields blocks of columns, of any length that is asked for; the combinations and
their order do not depend on these lengths, nor on where a sweep was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, assert_never

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UsageError
from mqd.sweeps.constraint import Constraint
from mqd.sweeps.errors import EmptyGrid
from mqd.sweeps.grid import Continuous, Grid, Listed, Stepped

Array = NDArray[Any]
Columns = dict[str, Array]
Words = NDArray[np.uint64]
SearchName = Literal["grid", "random", "optuna"]
SCAN: Final = 65_536
MISSES_MAX: Final = 10_000_000
PLACES_MAX: Final = 2**62


class Block(NamedTuple):
    """Combinations ``first, first + 1, ...``; ``seen`` of the ``total`` candidates are gone by."""

    first: int
    columns: Columns
    seen: int

    @property
    def n(self) -> int:
        """The number of combinations."""
        return len(next(iter(self.columns.values())))


class Search(Protocol):
    """A way to go through combinations; ``adaptive``: the next block needs the last scores."""

    adaptive: bool

    @property
    def total(self) -> int:
        """Candidates in all, before ``where``: the length of a progress bar."""

    @property
    def text(self) -> str:
        """What tells this search from another."""

    def write_to(self, journal: Path) -> None:
        """Keep the search's own record beside the results, when it has one."""

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield blocks of at most ``size`` combinations, in order, from the first."""

    def tell(self, block: Block, scores: NDArray[np.float64]) -> None:
        """Hear the scores of a block (larger is better, NaN: none), in order."""


class GridSearch:
    """Every combination of a grid that the constraint lets through."""

    adaptive = False

    def __init__(self, grid: Grid, constraint: Constraint) -> None:
        if not grid.size:
            raise UsageError(
                "A grid lists values; ranges (low, high) are for search='random' or 'optuna'."
            )
        grid.check_size()
        self._grid, self._constraint = grid, constraint

    @property
    def total(self) -> int:
        """The size of the grid."""
        return self._grid.size

    @property
    def text(self) -> str:
        """The name of the search."""
        return "grid"

    def write_to(self, journal: Path) -> None:
        """A grid keeps no record."""

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the combinations in the order of the grid, the last parameter fastest."""
        stops = range(0, self.total, SCAN)
        scanned = (
            self._grid.at(np.arange(at, min(at + SCAN, self.total), dtype=np.int64)) for at in stops
        )
        yield from _gathered(scanned, self._constraint, size, None)

    def tell(self, block: Block, scores: NDArray[np.float64]) -> None:
        """Nothing depends on scores."""


class RandomSearch:
    """``n`` combinations drawn by ``seed``: without replacement, all of them when n is as large.

    Places of the grid are drawn by a keyed permutation, so that a draw of 10,000 from 10^15
    takes no memory. With a continuous axis (or more places than 2^62) each value is drawn by
    itself.
    """

    adaptive = False

    def __init__(self, grid: Grid, constraint: Constraint, n: int, seed: int) -> None:
        self._grid, self._constraint, self._n, self._seed = grid, constraint, n, seed
        self._countable = 0 < grid.size <= PLACES_MAX

    @property
    def total(self) -> int:
        """How many are drawn at most."""
        return min(self._n, self._grid.size) if self._countable else self._n

    @property
    def text(self) -> str:
        """The search, its number and its seed."""
        return f"random, n={self._n}, seed={self._seed}"

    def write_to(self, journal: Path) -> None:
        """A draw keeps no record."""

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the drawn combinations in the order of the draw."""
        draws = self._permuted() if self._countable else self._free()
        yield from _gathered(draws, self._constraint, size, self._n)

    def tell(self, block: Block, scores: NDArray[np.float64]) -> None:
        """Nothing depends on scores."""

    def _permuted(self) -> Iterator[Columns]:
        """Yield all combinations of the grid, in a random order."""
        for at in range(0, _bijection_size(self._grid.size), SCAN):
            block = np.arange(at, at + SCAN, dtype=np.uint64)
            places = permuted(block, self._grid.size, self._seed)
            if len(places):
                yield self._grid.at(places)

    def _free(self) -> Iterator[Columns]:
        at = 0
        while True:
            draws = np.arange(at, at + SCAN, dtype=np.uint64)
            yield {
                name: _drawn(axis, _mixed(draws, self._seed, place))
                for place, (name, axis) in enumerate(self._grid.axes.items())
            }
            at += SCAN


def _drawn(axis: Any, words: Words) -> Array:
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    if isinstance(axis, Continuous):
        return axis.spread(uniform)
    taken: Array = axis.take(np.minimum((uniform * axis.n).astype(np.int64), axis.n - 1))
    return taken


def _mixed(words: Words, seed: int, salt: int) -> Words:
    """Return 64 random bits for each counter (splitmix64: Steele, Lea, Flood, OOPSLA 2014)."""
    key = np.random.SeedSequence([seed % 2**64, salt]).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        z = (words + key) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = z ^ (z >> np.uint64(31))
    return mixed


def _half_bits(size: int) -> int:
    return max((max(size - 1, 1).bit_length() + 1) // 2, 1)


def _bijection_size(size: int) -> int:
    return 1 << 2 * _half_bits(size)


def permuted(counters: Words, size: int, seed: int) -> NDArray[np.int64]:
    """Return the places below ``size`` that a keyed bijection gives to ``counters``, in order.

    All counters below the next power of four together give every place once. A Feistel network
    (Luby and Rackoff, SIAM J. Comput. 17, 1988) of eight rounds; what falls beyond ``size`` is
    left out.
    """
    bits = np.uint64(_half_bits(size))
    low_mask = np.uint64((1 << int(bits)) - 1)
    counters = counters[counters < np.uint64(_bijection_size(size))]
    left, right = counters >> bits, counters & low_mask
    for round_ in range(8):
        left, right = right, left ^ (_mixed(right, seed, round_) & low_mask)
    places = (left << bits) | right
    return places[places < np.uint64(size)].astype(np.int64)


def _gathered(
    scanned: Iterator[Columns], constraint: Constraint, size: int, n: int | None
) -> Iterator[Block]:
    """Yield blocks of up to ``size`` of what the constraint lets through, ``n`` at most in all."""
    first = seen = missed = 0
    for candidates in scanned:
        mask = constraint.mask(candidates)
        kept = np.flatnonzero(mask)
        if n is not None:
            kept = kept[: n - first]
        missed = 0 if len(kept) else missed + len(mask)
        if missed > MISSES_MAX and n is not None:
            raise EmptyGrid(
                f"where {constraint.text} let none of {missed:,} draws through, one after another"
            )
        for at in range(0, len(kept), size):
            part = kept[at : at + size]
            gone = seen + int(part[-1]) + 1 if n is None else first + len(part)
            yield Block(first, {k: v[part] for k, v in candidates.items()}, gone)
            first += len(part)
        seen += len(mask)
        if n is not None and first >= n:
            return
    if not first:
        raise EmptyGrid(f"where {constraint.text} leaves none of the combinations")


def search_of(
    name: str,
    grid: Grid,
    constraint: Constraint,
    *,
    n: int | None,
    seed: int,
    metric: str,
) -> Search:
    """Return the search of that name; ``n`` is for random and optuna, which need it.

    ``metric`` is what optuna makes better.
    """
    if name == "grid":
        if n is not None:
            raise UsageError("n is for search='random' and 'optuna': a grid is run whole.")
        return GridSearch(grid, constraint)
    if name not in ("random", "optuna"):
        raise UsageError(f"search = {name!r}; it must be 'grid', 'random' or 'optuna'.")
    if type(n) is not int or n < 1:
        raise UsageError(f"search={name!r} needs n, the number of combinations: n = {n!r}.")
    if name == "random":
        return RandomSearch(grid, constraint, n, seed)
    from mqd.sweeps.optuna_search import OptunaSearch

    return OptunaSearch(grid, constraint, n, seed, metric)


def column_of(name: str, grid: Grid, values: list[Any]) -> Array:
    """Return values of one parameter as a column of its axis's type."""
    axis = grid.axes[name]
    match axis:
        case Listed():
            return np.array(values, dtype=axis.values.dtype)
        case Continuous():
            return np.array(values, dtype=np.float64)
        case Stepped():
            return np.array(values, dtype=axis.dtype)
        case _:
            assert_never(axis)
