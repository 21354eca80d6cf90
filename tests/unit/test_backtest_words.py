"""``backtest`` and ``FillModel``: an argument of the wrong kind is refused with a sentence."""

from __future__ import annotations

import pandas as pd
import pytest

import mqd
from mqd.errors import UnknownSymbol, UsageError


class Holds(mqd.Strategy):
    """Always long."""

    def decide(self, now, position):
        """Return full weight."""
        return 1.0


@pytest.fixture(scope="module")
def bars():
    """Return three days of one symbol."""
    days = pd.bdate_range("2024-01-02", periods=3).strftime("%Y-%m-%dT14:30:00Z")
    frame = pd.DataFrame({"symbol": "X", "timestamp": pd.to_datetime(days)})
    frame[["open", "high", "low", "close", "volume"]] = 100.0, 101.0, 99.0, 100.0, 1e6
    return mqd.Bars.from_pandas(frame)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"account": "Cash"}, "account = 'Cash'; it must be 'margin' or 'cash'"),
        ({"limits": "limits.toml"}, "it must be mqd.Limits.from_toml"),
        ({"costs": 5}, "it must be mqd.Costs"),
        ({"fills": 5}, "it must be mqd.FillModel"),
        ({"sizer": mqd.FixedQuantity}, "it must be a sizer"),
        ({"rules": (5,)}, "it must be a list of rules"),
        ({"rebalance_band_frac": "x"}, "must be a number above 0"),
        ({"multiplier": "2"}, "accounts have 1, 2, 3 or 4"),
        ({"multiplier": float("nan")}, "accounts have 1, 2, 3 or 4"),
        ({"seed": "x"}, "it must be a whole number"),
        ({"bus": 5}, "it must be an OrderEventBus"),
    ],
)
def test_a_word_of_the_wrong_kind_is_refused(bars, words, says):
    with pytest.raises(UsageError, match=r"must be|accounts have") as caught:
        mqd.backtest(Holds(), bars, **words)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        (Holds, "Holds is a class: give an instance, Holds()"),
        (None, "None is no strategy"),
        ("sma_cross", "'sma_cross' is no strategy"),
        ([(Holds, 1.0)], "An instance is wanted"),
        ([(Holds(), "a")], "allocation = 'a', but it must be in (0, 1]"),
    ],
)
def test_what_is_no_strategy_is_refused(bars, strategy, says):
    with pytest.raises(UsageError) as caught:
        mqd.backtest(strategy, bars)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        {"participation_frac": "a"},
        {"participation_frac": True},
        {"touch_fills": "no"},
        {"close_only": 1},
        {"latency_ns": 1.5},
        {"halts": ("X", 1, 2)},
        {"halts": (("X", 2, 1),)},
    ],
)
def test_a_fill_model_of_the_wrong_shape_is_refused(words):
    with pytest.raises(UsageError, match=f"^FillModel: {next(iter(words))} "):
        mqd.FillModel(**words)


def test_a_halt_of_a_symbol_that_is_not_there_is_refused(bars):
    halted = mqd.FillModel(halts=(("Y", 1, 2),))
    with pytest.raises(UnknownSymbol, match="has no symbol 'Y'"):
        mqd.backtest(Holds(), bars, fills=halted)
