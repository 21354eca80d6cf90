"""Errors of features, labels, models and shadows; ``ModelRefused`` stands in ``mqd.errors``.

ConfigError
├── BadFeature
└── BadFeatureMatrix
MqdError
└── HoldoutSealed
"""

from __future__ import annotations

from mqd.errors import ConfigError, MqdError


class BadFeature(ConfigError):
    """A feature that no catalogue has, or with parameters that it does not take."""


class BadFeatureMatrix(ConfigError):
    """A matrix of features that a model cannot be asked with: names, order, type or values."""


class HoldoutSealed(MqdError):
    """Rows behind the seal were asked for before it was opened."""
