"""``program``: what a rule reads, how it is compiled, and what happens when it cannot be."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mqd.core.signal as signals
from mqd.core.signal import HOLD, PositionView
from mqd.errors import StrategyError
from mqd.strategy.compiled import program
from mqd.strategy.feature_columns import BAR_FIELDS
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.strategy import Strategy, param
from mqd.strategy.weights import check_weight

LEVEL = 0.25


def rule(decide: Callable[..., Any], **attributes: Any) -> Strategy:
    """A strategy that trades by ``decide``."""
    return type("Made", (Strategy,), {"decide": decide, **attributes})()


def called(strategy: Strategy, *now: float, names: tuple[str, ...] = ()) -> Any:
    """The compiled rule's answer; fails when it did not compile."""
    made = program(strategy, names)
    assert made.compiled, made.reason
    return made.call(now, ())


# --- what is read


def test_only_what_the_rule_reads_is_taken_in_order() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        return 1.0 if now.close > now.slow and now.fast > now.minutes_to_close else 0.0

    made = program(rule(decide), ("fast", "unused", "slow"))
    assert made.fields == ("fast", "slow", "close", "minutes_to_close")
    assert made.position_fields == ()
    assert (made.pure, made.reads_position, made.has_state) == (True, False, False)
    assert made.call((5.0, 1.0, 2.0, 0.0), ()) == 1.0


def test_position_fields_are_taken_in_the_order_of_the_view() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        return position.unrealized_frac if position.qty > 0 else 0.0

    made = program(rule(decide), ())
    assert made.position_fields == ("qty", "unrealized_frac")
    assert made.reads_position
    assert not made.pure
    assert made.call((), (1.0, 0.5)) == 0.5


def _of_now(now: Any) -> float:
    return float(now.fast / now.volume)


def _of_position(position: Any) -> float:
    return float(position.qty)


def test_an_argument_given_to_a_helper_brings_all_its_fields() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        return _of_now(now) + _of_position(position)

    made = program(rule(decide), ("fast",))
    assert made.compiled, made.reason
    assert made.fields == ("fast", *BAR_FIELDS)
    assert made.position_fields == PositionView._fields
    assert made.call((3.0, 0, 0, 0, 0, 4.0, 0, 0, 0), (0.0, 0.125, 0, 0, 0, 0)) == 0.875


def test_an_argument_captured_by_a_closure_brings_all_its_fields() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        def inner(x: float) -> float:
            return now.close + x

        return inner(1.0)

    made = program(rule(decide), ())
    assert made.fields == BAR_FIELDS
    assert made.call((0, 0, 0, 0.5, 0, 0, 0, 0), ()) == 1.5


def test_without_feature_names_an_unknown_field_is_a_feature() -> None:
    assert program(SmaCross()).fields == ("fast", "slow")

    def decide(self: Any, now: Any, position: Any) -> float:
        return _of_now(now)

    with pytest.raises(StrategyError, match="names of the features"):
        program(rule(decide))


def _writes_now(self: Any, now: Any, position: Any) -> float:
    now.close = 1.0
    return 0.0


def _undefined(self: Any, now: Any, position: Any) -> float:
    return undefined_name  # noqa: F821


def _writes_self(self: Any, now: Any, position: Any) -> float:
    self.seen = 1.0
    return 0.0


def _adds_to_self(self: Any, now: Any, position: Any) -> float:
    self.level += 1.0
    return 0.0


@pytest.mark.parametrize(
    ("decide", "said"),
    [
        (lambda self, now, position: now.clsoe, "now.clsoe does not exist .*Did you mean 'close'"),
        (lambda self, bar, position: bar.fst, "bar.fst does not exist .*Did you mean 'fast'"),
        (lambda self, now, position: position.quantity, "position.quantity does not exist"),
        (lambda self, now, position: self.levl, "self.levl does not exist .*mean 'level'"),
        (_undefined, "'undefined_name' is not defined"),
        (lambda self, now: 0.0, r"written decide\(self, now, position\[, state\]\)"),
        (lambda self, *rest: 0.0, r"written decide\(self, now, position\[, state\]\)"),
        (lambda self, now, position, state: 0.0, "none is declared"),
        (_writes_now, "writes to now.close"),
        (_writes_self, r"writes to self.seen .*state = \{'seen': 0.0\}"),
        (_adds_to_self, "writes to self.level"),
    ],
)
def test_what_cannot_work_is_refused_at_once(decide: Callable[..., Any], said: str) -> None:
    with pytest.raises(StrategyError, match=said):
        program(rule(decide, level=1.0), ("fast",))


def test_the_refusal_names_the_line() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        x = now.close
        return x + now.colse

    line = decide.__code__.co_firstlineno + 2
    with pytest.raises(StrategyError, match=f"test_compiled_rules.py, line {line}"):
        program(rule(decide), ())


def test_an_event_strategy_has_no_rule() -> None:
    event = type("Event", (Strategy,), {"on_bar": lambda self, desk, bar: None})()
    with pytest.raises(StrategyError, match="no rule to compile"):
        program(event)


# --- compiled as written


def test_parameters_are_arguments_and_share_one_compilation() -> None:
    first, second = (
        program(SmaCross(), ("fast", "slow")),
        program(SmaCross(fast=3), ("fast", "slow")),
    )
    assert first._code is second._code

    class Scaled(Strategy):
        mode: str = param("half", choices=["half", "none"])
        big: bool = False
        scale = 4.0
        table = (0.5, 0.125)

        def decide(self, now: Any, position: Any) -> float:
            if self.mode == "none":
                return HOLD
            return self.table[1] if self.big else 2.0 / self.scale

    assert called(Scaled()) == 0.5
    assert called(Scaled(big=True)) == 0.125
    assert called(Scaled(mode="none")) == HOLD


def test_division_by_zero_follows_numpy_not_python() -> None:
    strategy = rule(lambda self, now, position: 1.0 / now.volume)
    assert called(strategy, 0.0) == math.inf
    assert math.isnan(called(rule(lambda self, now, position: now.volume / now.volume), 0.0))


def test_a_helper_two_modules_away_is_compiled_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = types.ModuleType("far_rules"), types.ModuleType("near_rules")
    exec("import math\nSCALE = 8.0\ndef inner(x): return math.sqrt(x) / SCALE", far.__dict__)
    monkeypatch.setitem(sys.modules, "far_rules", far)
    exec("import far_rules\ndef outer(x): return far_rules.inner(x) + 0.25", near.__dict__)
    namespace = {"near_rules": near}
    exec("def decide(self, now, position): return near_rules.outer(now.close)", namespace)
    strategy = rule(namespace["decide"])
    assert called(strategy, 4.0) == 0.5
    far.SCALE = 4.0  # another constant is another program, not the old one's code
    assert called(strategy, 4.0) == 0.75
    exec("def inner(x): return 0.5", far.__dict__)
    assert called(strategy, 4.0) == 0.75
    assert called(rule(lambda self, now, position: signals.HOLD)) == HOLD


def test_closures_and_lambdas_keep_their_own_values() -> None:
    def made(scale: float) -> Strategy:
        by = lambda x: x * scale  # noqa: E731
        return rule(lambda self, now, position: by(now.close))

    double, half = made(2.0), made(0.5)
    assert called(double, 0.25) == 0.5
    assert called(half, 0.25) == 0.125
    assert called(double, 0.25) == 0.5


def _countdown(n: float) -> float:
    return 0.0 if n <= 0.0 else 1.0 + _countdown(n - 1.0)


def test_a_helper_may_call_itself() -> None:
    assert called(rule(lambda self, now, position: _countdown(now.close) / 10.0), 5.0) == 0.5


def test_two_classes_of_one_name_do_not_share_code() -> None:
    namespaces: list[dict[str, Any]] = []
    for weight in ("0.25", "0.75"):
        text = (
            "from mqd.strategy.strategy import Strategy\n"
            "class Twin(Strategy):\n"
            f"    def decide(self, now, position): return now.close * {weight}\n"
        )
        namespace: dict[str, Any] = {"__name__": "twin_module"}
        exec(compile(text, "<cell>", "exec"), namespace)
        namespaces.append(namespace)
    first, second = (n["Twin"]() for n in namespaces)
    assert called(first, 1.0) == 0.25
    assert called(second, 1.0) == 0.75
    assert called(first, 1.0) == 0.25


def test_a_changed_global_constant_makes_new_code(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = rule(lambda self, now, position: LEVEL)
    assert called(strategy) == 0.25
    monkeypatch.setattr(sys.modules[__name__], "LEVEL", 0.5)
    assert called(strategy) == 0.5


def test_integers_and_booleans_are_weights() -> None:
    assert called(rule(lambda self, now, position: 1 if now.close > 2 else 0.5), 3.0) == 1.0
    assert check_weight(SmaCross(), "X", 0, called(rule(lambda self, now, position: True))) == 1.0


# --- state


class Counts(Strategy):
    state = {"seen": 0.0, "armed": 2.0}  # noqa: RUF012

    def decide(self, now: Any, position: Any, state: Any) -> float:
        state.seen += 1
        state.armed = state.armed / 2
        return state.seen / 10


class CountsInPython(Strategy):
    state = {"seen": 0.0, "armed": 2.0}  # noqa: RUF012

    def decide(self, now: Any, position: Any, state: Any) -> float:
        str(f"{now.close:.3f}")
        state.seen += 1
        state.armed = state.armed / 2
        return state.seen / 10


@pytest.mark.parametrize("strategy", [Counts(), CountsInPython()])
def test_state_lives_from_call_to_call_and_apart_from_another(strategy: Strategy) -> None:
    made = program(strategy, ())
    assert made.compiled == isinstance(strategy, Counts)
    assert made.has_state
    now = (1.0,) * len(made.fields)
    one, other = made.new_state(), made.new_state()
    assert [made.call(now, (), one) for _ in range(3)] == [0.1, 0.2, 0.3]
    assert made.call(now, (), other) == 0.1
    assert made.state_values(one) == {"seen": 3.0, "armed": 0.25}
    assert made.state_values(other) == {"seen": 1.0, "armed": 1.0}
    assert type(made.state_values(one)["seen"]) is float


def test_undeclared_state_is_refused() -> None:
    def decide(self: Any, now: Any, position: Any, state: Any) -> float:
        state.armd = 1.0
        return 0.0

    with pytest.raises(StrategyError, match=r"state.armd does not exist .*Did you mean 'armed'"):
        program(rule(decide, state={"armed": 0.0}), ())
    state = program(CountsInPython(), ()).new_state()
    with pytest.raises(StrategyError, match=r"state.sen is not declared"):
        state.sen = 1.0


def test_declared_state_must_be_taken() -> None:
    with pytest.raises(StrategyError, match="does not take it"):
        program(rule(lambda self, now, position: 0.0, state={"armed": 0.0}), ())


# --- plain Python where numba cannot


def _no_weight_on_every_path(self: Any, now: Any, position: Any) -> Any:  # noqa: RET503
    if now.close > 1.0:
        return 1.0


@pytest.mark.parametrize(
    ("decide", "reason", "value"),
    [
        (lambda self, now, position: f"{now.close}", "not a weight", "0.5"),
        (lambda self, now, position: "long", "not a weight", "long"),
        (_no_weight_on_every_path, "every path", None),
        (lambda self, now, position: {"a": [now.close]}["a"][0] if now else object(), "", 0.5),
        (lambda self, now, position: self.helper(now.close), "self.helper is no number", 1.5),
    ],
)
def test_what_does_not_compile_runs_as_plain_python_and_says_why(
    decide: Callable[..., Any], reason: str, value: object
) -> None:
    made = program(rule(decide, helper=lambda self, x: x + 1.0), ())
    assert not made.compiled
    assert reason in made.reason
    now = tuple(0.5 if name == "close" else 0.0 for name in made.fields)
    assert made.call(now, ()) == value


def test_a_sweep_in_plain_python_is_the_same_walk() -> None:
    made = program(rule(lambda self, now, position: float(f"{now.close}")), ())
    assert not made.compiled
    column = np.array([0.25, 7.0, -1.0])
    assert made.sweep([column], np.array([True, False, True])).tolist() == [0.25, HOLD, -1.0]
