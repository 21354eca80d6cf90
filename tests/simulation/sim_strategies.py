"""Strategies that trade often in a short run, with all kinds of orders that a desk sends."""

from __future__ import annotations

import mqd


class Flips(mqd.Strategy):
    """Long above its mean, short by half below it: reductions and flips."""

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 3)}

    def decide(self, now, position):
        return 0.9 if now.close > now.mean else -0.4


class Guarded(mqd.Strategy):
    """As `Flips`, with a stop and a target on every position."""

    stop_loss_frac: float = mqd.param(0.002, low=0.0, high=0.5)
    take_profit_frac: float = mqd.param(0.002, low=0.0, high=0.5)

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 5)}

    def decide(self, now, position):
        return 0.9 if now.close > now.mean else -0.4


class Trailing(mqd.Strategy):
    """Long above its mean, with a trailing stop."""

    trailing_stop_frac: float = mqd.param(0.002, low=0.0, high=0.5)

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 8)}

    def decide(self, now, position):
        return 0.8 if now.close > now.mean else 0.0


class Stateful(mqd.Strategy):
    """Keeps a state and reads its position: called at every bar."""

    state = {"calm": 0.0}  # noqa: RUF012 - the form that strategies are written in

    def features(self, bars):
        return {"slow": mqd.indicators.sma(bars.close, 12)}

    def decide(self, now, position, state):
        state.calm = state.calm + 1.0 if now.close > now.slow else 0.0
        if position.bars_held > 10.0 or state.calm < 2.0:
            return 0.0
        return 0.8
