"""Models beside the desk: features, labels, evaluation, a registry, inference and shadows.

A stage that listens and returns nothing. What a model says enters the desk only as a strategy's
``Signal`` (``mqd.strategy.library.model_signal``). Names are imported when they are first used;
the extra ``ml`` has what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mqd.ml.engineer import FeatureEngineer
    from mqd.ml.inference import InferenceEngine
    from mqd.ml.labels import FixedHorizon, NextSession, TripleBarrier
    from mqd.ml.models import SimpleRuleModel
    from mqd.ml.registry import ModelRegistry
    from mqd.ml.sealed import SealedHoldout
    from mqd.ml.shadow import ShadowModeTracker

_NAMES: Final = {
    "FeatureEngineer": "mqd.ml.engineer",
    "FixedHorizon": "mqd.ml.labels",
    "InferenceEngine": "mqd.ml.inference",
    "ModelRegistry": "mqd.ml.registry",
    "NextSession": "mqd.ml.labels",
    "SealedHoldout": "mqd.ml.sealed",
    "ShadowModeTracker": "mqd.ml.shadow",
    "SimpleRuleModel": "mqd.ml.models",
    "TripleBarrier": "mqd.ml.labels",
}

__all__ = [
    "FeatureEngineer",
    "FixedHorizon",
    "InferenceEngine",
    "ModelRegistry",
    "NextSession",
    "SealedHoldout",
    "ShadowModeTracker",
    "SimpleRuleModel",
    "TripleBarrier",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _NAMES:
        from mqd.errors import did_you_mean

        hint = "" if name.startswith("_") else did_you_mean(name, __all__)
        raise AttributeError(f"mqd.ml has no {name!r}.{hint}", name=name)
    value = globals()[name] = getattr(import_module(_NAMES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
