"""Buy a close above the channel of earlier bars, sell one below a shorter channel."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.strategy.strategy import Strategy, param


class DonchianBreakout(Strategy):
    """Long on a close above the highest high of ``entry`` earlier bars, flat on one below the
    lowest low of ``exit`` earlier bars; between the two the last target stands.

    ``trailing_stop_frac`` adds a trailing stop. Source: Donchian's four-week rule; the shorter
    exit is that of Faith, "Way of the Turtle" (2007).
    """

    entry: int = param(20, low=2, high=300)
    exit: int = param(10, low=2, high=300)
    trailing_stop_frac: float = param(0.0, low=0.0, high=0.5)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the entry channel's top and the exit channel's bottom, own bar left out."""
        return {
            "entry_high": indicators.donchian(bars.high, bars.low, self.entry).upper,
            "exit_low": indicators.donchian(bars.high, bars.low, self.exit).lower,
        }

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 on a breakout, 0 on a breakdown, else HOLD."""
        if now.close > now.entry_high:
            return 1.0
        return 0.0 if now.close < now.exit_low else HOLD
