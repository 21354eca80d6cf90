"""The compiled loop without a compiler: the same functions, run by Python on plain objects.

A case then costs milliseconds, and a changed function costs no compile. What numba makes of the
functions is what ``test_kernel`` compares besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from mqd.kernel import controls, program, rule
from mqd.kernel import core as core_module
from mqd.kernel.layout import ACTION, BAR, STEP
from mqd.strategy import compiled, jit


class Row:
    """One record whose fields are plain numbers."""

    def __init__(self, record: np.void) -> None:
        for name in record.dtype.names or ():
            value = record[name]
            plain = value.copy() if value.ndim else value.item() if not value.dtype.names else None
            setattr(self, name, Row(value) if plain is None else plain)

    def take(self, other: Row) -> None:
        """Copy another row's fields."""
        for name, value in vars(other).items():
            if isinstance(value, Row):
                getattr(self, name).take(value)
            else:
                setattr(self, name, value)

    def values(self) -> tuple[Any, ...]:
        """Return the fields, nested as the record's are."""
        return tuple(
            value.values() if isinstance(value, Row) else value for value in vars(self).values()
        )


class Table:
    """A structured array as a list of rows; ``flush`` writes them back."""

    def __init__(self, array: NDArray[np.void]) -> None:
        self._array, self._rows = array, [Row(record) for record in array]

    def __getitem__(self, place: int) -> Row:
        return self._rows[place]

    def __setitem__(self, place: int, row: Row) -> None:
        self._rows[place].take(row)

    def __len__(self) -> int:
        return len(self._rows)

    def flush(self) -> None:
        """Write the rows back."""
        if self._array.flags.writeable:
            for place, row in enumerate(self._rows):
                self._array[place] = row.values()


def _plain(value: Any) -> Any:
    """Return an argument of an entry as Python takes it; one that it has already, as it is."""
    if isinstance(value, np.recarray) or not isinstance(value, np.ndarray) or not value.dtype.names:
        return value
    return value.view(np.recarray) if value.dtype in (BAR, STEP, ACTION) else Table(value)


def _entry(source: str, scope: Mapping[str, object], *_: Any, **__: Any) -> Any:
    """Stand in for the compiler: the generated text as a Python function."""
    names = dict(scope)
    exec(compile(source, "<entry>", "exec"), names)

    def run(*arguments: Any) -> Any:
        taken = [_plain(value) for value in arguments]
        with np.errstate(all="ignore"):
            returned = names["entry"](*taken)
        for one, given in zip(taken, arguments, strict=True):
            if isinstance(one, Table) and one is not given:
                one.flush()
        return returned

    return run


def _bound(function: Any, bindings: Mapping[str, object] | None = None, *_: Any, **__: Any) -> Any:
    """Stand in for ``rebuild``: a function, and the kernel's that it reaches, bound anew."""
    if not isinstance(function, FunctionType) or not bindings:
        return function
    copies: dict[FunctionType, FunctionType] = {}

    def copied(one: FunctionType) -> FunctionType:
        if one not in copies:
            scope = dict(one.__globals__)
            copies[one] = FunctionType(one.__code__, scope, one.__name__, one.__defaults__)
            for name in set(one.__code__.co_names) & (scope.keys() | bindings.keys()):
                value = bindings.get(name, scope.get(name))
                ours = str(getattr(value, "__module__", "")).startswith("mqd.kernel")
                scope[name] = copied(value) if isinstance(value, FunctionType) and ours else value
        return copies[one]

    return copied(function)


def _refuse(*_: Any, **__: Any) -> None:
    raise jit.NotCompiled("A test runs the rule as plain Python.")


@contextmanager
def plain_rules() -> Iterator[None]:
    """Let the desk call rules as plain Python: an oracle that no compiler has touched."""
    with mock.patch.dict(compiled._CODES, clear=True), ExitStack() as stack:
        stack.enter_context(mock.patch("mqd.strategy.entries.jit.compile_entry", _refuse))
        yield


@contextmanager
def interpreted() -> Iterator[None]:
    """Run the compiled loop's functions by Python."""
    with ExitStack() as stack:
        for target, name, stand_in in (
            (program, "rebuild", _bound), (rule, "rebuild", _bound),
            (core_module, "rebuild", _bound), (core_module, "compile_cached", _entry),
            (program.jit, "compile_entry", _entry),
        ):  # fmt: skip
            stack.enter_context(mock.patch.object(target, name, stand_in))
        for kept in (program._KERNELS, core_module.PLAIN._made, controls._MADE):
            stack.enter_context(mock.patch.dict(kept, clear=True))
        yield
