"""Purity: features and decide compute; they keep nothing, and read nothing but their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from mqd.checks.effects import depends_on_hashes, effects
from mqd.checks.report import Finding
from mqd.strategy.reached import attributes, codes, is_library, reached
from mqd.strategy.strategy import Strategy

NUMBERS_MAX: Final = 64
"""So many floats outside of the bars are data, not constants: as many as the shortest cut."""
INSTEAD: Final = {
    "write": "Return values instead of keeping them; decide may assign to state alone.",
    "clock": "Time comes with the bars: ts_close, session, minutes_from_open.",
    "chance": "Pass a seed as a parameter: numpy.random.default_rng(self.seed).",
    "environment": "Make it a parameter of the strategy.",
    "files": "Load data before the run and hand them in as bars or parameters.",
    "network": "Load data before the run and hand them in as bars or parameters.",
    "process": "Compute within the call.",
}


class Reached(NamedTuple):
    """What a strategy's code reaches: plain functions, and values by the name that reads them."""

    functions: dict[FunctionType, tuple[str, ...]]
    values: dict[str, object]


def purity(strategy: Strategy) -> Iterator[Finding]:
    """Yield a finding for each write, hidden input and table of data in the code reached.

    Functions of mqd itself and of libraries are taken as they are.
    """
    found = reached_by(strategy)
    seen = set()
    for function, guarded in found.functions.items():
        for effect in effects(function, guarded):
            if effect not in seen:
                seen.add(effect)
                sentence = f"{effect.what} ({effect.where}). {INSTEAD[effect.kind]}"
                yield Finding("impurity", sentence)
    for name, value in found.values.items():
        n = numbers_in(value)
        if n >= NUMBERS_MAX:
            yield Finding(
                "impurity",
                f"{name} holds {n:,} numbers that do not come with the bars: no cut can tell"
                " whether they were known at the time. Compute them in features, or hand them in"
                " as columns of the bars.",
                value=float(n),
            )


def hash_dependent(strategy: Strategy) -> bool:
    """True when the code reached makes sets or asks for hashes."""
    return any(depends_on_hashes(function) for function in reached_by(strategy).functions)


def reached_by(strategy: Strategy) -> Reached:
    """Return all plain functions and values that the strategy's own code reaches."""
    cls = type(strategy)
    found = Reached({}, {})
    kept = cls.hooks()
    for name in ("features", "decide", "allocate", *sorted(kept)):
        rule = getattr(cls, name)
        if isinstance(rule, FunctionType) and rule is not getattr(Strategy, name):
            names = rule.__code__.co_varnames[: rule.__code__.co_argcount]
            n_guarded = {"decide": 3, "allocate": 3, "features": 2}.get(name, 0)
            _follow(rule, names[:n_guarded], found, strategy)
    return found


def _follow(
    function: FunctionType, guarded: tuple[str, ...], found: Reached, strategy: Strategy
) -> None:
    if function in found.functions:
        return
    found.functions[function] = guarded
    for name, (value, chains) in reached(function).items():
        _look(name, value, chains, found, strategy)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for value in defaults:
        _look(f"a default of {function.__qualname__}", value, [], found, strategy)
    for name in _own_names(function):
        value = getattr(type(strategy), name, None)
        if isinstance(value, FunctionType) and name not in vars(Strategy):
            _follow(value, _first_argument(value), found, strategy)
        elif name not in strategy.declared() and not hasattr(Strategy, name):
            _look(f"self.{name}", value, [], found, strategy)


def _own_names(function: FunctionType) -> set[str]:
    """Return the attribute names that the function's code mentions: its methods are among them."""
    return {name for code in codes(function.__code__) for name in code.co_names}


def _first_argument(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[: min(1, function.__code__.co_argcount)]


def _look(
    name: str, value: object, chains: list[tuple[str, ...]], found: Reached, strategy: Strategy
) -> None:
    """Follow a value: functions and classes of the user's, modules' attributes, data."""
    inner = getattr(value, "__wrapped__", value) if callable(value) else value
    inner = getattr(inner, "py_func", inner)
    if isinstance(inner, FunctionType):
        if _is_users(inner.__module__):
            _follow(inner, (), found, strategy)
    elif isinstance(value, ModuleType):
        if _is_users(value.__name__):
            for attribute, item, rest in attributes(value, chains):
                _look(f"{name}.{attribute}", item, rest, found, strategy)
    elif isinstance(value, type):
        if _is_users(value.__module__) and not issubclass(value, Strategy):
            for method in vars(value).values():
                _look(name, method, [], found, strategy)
        elif issubclass(value, Strategy):
            for chain in chains:
                item = vars(value).get(chain[0]) if chain else None
                if item is not None and not isinstance(item, FunctionType):
                    _look(f"{name}.{chain[0]}", item, [], found, strategy)
    elif value is not None:
        found.values.setdefault(name, value)


def _is_users(module: str | None) -> bool:
    """True for code that is neither a library's nor mqd's own; mqd's strategies are judged."""
    name = module or ""
    ours = name.split(".")[0] == "mqd" and not name.startswith("mqd.strategy.library.")
    return not ours and not is_library(name)


def numbers_in(value: object) -> int:
    """Return how many floats a value holds: arrays, frames, and containers to three levels."""
    return _count(value, 3)


def _count(value: Any, levels: int) -> int:
    if isinstance(value, float | np.floating):
        return 1
    if isinstance(value, np.ndarray):
        return int(value.size) if value.dtype.kind == "f" else 0
    if isinstance(value, pd.Series):
        return _count(value.to_numpy(), levels)
    if isinstance(value, pd.DataFrame):
        return sum(_count(value[name], levels) for name in value.columns)
    if levels and isinstance(value, Mapping):
        return _total(value.values(), levels)
    if levels and isinstance(value, list | tuple | set | frozenset):
        return _total(value, levels)
    if levels and _is_users(type(value).__module__) and hasattr(value, "__dict__"):
        return _total(vars(value).values(), levels)
    return 0


def _total(values: Iterable[Any], levels: int) -> int:
    return sum(_count(item, levels - 1) for item in values)
