"""Nodes bar by bar: fed every bar since the anchor, with the bits of ``mqd.ml.features.batch``."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mqd.core.bar import BarRow
from mqd.ml.errors import BadFeature
from mqd.ml.features.nodes import (
    NAN,
    OPERATIONS,
    Apply,
    Constant,
    Field,
    First,
    Lag,
    Node,
    SessionSum,
    Talib,
    inputs_of,
)

Update = Callable[[], float]


class Online:
    """Evaluates nodes for the newest bar of one symbol, fed every bar since the anchor."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._place: dict[Node, int] = {}
        self._fields: list[tuple[int, str]] = []
        self._values: list[float] = []
        self._updates: list[tuple[int, Update]] = []
        self._streams: dict[tuple[Any, ...], _Stream] = {}
        self._session = -1
        self._is_new = True
        self._wanted = [self._take(node) for node in nodes]

    def update(self, row: BarRow) -> list[float]:
        """Take a bar; return the nodes' values at it."""
        values = self._values
        self._is_new, self._session = row.session != self._session, row.session
        for place, name in self._fields:
            values[place] = float(getattr(row, name))
        for place, update in self._updates:
            values[place] = update()
        return [values[place] for place in self._wanted]

    def _take(self, node: Node) -> int:
        """Return the place of a node's value; its inputs are placed before it."""
        if node in self._place:
            return self._place[node]
        inputs = [self._take(one) for one in inputs_of(node)]
        place = self._place[node] = len(self._values)
        self._values.append(node.value if isinstance(node, Constant) else NAN)
        if isinstance(node, Field):
            self._fields.append((place, node.name))
        elif not isinstance(node, Constant):
            self._updates.append((place, self._updater(node, inputs)))
        return place

    def _updater(self, node: Node, inputs: list[int]) -> Update:
        values = self._values
        match node:
            case Lag(_, n):
                return _lagged(values, inputs[0], n)
            case First():
                return _first(values, inputs[0])
            case Apply(operation, _):
                function = OPERATIONS[operation]
                if len(inputs) == 1:
                    (only,) = inputs
                    return lambda: function(values[only])
                first, second = inputs
                return lambda: function(values[first], values[second])
            case Talib():
                return self._streamed(node, inputs)
            case SessionSum():
                return self._summed(inputs[0])
            case _:
                raise AssertionError(node)

    def _streamed(self, node: Talib, inputs: list[int]) -> Update:
        key = (node.function, node.of, node.parameters)
        known, values, output = key in self._streams, self._values, node.output
        stream = self._streams.setdefault(key, _Stream(node.function, node.parameters))

        def update() -> float:
            if not known:  # else it was updated for this bar by the node that came first
                stream.update([values[place] for place in inputs])
            return stream.values[output] if stream.values else NAN

        return update

    def _summed(self, source: int) -> Update:
        total = 0.0

        def update() -> float:
            nonlocal total
            value = self._values[source]
            total = value if self._is_new else total + value
            return total

        return update


def _lagged(values: list[float], source: int, n: int) -> Update:
    past: deque[float] = deque([NAN] * n, maxlen=n)

    def update() -> float:
        value = past[0]
        past.append(values[source])
        return value

    return update


def _first(values: list[float], source: int) -> Update:
    kept = NAN

    def update() -> float:
        nonlocal kept
        if not math.isfinite(kept):
            kept = values[source] if math.isfinite(values[source]) else NAN
        return kept

    return update


class _Stream:
    """A function of TA-Lib fed bar by bar: seeded with its first bars, then a handle."""

    __slots__ = ("_early", "_function", "_handle", "_needed", "_parameters", "values")

    def __init__(self, function: str, parameters: tuple[float, ...]) -> None:
        self._function, self._parameters = function, parameters
        self._needed = max(bars_needed(function, parameters), 2)
        self._early: list[list[float]] = []
        self._handle: Any = None
        self.values: tuple[float, ...] = ()

    def update(self, inputs: list[float]) -> None:
        """Take one bar's inputs; ``values`` is empty while warming up."""
        is_number = all(map(math.isfinite, inputs))
        if not is_number and (self._handle is not None or self._early):
            raise BadFeature(
                f"{self._function}: its input holds {inputs}. One such value spoils all later"
                " ones: take a feature whose parts are always numbers."
            )
        if self._handle is not None:
            self._keep(self._handle.update(*inputs))
        elif is_number:
            self._early.append(inputs)
            if len(self._early) == self._needed:
                self._seed()

    def _seed(self) -> None:
        """Make the handle of the first bars that give a value."""
        import talib

        columns = [np.array(column) for column in zip(*self._early, strict=True)]
        self._handle = getattr(talib.stream, self._function)(*columns, *self._parameters)
        self._early = []
        self._keep(self._handle.value)

    def _keep(self, found: float | tuple[float, ...]) -> None:
        self.values = found if isinstance(found, tuple) else (found,)


def bars_needed(function: str, parameters: tuple[float, ...]) -> int:
    """Return how many bars a function of TA-Lib needs for its first value."""
    from talib import abstract

    untyped: Any = abstract
    asked = untyped.Function(function)
    asked.parameters = dict(zip(list(asked.parameters), parameters, strict=False))
    return int(asked.lookback) + 1
