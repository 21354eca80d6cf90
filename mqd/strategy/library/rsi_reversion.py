"""Buy weakness measured by the relative strength index, sell when it has recovered."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.strategy.strategy import Strategy, param


class RsiReversion(Strategy):
    """Long once RSI falls below ``buy_below``, flat once it rises above ``sell_above``.

    Between the two the last target stands. Source: Wilder, "New Concepts in Technical Trading
    Systems" (1978), oversold readings; the exit above the middle is the common variant.
    """

    period: int = param(14, low=2, high=100)
    buy_below: float = param(30.0, low=1.0, high=50.0)
    sell_above: float = param(55.0, low=50.0, high=99.0)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return Wilder's RSI of the close."""
        return {"rsi": indicators.rsi(bars.close, self.period)}

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 when oversold, 0 when recovered, else HOLD."""
        if now.rsi < self.buy_below:
            return 1.0
        return 0.0 if now.rsi > self.sell_above else HOLD
