"""The library's rules on bars whose right targets can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mqd.core.signal import HOLD
from mqd.strategy import library
from mqd.strategy.causality import check_causal
from mqd.strategy.compiled import program
from mqd.strategy.feature_columns import compute_features
from mqd.strategy.library import NAMES
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.library.vwap_reversion import VwapReversion
from mqd.strategy.loading import resolve
from mqd.strategy.strategy import Strategy
from mqd.strategy.weights import check_swept, check_weights


def targets(strategy: Strategy, bars: Any) -> list[float]:
    """The rule's weights, one a bar."""
    features = compute_features(strategy, bars)
    made = program(strategy, features.names)
    assert made.compiled, made.reason
    by_name = dict(zip(features.names, features.columns, strict=True))
    columns = [by_name[f] if f in by_name else getattr(bars, f) for f in made.fields]
    return made.sweep(columns, features.ready, bars.symbol, bars.ts_close).tolist()


OWN_RULES = [name for name in NAMES if name != "model_signal"]
"""Those whose features are their own; the other one asks a model."""


def test_every_strategy_of_the_library_has_its_name() -> None:
    files = {path.stem for path in Path(library.__file__).parent.glob("[a-z]*.py")}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", OWN_RULES)
def test_features_are_causal_and_rules_compile(name: str, walk: Any) -> None:
    strategy = resolve(name)()
    features = compute_features(strategy, walk)
    check_causal(strategy, walk, features, cuts=4, tolerance=0.0)
    made = program(strategy, features.names)
    assert made.compiled, made.reason
    if made.kind == "decide":
        check_swept(strategy, "X", walk.ts_close, np.array(targets(strategy, walk)))


def test_buy_and_hold_wants_its_weight_from_the_first_bar(make_bars: Any) -> None:
    assert targets(BuyAndHold(weight=0.5), make_bars([1.0, 2.0, 3.0])) == [0.5, 0.5, 0.5]


def test_sma_cross_by_hand(make_bars: Any) -> None:
    # means of 2: -, 1, 1, 1, 3, 5, 3; of 5: -, -, -, -, 1.8, 2.6, 2.6;
    # then of 2: 5, 5, 9, of 5: 7.4 each
    bars = make_bars([1, 1, 1, 1, 5, 5, 1])
    assert targets(SmaCross(fast=2, slow=5), bars) == [HOLD] * 4 + [1.0, 1.0, 1.0]
    assert targets(SmaCross(fast=2, slow=5), make_bars([9, 9, 9, 9, 1, 9, 9]))[4:] == [0, 0, 1]


def test_rsi_reversion_by_hand(make_bars: Any) -> None:
    # period 2: two falls 0; a rise of 8 after two falls of 1: average gain 4, loss 0.5 -> 88.9;
    # then a fall of 6: gain 2, loss 3.25 -> 38.1
    bars = make_bars([12, 11, 10, 18, 12])
    assert targets(RsiReversion(period=2), bars) == [HOLD, HOLD, 1.0, 0.0, HOLD]


def test_bollinger_reversion_by_hand(make_bars: Any) -> None:
    # windows of 5: [10,10,10,10,5] mean 9, sd 2; [10,10,10,5,9] mean 8.8; [10,10,5,9,6] mean 8
    bars = make_bars([10, 10, 10, 10, 5, 9, 6])
    strategy = BollingerReversion(period=5, width=1.5)
    assert targets(strategy, bars) == [HOLD] * 4 + [1.0, 0.0, HOLD]


def test_vwap_reversion_is_flat_by_the_close(make_bars: Any) -> None:
    bars = make_bars(
        [100, 90, 97, 90, 90],
        session=[1, 1, 1, 1, 1],
        volume=[10, 10, 10, 10, 10],
        minutes_to_close=[60, 45, 30, 16, 15],
    )
    # vwap: 100, 95, 95.67, 94.25, 93.4
    strategy = VwapReversion(entry_frac=0.04, flat_minutes=15)
    assert targets(strategy, bars) == [0.0, 1.0, 0.0, 1.0, 0.0]
    held = make_bars([100, 95], session=[1, 1], minutes_to_close=[60, 45])
    assert targets(strategy, held) == [0.0, HOLD]  # 2.6 % below: neither entry nor exit


def test_donchian_breakout_compares_with_earlier_bars_only(make_bars: Any) -> None:
    close = [10, 11, 10, 12, 11, 9]
    bars = make_bars(close, high=[c + 0.5 for c in close], low=[c - 0.5 for c in close])
    # entry_high of 3: -, -, -, 11.5, 12.5, 12.5; exit_low of 2: -, -, 9.5, 9.5, 9.5, 10.5
    strategy = DonchianBreakout(entry=3, exit=2)
    assert targets(strategy, bars) == [HOLD] * 3 + [1.0, HOLD, 0.0]


def rotation(
    strength: list[float], tradable: list[bool], session: float, to_close: float = 0.0, top: int = 2
) -> list[float]:
    strategy = MomentumRotation(top=top, every=5)
    made = program(strategy, ("strength",))
    assert made.compiled, made.reason
    n = len(strength)
    values = {
        "strength": np.array(strength),
        "session_index": np.full(n, session),
        "minutes_to_close": np.full(n, to_close),
        "tradable": np.array(tradable),
    }
    weights = made.call(tuple(values[f] for f in made.fields), ())
    return check_weights(strategy, list("ABCDEF")[:n], 0, weights, values["tradable"]).tolist()


@pytest.mark.parametrize(
    ("strength", "tradable", "session", "expected"),
    [
        ([0.1, 0.3, 0.2], [True] * 3, 10.0, [0.0, 0.5, 0.5]),
        ([0.3, 0.3, 0.3], [True] * 3, 10.0, [0.5, 0.5, 0.0]),
        ([0.1, np.nan, 0.2], [True, False, True], 10.0, [0.5, 0.0, 0.5]),
        ([-0.1, -0.3, -0.2], [True] * 3, 0.0, [0.5, 0.0, 0.5]),
        ([np.nan, 0.1, np.nan], [False, True, False], 5.0, [0.0, 0.5, 0.0]),
        ([0.1, 0.3, 0.2], [True] * 3, 11.0, [HOLD] * 3),
        ([np.nan] * 3, [False] * 3, 10.0, [HOLD] * 3),
    ],
)
def test_momentum_rotation_by_hand(
    strength: list[float], tradable: list[bool], session: float, expected: list[float]
) -> None:
    assert rotation(strength, tradable, session) == expected


def test_momentum_rotation_decides_at_the_session_close_only() -> None:
    assert rotation([0.1, 0.2, 0.3], [True] * 3, 10.0, to_close=1.0) == [HOLD] * 3
    assert rotation([0.1, 0.2], [True] * 2, 10.0, top=4) == [0.25, 0.25]
