"""Which parameters go into which feature, found by running ``features`` once.

``features`` runs on real bars with opaque stand-ins for its swept parameters. A marked function
(``mqd.indicators``, ``@mqd.feature``) that is given one returns another. Any other use of one (a
number in arithmetic, a condition, an index, a text) ends the trace: the code then depends on the
value in a way that one run does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, NamedTuple, NoReturn, Union, assert_never

import numpy as np

from mqd.core.bar import SymbolBars
from mqd.features import Marked, Memo, within
from mqd.strategy.parameters import ParameterValue
from mqd.strategy.strategy import Strategy


class Read(NamedTuple):
    """The value of a parameter."""

    name: str


class Fixed(NamedTuple):
    """A value that no swept parameter goes into."""

    value: Any


class Call(NamedTuple):
    """A call of a marked function, and the parameters that go into it."""

    marked: Marked
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...]


class Part(NamedTuple):
    """One array of a call that returns several."""

    call: Call
    place: int


Term = Union[Read, Fixed, Call, Part]  # noqa: UP007 - a name for the checker


Program = Callable[[Mapping[str, ParameterValue]], Any]


class TraceEnded(Exception):
    """A stand-in was used as a value; the text says how."""


class Trace:
    """Takes the calls of marked functions while ``features`` runs on stand-ins."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self.ended = ""

    def call(self, marked: Marked, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a stand-in for a call with stand-ins, the result of one without."""
        values = (*args, *kwargs.values())
        if not any(is_stand_in(value) for value in values):
            return self._memo.call(marked, args, kwargs)
        terms = [self._term(value) for value in values]
        names = dict.fromkeys(name for term in terms for name in names_of(term))
        named = dict(zip(kwargs, terms[len(args) :], strict=True))
        return StandIn(self, Call(marked, tuple(terms[: len(args)]), named, tuple(names)))

    def end(self, how: str) -> NoReturn:
        """Note that the trace shows nothing, even where the user's code catches the exception."""
        self.ended = self.ended or how
        raise TraceEnded(how)

    def _term(self, value: Any) -> Term:
        if is_stand_in(value):
            return term_of(value)
        return Fixed(self._unchanging(value))

    def _unchanging(self, value: Any) -> Any:
        """Return ``value`` as it is now: the call is made later, maybe after a change of it."""
        kind = type(value)
        if kind is np.ndarray:
            return value if self._memo.knows(value) else snapshot(value)
        if kind in _CONSTANTS:
            return value
        if issubclass(kind, tuple):
            parts = [self._unchanging(part) for part in value]
            return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)
        return self.end(f"{kind.__name__} given to a feature function beside a swept parameter")


_CONSTANTS = frozenset(
    {int, float, bool, str, bytes, NoneType, np.int64, np.float64, np.bool_, SymbolBars}
)


class StandIn:
    """Stands for a value that differs by combination; any look at it ends the trace."""

    __slots__ = ("_term", "_trace")

    def __init__(self, trace: Trace, term: Term) -> None:
        object.__setattr__(self, "_trace", trace)
        object.__setattr__(self, "_term", term)

    def __getattribute__(self, name: str) -> Any:
        term = term_of(self)
        if isinstance(term, Call) and name in term.marked.fields:
            place = term.marked.fields.index(name)
            return StandIn(_trace_of(self), Part(term, place))
        return _trace_of(self).end(f".{name} of {_described(term)}")

    def __getitem__(self, place: Any) -> StandIn:
        term = term_of(self)
        if type(place) is not int or not isinstance(term, Call) or not term.marked.fields:
            return _trace_of(self).end(f"an index into {_described(term)}")
        return StandIn(_trace_of(self), Part(term, range(len(term.marked.fields))[place]))

    def __iter__(self) -> Iterator[StandIn]:
        term = term_of(self)
        if not isinstance(term, Call) or not term.marked.fields:
            return _trace_of(self).end(f"a loop over {_described(term)}")
        return iter([self[place] for place in range(len(term.marked.fields))])


_LOOKS = (
    "abs add and array array_function array_prepare array_ufunc array_wrap bool bytes ceil"
    " complex contains copy deepcopy delattr delitem dir divmod enter eq exit float floor"
    " floordiv format ge gt hash iadd iand ifloordiv ilshift imatmul imod imul index int"
    " invert ior ipow irshift isub itruediv ixor le length_hint len lshift lt matmul mod mul ne"
    " neg next or pos pow radd rand rdivmod reduce reduce_ex repr reversed rfloordiv rlshift"
    " rmatmul rmod rmul ror round rpow rrshift rshift rsub rtruediv rxor setattr setitem sizeof"
    " str sub truediv trunc xor buffer array_interface array_struct fspath getstate getnewargs"
    " getnewargs_ex dlpack dlpack_device array_namespace"
)
"""Every special method by which Python, numpy or the standard library look at a value."""


def _look(name: str) -> Callable[..., Any]:
    def method(self: StandIn, *_args: Any, **_kwargs: Any) -> Any:
        return _trace_of(self).end(f"{name} of {_described(term_of(self))}")

    return method


for _name in _LOOKS.split():
    setattr(StandIn, f"__{_name}__", _look(f"__{_name}__"))


def is_stand_in(value: object) -> bool:
    """Return whether ``value`` is a stand-in, without looking at it."""
    return type(value) is StandIn


def term_of(stand_in: StandIn) -> Term:
    """Return what a stand-in stands for."""
    term: Term = object.__getattribute__(stand_in, "_term")
    return term


def _trace_of(stand_in: StandIn) -> Trace:
    trace: Trace = object.__getattribute__(stand_in, "_trace")
    return trace


def names_of(term: Term) -> tuple[str, ...]:
    """Return the parameters that a term depends on."""
    match term:
        case Read(name):
            return (name,)
        case Fixed():
            return ()
        case Call():
            return term.names
        case Part(call, _):
            return call.names
        case _:
            assert_never(term)


def _described(term: Term) -> str:
    names = " and ".join(names_of(term))
    return f"self.{names}" if isinstance(term, Read) else f"a result that depends on {names}"


def program(term: Term, memo: Memo) -> Program:
    """Return the function that computes the term from parameters, its calls through the memo."""
    match term:
        case Read(name):
            return lambda values: values[name]
        case Fixed(value):
            return lambda _: value
        case Call(marked, args, kwargs, _):
            given = [program(arg, memo) for arg in args]
            named = {name: program(arg, memo) for name, arg in kwargs.items()}
            return lambda values: memo.call(
                marked,
                tuple([one(values) for one in given]),
                {name: one(values) for name, one in named.items()},
            )
        case Part(call, place):
            whole = program(call, memo)
            return lambda values: whole(values)[place]
        case _:
            assert_never(term)


def trace(
    strategy: Strategy, swept: tuple[str, ...], bars: SymbolBars, memo: Memo
) -> dict[str, Term]:
    """Return each feature's term; raise ``TraceEnded`` when one run does not show them.

    ``strategy`` is an instance that nobody else holds: its ``swept`` parameters become stand-ins.
    """
    running = Trace(memo)
    for name in swept:
        object.__setattr__(strategy, name, StandIn(running, Read(name)))
    with within(running):
        try:
            returned = strategy.features(bars)
        except Exception as error:
            raise TraceEnded(running.ended or f"{type(error).__name__}: {error}") from error
    if running.ended:
        raise TraceEnded(running.ended)
    if type(returned) is not dict:
        raise TraceEnded(f"features returned {type(returned).__name__}")
    terms: dict[str, Term] = {}
    for name, value in returned.items():
        terms[name] = term_of(value) if is_stand_in(value) else Fixed(snapshot(value))
    return terms


def snapshot(value: Any) -> Any:
    """Return an array as it is now, which later writes do not reach; other values as they are."""
    if type(value) is not np.ndarray or value.dtype.kind not in "fiub":
        return value
    copy = value.copy()
    copy.setflags(write=False)
    return copy
