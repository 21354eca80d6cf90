"""What features are made of: small graphs that give the same bits in batch and bar by bar.

A node is a series over a symbol's bars. ``Field`` is a column of the bars, ``Lag`` an earlier
value, ``Apply`` one arithmetic step, ``Talib`` a function of TA-Lib and ``SessionSum`` a sum since
the session's open. Each is defined once and evaluated in two ways: over whole columns (``batch``),
or for the newest bar alone (``online``). Equality to the bit holds because both ways do the same
float operations in the same order, from the same first bar: TA-Lib's stream handles give its batch
values, and all else is one IEEE operation a bar.

NaN at the start of a series is warm-up. TA-Lib would spread a later one over all that follows, so
``Talib`` refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

FIELDS: Final = (
    "open", "high", "low", "close", "volume", "minutes_from_open", "minutes_to_close", "session",
)  # fmt: skip
NAN: Final = float("nan")


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
class First(Node):
    """The first number of a series, from there on; what is far from 0 loses fewer digits without
    it."""

    of: Node


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


def inputs_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node reads."""
    match node:
        case Lag(of, _) | SessionSum(of) | First(of):
            return (of,)
        case Apply(_, of) | Talib(_, of):
            return of
        case _:
            return ()


def fields_of(node: Node) -> set[str]:
    """Return the names of the columns that a node reads, through all that it is made of."""
    own = {node.name} if isinstance(node, Field) else set()
    if isinstance(node, SessionSum):
        own = {"session"}
    return own.union(*map(fields_of, inputs_of(node)))
