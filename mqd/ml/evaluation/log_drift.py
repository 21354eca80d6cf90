"""Drift of a shadow: what it was asked lately, held against what its model was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mqd.errors import UsageError, did_you_mean
from mqd.ml.evaluation.drift import Reference, drift
from mqd.ml.registry.manifest import Manifest
from mqd.ml.shadow.asked import read_newest

if TYPE_CHECKING:
    import pandas as pd

KEY: Final = "reference"
"""Where a manifest's metrics keep the reference (``Dataset.reference``)."""
RECENT: Final = 5000


def reference_of(metrics: Mapping[str, Any]) -> Reference | None:
    """Return the reference that a manifest's metrics hold, None without one."""
    spec = metrics.get(KEY)
    return None if spec is None else Reference.from_spec(spec)


def shadow_drift(
    folder: str | os.PathLike[str], sha256: str, manifest: Manifest, *, rows: int = RECENT
) -> pd.DataFrame | None:
    """Return PSI and KS of a model's last ``rows`` predictions: its features, and its score where
    the reference has one. None for a manifest without a reference. Raises what ``drift`` raises.
    """
    reference = reference_of(manifest.metrics)
    if reference is None:
        return None
    known = (*manifest.feature_names, "score")
    for name in reference.names:
        if name not in known:
            raise UsageError(f"The reference names {name!r}.{did_you_mean(name, known)}")
    asked = read_newest(folder, sha256, rows)
    columns = np.array([[*one.features, one.said.score] for one in asked])
    places = [known.index(name) for name in reference.names]  # JSON keeps them in another order
    return drift(reference, columns.reshape(len(asked), len(known))[:, places])
