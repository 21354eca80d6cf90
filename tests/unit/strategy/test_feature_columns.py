"""``features``: what it may return, that it may not write, and that it may not look ahead."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mqd import indicators
from mqd.core.bar import ActionKind, CorporateAction, SymbolBars
from mqd.core.clock import iso
from mqd.errors import BadFeatures, StrategyError, StrategyRaised
from mqd.strategy.causality import check_causal, cut_points, first_rows
from mqd.strategy.feature_columns import compute_features
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.strategy import Strategy


def with_features(function: Callable[[SymbolBars], Any]) -> Strategy:
    class Made(Strategy):
        def features(self, bars: SymbolBars) -> Any:
            return function(bars)

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    return Made()


def test_columns_are_float64_contiguous_and_locked(walk: SymbolBars) -> None:
    features = compute_features(
        with_features(
            lambda bars: {
                "whole": np.arange(len(bars)),
                "strided": np.repeat(bars.close, 2)[::2],
                "flag": bars.close > 100.0,
                "series": pd.Series(bars.close).rolling(5).mean(),
            }
        ),
        walk,
    )
    assert features.names == ("whole", "strided", "flag", "series")
    for column in features.columns:
        assert column.dtype == np.float64
        assert column.flags.c_contiguous
        assert not column.flags.writeable
    assert (features.columns[1] == walk.close).all()


def test_ready_is_where_every_feature_is_finite(walk: SymbolBars) -> None:
    def features(bars: SymbolBars) -> dict[str, Any]:
        gap = bars.close.copy()
        gap[100], gap[101] = np.inf, np.nan
        return {"gap": gap, "mean": indicators.sma(bars.close, 10)}

    ready = compute_features(with_features(features), walk).ready
    assert np.flatnonzero(~ready).tolist() == [*range(9), 100, 101]


def test_without_features_every_bar_is_ready(walk: SymbolBars) -> None:
    features = compute_features(with_features(lambda bars: {}), walk)
    assert features.names == ()
    assert features.ready.all()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda bars: {"x": bars.close[:-1]}, r"shape \(199,\), but there are 200 bars"),
        (lambda bars: {"x": np.ones((200, 2))}, r"shape \(200, 2\)"),
        (lambda bars: {"x": np.float64(3.0)}, "not an array"),
        (lambda bars: {"x": 3.0}, "float, not an array"),
        (lambda bars: {"x": bars.close.tolist()}, "list, not an array"),
        (lambda bars: {"x": np.array(["a"] * 200)}, "not numbers"),
        (lambda bars: {"x": bars.close.astype(complex)}, "not numbers"),
        (lambda bars: {"x": bars.ts_close.astype("datetime64[ns]")}, "not numbers"),
        (lambda bars: bars.close, "ndarray, not a dict"),
        (lambda bars: None, "NoneType, not a dict"),
        (lambda bars: {"close": bars.close}, "named like a bar field; call it my_close"),
        (lambda bars: {"minutes_to_close": bars.close}, "named like a bar field"),
        (lambda bars: {"vwap": bars.close}, "named like a bar field"),
        (lambda bars: {"tradable": bars.close}, "named like a bar field"),
        (lambda bars: {"fast mean": bars.close}, "no name that now"),
        (lambda bars: {"class": bars.close}, "no name that now"),
        (lambda bars: {1: bars.close}, "no name that now"),
        (lambda bars: {"_x": bars.close}, "underscore"),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    walk: SymbolBars, returned: Callable[[SymbolBars], Any], said: str
) -> None:
    with pytest.raises(BadFeatures, match=said) as caught:
        compute_features(with_features(returned), walk)
    assert "Made.features on X" in str(caught.value)


def _write(bars: SymbolBars) -> dict[str, Any]:
    bars.close[0] = 1.0
    return {}


def _sort(bars: SymbolBars) -> dict[str, Any]:
    bars.close.sort()
    return {}


def _replace(bars: SymbolBars) -> dict[str, Any]:
    bars.close = np.zeros(len(bars))  # type: ignore[misc]
    return {}


@pytest.mark.parametrize("writes", [_write, _sort, _replace])
def test_writing_to_the_bars_is_refused_and_changes_nothing(
    walk: SymbolBars, writes: Callable[[SymbolBars], Any]
) -> None:
    before = walk.close.copy()
    with pytest.raises(StrategyError, match="writes to the bars of X"):
        compute_features(with_features(writes), walk)
    assert (walk.close == before).all()


def test_an_exception_names_strategy_symbol_and_bar(walk: SymbolBars) -> None:
    with pytest.raises(StrategyRaised, match=r"Made.features raised KeyError: 'x' \(X") as caught:
        compute_features(with_features(lambda bars: {}["x"]), walk)
    assert isinstance(caught.value.__cause__, KeyError)


def test_no_bars_and_one_bar_make_features_too(make_bars: Any) -> None:
    assert compute_features(SmaCross(), make_bars([])).ready.tolist() == []
    assert compute_features(SmaCross(), make_bars([5.0])).ready.tolist() == [False]


def _ahead_by_one(bars: SymbolBars) -> dict[str, Any]:
    ahead = np.append(bars.close[1:], np.nan)
    return {"level": bars.close, "next_close": ahead}


AHEAD = {
    "next close": _ahead_by_one,
    "rolled": lambda bars: {"next_close": np.roll(bars.close, -1)},
    "centred mean": lambda bars: {
        "next_close": pd.Series(bars.close).rolling(5, center=True).mean()
    },
    "whole-sample score": lambda bars: {
        "next_close": (bars.close - bars.close.mean()) / bars.close.std()
    },
    "back-fill": lambda bars: {"next_close": pd.Series(indicators.sma(bars.close, 70)).bfill()},
    "reversed": lambda bars: {"next_close": bars.close[::-1]},
}


@pytest.mark.parametrize("name", AHEAD)
def test_looking_ahead_is_an_error_that_names_feature_and_bar(walk: SymbolBars, name: str) -> None:
    strategy = with_features(AHEAD[name])
    features = compute_features(strategy, walk)
    with pytest.raises(BadFeatures, match="'next_close' looks ahead: at the bar closing"):
        check_causal(strategy, walk, features)


def test_the_message_holds_the_bar_and_both_values(walk: SymbolBars) -> None:
    strategy = with_features(_ahead_by_one)
    with pytest.raises(BadFeatures) as caught:
        check_causal(strategy, walk, compute_features(strategy, walk), cuts=1)
    said = str(caught.value)
    assert iso(int(walk.ts_close[63])) in said
    assert str(walk.close[64]) in said
    assert "nan with the first 64" in said


def test_causal_features_pass_and_rounding_is_no_lookahead(walk: SymbolBars) -> None:
    for strategy in (
        SmaCross(),
        with_features(lambda bars: {"x": pd.Series(bars.close).ewm(span=9).mean()}),
        with_features(lambda bars: {"x": bars.close * (1.0 + len(bars) * 1e-16)}),
    ):
        check_causal(strategy, walk, compute_features(strategy, walk))


def test_equal_bits_can_be_asked_for(walk: SymbolBars) -> None:
    strategy = with_features(lambda bars: {"x": bars.close * (1.0 + len(bars) * 1e-15)})
    with pytest.raises(BadFeatures, match="looks ahead"):
        check_causal(strategy, walk, compute_features(strategy, walk), tolerance=0.0)


def test_features_that_come_and_go_are_refused(walk: SymbolBars) -> None:
    strategy = with_features(lambda bars: {"x" if len(bars) == 200 else "y": bars.close})
    with pytest.raises(BadFeatures, match="on the first"):
        check_causal(strategy, walk, compute_features(strategy, walk))


def test_cuts_are_never_shorter_than_64_bars() -> None:
    assert cut_points(200, 2) == (64, 99, 199)
    assert cut_points(100, 2) == (64, 99)
    assert cut_points(65, 2) == (64,)
    assert cut_points(64, 2) == ()
    assert cut_points(0, 2) == ()


def test_a_cut_forgets_later_corporate_actions(make_bars: Any) -> None:
    bars = make_bars([1.0] * 10)
    actions = tuple(
        CorporateAction("X", int(bars.ts_open[row]), ActionKind.SPLIT, 2, 1, Decimal(0))
        for row in (2, 5, 8)
    )
    short = first_rows(SymbolBars(*_fields(bars), actions=actions), 6)
    assert len(short) == 6
    assert short.actions == actions[:2]


def _fields(bars: SymbolBars) -> list[Any]:
    return [getattr(bars, name) for name in SymbolBars.__dataclass_fields__ if name != "actions"]
