"""``program(strategy)``: the one meaning of ``decide`` and ``allocate``, compiled as written.

The rule's ``self``, ``now`` and ``position`` become named tuples of what it reads; the entry
takes flat scalars (about 0.3 us a call). Numba's numpy error model holds: x/0 is inf or NaN. A
rule that numba cannot compile runs as plain Python everywhere, and ``reason`` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from types import FunctionType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.core.signal import HOLD, PositionView
from mqd.errors import NotCompilable, StrategyError, did_you_mean
from mqd.strategy import fingerprints, jit
from mqd.strategy.bytecode import Use, argument_uses, check_fields, refuse_writes
from mqd.strategy.entries import Code, Shape, allocate_entry, scalar_entry, sweep_entry
from mqd.strategy.feature_columns import BAR_FIELDS
from mqd.strategy.reached import check_names
from mqd.strategy.rebuild import rebuild
from mqd.strategy.strategy import Strategy
from mqd.strategy.weights import check_weight, rule_raised

_SCALAR = (int, float, bool, str)


_CODES: dict[Hashable, Code] = {}


class Program:
    """One strategy's rule, ready to be called.

    ``fields``: the ``now`` fields to hand in, in this order (features, then bar fields; for
    ``allocate`` possibly ``tradable``). ``position_fields``: likewise for the position.
    ``compiled`` is False when plain Python runs, ``reason`` says why. ``call(now_values,
    position_values)`` takes tuples of floats in those orders (``allocate``: of contiguous
    float64 arrays over symbols, ``tradable`` bool) and, when ``has_state``, a state of
    ``new_state()`` as third argument. It returns what the rule returns, unchecked.
    """

    __slots__ = (
        "_call", "_code", "_values", "compiled", "fields", "has_state", "kind",
        "position_fields", "pure", "reads_position", "reason", "strategy",
    )  # fmt: skip

    def __init__(self, strategy: Strategy, code: Code) -> None:
        shape = code.shape
        self.strategy = strategy
        self.kind = strategy.kind
        self.fields = shape.fields
        self.position_fields = shape.position_fields
        self.reads_position = bool(shape.position_fields)
        self.has_state = bool(shape.state_names)
        self.pure = self.kind == "decide" and not self.reads_position and not self.has_state
        self.compiled = not code.reason
        self.reason = code.reason
        self._code = code
        self._values = tuple(getattr(strategy, name) for name in shape.self_names)
        self._call: Callable[..., Any] | None = None

    @property
    def call(self) -> Callable[..., Any]:
        """The rule as a function; take it once, before a loop.

        Its first use compiles the entry of one call, which a sweep alone never needs.
        """
        if self._call is None:
            if self.compiled:
                entry = scalar_entry(self._code)
                self._call = _bound(entry, self._values, self.has_state)
            else:
                self._call = _plain_call(self.strategy, self._code.shape)
        return self._call

    def sweep(
        self,
        columns: Sequence[Floats],
        ready: NDArray[np.bool_],
        symbol: str = "",
        ts_close: Ints | None = None,
    ) -> Floats:
        """Return one weight a bar, ``HOLD`` where not ``ready``, in one compiled call.

        ``columns``: contiguous float64 columns of ``fields``. Only for a pure ``decide``
        (reads neither position nor state). The bits equal those of ``call`` bar by bar. When
        the rule raises, ``StrategyRaised`` names ``symbol`` and the bar of ``ts_close``.
        """
        if not self.pure:
            raise StrategyError(
                f"{type(self.strategy).__name__} reads its position or state: its weights cannot"
                " be computed ahead of the fills."
            )
        if self.compiled:
            out = np.full(len(ready), HOLD)
            try:
                arrays = (np.ascontiguousarray(values) for values in (*columns, ready))
                self._code.entries["sweep"](*self._values, *arrays, out)
                return out
            except Exception:  # noqa: BLE001 - found and named bar by bar
                return self._one_by_one(columns, ready, symbol, ts_close)
        return self._one_by_one(columns, ready, symbol, ts_close)

    def _one_by_one(
        self,
        columns: Sequence[Floats],
        ready: NDArray[np.bool_],
        symbol: str,
        ts_close: Ints | None,
    ) -> Floats:
        out = np.full(len(ready), HOLD)
        lists = [column.tolist() for column in columns]
        for row in np.flatnonzero(ready).tolist():
            ts_ns = 0 if ts_close is None else int(ts_close[row])
            try:
                weight = self.call(tuple(values[row] for values in lists), ())
            except Exception as error:
                raise rule_raised(self.strategy, "decide", symbol, ts_ns, error) from error
            out[row] = check_weight(self.strategy, symbol, ts_ns, weight)
        return out

    def new_state(self) -> Any:
        """Return a fresh state, its floats at their declared start values."""
        if not self.has_state:
            return None
        start = type(self.strategy).state
        if self.compiled:
            state = np.zeros(1, dtype=[(name, np.float64) for name in start])
            for name, value in start.items():
                state[name] = value
            return state
        return _PlainState(type(self.strategy).__name__, start)

    def state_values(self, state: Any) -> dict[str, float]:
        """Return a state's floats by name."""
        names = type(self.strategy).state
        if self.compiled:
            return {name: float(state[name][0]) for name in names}
        return {name: getattr(state, name) for name in names}


class _PlainState:
    """The state of a rule that runs as plain Python: declared names, floats only."""

    _strategy: str

    def __init__(self, strategy: str, start: Any) -> None:
        object.__setattr__(self, "_strategy", strategy)
        for name, value in start.items():
            object.__setattr__(self, name, float(value))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__ or name == "_strategy":
            known = [key for key in self.__dict__ if key != "_strategy"]
            raise StrategyError(
                f"{self._strategy}: state.{name} is not declared.{did_you_mean(name, known)}"
            )
        object.__setattr__(self, name, float(value))


def program(strategy: Strategy, feature_names: Sequence[str] | None = None) -> Program:
    """Compile a strategy's rule, or prepare it as plain Python.

    ``feature_names``: the names that ``features`` returned, same for all symbols. Without them
    a ``now.<name>`` that is no bar field is taken for a feature, and a rule that hands ``now``
    on whole is refused. Compiled code is kept for the process and shared by all parameter
    values; the key is the code of all that the rule reaches. Raises ``StrategyError`` for an
    unknown field of ``now``, ``position`` or ``state``, and for a write on anything but state.
    """
    shape = shape_of(strategy, feature_names)
    key = (
        fingerprints.code_key(shape.rule), shape.fields, shape.position_fields, shape.self_names,
        shape.state_names, tuple(type(getattr(strategy, n)) for n in shape.self_names),
        strategy.kind,
    )  # fmt: skip
    code = _CODES.get(key)
    if code is None:
        code = _CODES[key] = _compile(strategy, shape)
    return Program(strategy, code)


def fingerprint(strategy: Strategy) -> str:
    """Return a sha256 of the code that a strategy runs, equal in every process.

    It covers features, rule, hooks, all plain functions and constants that they reach, and the
    class's own constants; not the parameters.
    """
    cls = type(strategy)
    names = sorted({"features", *cls.hooks(), *({strategy.kind} - {"event"})})
    texts = [f"{n}={fingerprints.run_fingerprint(getattr(cls, n))}" for n in names]
    constants = {n: v for base in cls.__mro__ for n, v in vars(base).items() if _is_plain(v)}
    own = sorted(n for n in constants if n not in cls.declared() and not n.startswith("__"))
    texts += [f"{n}={getattr(cls, n)!r}" for n in own]
    texts += [f"state.{n}={float(v)!r}" for n, v in sorted(cls.state.items())]
    texts += [f"{n}={fingerprints.container_text(v)}" for n, v in _containers(cls)]
    return hashlib.sha256("|".join(texts).encode()).hexdigest()


def _containers(cls: type[Strategy]) -> list[tuple[str, object]]:
    """Return the tables that a strategy's own classes hold beside its state, by name."""
    found = {
        name: value
        for base in reversed(cls.__mro__) if issubclass(base, Strategy) and base is not Strategy
        for name, value in vars(base).items()
        if isinstance(value, list | dict | set | tuple | frozenset) and not name.startswith("__")
    }  # fmt: skip
    return sorted((name, value) for name, value in found.items() if name != "state")


def refuse_texts(strategy: Strategy) -> None:
    """Raise ``NotCompilable`` for a rule that reads a text of its ``self``.

    The compiled loop hands numbers to a rule; one called by the desk may read texts.
    """
    rule = None if strategy.kind == "event" else getattr(type(strategy), strategy.kind)
    if not isinstance(rule, FunctionType):
        return
    for name in argument_uses(rule)[0].reads:
        if isinstance(getattr(strategy, name, None), str):
            raise NotCompilable(
                f"{rule.__qualname__} reads self.{name}, a text: the compiled loop hands it numbers"
                " alone. Choose by a bool or a number, read the text in features, or take"
                " engine='event'."
            )


def shape_of(strategy: Strategy, feature_names: Sequence[str] | None) -> Shape:
    """Return what a strategy's rule reads; refuse what cannot be meant (see `program`)."""
    name, kind = type(strategy).__name__, strategy.kind
    if kind == "event":
        raise StrategyError(f"{name} trades in its hooks: it has no rule to compile.")
    rule = cast(FunctionType, getattr(type(strategy), kind))
    if not isinstance(rule, FunctionType):
        raise StrategyError(f"{name}.{kind} is not a plain method: define it with def.")
    takes_state = _takes_state(strategy, rule)
    check_names(rule)
    uses = argument_uses(rule)
    code = rule.__code__
    names = code.co_varnames
    now_known = _now_known(strategy, uses[1], feature_names, names[1])
    check_fields(name, code, names[1], uses[1], now_known)
    check_fields(name, code, names[2], uses[2], PositionView._fields)
    refuse_writes(name, code, names[0], uses[0])
    if takes_state:
        state = Use({**uses[3].reads, **uses[3].writes})
        check_fields(name, code, names[3], state, type(strategy).state)
    return Shape(
        rule,
        tuple(uses[0].reads),
        _self_names(strategy, uses[0], code),
        _taken(uses[1], now_known),
        _taken(uses[2], PositionView._fields),
        tuple(type(strategy).state) if takes_state else (),
        takes_state,
    )


def _takes_state(strategy: Strategy, rule: FunctionType) -> bool:
    name, kind = type(strategy).__name__, strategy.kind
    count, declared = rule.__code__.co_argcount, bool(type(strategy).state)
    wanted = "self, now, position[, state]" if kind == "decide" else "self, now, positions"
    if rule.__code__.co_flags & 0x0C or count not in ((3, 4) if kind == "decide" else (3,)):
        raise StrategyError(f"{name}.{kind} must be written {kind}({wanted}).")
    if count == 4 and not declared:
        raise StrategyError(f"{name}.decide takes state, but none is declared: state = {{...}}.")
    if declared and count == 3:
        raise StrategyError(f"{name} declares state, but {kind} does not take it ({wanted}).")
    return count == 4


def _now_known(
    strategy: Strategy, use: Use, feature_names: Sequence[str] | None, argument: str
) -> tuple[str, ...]:
    extra = ("tradable",) if strategy.kind == "allocate" else ()
    if feature_names is not None:
        return (*feature_names, *BAR_FIELDS, *extra)
    if use.escapes:
        raise StrategyError(
            f"{type(strategy).__name__} hands {argument!r} on whole: give program() the names of"
            " the features."
        )
    builtin = (*BAR_FIELDS, *extra)
    return (*(name for name in use.reads if name not in builtin), *builtin)


def _taken(use: Use, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in known if use.escapes or name in use.reads)


def _self_names(strategy: Strategy, use: Use, code: Any) -> tuple[str, ...]:
    known = [*strategy.declared(), *vars(type(strategy))]
    for name, line in use.reads.items():
        if not hasattr(strategy, name):
            raise StrategyError(
                f"{type(strategy).__name__}: {code.co_varnames[0]}.{name} does not exist"
                f" ({code.co_filename}, line {line}).{did_you_mean(name, known)}"
            )
    reads = list(use.reads)
    if use.escapes:
        reads += [name for name in strategy.declared() if name not in use.reads]
    return tuple(name for name in reads if _is_plain(getattr(strategy, name)))


def _is_plain(value: object) -> bool:
    """True for what a compiled rule can be handed: numbers, texts and tuples of them."""
    if isinstance(value, tuple):
        return bool(value) and all(_is_plain(item) for item in value)
    return isinstance(value, _SCALAR)


def _compile(strategy: Strategy, shape: Shape) -> Code:
    methods = [name for name in shape.self_reads if name not in shape.self_names]
    if methods:
        what = f"self.{methods[0]} is no number; move a method out of the class as a plain function"
        return Code(shape, None, (), reason=f"{shape.rule.__qualname__}: {what}")
    types = tuple(jit.type_of(getattr(strategy, name)) for name in shape.self_names)
    code = Code(shape, rebuild(shape.rule), types)
    by_arrays = strategy.kind == "allocate"
    pure = not shape.position_fields and not shape.state_names
    build = allocate_entry if by_arrays else sweep_entry if pure else scalar_entry
    try:
        build(code)
    except jit.NotCompiled as error:
        code.reason = str(error)
    return code


def _bound(entry: Any, values: tuple[Any, ...], has_state: bool) -> Callable[..., Any]:
    if has_state:
        return lambda now, position, state: entry(*values, *now, *position, state)
    return lambda now, position: entry(*values, *now, *position)


def _plain_call(strategy: Strategy, shape: Shape) -> Callable[..., Any]:
    now_type = jit.tuple_type("Now", shape.fields)
    position_type = jit.tuple_type("Position", shape.position_fields)
    rule = getattr(strategy, strategy.kind)
    if strategy.kind == "allocate":

        def allocate(now: Sequence[Any], positions: Sequence[Any]) -> Any:
            with np.errstate(all="ignore"):
                return rule(now_type(*map(_locked, now)), position_type(*map(_locked, positions)))

        return allocate
    if shape.takes_state:
        return lambda now, position, state: rule(now_type(*now), position_type(*position), state)
    return lambda now, position: rule(now_type(*now), position_type(*position))


def _locked(values: Any) -> Any:
    view = values.view()
    view.setflags(write=False)
    return view
