"""``features`` run again and again: once for each distinct set of the parameters that it reads."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from mqd.core.bar import Floats, SymbolBars
from mqd.features import Memo, within
from mqd.strategy.feature_columns import check_feature_name, checked_column, compute_features
from mqd.strategy.parameters import ParameterValue
from mqd.strategy.strategy import Strategy

Path = tuple[tuple[str, Hashable], ...]
"""The parameters that a run read, in that order, with their values."""

Columns = tuple[tuple[str, ...], tuple[Floats, ...]]
"""Names and columns of one run."""

PATHS_MAX = 200_000
"""Runs that are remembered; their order of reading is forgotten beyond it."""


class RunsDiffer(Exception):
    """A watched run is not what a plain run is; the text says how."""


class Reads:
    """What runs have read: the first parameter is always the same, the next follows from it."""

    def __init__(self, swept: tuple[str, ...]) -> None:
        self._swept = swept
        self._next: dict[Path, str | None] = {}
        self._sets: set[frozenset[str]] = set()
        self.names: tuple[str, ...] = ()

    @property
    def names_at_most(self) -> tuple[str, ...]:
        """Parameters that a run may read: all of them once two runs have read different sets."""
        return self.names if len(self._sets) <= 1 else self._swept

    def path(self, values: Mapping[str, ParameterValue]) -> Path | None:
        """Return what a run with ``values`` reads, None while no run has shown it."""
        path: Path = ()
        while path in self._next:
            name = self._next[path]
            if name is None:
                return path
            path = (*path, (name, _key(values[name])))
        return None

    def note(self, read: tuple[str, ...], values: Mapping[str, ParameterValue]) -> Path:
        """Take in a run that read the parameters ``read``, in this order; return its path."""
        if len(self._next) > PATHS_MAX:
            self._next.clear()
        path: Path = ()
        for name in read:
            self._next[path] = name
            path = (*path, (name, _key(values[name])))
        self._next[path] = None
        self._sets.add(frozenset(read))
        self.names = tuple(dict.fromkeys((*self.names, *read)))
        return path


def _key(value: ParameterValue) -> Hashable:
    return repr(value) if value == 0 else value  # the zeros of floats differ


class Runner:
    """Runs ``features`` of one strategy on one symbol's bars and keeps what fits the memo."""

    def __init__(
        self,
        strategy_cls: type[Strategy],
        bars: SymbolBars,
        swept: tuple[str, ...],
        fixed: Mapping[str, ParameterValue],
        memo: Memo,
    ) -> None:
        self._cls, self._bars, self._swept = strategy_cls, bars, swept
        self._fixed, self._memo = dict(fixed), memo
        self._noted: dict[str, None] = {}
        self._watched: type[Strategy] | None = None
        self._template: dict[str, Any] = {}
        self._is_plain = False
        self.reads = Reads(swept)

    def be_plain(self) -> None:
        """From now on run what a backtest would run: nothing is watched, nothing shared."""
        self._is_plain = True
        self._memo.shrink(0)
        self.reads = Reads(self._swept)

    def columns(self, values: Mapping[str, ParameterValue]) -> tuple[Path, Columns]:
        """Return what ``features`` reads and returns for ``values`` of the swept parameters.

        Raises what ``compute_features`` raises, and ``RunsDiffer`` when only a plain run works.
        """
        path = self.reads.path(values)
        kept = None if path is None else self._memo.get(path)
        if path is not None and kept is not None:
            return path, kept
        found, read = self._plain(values) if self._is_plain else self._watch(values)
        path = self.reads.note(read, values)
        self._memo.put(path, found, sum(column.nbytes for column in found[1]))
        return path, found

    def _plain(self, values: Mapping[str, ParameterValue]) -> tuple[Columns, tuple[str, ...]]:
        made = compute_features(self._cls(**self._fixed, **values), self._bars)
        return (made.names, made.columns), self._swept

    def _watch(self, values: Mapping[str, ParameterValue]) -> tuple[Columns, tuple[str, ...]]:
        try:
            strategy = self._instance(values)
            self._noted.clear()
            with within(self._memo):
                returned = strategy.features(self._bars)
            read = tuple(self._noted)
            names = tuple(returned)
            for name in names:
                check_feature_name(self._cls.__name__, self._bars.symbol, name)
            columns = tuple(self.column(name, returned[name]) for name in names)
        except Exception as error:
            self._plain(values)
            raise RunsDiffer(f"{type(error).__name__}: {error}") from error
        return (names, columns), read

    def _instance(self, values: Mapping[str, ParameterValue]) -> Strategy:
        """Return a watched instance; a copy of the first, whose values were checked one by one."""
        if self._watched is None:
            self._watched = _watched(self._cls, self._swept, self._noted)
            first = self._watched(**self._fixed, **values)
            self._template = dict(vars(first))
            return first
        strategy = self._watched.__new__(self._watched)
        for name, value in (self._template | dict(values)).items():
            object.__setattr__(strategy, name, value)
        return strategy

    def column(self, name: str, value: Any) -> Floats:
        """Return a feature's column: the memo's own array, or a checked copy."""
        if self._memo.knows(value) and value.dtype == np.float64 and value.flags.c_contiguous:
            own: Floats = value
            if own.shape == (len(self._bars),) and not own.flags.writeable:
                return own
        return checked_column(self._cls.__name__, self._bars, name, value)


def _watched(
    strategy_cls: type[Strategy], swept: tuple[str, ...], noted: dict[str, None]
) -> type[Strategy]:
    """Return a subclass that notes each swept parameter that is read of an instance."""
    names = frozenset(swept)

    def read(self: Strategy, name: str) -> Any:
        if name in names:
            noted[name] = None
        elif name == "__dict__":
            noted.update(dict.fromkeys(swept))
        return strategy_cls.__getattribute__(self, name)

    body = {
        "__getattribute__": read,
        "__module__": strategy_cls.__module__,
        "__qualname__": strategy_cls.__qualname__,
        "__doc__": strategy_cls.__doc__,
    }
    made: type[Strategy] = types.new_class(
        strategy_cls.__name__, (strategy_cls,), {}, lambda space: space.update(body)
    )
    return made
