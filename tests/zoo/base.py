"""What the animals of the zoo share: one rule, so that it is compiled once."""

import numpy as np
import pandas as pd

import mqd


def series(values):
    """Return a column as a pandas series of its own."""
    return pd.Series(np.array(values))


def by_time(bars):
    """Return the closes by their instants."""
    return pd.Series(np.array(bars.close), index=pd.to_datetime(bars.ts_close, unit="ns", utc=True))


class Signal(mqd.Strategy):
    """Long while ``signal`` is positive. ``data`` names the bars of the zoo."""

    data = "daily"

    def features(self, bars):
        return {"signal": np.asarray(self.signal(bars), dtype=float)}

    def signal(self, bars):
        raise NotImplementedError

    def decide(self, now, position):
        return 1.0 if now.signal > 0.0 else 0.0


def animals(scope):
    """Return the strategies that a module defines, by name."""
    return sorted(
        (
            one
            for one in scope.values()
            if isinstance(one, type)
            and issubclass(one, mqd.Strategy)
            and one.__module__ == scope["__name__"]
        ),
        key=lambda one: one.__name__,
    )
