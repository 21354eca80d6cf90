"""One meaning of a rule: swept, called bar by bar, and read as Python, it says the same."""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mqd.core.signal import HOLD
from mqd.strategy.compiled import program
from mqd.strategy.strategy import Strategy, param

LEAVES = st.sampled_from(
    ["now.a", "now.b", "now.close", "self.level", "self.count", "0.5", "-2.0", "1e-3", "3", "HOLD"]
)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.1, 1e300, -1e-300, 5e-324, 1e16, 2.0]
ROWS = [(a, b, c) for a in EDGES for b in EDGES for c in (0.0, 1.5, -3.0)]


class Now(NamedTuple):
    a: float
    b: float
    close: float


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arithmetic, comparisons and choices over smaller expressions."""
    binary = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({' '.join(p)})")
    compared = st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner)
    chosen = st.tuples(inner, compared, inner).map(
        lambda p: f"({p[0]} if {' '.join(p[1])} else {p[2]})"
    )
    limited = inner.map(lambda p: f"max(-1.0, min(1.0, abs({p}) * 1.0))")
    return st.one_of(binary, chosen, limited)


RULES = st.recursive(LEAVES, joined, max_leaves=9)


def made(text: str) -> Strategy:
    """The strategy whose ``decide`` returns ``text`` as a float."""
    scope: dict[str, Any] = {"HOLD": HOLD}
    exec(f"def decide(self, now, position):\n    return 1.0 * {text}", scope)

    class Made(Strategy):
        level: float = param(0.25)
        count: int = param(3)
        decide = scope["decide"]

    return Made()


def bits(value: float) -> object:
    """What two results are compared by: their bits, all NaN being one."""
    return "nan" if math.isnan(value) else struct.pack("<d", value)


@settings(max_examples=12)
@given(RULES)
@example("((now.a + now.b) - now.b)")
@example("(1.0 if now.a / now.close == now.a / now.close else 0.0)")
@example("(self.count * now.a / now.b if now.a != now.b else HOLD)")
def test_swept_called_and_plain_rules_agree_to_the_bit(text: str) -> None:
    strategy = made(text)
    compiled = program(strategy, ("a", "b"))
    assert compiled.compiled, compiled.reason
    by_name = dict(zip(("a", "b", "close"), np.array(ROWS).T, strict=True))
    columns = [np.ascontiguousarray(by_name[name]) for name in compiled.fields]
    ready = np.ones(len(ROWS), dtype=bool)
    ready[::7] = False
    swept = compiled.sweep(columns, ready)
    for row, values in enumerate(ROWS):
        if not ready[row]:
            assert swept[row] == HOLD
            continue
        called = compiled.call(tuple(float(c[row]) for c in columns), ())
        assert bits(called) == bits(swept[row])
        try:
            plain = strategy.decide(Now(*values), None)
        except ZeroDivisionError:
            continue  # the one difference: compiled rules follow numpy, x/0 is inf or NaN
        assert bits(plain) == bits(called)


class Smoothed(Strategy):
    speed: float = param(0.25)
    state = {"mean": 0.0, "bars": 0.0}  # noqa: RUF012

    def decide(self, now: Any, position: Any, state: Any) -> float:
        state.bars += 1
        state.mean += self.speed * (now.close - state.mean) / state.bars
        if position.weight > state.mean:
            return HOLD
        return 1.0 if now.close > state.mean else -1.0 / state.bars


class SmoothedInPython(Strategy):
    speed: float = param(0.25)
    state = {"mean": 0.0, "bars": 0.0}  # noqa: RUF012

    def decide(self, now: Any, position: Any, state: Any) -> float:
        _ = f"{now.close:.2f}"
        state.bars += 1
        state.mean += self.speed * (now.close - state.mean) / state.bars
        if position.weight > state.mean:
            return HOLD
        return 1.0 if now.close > state.mean else -1.0 / state.bars


NUMBERS = st.floats(-1e6, 1e6)


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_compiled_state_follows_plain_python(rows: list[tuple[float, float]], speed: float) -> None:
    fast, slow = program(Smoothed(speed=speed), ()), program(SmoothedInPython(speed=speed), ())
    assert fast.compiled
    assert not slow.compiled
    ours, theirs = fast.new_state(), slow.new_state()
    for close, weight in rows:
        one = fast.call((close,), (weight,), ours)
        assert bits(one) == bits(slow.call((close,), (weight,), theirs))
    assert fast.state_values(ours) == slow.state_values(theirs)
