"""Buy at the first bar and hold: the benchmark of every other rule."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd.strategy.strategy import Strategy, param


class BuyAndHold(Strategy):
    """The whole slot from the first bar on; drifts with prices and is never resized.

    Source: the standard benchmark of the field; no signal.
    """

    weight: float = param(1.0, low=-1.0, high=1.0)

    def decide(self, now: Any, position: Any) -> float:
        """Return the same target at every bar."""
        return self.weight
