"""Intraday: buy below the session's volume-weighted price, be flat by the close."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd import indicators
from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.strategy.strategy import Strategy, param


class VwapReversion(Strategy):
    """Long once the close is ``entry_frac`` below the session's VWAP, flat once back at it.

    Nothing is held overnight: from ``flat_minutes`` before the session's close the target is 0,
    half days included. On daily bars it therefore never trades. Source: the VWAP benchmark of
    Berkowitz, Logue, Noser, Journal of Finance 43 (1988), used as the mean to revert to.
    """

    entry_frac: float = param(0.002, low=0.0001, high=0.1)
    flat_minutes: int = param(15, low=1, high=120)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the VWAP since the session's open."""
        return {"session_vwap": indicators.session_vwap(bars)}

    def decide(self, now: Any, position: Any) -> float:
        """Return 0 near the close, 1 well below the VWAP, 0 at or above it, else HOLD."""
        if now.minutes_to_close <= self.flat_minutes:
            return 0.0
        if now.close < now.session_vwap * (1.0 - self.entry_frac):
            return 1.0
        return 0.0 if now.close >= now.session_vwap else HOLD
