"""Numba at work: a rule and the plain functions that it reaches, rebuilt and compiled together.

Each rule gets copies of its helpers whose globals hold compiled copies in turn, so nothing of
the user's modules changes, and a redefined helper or constant makes another key.
"""

from __future__ import annotations

import builtins
import dis
import hashlib
import re
import sys
import warnings
from collections import namedtuple
from collections.abc import Hashable
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from mqd.errors import StrategyError, did_you_mean
from mqd.strategy.bytecode import place

_LIBRARIES = sys.stdlib_module_names | {"numpy", "numba", "pandas", "scipy", "talib", "sklearn"}
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_USER_FILE = re.compile(r'File "([^"]+)", line (\d+)')


class NotCompiled(Exception):
    """Numba cannot compile the rule; the text is the reason."""


def code_key(function: FunctionType) -> Hashable:
    """Return what decides the compiled code: code objects, constants and helpers reached."""
    return _key(function, set())


def fingerprint(function: FunctionType) -> str:
    """Return a sha256 of the same, equal in every process: no addresses, files or lines."""
    return hashlib.sha256(_text(code_key(function)).encode()).hexdigest()


def _text(key: object) -> str:
    if isinstance(key, tuple):
        return f"({','.join(map(_text, key))})"
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_text, key)))}}}"
    if isinstance(key, CodeType):
        parts = (key.co_code, key.co_consts, key.co_names, key.co_varnames, key.co_freevars)
        return f"code{_text(parts)}"
    value = key.value if isinstance(key, _Same) else key
    named = isinstance(value, type) or isinstance(key, _Same)
    if named:
        owner = value if hasattr(value, "__qualname__") else type(value)
        return f"{owner.__module__}.{owner.__qualname__}"
    return repr(value)


def rebuild(function: FunctionType) -> Any:
    """Return a numba dispatcher (numpy error model, no fastmath) over a copy of ``function``."""
    return _Rebuilder().function(function)


def tuple_type(name: str, fields: tuple[str, ...]) -> Any:
    """Return a named tuple class, which numba and plain Python both read by field."""
    return namedtuple(name, fields)  # noqa: PYI024


def compile_entry(
    source: str, scope: dict[str, object], signature: tuple[Any, ...], rule: FunctionType
) -> Any:
    """Compile the generated function ``entry`` for ``signature``; raise ``NotCompiled``."""
    import numba

    warned: Any = numba.core.errors.NumbaWarning
    exec(compile(source, "<mqd entry>", "exec"), scope)  # noqa: S102 - our own text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", warned)
            return numba.njit(signature, error_model="numpy")(scope["entry"])
    except Exception as error:
        raise NotCompiled(_reason(error, rule)) from error


def type_of(value: object) -> Any:
    """Return numba's type of a value."""
    import numba

    typeof: Any = numba.typeof
    return typeof(value)


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


def _reason(error: Exception, rule: FunctionType) -> str:
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
    return f"{said} ({where})"


class _Rebuilder:
    """Copies functions so that every plain function they reach is a dispatcher."""

    def __init__(self) -> None:
        self._functions: dict[FunctionType, Any] = {}
        self._modules: dict[tuple[ModuleType, frozenset[str]], ModuleType] = {}

    def function(self, function: FunctionType) -> Any:
        if function in self._functions:
            return self._functions[function]
        import numba

        scope: dict[str, object] = {"__builtins__": builtins, "__name__": function.__module__}
        cells = tuple(CellType() for _ in function.__closure__ or ())
        copy = FunctionType(function.__code__, scope, function.__name__, None, cells or None)
        copy.__defaults__ = function.__defaults__
        copy.__kwdefaults__ = function.__kwdefaults__
        copy.__module__ = function.__module__
        copy.__qualname__ = function.__qualname__
        dispatcher = numba.njit(error_model="numpy")(copy)
        self._functions[function] = dispatcher
        for name, (value, chains) in reached(function).items():
            replaced = self._value(value, chains)
            if name in function.__code__.co_freevars:
                cells[function.__code__.co_freevars.index(name)].cell_contents = replaced
            else:
                scope[name] = replaced
        return dispatcher

    def _value(self, value: object, chains: list[tuple[str, ...]]) -> object:
        if isinstance(value, FunctionType) and not _is_library(value.__module__):
            return self.function(value)
        if isinstance(value, ModuleType) and not _is_library(value.__name__):
            proxy = ModuleType(value.__name__)
            for attribute, inner, rest in _attributes(value, chains):
                setattr(proxy, attribute, self._value(inner, rest))
            return proxy
        return value


def reached(function: FunctionType) -> dict[str, tuple[object, list[tuple[str, ...]]]]:
    """Return the globals and closure variables that ``function`` names.

    Each comes with the attribute chains read from it (``("helper",)`` for ``module.helper``).
    Builtins and names that nothing defines are left out.
    """
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    found: dict[str, tuple[object, list[tuple[str, ...]]]] = {}
    for code in _codes(function.__code__):
        for name, chain, _ in _names(code, function.__code__.co_freevars):
            if name in cells:
                value = _cell_value(cells[name])
            elif name in function.__globals__:
                value = function.__globals__[name]
            else:
                continue
            found.setdefault(name, (value, []))[1].append(chain)
    return found


def check_names(function: FunctionType) -> None:
    """Raise ``StrategyError`` for a name in the function's own code that nothing defines."""
    known = {*function.__code__.co_freevars, *function.__globals__, *dir(builtins)}
    for code in _codes(function.__code__):
        for name, _, line in _names(code, function.__code__.co_freevars):
            if name not in known:
                near = did_you_mean(name, known)
                raise StrategyError(
                    f"{function.__qualname__}: name {name!r} is not defined"
                    f" ({place(code, line)}).{near if 'Did you mean' in near else ''}"
                )


def _cell_value(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the enclosing function has not set it yet
        return None


def _codes(code: CodeType) -> list[CodeType]:
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return [code, *(deeper for c in inner for deeper in _codes(c))]


def _names(code: CodeType, free_names: tuple[str, ...]) -> list[tuple[str, tuple[str, ...], int]]:
    """Return ``(name, attribute chain, line)`` of each global or free variable loaded."""
    found = []
    instructions = list(dis.get_instructions(code))
    line = code.co_firstlineno
    for at, instruction in enumerate(instructions):
        if instruction.positions and instruction.positions.lineno:
            line = instruction.positions.lineno
        free = instruction.opname in _FREE and instruction.argval in free_names
        if not free and instruction.opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
            continue
        chain = []
        for following in instructions[at + 1 :]:
            if following.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                break
            chain.append(str(following.argval))
        found.append((str(instruction.argval), tuple(chain), line))
    return found


def _is_library(module: str | None) -> bool:
    """True for modules whose functions are taken as they are; ``__main__`` is the user's."""
    top = (module or "").split(".")[0]
    return top in _LIBRARIES and top != "__main__"


def _attributes(
    module: ModuleType, chains: list[tuple[str, ...]]
) -> list[tuple[str, object, list[tuple[str, ...]]]]:
    heads = {chain[0]: [c[1:] for c in chains if c[:1] == chain[:1]] for chain in chains if chain}
    return [(n, getattr(module, n), rest) for n, rest in heads.items() if hasattr(module, n)]


def _key(function: FunctionType, seen: set[FunctionType]) -> Hashable:
    if function in seen:
        return function.__qualname__
    seen.add(function)
    keywords = tuple((function.__kwdefaults__ or {}).items())
    defaults = _constant((*(function.__defaults__ or ()), *keywords))
    names = [(n, _value_key(v, c, seen)) for n, (v, c) in sorted_items(reached(function))]
    return function.__code__, defaults, tuple(names)


def sorted_items(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the items in the order of their names."""
    return sorted(found.items(), key=lambda item: item[0])


def _value_key(value: object, chains: list[tuple[str, ...]], seen: set[FunctionType]) -> Hashable:
    if isinstance(value, FunctionType) and not _is_library(value.__module__):
        return _key(value, seen)
    if isinstance(value, ModuleType) and not _is_library(value.__name__):
        inner = [(n, _value_key(v, rest, seen)) for n, v, rest in _attributes(value, chains)]
        return value.__name__, tuple(sorted(inner, key=lambda item: item[0]))
    return _constant(value)


def _constant(value: object) -> Hashable:
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, tuple):
        return type(value), tuple(_constant(item) for item in value)
    if isinstance(value, int | float | str | bytes | None):
        return type(value), repr(value)
    return _Same(value)


class _Same:
    """A value that is only equal to itself; holding it keeps its identity from being reused."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value
