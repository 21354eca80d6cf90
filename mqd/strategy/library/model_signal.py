"""A champion model as a strategy: its score becomes a target weight, and nothing else of it."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from typing import Any

from mqd.core.bar import Floats, SymbolBars
from mqd.core.signal import HOLD
from mqd.errors import StrategyError
from mqd.strategy.predictors import scores_of
from mqd.strategy.strategy import Strategy, param


class ModelSignal(Strategy):
    """Long once the score reaches ``enter_at``, flat once it falls below ``exit_below``.

    Between the two the last target stands. ``model`` is ``NAME@SHA256``; whoever starts the run
    hands it in (``mqd.strategy.predictors``). A bar without a score is passed over: no decision.
    """

    model: str = param("")
    enter_at: float = param(0.55)
    exit_below: float = param(0.5)

    def features(self, bars: SymbolBars) -> dict[str, Floats]:
        """Return the model's score as of each close."""
        if self.enter_at < self.exit_below:
            raise StrategyError(
                f"ModelSignal: enter_at {self.enter_at:g} lies below exit_below"
                f" {self.exit_below:g}, so that a score between them would mean both."
            )
        return {"score": scores_of(self.model, bars)}

    def decide(self, now: Any, position: Any) -> float:
        """Return 1 at or above the entry, 0 below the exit, else HOLD."""
        if now.score >= self.enter_at:
            return 1.0
        return 0.0 if now.score < self.exit_below else HOLD
