"""Buy below the lower Bollinger band, sell at the mean."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.strategy.strategy import Strategy, param


class BollingerReversion(Strategy):
    """Long once the close falls below the lower band, flat once it is back at the mean.

    Between the two the last target stands. Source: Bollinger, "Bollinger on Bollinger Bands"
    (2001), the reversal method without its confirmation.
    """

    period: int = param(20, low=5, high=200)
    width: float = param(2.0, low=0.5, high=5.0)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the lower band and the mean of the close."""
        bands = indicators.bollinger(bars.close, self.period, self.width)
        return {"lower": bands.lower, "middle": bands.middle}

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 below the band, 0 at or above the mean, else HOLD."""
        if now.close < now.lower:
            return 1.0
        return 0.0 if now.close >= now.middle else HOLD
