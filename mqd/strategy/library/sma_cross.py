"""Two moving averages: long while the fast one is above the slow one."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.strategy.strategy import Strategy, param


class SmaCross(Strategy):
    """Long while the fast mean of closes is above the slow one, flat otherwise.

    Source: Brock, Lakonishok, LeBaron, "Simple Technical Trading Rules and the Stochastic
    Properties of Stock Returns", Journal of Finance 47 (1992), the variable-length rule.
    """

    fast: int = param(20, low=2, high=100)
    slow: int = param(50, low=5, high=300)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return both means of the close."""
        return {
            "fast": indicators.sma(bars.close, self.fast),
            "slow": indicators.sma(bars.close, self.slow),
        }

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 above the slow mean, else 0."""
        return 1.0 if now.fast > now.slow else 0.0
