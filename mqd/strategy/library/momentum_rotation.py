"""Portfolio: hold the symbols with the strongest past return, chosen anew at fixed intervals."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

import numpy as np

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.strategy.strategy import Strategy, param


class MomentumRotation(Strategy):
    """Equal weights in the ``top`` symbols by return over ``lookback`` bars.

    Weights are set at the close of every ``every``-th session and stand in between. Of
    equal momentum the earlier symbol wins. Fewer tradable symbols than ``top`` leave the rest in
    cash. Source: Jegadeesh, Titman, "Returns to Buying Winners and Selling
    Losers", Journal of Finance 48 (1993), long side only.
    """

    lookback: int = param(126, low=2, high=600)
    top: int = param(3, low=1, high=100)
    every: int = param(21, low=1, high=260)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the return over ``lookback`` bars as a fraction."""
        return {"strength": indicators.roc(bars.close, self.lookback)}

    def allocate(self, now: Any, positions: Any) -> Any:
        """Return the new weights at a rebalance, HOLD for all otherwise."""
        if not is_due(now.tradable, now.session_index, now.minutes_to_close, self.every):
            return np.full(len(now.strength), HOLD)
        weights = np.full(len(now.strength), 0.0)
        for _ in range(self.top):
            symbol = strongest(now.tradable, now.strength, weights)
            if symbol >= 0:
                weights[symbol] = 1.0 / self.top
        return weights


def strongest(tradable: Any, strength: Any, weights: Any) -> int:
    """Return the first of the strongest tradable symbols without a weight, -1 if none is left."""
    best = -1
    for symbol in range(len(tradable)):
        free = tradable[symbol] and weights[symbol] == 0.0
        if free and (best < 0 or strength[symbol] > strength[best]):
            best = symbol
    return best


def is_due(tradable: Any, session_index: Any, minutes_to_close: Any, every: int) -> bool:
    """Return True at the last bar of every ``every``-th session of any tradable symbol."""
    seen = -1.0  # symbols mostly share their sessions, and a remainder is slow
    for symbol in range(len(tradable)):
        session = session_index[symbol]
        if tradable[symbol] and minutes_to_close[symbol] == 0.0 and session != seen:
            if int(session) % every == 0:
                return True
            seen = session
    return False
