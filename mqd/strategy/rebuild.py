"""A function and the plain functions that it reaches, copied to be compiled together.

The copies' globals hold compiled copies in turn, so nothing of the user's modules changes, and a
redefined helper or constant makes another key.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any

from mqd.strategy.fingerprints import is_dispatcher
from mqd.strategy.reached import NO_BINDINGS, Proxy, attributes, is_library, reached


def rebuild(
    function: Any,
    bindings: Mapping[str, object] = NO_BINDINGS,
    suffix: str = "",
    *,
    allocates: bool = True,
    inside: bool = False,
) -> Any:
    """Return a numba dispatcher (numpy error model, no fastmath, no GIL) over a copy.

    ``function``, a plain function or a dispatcher, is copied with every plain function that it
    reaches: globals, closure variables, ``module.helper``. Where a function reached reads a
    global of its own module that ``bindings`` names, its copy reads the value given there:
    a constant (frozen, so dead branches vanish), a plain function (copied in turn, under the
    same bindings) or a dispatcher. No binding goes into a dispatcher: a user's function, whose
    names could meet those of the bindings, is handed in as one.

    ``suffix`` goes into the names of all copies, dispatchers too, and their module (that of the
    functions defined inside them too) becomes ``mqd_<suffix>``: numba's symbols are named so.

    ``allocates=False``: nothing reached makes or keeps an array, dispatchers apart, so numba
    need not count references; each call of a function that is handed arrays is then cheaper.
    ``inside=True``: called by compiled code alone. No way in from Python is made for each
    function, which takes half of the time of compiling.
    """
    options: dict[str, Any] = {} if allocates else {"_nrt": False}
    if inside:
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _Rebuilder(bindings, suffix, options).copied(function)


def rebuild_scope(scope: Mapping[str, object], suffix: str) -> dict[str, object]:
    """Return a generated function's globals with their functions rebuilt, shared ones once.

    Without a suffix dispatchers stay as they are.
    """
    rebuilder = _Rebuilder(NO_BINDINGS, suffix, {})
    return {name: rebuilder.replaced(value, []) for name, value in scope.items()}


class _Rebuilder:
    """Copies functions so that every plain function they reach is a dispatcher."""

    def __init__(
        self, bindings: Mapping[str, object], suffix: str, options: Mapping[str, Any]
    ) -> None:
        self._options = options
        self._bindings = bindings
        self._suffix = suffix
        self._functions: dict[object, Any] = {}

    def copied(self, function: Any) -> Any:
        """Return the dispatcher of a plain function's, or of a dispatcher's, copy."""
        if function in self._functions:
            return self._functions[function]
        import numba

        plain = function if isinstance(function, FunctionType) else function.py_func
        # A module that can be imported: else numba leaves calls back and forth unresolved.
        module = f"mqd_{self._suffix}" if self._suffix else __name__
        scope: dict[str, object] = {"__builtins__": builtins, "__name__": module}
        cells = tuple(CellType() for _ in plain.__closure__ or ())
        copy = FunctionType(plain.__code__, scope, plain.__name__, None, cells or None)
        copy.__defaults__ = plain.__defaults__
        copy.__kwdefaults__ = plain.__kwdefaults__
        copy.__module__ = module
        ending = f"_{self._suffix}" if self._suffix else ""
        copy.__name__ = f"{plain.__name__}{ending}"
        copy.__qualname__ = f"{plain.__qualname__}{ending}"
        if function is plain:
            dispatcher = numba.njit(error_model="numpy", nogil=True, **self._options)(copy)
        else:
            dispatcher = numba.jit(**function.targetoptions)(copy)
        self._functions[function] = dispatcher
        bindings = self._bindings if function is plain else NO_BINDINGS
        for name, (value, chains) in reached(plain, bindings).items():
            replaced = self.replaced(value, chains)
            if name in plain.__code__.co_freevars:
                cells[plain.__code__.co_freevars.index(name)].cell_contents = replaced
            else:
                scope[name] = replaced
        return dispatcher

    def replaced(self, value: Any, chains: list[tuple[str, ...]]) -> object:
        """Return what a copy reads in the place of ``value``."""
        if isinstance(value, FunctionType) and not is_library(value.__module__):
            return self.copied(value)
        if is_dispatcher(value) and self._suffix:
            return self.copied(value)
        if isinstance(value, ModuleType) and not is_library(value.__name__):
            proxy = Proxy(value)
            for attribute, inner, rest in attributes(value, chains):
                setattr(proxy, attribute, self.replaced(inner, rest))
            return proxy
        if type(value) is tuple and any(callable(item) for item in value):
            return tuple(self.replaced(item, []) for item in value)
        return value
