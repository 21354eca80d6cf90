"""Logs of shadows for tests: models, predictions and outcomes without features or engines."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.records import Matured, Prediction, Watched

LABEL = {"kind": "fixed_horizon", "bars": 1, "threshold_frac": 0.0}
HORIZON = "0123456789ab"
FEATURES = np.array([0.1, -2.5])


def watched(name: str, digit: str, *, threshold=None, output="probability", horizon=HORIZON):
    """Return a model whose hash is one digit, repeated."""
    return Watched(
        name, digit * 64, "shadow", threshold, dict(LABEL), horizon, "5" * 64, ["x", "y"], output
    )


A, B = watched("simple", "a"), watched("better", "b")


def said(model: Watched, ts: int, score: float, symbol="S", source="model", error="", latency=1000):
    """Return a prediction."""
    return Prediction(ts, symbol, model.sha256, score, source, latency, error)


def came(ts: int, ret: float, symbol="S", *, span=1, horizon=HORIZON, label=None):
    """Return an outcome known ``span`` later, up when its return is above 0."""
    up = int(ret > 0) if label is None else label
    return Matured(ts, symbol, ts + span, ret, up, horizon)


def write(folder, records: Iterable, models=(A, B)):
    """Write a log with one start."""
    with ShadowLog.open(folder) as log:
        log.start(tuple(models), ("S",))
        for one in records:
            if isinstance(one, Matured):
                log.mature(one)
            else:
                log.predict(one, "5" * 64, FEATURES)
    return folder
