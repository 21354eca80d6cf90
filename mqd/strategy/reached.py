"""What a function reaches: its globals, closure variables and ``module.helper`` attributes."""

from __future__ import annotations

import builtins
import dis
import itertools
import sys
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Final

from mqd.errors import StrategyError, did_you_mean
from mqd.strategy.bytecode import place

NO_BINDINGS: Final[Mapping[str, object]] = MappingProxyType({})
_LIBRARIES = sys.stdlib_module_names | {"numpy", "numba", "pandas", "scipy", "talib", "sklearn"}
_FREE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})


class Proxy(ModuleType):
    """Stands in a copied function for a module, and holds what is read from it.

    Several stand in for one module, each with other attributes, so each has a name of its own;
    ``origin`` is the module's.
    """

    _made = itertools.count()

    def __init__(self, module: ModuleType) -> None:
        self.origin: str = module.origin if isinstance(module, Proxy) else module.__name__
        super().__init__(f"{self.origin}#{next(Proxy._made)}")


def reached(
    function: FunctionType, bindings: Mapping[str, object] = NO_BINDINGS
) -> dict[str, tuple[object, list[tuple[str, ...]]]]:
    """Return the globals and closure variables that ``function`` names.

    Each comes with the attribute chains read from it (``("helper",)`` for ``module.helper``).
    Builtins and names that nothing defines are left out. A global that ``bindings`` names has
    the value given there.
    """
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    found: dict[str, tuple[object, list[tuple[str, ...]]]] = {}
    for code in codes(function.__code__):
        for name, chain, _ in _names(code, function.__code__.co_freevars):
            if name in cells:
                value = _cell_value(cells[name])
            elif name in function.__globals__:
                value = bindings.get(name, function.__globals__[name])
            else:
                continue
            found.setdefault(name, (value, []))[1].append(chain)
    return found


def check_names(function: FunctionType) -> None:
    """Raise ``StrategyError`` for a name in the function's own code that nothing defines."""
    known = {*function.__code__.co_freevars, *function.__globals__, *dir(builtins)}
    for code in codes(function.__code__):
        for name, _, line in _names(code, function.__code__.co_freevars):
            if name not in known:
                near = did_you_mean(name, known)
                raise StrategyError(
                    f"{function.__qualname__}: name {name!r} is not defined"
                    f" ({place(code, line)}).{near if 'Did you mean' in near else ''}"
                )


def is_library(module: str | None) -> bool:
    """True for modules whose functions are taken as they are; ``__main__`` is the user's."""
    top = (module or "").split(".")[0]
    return top in _LIBRARIES and top != "__main__"


def attributes(
    module: ModuleType, chains: list[tuple[str, ...]]
) -> list[tuple[str, object, list[tuple[str, ...]]]]:
    """Return name, value and further attribute chains of what is read from a module."""
    heads = {chain[0]: [c[1:] for c in chains if c[:1] == chain[:1]] for chain in chains if chain}
    return [(n, getattr(module, n), rest) for n, rest in heads.items() if hasattr(module, n)]


def _cell_value(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the enclosing function has not set it yet
        return None


def codes(code: CodeType) -> list[CodeType]:
    """Return a code object and those of the functions defined in it."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return [code, *(deeper for c in inner for deeper in codes(c))]


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
