"""Grids: the values of each parameter in, combinations out, as columns made when needed.

A grid is a mapping from parameter to values::

    {"fast": range(5, 61), "slow": [20, 50, 100], "band": np.linspace(0, 0.1, 11), "short": True}

``range``, lists, tuples, numpy arrays, pandas Series and indexes are values to try; a single
value is fixed. The last parameter changes fastest. Nothing of the size of the grid is ever made:
``Grid.at`` computes the combinations of the places that it is asked for.

For ``search="random"`` and ``"optuna"`` a pair of numbers ``(low, high)`` and a ``mqd.param(...)``
are a range, both ends included: whole numbers for an int parameter, any number for a float one.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from mqd.errors import UnknownParameter, UsageError
from mqd.strategy.parameters import Declared, Param
from mqd.strategy.strategy import Strategy
from mqd.sweeps.errors import EmptyGrid, GridTooLarge

Array = NDArray[Any]
Places = NDArray[np.int64]
COMBINATIONS_MAX: Final = 100_000_000
DTYPES: Final[dict[type, Any]] = {int: np.int64, float: np.float64, bool: np.bool_}


@dataclass(frozen=True, eq=False)
class Listed:
    """Values one by one, in the order given."""

    values: Array

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    def take(self, places: Places) -> Array:
        """Return the values at ``places``, int64 in [0, n)."""
        taken: Array = self.values[places]
        return taken

    @property
    def text(self) -> str:
        """The values as text: what tells one axis from another."""
        listed = self.values.tolist()
        if len(listed) <= 20:
            return repr(listed)
        digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
        return f"{len(listed)} values from {listed[0]!r} to {listed[-1]!r}, {digest}"


@dataclass(frozen=True)
class Stepped:
    """``n`` whole numbers ``start, start + step, ...``, never listed."""

    start: int
    step: int
    n: int
    dtype: Any = np.int64

    def take(self, places: Places) -> Array:
        """Return the values at ``places``, int64 in [0, n)."""
        return (self.start + self.step * places).astype(self.dtype)

    @property
    def text(self) -> str:
        """The values as text: what tells one axis from another."""
        if self.n <= 20:
            return repr(self.take(np.arange(self.n)).tolist())
        return f"{self.n} values from {self.start} in steps of {self.step}"


@dataclass(frozen=True)
class Continuous:
    """Any float in [low, high]: an axis without a count, for random and optuna alone."""

    low: float
    high: float
    n: int = 0

    def spread(self, uniform: NDArray[np.float64]) -> Array:
        """Return the values of uniform numbers in [0, 1)."""
        return np.clip(self.low + (self.high - self.low) * uniform, self.low, self.high)

    @property
    def text(self) -> str:
        """The range as text."""
        return f"any in [{self.low!r}, {self.high!r}]"


Axis = Listed | Stepped | Continuous


@dataclass(frozen=True, eq=False)
class Grid:
    """The axes of a sweep by parameter, in the order of the grid; every value is checked."""

    axes: Mapping[str, Axis]

    @cached_property
    def size(self) -> int:
        """The number of combinations; 0 with a continuous axis, which cannot be counted."""
        return math.prod(axis.n for axis in self.axes.values())

    def at(self, places: Places) -> dict[str, Array]:
        """Return the combinations at ``places`` (int64, 0 is the first), one column a parameter.

        Needs ``size`` > 0.
        """
        rest = places
        columns = {}
        for name, axis in reversed(list(self.axes.items())):
            assert not isinstance(axis, Continuous)
            rest, place = np.divmod(rest, axis.n)
            columns[name] = axis.take(place)
        return {name: columns[name] for name in self.axes}

    def check_size(self) -> None:
        """Raise ``GridTooLarge`` when the combinations are too many to go through one by one."""
        if self.size > COMBINATIONS_MAX:
            counts = {name: axis.n for name, axis in self.axes.items() if axis.n > 1}
            raise GridTooLarge(self.size, counts, COMBINATIONS_MAX)


def grid_of(strategy_cls: type[Strategy], grid: Mapping[str, Any], *, ranges: bool) -> Grid:
    """Return the grid that ``grid`` describes, its values checked by the strategy's parameters.

    ``ranges``: pairs and ``mqd.param(...)`` are ranges (random and optuna). Raises
    ``EmptyGrid``, ``UnknownParameter``, ``ParameterOutOfRange`` (naming the value) and
    ``UsageError``.
    """
    kind: object = strategy_cls
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise UsageError(
            f"sweep takes a strategy class, not {strategy_cls!r}: write SmaCross, not SmaCross()."
        )
    shape: object = grid
    if not isinstance(shape, Mapping):
        raise UsageError(
            f"grid is {type(grid).__name__}, not a mapping: write {{'fast': range(5, 61)}}."
        )
    if not grid:
        raise EmptyGrid("the grid names no parameter; write {'fast': range(5, 61)}")
    known = strategy_cls.declared()
    axes = {}
    for name, values in grid.items():
        if name not in known:
            raise UnknownParameter(strategy_cls.__name__, name, known)
        axes[name] = _Reader(strategy_cls.__name__, known[name], ranges).axis(values)
    return Grid(axes)


class _Reader:
    """Reads what a grid says of one parameter."""

    def __init__(self, strategy: str, declared: Declared, ranges: bool) -> None:
        self._strategy, self._declared, self._ranges = strategy, declared, ranges
        self._what = f"{strategy}: grid of {declared.name}"

    def axis(self, values: Any) -> Axis:
        if isinstance(values, Param):
            return self._from_param(values)
        if self._is_pair(values):
            return self._span(values[0], values[1])
        if isinstance(values, range) and self._declared.choices is None:
            return self._stepped(values)
        return self._listed(values)

    def _is_pair(self, values: Any) -> bool:
        numeric = self._declared.kind in (int, float)
        pair = isinstance(values, tuple) and len(values) == 2 and numeric
        if pair and not self._ranges:
            raise UsageError(
                f"{self._what}: {values!r} is a range for search='random' and 'optuna'. Two"
                f" values are written [{values[0]!r}, {values[1]!r}]; all from one to the other"
                f" range({values[0]!r}, {values[1]!r} + 1)."
            )
        return pair

    def _from_param(self, given: Param) -> Axis:
        if given.choices is not None:
            return self._listed(list(given.choices))
        if given.low is None or given.high is None:
            raise UsageError(f"{self._what}: mqd.param(...) needs low and high, or choices.")
        if not self._ranges:
            raise UsageError(
                f"{self._what}: mqd.param(...) is a range for search='random' and 'optuna'; list"
                " the values of a grid."
            )
        return self._span(given.low, given.high)

    def _span(self, low: Any, high: Any) -> Axis:
        low, high = self._check(low), self._check(high)
        if low > high:
            raise UsageError(f"{self._what}: ({low!r}, {high!r}) is upside down.")
        if self._declared.choices is not None:
            return self._listed([v for v in self._declared.choices if low <= v <= high])
        if low == high:
            return self._listed([low])
        if self._declared.kind is int:
            return Stepped(low, 1, high - low + 1)
        return Continuous(low, high)

    def _stepped(self, values: range) -> Axis:
        if not values:
            raise EmptyGrid(f"{self._declared.name} has no values ({values!r} is empty)")
        self._check(values[0])
        self._check(values[-1])
        if self._declared.kind in (int, float):
            return Stepped(values[0], values.step, _length(values), DTYPES[self._declared.kind])
        return self._listed(list(values))

    def _listed(self, values: Any) -> Listed:
        single = isinstance(values, str | bytes) or not hasattr(values, "__iter__")
        listed = [values] if single else self._values(values)
        if not listed:
            raise EmptyGrid(f"{self._declared.name} has no values")
        checked = [self._check(value) for value in listed]
        if len(set(checked)) < len(checked):
            twice = Counter(checked).most_common(1)[0][0]
            raise UsageError(f"{self._what}: the value {twice!r} is listed twice.")
        return Listed(np.array(checked, dtype=DTYPES.get(self._declared.kind)))

    def _values(self, values: Any) -> list[Any]:
        unordered = isinstance(values, Mapping | set | frozenset)
        if unordered or not isinstance(values, Collection) or np.ndim(cast(Any, values)) > 1:
            raise UsageError(
                f"{self._what}: {type(values).__name__} is no list of values. Write a range, a"
                " list, a flat array, or one value."
            )
        return list(values)

    def _check(self, value: Any) -> Any:
        return self._declared.check(self._strategy, value)


def _length(values: range) -> int:
    """Return ``len(values)``, also where it exceeds what ``len`` may return."""
    return (values[-1] - values[0]) // values.step + 1
