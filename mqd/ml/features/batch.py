"""Nodes over whole columns of one symbol's bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mqd.core.bar import Floats, SymbolBars
from mqd.ml.errors import BadFeature
from mqd.ml.features.nodes import (
    FIELDS,
    OPERATIONS,
    Apply,
    Constant,
    Field,
    First,
    Lag,
    Node,
    SessionSum,
    Talib,
)


def columns_of(bars: SymbolBars) -> dict[str, Floats]:
    """Return the columns that nodes read, float64."""
    return {name: np.asarray(getattr(bars, name), dtype=np.float64) for name in FIELDS}


class Batch:
    """Evaluates nodes over the columns of one symbol's bars; shared parts are computed once."""

    def __init__(self, columns: Mapping[str, Floats]) -> None:
        self._columns = columns
        self._n = len(columns["close"])
        self._known: dict[Node, Floats] = {}
        self._outputs: dict[tuple[Any, ...], tuple[Floats, ...]] = {}

    def __call__(self, node: Node) -> Floats:
        """Return the values of ``node``, float64 of the bars' length."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._value(node)
        return found

    def _value(self, node: Node) -> Floats:
        match node:
            case Field(name):
                return self._columns[name]
            case Constant(value):
                return np.full(self._n, value)
            case Lag(of, n):
                values = np.full(self._n, np.nan)
                values[n:] = self(of)[: max(self._n - n, 0)]
                return values
            case First(of):
                return firsts(self(of))
            case Apply(operation, of):
                result: Floats = OPERATIONS[operation](*(self(one) for one in of))
                return result
            case Talib():
                return self._talib(node)
            case SessionSum(of):
                return session_sums(self(of), self._columns["session"])
            case _:
                raise AssertionError(node)

    def _talib(self, node: Talib) -> Floats:
        key = (node.function, node.of, node.parameters)
        if key not in self._outputs:
            self._outputs[key] = self._call(node)
        return self._outputs[key][node.output]

    def _call(self, node: Talib) -> tuple[Floats, ...]:
        import talib
        from talib import abstract

        inputs = [np.ascontiguousarray(self(one), dtype=np.float64) for one in node.of]
        start = first_row(node.function, inputs)
        if self._n - start < 2:
            n_outputs = len(getattr(abstract, node.function).output_names)
            return (np.full(self._n, np.nan),) * n_outputs
        found = getattr(talib, node.function)(
            *(values[start:] for values in inputs), *node.parameters
        )
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(np.concatenate((np.full(start, np.nan), values)) for values in outputs)


def first_row(function: str, inputs: Sequence[Floats]) -> int:
    """Return the first row in which all inputs are numbers; refuse a NaN or infinity after it."""
    known = np.logical_and.reduce([np.isfinite(one) for one in inputs])
    start = int(np.argmax(known)) if known.any() else len(known)
    if not known[start:].all():
        row = start + int(np.argmin(known[start:]))
        raise BadFeature(
            f"{function}: its input holds {[float(one[row]) for one in inputs]} at row {row}. One"
            " such value spoils all later ones: take a feature whose parts are always numbers."
        )
    return start


def firsts(values: Floats) -> Floats:
    """Return the first number from its row on, NaN before."""
    found = np.full(len(values), np.nan)
    known = np.isfinite(values)
    if known.any():
        row = int(np.argmax(known))
        found[row:] = values[row]
    return found


def session_sums(values: Floats, session: Floats) -> Floats:
    """Return sums since each session's first row."""
    sums = values.copy()
    starts = np.flatnonzero(np.diff(session, prepend=session[:1] - 1))
    for start, end in zip(starts, np.append(starts[1:], len(values)), strict=True):
        if end - start > 1:
            np.cumsum(values[start:end], out=sums[start:end])
    return sums
