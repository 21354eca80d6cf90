"""What a rule reads, found in its bytecode before anything is compiled.

The pass follows the rule's own arguments only: ``now.fast`` is a read of ``fast``; ``now`` given
to a helper, stored or captured by a closure "escapes", and then all of its fields count as read.
"""

from __future__ import annotations

import dis
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType, FunctionType

from mqd.errors import StrategyError, did_you_mean

_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_WRITES = frozenset({"STORE_ATTR", "DELETE_ATTR"})
_SKIPPED = frozenset({"EXTENDED_ARG", "NOP", "CACHE"})


@dataclass(slots=True)
class Use:
    """How one argument is used: attribute -> first line, and whether it escapes whole."""

    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    escapes: bool = False

    @property
    def used(self) -> bool:
        """True when anything of the argument is used."""
        return bool(self.reads) or bool(self.writes) or self.escapes


def argument_uses(function: FunctionType) -> list[Use]:
    """Return how each positional argument of ``function`` is used, in order."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    uses = {name: Use() for name in names}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _SKIPPED]
    line = code.co_firstlineno
    for at, instruction in enumerate(instructions):
        line = _line(instruction, line)
        following = instructions[at + 1 : at + 3]
        for name, on_top in _loaded(instruction):
            if name in uses:
                _note(uses[name], following if on_top else [], line)
    return [uses[name] for name in names]


def _line(instruction: dis.Instruction, previous: int) -> int:
    positions = instruction.positions
    return positions.lineno if positions and positions.lineno else previous


def _loaded(instruction: dis.Instruction) -> list[tuple[str, bool]]:
    """Return the local names that an instruction touches, and whether each ends on top."""
    name, value = instruction.opname, instruction.argval
    if "FAST" not in name and name not in ("LOAD_CLOSURE", "LOAD_DEREF", "STORE_DEREF"):
        return []
    if isinstance(value, tuple):
        return [(value[0], False), (value[1], "LOAD_FAST" in name)]
    on_top = name.startswith("LOAD") and name != "LOAD_CLOSURE"
    return [(value, on_top)]


def _note(use: Use, following: list[dis.Instruction], line: int) -> None:
    first = following[0].opname if following else ""
    if first in _ATTRIBUTE:
        use.reads.setdefault(following[0].argval, line)
    elif first in _WRITES:
        use.writes.setdefault(following[0].argval, line)
    elif first == "COPY" and len(following) > 1 and following[1].opname in _ATTRIBUTE:
        use.reads.setdefault(following[1].argval, line)
        use.writes.setdefault(following[1].argval, line)
    else:
        use.escapes = True


def check_fields(
    strategy: str, code: CodeType, argument: str, use: Use, known: Iterable[str]
) -> None:
    """Raise ``StrategyError`` for a field that ``argument`` has not, or that is written to."""
    names = list(known)
    for name, line in use.reads.items():
        if name not in names:
            raise StrategyError(
                f"{strategy}: {argument}.{name} does not exist ({place(code, line)})."
                f"{did_you_mean(name, names)}"
            )
    refuse_writes(strategy, code, argument, use)


def refuse_writes(strategy: str, code: CodeType, argument: str, use: Use) -> None:
    """Raise ``StrategyError`` when the rule assigns to a field of ``argument``."""
    for name, line in use.writes.items():
        raise StrategyError(
            f"{strategy}: {code.co_name} writes to {argument}.{name} ({place(code, line)})."
            " A rule may assign only to state.<name>, declared as"
            f" state = {{{name!r}: 0.0}}."
        )


def place(code: CodeType, line: int) -> str:
    """Return ``file, line N``."""
    return f"{code.co_filename}, line {line}"
