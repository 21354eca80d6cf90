"""Parameters of a strategy: declared as annotated class attributes, checked when an instance is
made."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from mqd.errors import ParameterOutOfRange, StrategyError

T = TypeVar("T")

ParameterValue = int | float | bool | str
KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_ARTICLE = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}
_TRUE = frozenset({"true", "yes", "1", "on"})
_FALSE = frozenset({"false", "no", "0", "off"})


@dataclass(frozen=True, slots=True)
class Param:
    """What ``param`` leaves in the class body until the class is built."""

    default: ParameterValue
    low: float | None = None
    high: float | None = None
    choices: tuple[ParameterValue, ...] | None = None


def param(
    default: T,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[T] | None = None,
) -> T:
    """Declare a parameter: its default, inclusive bounds, or the values it may take.

    ``fast: int = mqd.param(20, low=2, high=100)``. The annotation gives the type (int, float,
    bool or str); without one the default does. Values outside raise ``ParameterOutOfRange``
    when an instance is made.
    """
    chosen = None if choices is None else tuple(choices)
    return cast(T, Param(cast(ParameterValue, default), low, high, cast(Any, chosen)))


@dataclass(frozen=True, slots=True)
class Declared:
    """One parameter of a class: ``kind`` is int, float, bool or str; bounds are inclusive.

    ``required`` marks an annotation without a default; ``default`` is then meaningless.
    """

    name: str
    kind: type
    default: ParameterValue
    low: float | None = None
    high: float | None = None
    choices: tuple[ParameterValue, ...] | None = None
    required: bool = False

    def wanted(self) -> str:
        """Say what a value must be: ``a whole number in [2, 100]``."""
        if self.choices is not None:
            return f"one of {', '.join(map(repr, self.choices))}"
        text = _ARTICLE[self.kind]
        if self.low is not None and self.high is not None:
            return f"{text} in [{self.low:g}, {self.high:g}]"
        if self.low is not None:
            return f"{text} of at least {self.low:g}"
        return text if self.high is None else f"{text} of at most {self.high:g}"

    def check(self, strategy: str, value: object) -> ParameterValue:
        """Return ``value`` as this parameter's type, or raise ``ParameterOutOfRange``."""
        plain = _as_kind(self.kind, value)
        if plain is None or not self._inside(plain):
            raise ParameterOutOfRange(strategy, self.name, value, self.wanted())
        return plain

    def parse(self, strategy: str, text: str) -> ParameterValue:
        """Return the value that ``text`` (from a command line) spells."""
        value = _from_text(self.kind, text.strip())
        if value is None:
            raise ParameterOutOfRange(strategy, self.name, text, self.wanted())
        return self.check(strategy, value)

    def _inside(self, value: ParameterValue) -> bool:
        if self.choices is not None and value not in self.choices:
            return False
        if isinstance(value, str):
            return True
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def _as_kind(kind: type, value: object) -> ParameterValue | None:
    if kind is str:
        return str(value) if isinstance(value, str) else None
    if isinstance(value, bool | np.bool_):
        return bool(value) if kind is bool else None
    if kind is int:
        return int(value) if isinstance(value, numbers.Integral) else None
    if kind is float and isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def _from_text(kind: type, text: str) -> ParameterValue | None:
    if kind is bool:
        lower = text.lower()
        return True if lower in _TRUE else False if lower in _FALSE else None
    try:
        return cast(ParameterValue, kind(text))
    except ValueError:
        return None


def kind_of(strategy: str, name: str, annotation: object, default: object) -> type | None:
    """Return a parameter's type from its annotation, else its default; None for a ClassVar."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "?")
    if "ClassVar" in str(annotation):
        return None
    if annotation is None:
        text = type(default).__name__
    if text not in KINDS:
        raise StrategyError(
            f"{strategy}.{name} is annotated {annotation!r}: a parameter is int, float, bool or"
            " str. Leave the annotation out if it is a constant."
        )
    return KINDS[text]


def declare(
    strategy: str, name: str, annotation: object, value: object, required: bool
) -> Declared | None:
    """Build one ``Declared`` from a class attribute; None when it is no parameter (ClassVar)."""
    given = value if isinstance(value, Param) else None
    default = given.default if given else value
    kind = kind_of(strategy, name, annotation, default)
    if kind is None:
        return None
    if required:
        return Declared(name, kind, kind(), required=True)
    bounds = given or Param(cast(ParameterValue, default))
    made = Declared(
        name, kind, cast(ParameterValue, default), bounds.low, bounds.high, bounds.choices
    )
    return Declared(
        name, kind, made.check(strategy, default), bounds.low, bounds.high, bounds.choices
    )
