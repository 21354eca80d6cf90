"""What a rule may return, one weight at a time, swept, and allocated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mqd.core.signal import HOLD
from mqd.errors import BadWeight
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.weights import check_swept, check_weight, check_weights


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, 0.5, HOLD, 1, np.float64(0.5), np.float32(0.5)])
def test_weights_in_range_and_hold_pass(value: Any) -> None:
    assert check_weight(SmaCross(), "X", 0, value) == float(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (7.0, "outside"),
        (-1.0000001, "outside"),
        (math.nan, "NaN"),
        (math.inf, "infinite"),
        (-math.inf, "infinite"),
        (-1e99, "outside"),
        ("long", "not a number"),
        (None, "not a number"),
        ([1.0], "not a number"),
        (1j, "not a number"),
    ],
)
def test_other_weights_name_strategy_symbol_and_bar(value: Any, why: str) -> None:
    with pytest.raises(BadWeight, match=why) as caught:
        check_weight(SmaCross(), "ACME", 86_400_000_000_000, value)
    assert "SmaCross returned" in str(caught.value)
    assert "ACME at the bar closing 1970-01-02T00:00:00Z" in str(caught.value)


def test_swept_weights_name_the_first_bad_bar() -> None:
    closes = np.arange(3) * 86_400_000_000_000
    check_swept(SmaCross(), "X", closes, np.array([1.0, HOLD, -1.0]))
    for bad in (math.nan, 1.5, math.inf):
        with pytest.raises(BadWeight, match="1970-01-02"):
            check_swept(SmaCross(), "X", closes, np.array([1.0, bad, bad]))


def test_allocated_weights_are_checked_symbol_by_symbol() -> None:
    names, both = ("A", "B"), np.array([True, True])

    def check(values: Any, tradable: Any = both) -> list[float]:
        return check_weights(SmaCross(), names, 0, values, tradable).tolist()

    assert check(np.array([1, 0])) == [1.0, 0.0]
    assert check([0.5, HOLD]) == [0.5, HOLD]
    assert check(np.array([0.5, HOLD]), np.array([True, False])) == [0.5, HOLD]
    assert check(np.array([0.5, 0.0]), np.array([True, False])) == [0.5, 0.0]
    for values, said in (
        (np.array([0.5]), "one number a symbol"),
        (0.5, "one number a symbol"),
        (None, "one number a symbol"),
        (["a", "b"], "one number a symbol"),
        (np.array([0.5, math.nan]), "for B .*NaN"),
        (np.array([2.0, 0.0]), "for A .*outside"),
    ):
        with pytest.raises(BadWeight, match=said):
            check(values)
    with pytest.raises(BadWeight, match=r"for B .*not tradable"):
        check(np.array([0.5, 0.5]), np.array([True, False]))
