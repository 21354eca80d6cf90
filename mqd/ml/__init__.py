"""Models beside the desk: features, labels, evaluation, a registry, inference and shadows.

A stage that listens and returns nothing. What a model says enters the desk only as a strategy's
``Signal`` (``mqd.strategy.library.model_signal``). Names are imported when they are first used;
the extra ``ml`` has what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mqd.ml.evaluation.comparison import compare
    from mqd.ml.evaluation.dataset import make_dataset
    from mqd.ml.evaluation.economic import economic_value
    from mqd.ml.evaluation.evaluate import evaluate
    from mqd.ml.evaluation.scoring import score_log
    from mqd.ml.evaluation.sealed import SealedHoldout
    from mqd.ml.features.engineer import FeatureEngineer
    from mqd.ml.features.labels import FixedHorizon, NextSession, TripleBarrier
    from mqd.ml.inference.engine import InferenceEngine
    from mqd.ml.inference.rules import SimpleRuleModel
    from mqd.ml.registry.registry import ModelRegistry
    from mqd.ml.shadow.tracker import ShadowModeTracker

_NAMES: Final = {
    "FeatureEngineer": "mqd.ml.features.engineer",
    "FixedHorizon": "mqd.ml.features.labels",
    "InferenceEngine": "mqd.ml.inference.engine",
    "ModelRegistry": "mqd.ml.registry.registry",
    "NextSession": "mqd.ml.features.labels",
    "SealedHoldout": "mqd.ml.evaluation.sealed",
    "ShadowModeTracker": "mqd.ml.shadow.tracker",
    "SimpleRuleModel": "mqd.ml.inference.rules",
    "TripleBarrier": "mqd.ml.features.labels",
    "compare": "mqd.ml.evaluation.comparison",
    "economic_value": "mqd.ml.evaluation.economic",
    "evaluate": "mqd.ml.evaluation.evaluate",
    "make_dataset": "mqd.ml.evaluation.dataset",
    "score_log": "mqd.ml.evaluation.scoring",
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
    "compare",
    "economic_value",
    "evaluate",
    "make_dataset",
    "score_log",
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
