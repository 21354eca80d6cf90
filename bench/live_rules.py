"""A rule that trades at every close: what an order costs shows with many orders."""

from __future__ import annotations

import mqd


class Flip(mqd.Strategy):
    """Long for one bar, flat for the next."""

    def features(self, bars):
        """Return the close one bar ago."""
        return {"before": mqd.indicators.sma(bars.close, 1)}

    def decide(self, now, position):  # noqa: ARG002 - the form that strategies are written in
        """Hold after odd minutes, leave after even ones."""
        return 1.0 if now.minutes_from_open % 2.0 == 1.0 else 0.0
