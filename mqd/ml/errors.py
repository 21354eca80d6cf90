"""Errors of features, labels, models and shadows; ``ModelRefused`` stands in ``mqd.errors``.

ConfigError
├── BadFeature
└── BadFeatureMatrix
MqdError
├── HoldoutSealed
└── NoSandbox
"""

from __future__ import annotations

from mqd.errors import ConfigError, MqdError


class BadFeature(ConfigError):
    """A feature that no catalogue has, or with parameters that it does not take."""


class BadFeatureMatrix(ConfigError):
    """A matrix of features that a model cannot be asked with: names, order, type or values."""


class HoldoutSealed(MqdError):
    """Rows behind the seal were asked for before it was opened."""


class NoSandbox(MqdError):
    """A model's process could not be closed off, so the model is not read."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"No sandbox for models: {why}. Models run on Linux (x86-64, aarch64).")
