"""A set of features as something that can be checked: a strategy that computes them and waits."""

# ruff: noqa: ARG002 - a rule keeps its signature

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from mqd.core.bar import SymbolBars
from mqd.errors import UsageError
from mqd.strategy.strategy import Strategy


@runtime_checkable
class FeatureSource(Protocol):
    """What has features of bars, such as a ``FeatureEngineer``."""

    def columns(self, bars: SymbolBars) -> Mapping[str, Any]:
        """Return the features by name, one value a bar."""
        ...


def watcher_of(source: object) -> Strategy:
    """Return a strategy with the features of ``source`` that never trades."""
    if not isinstance(source, FeatureSource):
        raise UsageError(
            f"{source!r} is no strategy: give an instance, such as SmaCross(), or a set of"
            " features, such as a FeatureEngineer()."
        )
    found = source

    class Features(Strategy):
        """Computes a set of features and stays flat."""

        def features(self, bars: SymbolBars) -> Mapping[str, Any]:
            return found.columns(bars)

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    Features.__name__ = Features.__qualname__ = type(source).__name__
    return Features()
