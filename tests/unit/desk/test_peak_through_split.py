"""A trailing stop through a split on unadjusted prices: worked by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import mqd

HALVES = pd.DataFrame(
    {
        "symbol": ["X"],
        "ex_date": ["2024-01-08"],
        "kind": ["split"],
        "ratio": [2.0],
        "amount": [None],
    }
)


class Blind(mqd.Strategy):
    """Always long; reads no position."""

    def decide(self, now: Any, position: Any) -> float:
        """Return full weight."""
        return 1.0


class Watching(mqd.Strategy):
    """Always long; reads its peak at each bar."""

    def decide(self, now: Any, position: Any) -> float:
        """Return full weight."""
        return 1.0 if position.peak_px >= 0.0 else 0.0


def bars(adjust: str) -> mqd.Bars:
    """Return 100, 120 (the peak), 2:1, 60, and a fall through 54 = 60 less 10 percent."""
    days = pd.bdate_range("2024-01-02", periods=7).strftime("%Y-%m-%dT14:30:00Z")
    closes = [100.0, 100.0, 110.0, 120.0, 59.0, 58.0, 50.0]
    frame = pd.DataFrame({"symbol": "X", "timestamp": pd.to_datetime(days)})
    frame["open"] = frame["high"] = frame["low"] = frame["close"] = closes
    frame["volume"] = 1e7
    return mqd.Bars.from_pandas(frame, actions=HALVES, adjust=adjust)


@pytest.mark.parametrize("kind", [Blind, Watching])
@pytest.mark.parametrize("adjust", ["none", "split"])
def test_the_peak_of_a_trailing_stop_goes_through_the_split(kind, adjust):
    result = mqd.backtest(kind(trailing_stop_frac=0.1), bars(adjust), costs=mqd.Costs())
    exits = result.fills[result.fills["reason"] == "trailing_stop"]
    assert exits["px"].tolist() == [50.0]
    assert exits["ts_fill"].dt.strftime("%Y-%m-%d").tolist() == ["2024-01-10"]
