"""Bars, models and engines for tests of shadows: small, without a process where none is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mqd.core.bar import BarRow
from mqd.ml.features.engineer import FeatureEngineer
from mqd.ml.features.labels import FixedHorizon, Label, label_spec
from mqd.ml.inference.engine import Predictions

FEATURES = ("log_return(1)", "range_frac")
MINUTE_NS = 60_000_000_000
START_NS = 1_700_000_000_000_000_000


class FakeManifest(NamedTuple):
    """What a tracker reads of a manifest."""

    features: dict[str, Any]
    schema_sha256: str
    label: dict[str, Any] | None
    threshold: float | None
    output: str = "probability"
    trained_to_ns: int | None = None


class FakeVersion(NamedTuple):
    """A version without a file."""

    name: str
    sha256: str
    stage: str
    manifest: FakeManifest

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.sha256}"

    @property
    def engineer(self) -> FeatureEngineer:
        return FeatureEngineer.from_spec(self.manifest.features)


class FakeRegistry:
    """Versions by name, each on the features and with the label that are given."""

    def __init__(self, *names: str, label: Label | None = None, features: Sequence[str] = FEATURES):
        engineer = FeatureEngineer(features)
        chosen = FixedHorizon(2) if label is None else label
        manifest = FakeManifest(engineer.spec(), engineer.schema.sha256, label_spec(chosen), 0.6)
        self.found = {
            name: FakeVersion(name, f"{number:x}" * 64, "shadow", manifest)
            for number, name in enumerate(names, start=10)
        }

    def get(self, reference: str) -> Any:
        return self.found[reference.partition("@")[0]]


class FakeEngine:
    """Answers with a function of the features; remembers what it was asked."""

    def __init__(self, scores: Callable[[Any], Any] = lambda x: 1 / (1 + np.exp(-x[:, 0] * 100))):
        self.scores, self.asked, self.closed = scores, [], False

    def predict(self, reference, X, *, schema_sha256=None, exact=False):  # noqa: N803
        self.asked.append((reference, X.copy(), exact))
        scores = np.asarray(self.scores(X), dtype=np.float64)
        source = "model" if np.isfinite(scores).all() else "none"
        error = "" if source == "model" else "deadline: no answer in time"
        return Predictions(scores, reference.partition("@")[2], source, 1_000_000, error)

    def close(self) -> None:
        self.closed = True


def some_rows(symbol: str = "A", n: int = 40, *, seed: int = 0, start: int = 0) -> list[BarRow]:
    """Return minute bars of one session with random closes."""
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.001, n + start)))
    rows = []
    for at in range(start, n + start):
        ts = START_NS + at * MINUTE_NS
        px = float(close[at])
        rows.append(
            BarRow(symbol, ts, ts + MINUTE_NS, px, px * 1.001, px * 0.999, px, 1000.0, 19675,
                   float(at + 1), float(390 - at - 1))
        )  # fmt: skip
    return rows
