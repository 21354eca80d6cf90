"""What features are made of: small graphs that give the same bits in batch and bar by bar.

A node is a series over a symbol's bars. ``Field`` is a column of the bars, ``Lag`` an earlier
value, ``Apply`` one arithmetic step, ``Talib`` a function of TA-Lib and ``SessionSum`` a sum since
the session's open. Each is defined once and evaluated in two ways: over whole columns
(``evaluate``), or for the newest bar alone (``Online``). Equality to the bit holds because both
ways do the same float operations in the same order, from the same first bar: TA-Lib's stream
handles give its batch values, and all else is one IEEE operation a bar.

NaN at the start of a series is warm-up. TA-Lib would spread a later one over all that follows, so
``Talib`` refuses it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mqd.core.bar import BarRow, Floats
from mqd.ml.errors import BadFeature

FIELDS: Final = (
    "open", "high", "low", "close", "volume", "minutes_from_open", "minutes_to_close", "session",
)  # fmt: skip
NAN: Final = float("nan")

Update = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Node:
    """A series over bars. Arithmetic between nodes and numbers makes nodes."""

    def __add__(self, other: Node | float) -> Node:
        return Apply("+", (self, as_node(other)))

    def __sub__(self, other: Node | float) -> Node:
        return Apply("-", (self, as_node(other)))

    def __mul__(self, other: Node | float) -> Node:
        return Apply("*", (self, as_node(other)))

    def __truediv__(self, other: Node | float) -> Node:
        return Apply("/", (self, as_node(other)))


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A column of the bars."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """One number at every bar."""

    value: float


@dataclass(frozen=True, slots=True)
class Lag(Node):
    """The value ``n`` bars earlier; NaN for the first ``n``."""

    of: Node
    n: int


@dataclass(frozen=True, slots=True)
class Apply(Node):
    """One operation of ``OPERATIONS`` on the values of each bar."""

    operation: str
    of: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Talib(Node):
    """Output number ``output`` of a function of TA-Lib."""

    function: str
    of: tuple[Node, ...]
    parameters: tuple[float, ...] = ()
    output: int = 0


@dataclass(frozen=True, slots=True)
class SessionSum(Node):
    """The sum since the session's first bar, this one included."""

    of: Node


def as_node(value: Node | float) -> Node:
    """Return a node, a number as a constant one."""
    return value if isinstance(value, Node) else Constant(float(value))


def _divide(a: Any, b: Any) -> Any:
    """Return a / b, NaN where b is 0."""
    if isinstance(b, float):
        return a / b if b != 0.0 else NAN
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=b != 0.0)


def _log(a: Any) -> Any:
    """Return the natural logarithm, NaN where ``a`` is not above 0."""
    if isinstance(a, float):
        return float(np.log(a)) if a > 0.0 else NAN
    return np.log(a, out=np.full(np.shape(a), np.nan), where=a > 0.0)


def _sqrt(a: Any) -> Any:
    """Return the root, NaN below 0."""
    if isinstance(a, float):
        return math.sqrt(a) if a >= 0.0 else NAN
    return np.sqrt(a, out=np.full(np.shape(a), np.nan), where=a >= 0.0)


def _clip_at_0(a: Any) -> Any:
    """Return ``a``, 0 where it is below; NaN stays."""
    if isinstance(a, float):
        return max(a, 0.0)
    return np.where(a < 0.0, 0.0, a)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "log": _log,
    "sqrt": _sqrt,
    "sin": lambda a: float(np.sin(a)) if isinstance(a, float) else np.sin(a),
    "cos": lambda a: float(np.cos(a)) if isinstance(a, float) else np.cos(a),
    "abs": abs,
    "at_least_0": _clip_at_0,
    "floor": lambda a: float(np.floor(a)) if isinstance(a, float) else np.floor(a),
}
"""Elementwise operations; each takes columns, or floats, and does the same to both."""


# --- over whole columns --------------------------------------------------------------------------


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

        inputs = [np.ascontiguousarray(self(one), dtype=np.float64) for one in node.of]
        start = max(first_number(node.function, values) for values in inputs)
        if self._n - start < 2:
            n_outputs = len(getattr(talib.abstract, node.function).output_names)
            return (np.full(self._n, np.nan),) * n_outputs
        found = getattr(talib, node.function)(
            *(values[start:] for values in inputs), *node.parameters
        )
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(np.concatenate((np.full(start, np.nan), values)) for values in outputs)


def first_number(function: str, values: Floats) -> int:
    """Return the row of the first number; refuse a NaN or infinity after it."""
    known = np.isfinite(values)
    start = int(np.argmax(known)) if known.any() else len(values)
    if not known[start:].all():
        row = start + int(np.argmin(known[start:]))
        raise BadFeature(
            f"{function}: its input holds {values[row]} at row {row}. One such value spoils all"
            " later ones: take a feature whose parts are always numbers."
        )
    return start


def session_sums(values: Floats, session: Floats) -> Floats:
    """Return sums since each session's first row."""
    sums = values.copy()
    starts = np.flatnonzero(np.diff(session, prepend=session[:1] - 1))
    for start, end in zip(starts, np.append(starts[1:], len(values)), strict=True):
        if end - start > 1:
            np.cumsum(values[start:end], out=sums[start:end])
    return sums


# --- bar by bar ----------------------------------------------------------------------------------


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


def inputs_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node reads."""
    match node:
        case Lag(of, _) | SessionSum(of):
            return (of,)
        case Apply(_, of) | Talib(_, of):
            return of
        case _:
            return ()


def _lagged(values: list[float], source: int, n: int) -> Update:
    past: deque[float] = deque([NAN] * n, maxlen=n)

    def update() -> float:
        value = past[0]
        past.append(values[source])
        return value

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
