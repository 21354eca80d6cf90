"""Numba at work: the generated entry of a rule, what it returns, and why it does not compile."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections import namedtuple
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from mqd.strategy.bytecode import place
from mqd.strategy.code_cache import compile_cached

SAID_MAX = 400
_USER_FILE = re.compile(r'File "([^"]+)", line (\d+)')


class NotCompiled(Exception):
    """Numba cannot compile the rule; the text is the reason."""


def tuple_type(name: str, fields: tuple[str, ...]) -> Any:
    """Return a named tuple class, which numba and plain Python both read by field."""
    return namedtuple(name, fields)  # noqa: PYI024


def argument_type(name: str, fields: tuple[str, ...]) -> Any:
    """Return a named tuple class for an argument of a compiled function.

    It is named by its fields too: numba names a compiled function by the names of its argument
    classes, not by their fields.
    """
    digest = hashlib.sha256("|".join(fields).encode()).hexdigest()
    return tuple_type(f"{name}_{digest[:8]}", fields)


def compile_entry(
    source: str,
    scope: Mapping[str, object],
    signature: tuple[Any, ...],
    rule: FunctionType,
    returns: Callable[[Any], str],
) -> Any:
    """Return the generated function ``entry``, compiled or loaded; raise ``NotCompiled``.

    ``returns`` looks at the compiled ``scope["rule"]`` (`returns_number`, `returns_weights`).
    Only code that passed is on disk, so what is loaded has passed.
    """

    def check(compiled: Mapping[str, object]) -> None:
        wrong = returns(compiled["rule"])
        if wrong:
            raise NotCompiled(f"{rule.__qualname__}: {wrong}")

    try:
        return compile_cached(source, scope, signature, check=check)
    except NotCompiled:
        raise
    except Exception as error:
        raise NotCompiled(reason(error, rule)) from error


def type_of(value: object) -> Any:
    """Return numba's type of a value."""
    import numba

    typeof: Any = numba.typeof
    return typeof(value)


def is_number(kind: Any) -> bool:
    """Return True for numba's types of single numbers."""
    from numba import types

    return isinstance(kind, types.Number | types.Boolean)


def returns_number(dispatcher: Any) -> str:
    """Return "" when every compiled version returns a number, else what it returns."""
    from numba import types

    for version in dispatcher.overloads.values():
        kind = version.signature.return_type
        if not isinstance(kind, types.Number | types.Boolean):
            return _returned(kind)
    return ""


def returns_weights(dispatcher: Any) -> str:
    """Return "" when every compiled version returns a 1-d array of numbers, else what."""
    from numba import types

    for version in dispatcher.overloads.values():
        kind = version.signature.return_type
        if not (isinstance(kind, types.Array) and kind.ndim == 1):
            return _returned(kind)
    return ""


def _returned(kind: Any) -> str:
    from numba import types

    if isinstance(kind, types.Optional | types.NoneType):
        return "it does not return a weight on every path"
    return f"it returns {kind}, not a weight"


def reason(error: Exception, rule: FunctionType) -> str:
    """Return what numba says, and the line of the rule that it means."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    useful = [
        line for line in lines if not line.startswith(("Failed in", "- Resolution", "During"))
    ]
    where = place(rule.__code__, rule.__code__.co_firstlineno)
    for file, line in _USER_FILE.findall(text):
        if rule.__code__.co_filename.endswith(file):
            where = f"{rule.__code__.co_filename}, line {line}"
    said = re.sub(r"\x1b\[[0-9;]*m", "", useful[0]) if useful else type(error).__name__
    return f"{textwrap.shorten(said, SAID_MAX, placeholder=' …')} ({where})"
