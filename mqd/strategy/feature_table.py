"""The features of a sweep's combinations: each distinct row once, and who reads which.

Three ways, the first that holds is taken:

* ``traced``: one run of ``features`` with stand-ins shows which parameters go into which feature
  (``feature_trace``); each feature is computed once for each distinct set of these.
* ``rerun``: ``features`` runs once for each distinct set of the parameters that it was seen to
  read, with the results of ``mqd.indicators`` and ``@mqd.feature`` kept between runs.
* ``plain``: ``features`` runs for each distinct combination as it would in a backtest.

The first table of a way is compared with plain runs of some of its combinations, each parameter's
least and greatest value among them; where a bit differs, the next way is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.errors import NotCompilable, UsageError
from mqd.features import Memo, within
from mqd.strategy.feature_columns import check_feature_name, compute_features, read_only
from mqd.strategy.feature_reads import Path, Runner, RunsDiffer
from mqd.strategy.feature_rows import (
    Columns,
    Groups,
    Rows,
    combinations,
    first_finite,
    grouped,
    rows_of,
    split,
    typed_column,
)
from mqd.strategy.feature_trace import Term, TraceEnded, names_of, program, trace
from mqd.strategy.parameters import ParameterValue
from mqd.strategy.strategy import Strategy

ROWS_BYTES_MAX = 2**25
"""Matrices of a chunk: larger ones leave the processor's cache before they are read."""

Way = Literal["traced", "rerun", "plain"]
Values = dict[str, ParameterValue]
Typed = dict[str, NDArray[Any]]


class FeatureTable(NamedTuple):
    """Features of a chunk of combinations on one symbol's bars.

    ``matrices``: a feature's distinct rows, C-contiguous float64 (rows, bars). ``index``: int64
    (features, combinations), the row that a combination reads. ``first``: a feature's int64
    (rows,), the bar from which on the row is finite, the number of bars when it ends with
    another value. ``holes``: a row has a value that is not finite after one that is.
    """

    names: tuple[str, ...]
    matrices: tuple[Floats, ...]
    index: Ints  # type: ignore[assignment] # hides a tuple's method, which nobody calls
    first: tuple[Ints, ...]
    holes: bool


class _Work(NamedTuple):
    """Features that depend on the same parameters, for the combinations ``at``."""

    at: Ints | slice
    columns: Typed
    names: tuple[str, ...]
    groups: Groups
    terms: dict[str, Term]


class FeaturePlan:
    """How one strategy's features are computed for many combinations of its parameters.

    For one symbol and one thread. ``swept``: names of the parameters that differ; ``fixed``: the
    others that are not at their defaults. ``way`` is the way in use, ``reason`` why no faster one
    is.
    """

    def __init__(
        self,
        strategy_cls: type[Strategy],
        bars: SymbolBars,
        swept: Sequence[str],
        fixed: Mapping[str, ParameterValue],
    ) -> None:
        declared = strategy_cls.declared()
        self._cls, self._bars, self._fixed = strategy_cls, read_only(bars), dict(fixed)
        self._declared = {name: declared[name] for name in swept}
        self._swept = tuple(swept)
        self._told = tuple(name for name in swept if declared[name].kind in (bool, str))
        self._opaque = tuple(name for name in swept if name not in self._told)
        self._memo = Memo(0)
        self._memo.know(self._bars)
        self._runner = Runner(strategy_cls, self._bars, self._swept, self._fixed, self._memo)
        self._traces: dict[tuple[ParameterValue, ...], dict[str, Term]] = {}
        self._is_proven = False
        self._rows_max = 1
        self.way: Way = "traced"
        self.reason = ""

    @property
    def memo(self) -> Memo:
        """What is kept from table to table."""
        return self._memo

    def table(self, columns: Columns, budget_bytes: int) -> FeatureTable:
        """Return the features of the combinations in ``columns``, one array a swept parameter.

        Half of ``budget_bytes`` bounds what is kept for the next table, the other half is for
        the matrices (see ``chunks``). Raises what ``compute_features`` raises,
        ``ParameterOutOfRange``, or ``NotCompilable`` when feature names differ by combination.
        """
        self._take_budget(budget_bytes)
        typed, count = self._typed(columns)
        if self.way == "traced":
            try:
                return self._proven(self._traced(typed, count), typed, count)
            except (TraceEnded, RunsDiffer) as reason:
                self._change("rerun", str(reason))
        if self.way == "rerun":
            try:
                return self._proven(self._runs(typed, count), typed, count)
            except RunsDiffer as reason:
                self._change("plain", str(reason))
        return self._runs(typed, count)

    def chunks(self, columns: Columns, budget_bytes: int) -> Iterator[slice]:
        """Cut the combinations, in order, so that each chunk's matrices take half the budget.

        At least one combination goes in each. Where only running ``features`` shows how many
        rows there are, the parameters that runs have read so far stand for those to come.
        """
        typed, count = self._typed(columns)
        self._take_budget(budget_bytes)
        start = 0
        while start < count:
            depends = self._dependencies(typed, count) or [()]
            known = (self.way, self._runner.reads.names_at_most)
            codes = [grouped(typed, names, count).inverse for names in depends]
            count_max = max(1, budget_bytes // 2 // (24 * len(codes)))
            for part in split(codes, start, self._rows_max, count_max):
                yield part
                start = part.stop
                if (self.way, self._runner.reads.names_at_most) != known:
                    break

    def _take_budget(self, budget_bytes: int) -> None:
        self._memo.shrink(budget_bytes // 2)
        n_bytes = min(budget_bytes // 2, ROWS_BYTES_MAX)
        self._rows_max = max(1, n_bytes // max(1, 8 * len(self._bars)))

    def _change(self, way: Way, reason: str) -> None:
        self.way, self.reason, self._is_proven = way, reason, False
        if way == "plain":
            self._runner.be_plain()

    def _typed(self, columns: Columns) -> tuple[Typed, int]:
        if set(columns) != set(self._swept):
            raise UsageError(
                f"A table of features needs the columns {list(self._swept)}, not {list(columns)}."
            )
        count = len(columns[self._swept[0]]) if self._swept else 1
        if not count:
            raise UsageError("A table of features needs at least one combination.")
        name, declared = self._cls.__name__, self._declared
        return {n: typed_column(name, declared[n], columns[n]) for n in self._swept}, count

    def _dependencies(self, columns: Typed, count: int) -> list[tuple[str, ...]]:
        """Return for each feature the parameters that decide its row, as far as is known."""
        if self.way == "traced":
            try:
                return self._traced_dependencies(columns, count)
            except TraceEnded as ended:
                self._change("rerun", str(ended))
        names: tuple[str, ...] = ()
        for values in combinations(columns, self._swept, _samples(columns, count)):
            try:
                _, (names, _) = self._runner.columns(values)
            except RunsDiffer as differ:
                self._change("plain", str(differ))
                _, (names, _) = self._runner.columns(values)
        return [self._runner.reads.names_at_most] * len(names)

    def _traced_dependencies(self, columns: Typed, count: int) -> list[tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        told = grouped(columns, self._told, count)
        for values in combinations(columns, self._told, told.firsts):
            for name, term in self._terms(columns, values).items():
                depends = found.setdefault(name, dict.fromkeys(self._told))
                depends.update(dict.fromkeys(names_of(term)))
        return [tuple(names) for names in found.values()]

    def _terms(self, columns: Typed, told: Values) -> dict[str, Term]:
        """Return each feature's term where the flags and texts have the values ``told``."""
        key = tuple(told.values())
        if key not in self._traces:
            first = next(combinations(columns, self._opaque, np.zeros(1, dtype=np.int64)))
            strategy = self._cls(**self._fixed, **told, **first)
            terms = trace(strategy, self._opaque, self._bars, self._memo)
            for name in terms:
                check_feature_name(self._cls.__name__, self._bars.symbol, name)
            self._traces[key] = terms
        return self._traces[key]

    def _traced(self, columns: Typed, count: int) -> FeatureTable:
        """Return the table by way of terms; raise ``TraceEnded`` when it cannot be."""
        features, work = self._divided(columns, count)
        capacities = [
            sum(len(part.groups.firsts) for part in work if key in part.terms) for key in features
        ]
        rows = rows_of(capacities, len(self._bars))
        index = np.empty((len(features), count), dtype=np.int64)
        with within(self._memo):
            for part in work:
                self._fill(part, features, rows, index)
        return _table(features, rows, index)

    def _divided(self, columns: Typed, count: int) -> tuple[tuple[str, ...], list[_Work]]:
        """Return the features' names, and the work by the parameters that go into them."""
        told = grouped(columns, self._told, count)
        features: tuple[str, ...] | None = None
        work: list[_Work] = []
        for place, values in enumerate(combinations(columns, self._told, told.firsts)):
            terms = self._terms(columns, values)
            features = self._same_names(features, tuple(terms), values)
            many = len(told.firsts) > 1
            at = np.flatnonzero(told.inverse == place) if many else slice(0, count)
            here = {name: columns[name][at] for name in self._opaque}
            n_here = len(at) if isinstance(at, np.ndarray) else count
            for names in dict.fromkeys(names_of(term) for term in terms.values()):
                same = {key: term for key, term in terms.items() if names_of(term) == names}
                work.append(_Work(at, here, names, grouped(here, names, n_here), same))
        return features or (), work

    def _fill(self, part: _Work, features: tuple[str, ...], rows: list[Rows], index: Ints) -> None:
        """Compute the distinct rows of some features and note who reads which."""
        places = [features.index(key) for key in part.terms]
        found = np.empty((len(places), len(part.groups.firsts)), dtype=np.int64)
        steps = [
            (nth, key, program(term, self._memo), rows[places[nth]])
            for nth, (key, term) in enumerate(part.terms.items())
        ]
        given = combinations(part.columns, part.names, part.groups.firsts)
        try:
            for group, values in enumerate(given):
                for nth, key, compute, of_feature in steps:
                    column = self._runner.column(key, compute(values))
                    found[nth, group] = of_feature.add(column)
        except Exception as error:
            raise TraceEnded(f"{type(error).__name__}: {error}") from error
        for nth, place in enumerate(places):
            index[place, part.at] = found[nth][part.groups.inverse]

    def _runs(self, columns: Typed, count: int) -> FeatureTable:
        """Return the table by running ``features`` for each distinct set of what it reads.

        A run that reads a parameter that none has read before starts the grouping anew, with the
        rows found so far.
        """
        done: dict[Path, tuple[int, ...]] = {}
        features: tuple[str, ...] | None = None
        rows: list[Rows] = []
        while True:
            names = self._runner.reads.names
            groups = grouped(columns, names, count)
            room = min(len(groups.firsts), self._rows_max)
            for one in rows:
                one.reserve(room)
            found: list[tuple[int, ...]] = []
            for values in combinations(columns, self._swept, groups.firsts):
                known = self._runner.reads.path(values)
                if known is None or known not in done:
                    known, (own, arrays) = self._runner.columns(values)
                    features = self._same_names(features, own, values)
                    rows = rows or rows_of([room] * len(features), len(self._bars))
                    by_name = dict(zip(own, arrays, strict=True))
                    added = zip(rows, features, strict=True)
                    done[known] = tuple(row.add(by_name[name]) for row, name in added)
                found.append(done[known])
                if self._runner.reads.names != names:
                    break
            else:
                table = np.array(found, dtype=np.int64).reshape(len(found), len(rows))
                index = np.ascontiguousarray(table.T[:, groups.inverse])
                return _table(features or (), rows, index)

    def _same_names(
        self, features: tuple[str, ...] | None, names: tuple[str, ...], values: Values
    ) -> tuple[str, ...]:
        """Return the names of the first run; raise ``NotCompilable`` when others return others."""
        if features is None or set(features) == set(names):
            return features or names
        raise NotCompilable(
            f"{self._cls.__name__}.features returns {sorted(names)} for {values}, but"
            f" {sorted(features)} for other combinations: the compiled loop needs the same names"
            " for all of them. Return every feature always."
        )

    def _proven(self, table: FeatureTable, columns: Typed, count: int) -> FeatureTable:
        """Return the table if plain runs give its rows to the bit, else raise ``RunsDiffer``."""
        if self._is_proven:
            return table
        at = _samples(columns, count)
        for place, values in zip(at.tolist(), combinations(columns, self._swept, at), strict=True):
            plain = compute_features(self._cls(**self._fixed, **values), self._bars)
            self._same_names(table.names, plain.names, values)
            for name, column in zip(plain.names, plain.columns, strict=True):
                nth = table.names.index(name)
                row = table.matrices[nth][table.index[nth, place]]
                if column.tobytes() != row.tobytes():
                    raise RunsDiffer(f"{name} of a plain run differs for {values}")
        self._is_proven = True
        return table


def _samples(columns: Typed, count: int) -> Ints:
    """Return combinations that show what differs: the ends, one between, each extreme value."""
    drawn = int(np.random.default_rng(count).integers(count))
    extremes = [int(end) for one in columns.values() for end in (np.argmin(one), np.argmax(one))]
    return np.unique(np.array([0, drawn, count - 1, *extremes], dtype=np.int64))


def _table(features: tuple[str, ...], rows: list[Rows], index: Ints) -> FeatureTable:
    matrices = tuple(one.matrix() for one in rows)
    found = [first_finite(matrix) for matrix in matrices]
    holes = any(has_holes for _, has_holes in found)
    return FeatureTable(features, matrices, index, tuple(first for first, _ in found), holes)
