"""What a strategy instance is: parameters, identity, and what it trades by."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest

from mqd.errors import ParameterOutOfRange, StrategyError, UnknownParameter
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.strategy import Strategy, param


class Rule(Strategy):
    period: int = param(10, low=2, high=50)
    level: float = param(0.5, low=0.0, high=1.0)
    mode: str = param("fast", choices=["fast", "slow"])
    short: bool = False
    LABELS: ClassVar[tuple[str, ...]] = ("a", "b")
    scale = 2.0

    def decide(self, now: Any, position: Any) -> float:
        return self.level


class Inherited(Rule):
    period: int = param(20, low=2, high=90)
    extra: int = 3


class Hooks(Strategy):
    size: int = 1

    def on_bar(self, desk: Any, bar: Any) -> None:
        self.seen = getattr(self, "seen", 0) + 1


def test_an_instance_prints_and_compares_by_its_values() -> None:
    assert repr(SmaCross(slow=100)) == "SmaCross(fast=20, slow=100)"
    assert SmaCross(fast=20) == SmaCross()
    assert SmaCross(fast=21) != SmaCross()
    assert len({SmaCross(), SmaCross(fast=20), SmaCross(fast=30)}) == 2
    assert Rule() != Inherited(period=10)


def test_an_instance_survives_pickling() -> None:
    for strategy in (SmaCross(fast=7), Rule(mode="slow"), SmaCross(stop_loss_frac=0.1)):
        again = pickle.loads(pickle.dumps(strategy))
        assert again == strategy
        assert hash(again) == hash(strategy)


def test_parameters_follow_annotations_and_inheritance() -> None:
    assert Rule().parameters == {"period": 10, "level": 0.5, "mode": "fast", "short": False}
    assert Inherited().parameters["period"] == 20
    assert Inherited(period=80, extra=4).extra == 4
    with pytest.raises(ParameterOutOfRange):
        Rule(period=80)


def test_numpy_numbers_become_plain_ones() -> None:
    rule = Rule(period=np.int64(7), level=np.float64(0.25), short=np.bool_(True))
    assert [type(v) for v in rule.parameters.values()] == [int, float, str, bool]
    assert Rule(level=1).level == 1.0
    assert type(Rule(level=1).level) is float


def test_an_unknown_parameter_names_the_nearest() -> None:
    with pytest.raises(UnknownParameter, match="Did you mean 'fast'"):
        SmaCross(fats=3)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("period", 1, r"\[2, 50\]"),
        ("period", 51, r"\[2, 50\]"),
        ("period", 10.0, "whole number"),
        ("period", "10", "whole number"),
        ("period", True, "whole number"),
        ("level", float("nan"), "finite"),
        ("level", float("inf"), "finite"),
        ("level", 1.0001, r"\[0, 1\]"),
        ("level", None, "finite"),
        ("mode", "medium", "'fast', 'slow'"),
        ("short", 1, "True or False"),
        ("stop_loss_frac", -0.1, r"\[0, 1\]"),
        ("take_profit_frac", -0.1, "at least 0"),
    ],
)
def test_a_wrong_value_says_what_it_must_be(name: str, value: object, wanted: str) -> None:
    with pytest.raises(ParameterOutOfRange, match=wanted) as caught:
        Rule(**{name: value})
    assert name in str(caught.value)


def test_bounds_are_inclusive() -> None:
    assert Rule(period=2).period == 2
    assert Rule(period=50, level=1.0).level == 1.0


def test_a_default_outside_its_own_range_is_refused() -> None:
    with pytest.raises(ParameterOutOfRange):
        type("Bad", (Strategy,), {"__annotations__": {"n": int}, "n": param(1, low=2)})


def test_a_parameter_without_default_must_be_given() -> None:
    class Needs(Strategy):
        n: int

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    with pytest.raises(StrategyError, match="needs a value for parameter 'n'"):
        Needs()
    assert Needs(n=4).n == 4


@pytest.mark.parametrize("name", ["state_", "period", "scale", "anything"])
def test_an_instance_is_immutable(name: str) -> None:
    with pytest.raises(StrategyError, match="immutable"):
        setattr(Rule(), name, 1)
    with pytest.raises(StrategyError, match="immutable"):
        del Rule().period


@pytest.mark.parametrize("annotation", [bytes, int | None, "int | None", dict[str, float], "Foo"])
def test_only_four_types_make_a_parameter(annotation: object) -> None:
    with pytest.raises(StrategyError, match="int, float, bool or str"):
        type("Bad", (Strategy,), {"__annotations__": {"x": annotation}, "x": 1})


def test_state_may_be_annotated() -> None:
    made = type("Ok", (Strategy,), {"__annotations__": {"state": dict}, "state": {"armed": 1}})
    assert made().parameters == {}


@pytest.mark.parametrize("name", ["features", "kind", "_hidden", "parameters"])
def test_names_of_the_base_are_no_parameters(name: str) -> None:
    with pytest.raises(StrategyError, match="rename"):
        type("Bad", (Strategy,), {"__annotations__": {name: int}, name: 3})


def test_an_own_init_is_refused() -> None:
    with pytest.raises(StrategyError, match="__init__"):
        type("Bad", (Strategy,), {"__init__": lambda self: None})


def test_state_must_name_floats() -> None:
    with pytest.raises(StrategyError, match="state"):
        type("Bad", (Strategy,), {"state": {"armed": "no"}})
    with pytest.raises(StrategyError, match="state"):
        type("Bad", (Strategy,), {"state": ["armed"]})


def test_protective_fractions_are_optional_everywhere() -> None:
    assert SmaCross().stop_loss_frac == 0.0
    assert SmaCross().take_profit_frac == 0.0
    guarded = SmaCross(stop_loss_frac=0.1, trailing_stop_frac=0.2)
    assert repr(guarded) == "SmaCross(fast=20, slow=50, stop_loss_frac=0.1, trailing_stop_frac=0.2)"
    assert guarded != SmaCross()
    assert DonchianBreakout(trailing_stop_frac=0.5).trailing_stop_frac == 0.5
    with pytest.raises(ParameterOutOfRange):
        DonchianBreakout(trailing_stop_frac=0.6)


def test_a_protective_fraction_may_be_declared_by_assignment() -> None:
    class Guarded(Strategy):
        stop_loss_frac = 0.05

        def decide(self, now: Any, position: Any) -> float:
            return 1.0

    assert repr(Guarded()) == "Guarded(stop_loss_frac=0.05)"
    assert Guarded(stop_loss_frac=0.0).stop_loss_frac == 0.0
    with pytest.raises(ParameterOutOfRange):
        type("Bad", (Strategy,), {"stop_loss_frac": -0.05})


def test_kind_says_what_a_strategy_trades_by() -> None:
    assert SmaCross().kind == "decide"
    assert MomentumRotation().kind == "allocate"
    assert Hooks().kind == "event"
    assert Hooks.hooks() == frozenset({"on_bar"})


def test_hooks_may_accompany_decide() -> None:
    class Both(SmaCross):
        def on_start(self, desk: Any) -> None:
            self.started = True

    assert Both().kind == "decide"
    assert Both.hooks() == frozenset({"on_start"})


def test_two_rules_or_none_are_refused() -> None:
    class Two(SmaCross):
        def allocate(self, now: Any, positions: Any) -> Any:
            return []

    class Nothing(Strategy):
        pass

    with pytest.raises(StrategyError, match="decide and allocate"):
        _ = Two().kind
    with pytest.raises(StrategyError, match="never trades"):
        _ = Nothing().kind


def test_an_event_strategy_keeps_what_it_learns_out_of_the_next_run() -> None:
    strategy = Hooks(size=2)
    strategy.on_bar(None, None)
    strategy.on_bar(None, None)
    assert strategy.seen == 2
    assert strategy == Hooks(size=2)
    assert not hasattr(strategy.fresh(), "seen")
    with pytest.raises(StrategyError, match="immutable"):
        strategy.size = 3
