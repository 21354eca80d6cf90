"""``@mqd.feature``: functions whose results are computed once a sweep, and the memo behind it.

A marked function is pure: its result follows from its arguments alone. Outside of a memo it is
just called. Inside ``memo()`` a call is recognised by the function's code, its plain arguments
and the identity of its columns (the columns of bars, and results of other marked functions), and
its result is kept, read-only, while it fits the budget. All of ``mqd.indicators`` is marked.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import NoneType
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np

from mqd.core.bar import SymbolBars

P = ParamSpec("P")
R = TypeVar("R")

ENTRY_BYTES = 600
"""What an entry takes beside its numbers: keys, objects, and the places that they are found by."""

_PLAIN = frozenset({int, bool, str, bytes, NoneType, np.int64, np.int32, np.bool_})
_FLOATS = frozenset({float, np.float64, np.float32})


class Marked:
    """A marked function; ``fields`` names the parts of a tuple result, () for one array.

    ``fresh``: no part of a result is shared with anything but the memo itself, so that none is
    copied before it is made read-only.
    """

    __slots__ = ("fields", "fresh", "function", "is_global")

    def __init__(self, function: Callable[..., Any], fields: tuple[str, ...], fresh: bool) -> None:
        self.function, self.fields, self.fresh = function, fields, fresh
        name = getattr(function, "__qualname__", "")
        self.is_global = "<locals>" not in name or not hasattr(function, "__code__")


class Calls(Protocol):
    """What takes the calls of marked functions while it is in force."""

    def call(self, marked: Marked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``marked.function(*args, **kwargs)`` returns, or what stands for it."""


_IN_FORCE: ContextVar[Calls | None] = ContextVar("mqd_feature_calls", default=None)


@contextmanager
def within(calls: Calls | None) -> Iterator[None]:
    """Give the calls of marked functions to ``calls`` (None: just call) in this thread."""
    token = _IN_FORCE.set(calls)
    try:
        yield
    finally:
        _IN_FORCE.reset(token)


def mark(
    fields: tuple[str, ...] = (), *, fresh: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return the decorator of ``Marked`` functions; name, docstring and signature stay."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        marked = Marked(function, fields, fresh)

        @wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            calls = _IN_FORCE.get()
            if calls is None:
                return function(*args, **kwargs)
            result: R = calls.call(marked, args, kwargs)
            return result

        return called

    return decorate


def feature(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a plain function (arrays and numbers in, one float64 array out) as reusable.

    Strategies and models call it like any other. In a sweep each distinct call is computed once
    and its result, read-only, serves every combination. The function must depend on its
    arguments alone, and must not write to them. A call is computed each time where an argument
    cannot be recognised: an array that is neither a column of bars, nor read-only, nor the
    result of a marked function; a list, a frame, an object.
    """
    return mark()(function)


class Memo:
    """Results of marked functions, the least recently used out when over ``budget_bytes``.

    For one thread. ``hits`` and ``misses`` count the recognised calls; ``bytes`` is what the
    kept results take. An evicted array stays valid for whoever still holds it.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = self.hits = self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._known: dict[int, tuple[weakref.ref[Any], Hashable]] = {}
        self._bars: dict[int, SymbolBars] = {}
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def know(self, bars: SymbolBars) -> None:
        """Take the columns of ``bars`` as arguments that stay as they are."""
        self._bars[id(bars)] = bars
        for column in _columns(bars):
            if not self.knows(column):
                self._introduce(column, self._token())

    def knows(self, array: object) -> bool:
        """Return whether ``array`` is a known column or a result of the memo."""
        found = self._known.get(id(array))
        return found is not None and found[0]() is array

    def call(self, marked: Marked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the kept result of the call, else compute it and keep it."""
        key = self._key(marked, args, kwargs)
        if key is None:
            return marked.function(*args, **kwargs)
        entry = self._entries.get(key)
        if entry is not None:
            self.hits += 1
            self._entries.move_to_end(key)
            return entry[0]
        result = marked.function(*args, **kwargs)
        self.misses += 1
        kept, n_bytes = self._owned(key, result, marked.fresh)
        if n_bytes:
            self.put(key, kept, n_bytes)
        return kept

    def get(self, key: Hashable) -> Any:
        """Return what was put under ``key``, None when it is gone."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: Any, n_bytes: int) -> None:
        """Keep ``value``, then let go of the least recently used until the budget holds."""
        if key in self._entries:
            self.bytes -= self._entries.pop(key)[1]
        self._entries[key] = (value, n_bytes + ENTRY_BYTES)
        self.bytes += n_bytes + ENTRY_BYTES
        self.shrink(self.budget_bytes)

    def shrink(self, budget_bytes: int) -> None:
        """Set the budget and let go of what is over it."""
        self.budget_bytes = budget_bytes
        while self.bytes > budget_bytes and self._entries:
            self.bytes -= self._entries.popitem(last=False)[1][1]

    def _key(
        self, marked: Marked, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Hashable | None:
        called = marked if marked.is_global else self._local(marked)
        parts = self._parts(args)
        if parts is None or not kwargs:
            return None if parts is None else (called, parts)
        named = self._parts(tuple(kwargs.values()))
        return None if named is None else (called, parts, tuple(kwargs), named)

    def _local(self, marked: Marked) -> Hashable:
        """Return the code and what it closes over, equal for each time that a `def` is run."""
        function: Any = marked.function
        try:
            cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        except ValueError:
            return marked
        more = self._parts(tuple((function.__kwdefaults__ or {}).items()))
        closed, given = self._parts(cells), self._parts(function.__defaults__ or ())
        if closed is None or given is None or more is None:
            return marked
        return (function.__code__, id(function.__globals__), closed, given, more)

    def _parts(self, values: tuple[Any, ...]) -> Hashable | None:
        parts = []
        for value in values:
            part = self._part(value)
            if part is None:
                return None
            parts.append(part)
        return tuple(parts)

    def _part(self, value: Any) -> Hashable | None:
        """Return what recognises an argument: equal only where the function cannot differ."""
        kind = type(value)
        if kind is np.ndarray:
            return self._column(value)
        if kind in _PLAIN:
            return (kind, value)
        if kind in _FLOATS:
            return (kind, value or repr(value))
        if kind is SymbolBars:
            return self._bars_part(value)
        if issubclass(kind, tuple):
            parts = self._parts(value)
            return None if parts is None else (kind, parts)
        return None

    def _column(self, array: Any) -> Hashable | None:
        found = self._known.get(id(array))
        if found is not None and found[0]() is array:
            return found[1]
        return self._introduce(array, self._token()) if _locked(array) else None

    def _bars_part(self, bars: SymbolBars) -> Hashable | None:
        if id(bars) not in self._bars:
            if not all(_locked(column) for column in _columns(bars)):
                return None
            self.know(bars)
        return ("bars", id(bars))

    def _token(self) -> Hashable:
        self._tokens += 1
        return ("column", self._tokens)

    def _introduce(self, array: Any, key: Hashable) -> Hashable:
        place, known = id(array), self._known

        def forget(gone: weakref.ref[Any]) -> None:
            if (found := known.get(place)) is not None and found[0] is gone:
                del known[place]

        known[place] = (weakref.ref(array, forget), key)
        return key

    def _owned(self, key: Hashable, result: Any, fresh: bool) -> tuple[Any, int]:
        """Return the result as the memo's own and its bytes; 0 bytes: it is not to be kept."""
        kind = type(result)
        if kind is np.ndarray and result.dtype.kind in "fiub":
            return self._own(key, result, fresh), result.nbytes
        if kind in _PLAIN or kind in _FLOATS:
            return result, 1
        is_tuple = issubclass(kind, tuple) and all(
            type(part) is np.ndarray and part.dtype.kind in "fiub" for part in result
        )
        if not is_tuple:
            return result, 0
        parts = [self._own((key, place), part, fresh) for place, part in enumerate(result)]
        made = kind(*parts) if hasattr(kind, "_fields") else kind(parts)
        return made, 1 + sum(part.nbytes for part in parts)

    def _own(self, key: Hashable, array: Any, fresh: bool) -> Any:
        if self.knows(array):
            return array
        own = array if fresh else array.copy()
        own.setflags(write=False)
        self._introduce(own, key)
        return own


@contextmanager
def memo(*bars: SymbolBars, budget_bytes: int = 256_000_000) -> Iterator[Memo]:
    """Keep the results of marked functions of this thread until the block ends.

    ``bars``: symbols whose columns will not change while it lasts. Columns that nobody can write
    to (those of loaded bars) are recognised without being named.
    """
    made = Memo(budget_bytes)
    for symbol in bars:
        made.know(symbol)
    with within(made):
        yield made


def _columns(bars: SymbolBars) -> list[Any]:
    values = (getattr(bars, field.name) for field in dataclasses.fields(bars))
    return [value for value in values if isinstance(value, np.ndarray)]


def _locked(array: Any) -> bool:
    """Return whether neither the array nor what it is a view of can be written to."""
    while type(array) is np.ndarray:
        if array.flags.writeable:
            return False
        if array.base is None:
            return True
        array = array.base
    return False
