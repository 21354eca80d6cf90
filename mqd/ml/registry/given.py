"""What a person gives of a model when it is registered, held against what the file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mqd.errors import ModelRefused, UsageError, did_you_mean
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.labels import label_from_spec, label_hash, label_spec
from mqd.ml.registry.manifest import Training


def label_given(label: Any) -> dict[str, Any] | None:
    """Return a label's spec; a spec is read once to see that it is one."""
    if label is None:
        return None
    if isinstance(label, type) or not (isinstance(label, Mapping) or hasattr(label, "of")):
        raise UsageError(f"label = {label!r}: give a label, such as FixedHorizon(5), or its spec.")
    return label_spec(label_from_spec(label) if isinstance(label, Mapping) else label)


def refuse_other_rows(
    trained: Mapping[str, Any], schema_sha256: str, label: Mapping[str, Any] | None
) -> None:
    """Refuse features or a label that the training rows were not made with."""
    schema, horizon = trained.get("schema_sha256", ""), trained.get("label", "")
    if schema and schema != schema_sha256:
        raise ModelRefused(
            "The model file",
            "it was trained on other features than those that are named: the rows say so. Give"
            " features= as they went into make_dataset",
        )
    if horizon and (label is None or horizon != label_hash(label_from_spec(label))):
        raise ModelRefused(
            "The model file",
            "it was trained on another label than the one that is named: the rows say so. Give"
            " label= as it went into make_dataset",
        )


def training_given(training: Training | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what is told of the training rows; raise ``UsageError`` for another kind of word."""
    if training is not None and not isinstance(training, (Training, Mapping)):
        raise UsageError("training: give Dataset.training, or a mapping of its fields.")
    told = training._asdict() if isinstance(training, Training) else dict(training or {})
    for name in told:
        if name not in Training._fields:
            raise UsageError(
                f"training has no {name!r}: it tells {', '.join(Training._fields)}."
                + did_you_mean(name, Training._fields)
            )
    return told


def features_given(
    features: Any, facts: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any] | None, str]:
    """Return ``(names, spec, schema_sha256)``; raises ``ModelRefused`` when the file disagrees."""
    own = facts["feature_names"]
    if features is None:
        return tuple(own or ()), None, ""
    if isinstance(features, Mapping):
        features = FeatureEngineer.from_spec(features)
    if not isinstance(features, FeatureEngineer):
        features = FeatureEngineer(features)
    names = tuple(str(name) for name in features.names)
    if len(names) != facts["n_features"]:
        raise ModelRefused(
            "The model file",
            f"it takes {facts['n_features']} features, the schema has {len(names)}:"
            f" {', '.join(names)}",
        )
    if own is not None and len(own) != len(names):
        raise ModelRefused(
            "The model file", f"it names {len(own)} columns and takes {facts['n_features']}"
        )
    if own is not None and tuple(own) != names:
        at = next(i for i, name in enumerate(names) if own[i] != name)
        raise ModelRefused(
            "The model file",
            f"it was trained on other columns: column {at} is {own[at]!r}, the schema has"
            f" {names[at]!r}",
        )
    return names, dict(features.spec()), features.schema.sha256
