"""Strategies: what they are, how they are compiled, loaded and checked, and a library of them."""

from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import HOLD, Strategy, param

__all__ = ["HOLD", "Features", "Strategy", "compute_features", "param"]
