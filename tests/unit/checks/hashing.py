"""A strategy whose features follow the order of a set of texts."""

import numpy as np

import mqd


class FollowsASet(mqd.Strategy):
    def features(self, bars):
        names = {"open", "high", "low", "close", "volume", "vwap", "trade_count", "session"}
        return {"place": np.full(len(bars), float(list(names).index("close")))}

    def decide(self, now, position):
        return 1.0 if now.place > 3.0 else 0.0
