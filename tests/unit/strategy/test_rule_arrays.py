"""Rules over whole columns at once, and ``allocate`` over the symbols of one bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mqd.core.signal import HOLD
from mqd.errors import StrategyError, StrategyRaised
from mqd.strategy.compiled import program
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.strategy import Strategy


def made_with(decide: Any, **attributes: Any) -> Strategy:
    """A strategy that trades by ``decide``."""
    return type("Made", (Strategy,), {"decide": decide, **attributes})()


def test_a_sweep_holds_where_features_are_not_ready() -> None:
    made = program(SmaCross(), ("fast", "slow"))
    fast, slow = np.array([1.0, 2.0, 3.0, 3.0]), np.array([2.0, 2.0, 2.0, 2.0])
    ready = np.array([False, True, False, True])
    assert made.sweep((fast, slow), ready).tolist() == [HOLD, 0.0, HOLD, 1.0]


def test_a_sweep_takes_strided_and_locked_columns() -> None:
    made = program(SmaCross(), ("fast", "slow"))
    both = np.array([[1.0, 2.0], [3.0, 2.0]])
    both.setflags(write=False)
    ready = np.array([True, False, True, False])[::2]
    assert made.sweep((both[:, 0], both[:, 1]), ready).tolist() == [0.0, 1.0]


def test_a_rule_that_reads_its_position_or_state_cannot_be_swept() -> None:
    by_position = made_with(lambda self, now, position: -position.weight)
    by_state = made_with(lambda self, now, position, state: state.armed, state={"armed": 0.0})
    for strategy in (by_position, by_state):
        with pytest.raises(StrategyError, match="ahead of the fills"):
            program(strategy, ()).sweep((), np.array([True]))


def test_a_rule_that_raises_in_a_sweep_names_the_bar() -> None:
    def decide(self: Any, now: Any, position: Any) -> float:
        if now.close > 2.0:
            raise ValueError("too high")
        return 0.0

    made = program(made_with(decide), ())
    assert made.compiled
    closes = np.arange(2 * 86_400_000_000_000, 6 * 86_400_000_000_000, 86_400_000_000_000)
    with pytest.raises(StrategyRaised, match=r"too high \(ACME, bar closing 1970-01-05T00") as e:
        made.sweep((np.array([1.0, 2.0, 3.0, 9.0]),), np.ones(4, dtype=bool), "ACME", closes)
    assert isinstance(e.value.__cause__, ValueError)


class Tilt(Strategy):
    top: int = 1

    def allocate(self, now: Any, positions: Any) -> Any:
        weights = np.zeros(len(now.close))
        for symbol in range(len(now.close)):
            if now.tradable[symbol] and positions.qty[symbol] == 0.0:
                weights[symbol] = now.score[symbol] / self.top
        return weights


class TiltInPython(Tilt):
    def allocate(self, now: Any, positions: Any) -> Any:
        str(f"{self.top:03d}")
        free = now.tradable & (positions.qty == 0.0)
        return np.where(free, now.score / self.top, 0.0)


@pytest.mark.parametrize("strategy", [Tilt(top=2), TiltInPython(top=2)])
def test_allocate_sees_arrays_over_symbols(strategy: Strategy) -> None:
    made = program(strategy, ("score",))
    assert made.compiled == (type(strategy) is Tilt)
    assert made.kind == "allocate"
    values = {
        "score": np.array([0.5, 1.0, 1.0]),
        "close": np.ones(3),
        "tradable": np.array([True, True, False]),
    }
    positions = {"qty": np.array([0.0, 3.0, 0.0])}
    now = tuple(values[name] for name in made.fields)
    held = tuple(positions[name] for name in made.position_fields)
    assert made.call(now, held).tolist() == [0.25, 0.0, 0.0]


def test_allocate_may_not_write_to_what_it_sees() -> None:
    def allocate(self: Any, now: Any, positions: Any) -> Any:
        positions.qty[0] = 1.0
        return positions.qty

    made = program(type("Writes", (Strategy,), {"allocate": allocate})(), ())
    assert not made.compiled
    held = np.zeros(2)
    with pytest.raises(ValueError, match="read-only"):
        made.call((), (held,))
    assert held.tolist() == [0.0, 0.0]
