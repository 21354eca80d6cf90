"""A rule that reads a text runs in the desk; the compiled loop refuses it in a sentence."""

import pandas as pd
import pytest

import mqd
from mqd import backtesting
from mqd.errors import NotCompilable
from mqd.strategy import jit
from tests.unit.sweeps.sweep_support import Cross, small_bars

SAID = (
    r"Sided\.decide reads self\.side, a text: the compiled loop hands it numbers alone\. Choose by"
    r" a bool or a number, read the text in features, or take engine='event'\."
)


class Sided(Cross):
    """Long or short by a word."""

    side: str = mqd.param("long", choices=["long", "short"])

    def decide(self, now, position):
        held = 1.0 if now.fast > now.slow else 0.0
        return held if self.side == "long" else -held


@pytest.fixture(scope="module")
def bars():
    return small_bars()


@pytest.mark.parametrize("symbols", [["AAA"], ["AAA", "BBB"]])
def test_the_compiled_loop_names_the_rule_and_the_parameter(symbols):
    some = small_bars(symbols)
    with pytest.raises(NotCompilable, match=SAID):
        mqd.backtest(Sided(side="short"), some, engine="compiled")
    grid = {"fast": [2, 3], "side": ["long", "short"]}
    with pytest.raises(NotCompilable, match=SAID):
        mqd.sweep(Sided, some, grid, engine="compiled", symbols="pooled", progress=False)


def test_auto_takes_the_desk_and_says_why(bars, monkeypatch):
    monkeypatch.setattr(backtesting, "COMPILED_BARS", 0)
    found = mqd.backtest(Sided(side="short"), bars, engine="auto")
    assert found.engine == "event"
    desk = mqd.backtest(Sided(side="short"), bars, engine="event")
    pd.testing.assert_frame_equal(found.equity, desk.equity, check_exact=True)


def test_numba_is_quoted_in_a_sentence_not_in_pages():
    def rule():
        return 0.0

    words = " ".join(f"type{n}" for n in range(2_000))
    said = jit.reason(TypeError(words), rule)
    assert said.startswith("type0 type1 ")
    assert len(said.split(" (")[0]) <= jit.SAID_MAX
    assert " … (" in said
    assert jit.reason(TypeError("short"), rule).startswith("short (")
