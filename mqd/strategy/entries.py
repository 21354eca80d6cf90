"""The compiled functions around a rule: flat arguments in, the rule's named tuples inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import numpy as np

from mqd.strategy import jit


@dataclass(frozen=True, slots=True)
class Shape:
    """What a rule reads, in the order in which its entry takes it."""

    rule: FunctionType
    self_reads: tuple[str, ...]
    self_names: tuple[str, ...]
    fields: tuple[str, ...]
    position_fields: tuple[str, ...]
    state_names: tuple[str, ...]
    takes_state: bool


@dataclass(slots=True)
class Code:
    """Compiled code shared by all parameter values of one rule."""

    shape: Shape
    dispatcher: Any
    signature_self: tuple[Any, ...]
    entries: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


def _scope(code: Code) -> dict[str, object]:
    shape = code.shape
    return {
        "rule": code.dispatcher,
        "Self": jit.argument_type("Self", shape.self_names),
        "Now": jit.argument_type("Now", shape.fields),
        "Position": jit.argument_type("Position", shape.position_fields),
    }


def _arguments(shape: Shape) -> tuple[list[str], list[str], list[str]]:
    return (
        [f"s{i}" for i in range(len(shape.self_names))],
        [f"n{i}" for i in range(len(shape.fields))],
        [f"p{i}" for i in range(len(shape.position_fields))],
    )


def _made(kind: str, arguments: list[str]) -> str:
    """Return the text that makes a named tuple; numba has no empty ones, so 0.0 stands in."""
    return f"{kind}({', '.join(arguments)})" if arguments else "0.0"


def scalar_entry(code: Code) -> Any:
    """Return the entry of one call: flat scalars (arrays for ``allocate``), then the state."""
    if "scalar" in code.entries or "array" in code.entries:
        return code.entries.get("scalar") or code.entries["array"]
    from numba import float64

    shape = code.shape
    own, now, position = _arguments(shape)
    state = ["state"] if shape.takes_state else []
    values = [_made("Self", own), _made("Now", now), _made("Position", position)]
    called = ", ".join([*values, *(f"{name}[0]" for name in state)])
    source = f"def entry({', '.join([*own, *now, *position, *state])}):\n    return rule({called})"
    signature = [*code.signature_self, *(float64 for _ in now + position)]
    if shape.takes_state:
        record = np.zeros(1, dtype=[(name, np.float64) for name in shape.state_names])
        signature.append(jit.type_of(record))
    made = jit.compile_entry(source, _scope(code), tuple(signature), shape.rule, jit.returns_number)
    code.entries["scalar"] = made
    return made


def sweep_entry(code: Code) -> Any:
    """Return the entry of a pure rule over whole columns: weights into ``out`` where ready."""
    from numba import boolean, float64, types

    shape = code.shape
    own, now, _ = _arguments(shape)
    row = _made("Now", [f"{name}[i]" for name in now])
    source = (
        f"def entry({', '.join([*own, *now, 'ready', 'out'])}):\n"
        "    for i in range(ready.shape[0]):\n"
        "        if ready[i]:\n"
        f"            out[i] = rule({_made('Self', own)}, {row}, 0.0)\n"
    )
    column = types.Array(float64, 1, "C", readonly=True)
    flags = types.Array(boolean, 1, "C", readonly=True)
    signature = (*code.signature_self, *(column for _ in now), flags, float64[::1])
    made = jit.compile_entry(source, _scope(code), signature, shape.rule, jit.returns_number)
    code.entries["sweep"] = made
    return made


def allocate_entry(code: Code) -> Any:
    """Return the entry of one ``allocate`` call over read-only arrays."""
    from numba import boolean, float64, types

    shape = code.shape
    own, now, position = _arguments(shape)
    values = [_made("Self", own), _made("Now", now), _made("Position", position)]
    source = (
        f"def entry({', '.join([*own, *now, *position])}):\n    return rule({', '.join(values)})"
    )
    column = types.Array(float64, 1, "C", readonly=True)
    flags = types.Array(boolean, 1, "C", readonly=True)
    now_types = (flags if name == "tradable" else column for name in shape.fields)
    signature = (*code.signature_self, *now_types, *(column for _ in position))
    made = jit.compile_entry(source, _scope(code), signature, shape.rule, jit.returns_weights)
    code.entries["array"] = made
    return made
