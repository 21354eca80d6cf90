"""What decides compiled code: code objects, constants and helpers, walked once for three keys.

``code_key`` shares code inside a process, ``run_fingerprint`` is logged with a run, and
``exact_text`` names machine code on disk. The last says more (argument counts, memory layouts,
fields of named tuples, values of enums), since a wrong hit there would be a wrong answer.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, EnumType
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, Final

import numpy as np

from mqd.strategy.reached import NO_BINDINGS, Proxy, attributes, is_library, reached

_PLAIN: Final = (int, float, bool, str, bytes, complex, type(None), type(Ellipsis))
_FUNCTIONS: Final = (FunctionType, BuiltinFunctionType, type(np.sum))
_LONG: Final = 256


class Unnameable(Exception):
    """A value that cannot be told from others in another process."""


def code_key(function: Any, bindings: Mapping[str, object] = NO_BINDINGS) -> Hashable:
    """Return what decides the compiled code: code objects, constants and helpers reached.

    ``function`` is a plain function or a numba dispatcher; ``bindings`` as in ``jit.rebuild``.
    """
    return _value_key(function, [], {}, bindings)


def run_fingerprint(function: FunctionType) -> str:
    """Return a sha256 of the same, equal in every process: no addresses, files or lines.

    It is logged with each run, so its text never changes.
    """
    return hashlib.sha256(_text(code_key(function)).encode()).hexdigest()


def container_text(value: object) -> str:
    """Return a text of what a container holds now."""
    return _text(_constant(value))


def exact_text(value: object, bindings: Mapping[str, object] = NO_BINDINGS) -> str:
    """Return a text that two values share only when they compile to the same machine code.

    Raises ``Unnameable`` for a value, or a function that reaches one, that has no such text:
    an object known by its identity alone, or a user's module as a whole.
    """
    if isinstance(value, ModuleType) and not is_library(value.__name__):
        raise Unnameable(f"the module {value.__name__}")
    return _exact(_value_key(value, [], {}, bindings))


def module_text(module: ModuleType) -> str:
    """Return a text of the functions and methods that a module defines, and of its constants."""
    found = []
    for name, value in sorted(vars(module).items()):
        functions = vars(value) if isinstance(value, type) else {name: value}
        for inner, function in sorted(functions.items()):
            plain = getattr(function, "__wrapped__", function)
            if isinstance(plain, FunctionType) and plain.__module__ == module.__name__:
                found.append(f"{name}.{inner}={_exact(plain.__code__)}")
            elif isinstance(plain, str | bytes | int) and not inner.startswith("__"):
                found.append(f"{name}.{inner}={plain!r}")
    return "|".join(found)


@dataclass(frozen=True, slots=True)
class _Again:
    """A function met before on the walk: its name, and which one it was."""

    name: str
    number: int


class _Same:
    """A value that is only equal to itself; holding it keeps its identity from being reused."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value


def is_dispatcher(value: object) -> bool:
    """True for a function that numba compiles when it is called."""
    return isinstance(getattr(value, "py_func", None), FunctionType) and hasattr(
        value, "targetoptions"
    )


def _key(
    function: FunctionType, seen: dict[FunctionType, int], bindings: Mapping[str, object]
) -> Hashable:
    if function in seen:
        return _Again(function.__qualname__, seen[function])
    seen[function] = len(seen)
    keywords = tuple((function.__kwdefaults__ or {}).items())
    defaults = _constant((*(function.__defaults__ or ()), *keywords))
    found = sorted(reached(function, bindings).items(), key=lambda item: item[0])
    names = [(name, _value_key(value, c, seen, bindings)) for name, (value, c) in found]
    return function.__code__, defaults, tuple(names)


def _value_key(
    value: Any,
    chains: list[tuple[str, ...]],
    seen: dict[FunctionType, int],
    bindings: Mapping[str, object],
) -> Hashable:
    if isinstance(value, FunctionType) and not is_library(value.__module__):
        return _key(value, seen, bindings)
    if is_dispatcher(value):
        return _options(value.targetoptions), _key(value.py_func, seen, NO_BINDINGS)
    if isinstance(value, ModuleType) and not is_library(value.__name__):
        inner = [
            (n, _value_key(v, rest, seen, bindings)) for n, v, rest in attributes(value, chains)
        ]
        name = value.origin if isinstance(value, Proxy) else value.__name__
        return name, tuple(sorted(inner, key=lambda item: item[0]))
    if isinstance(value, tuple) and any(callable(item) for item in value):
        return type(value), tuple(_value_key(item, [], seen, bindings) for item in value)
    return _constant(value)


def _options(said: Mapping[str, object]) -> Hashable:
    given = ((n, frozenset(v) if isinstance(v, set) else v) for n, v in sorted(said.items()))
    return tuple((n, v if isinstance(v, frozenset) else _constant(v)) for n, v in given)


def _constant(value: object) -> Hashable:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        key = str(value.dtype), value.shape, value.tobytes()
        return key if value.flags.c_contiguous else (*key, value.strides)
    if isinstance(value, tuple):
        return type(value), tuple(_constant(item) for item in value)
    if isinstance(value, int | float | str | bytes | None):
        return type(value), repr(value)
    return _Same(value)


def _contents(value: list[Any] | dict[Any, Any] | set[Any]) -> Hashable:
    """Return what is in a container now: code compiled with it knows it by identity alone."""
    if isinstance(value, dict):
        return tuple((_constant(name), _constant(item)) for name, item in value.items())
    items = map(_constant, value)
    return frozenset(items) if isinstance(value, set) else tuple(items)


def _text(key: object) -> str:
    if isinstance(key, tuple):
        return f"({','.join(map(_text, key))})"
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_text, key)))}}}"
    if isinstance(key, CodeType):
        parts = (key.co_code, key.co_consts, key.co_names, key.co_varnames, key.co_freevars)
        return f"code{_text(parts)}"
    if isinstance(key, _Again):
        return repr(key.name)
    value = key.value if isinstance(key, _Same) else key
    if isinstance(key, _Same) and isinstance(value, list | dict | set):
        return f"{type(value).__name__}{_text(_contents(value))}"
    named = isinstance(value, type) or isinstance(key, _Same)
    if named:
        owner = value if hasattr(value, "__qualname__") else type(value)
        return f"{owner.__module__}.{owner.__qualname__}"
    return repr(value)


def _exact(key: object) -> str:
    if type(key) is tuple:
        return f"({','.join(map(_exact, key))})"
    if isinstance(key, frozenset):
        return f"{{{','.join(sorted(map(_exact, key)))}}}"
    if isinstance(key, CodeType):
        return f"code{_exact(_code_parts(key))}"
    if isinstance(key, _Again):
        return f"again {key.number}"
    if isinstance(key, _Same):
        return _exact_object(key.value)
    if isinstance(key, type):
        return _exact_class(key)
    if type(key) not in _PLAIN:
        raise Unnameable(f"a {type(key).__qualname__} in a constant")
    if isinstance(key, bytes) and len(key) > _LONG:
        return f"bytes {hashlib.sha256(key).hexdigest()}"
    return f"{type(key).__name__} {key!r}"


def _code_parts(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_freevars,
        code.co_cellvars, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        code.co_flags, getattr(code, "co_exceptiontable", b""),
    )  # fmt: skip


def _exact_object(value: Any) -> str:
    if type(value) in _PLAIN:
        return _exact(value)
    if isinstance(value, type):
        return _exact_class(value)
    if isinstance(value, Enum):
        return f"member {_exact_class(type(value))} {value.name}"
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return f"scalar {value.dtype.str} {value.tobytes().hex()}"
    if isinstance(value, np.dtype) and not value.hasobject:
        return f"dtype {value!r}"
    if isinstance(value, np.ufunc):
        return f"ufunc {value.__name__}"
    if isinstance(value, ModuleType) and is_library(value.__name__):
        return f"module {_versioned(value.__name__)}"
    if isinstance(value, _FUNCTIONS) and is_library(value.__module__):
        return f"function {_versioned(value.__module__)}.{value.__qualname__}"
    if type(value).__module__.startswith("numba.core.types.scalars"):
        return f"numba {value}"
    raise Unnameable(f"an object of class {type(value).__module__}.{type(value).__qualname__}")


def _exact_class(cls: type) -> str:
    name = f"class {_versioned(cls.__module__)}.{cls.__qualname__}"
    if isinstance(cls, EnumType):
        named: Mapping[str, Any] = cls.__members__
        members = tuple((n, _constant(member.value)) for n, member in named.items())
        return f"{name} {_exact(tuple(map(_constant, cls.__mro__[1:])))} {_exact(members)}"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        fields, defaults = cls._fields, getattr(cls, "_field_defaults", {})
        return f"{name} {_exact((_constant(fields), _constant(tuple(defaults.items()))))}"
    if is_library(cls.__module__):
        return name
    raise Unnameable(f"{cls.__module__}.{cls.__qualname__}, a class of its own")


def _versioned(module: str | None) -> str:
    top = sys.modules.get((module or "").split(".")[0])
    version = getattr(top, "__version__", "")
    return f"{module} {version}" if is_library(module) and version else str(module)
