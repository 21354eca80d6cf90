"""Batch inference through the process of a model: 100 symbols x 20 features, gradient boosting.

``python bench/ml_inference.py`` prints milliseconds of `InferenceEngine.predict`, the hop to the
sandboxed process, the digest of the manifest and the checks of the output included. The goal is
20 ms p99. One question is asked a step, with a pause in between as a live desk has.
"""

from __future__ import annotations

import tempfile
from time import perf_counter, sleep

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mqd.ml.inference.engine import InferenceEngine
from mqd.ml.registry.registry import ModelRegistry

SYMBOLS, FEATURES, TRAINING_ROWS = 100, 20, 5_000
QUESTIONS, PAUSE_S, GOAL_MS = 1_000, 0.002, 20.0
MODELS = {
    "trees": HistGradientBoostingClassifier(max_iter=100, random_state=0),
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(100, max_depth=8, random_state=0),
}


def asked(engine: InferenceEngine, name: str, rows: np.ndarray, *, exact: bool) -> str:
    """Return a line of the latencies of one model."""
    spent = []
    for _ in range(QUESTIONS if not exact or name == "trees" else QUESTIONS // 10):
        sleep(PAUSE_S)
        start = perf_counter()
        answer = engine.predict(name, rows, exact=exact)
        spent.append(1e3 * (perf_counter() - start))
        assert answer.source == "model", answer.error
    p50, p99 = np.quantile(spent, (0.5, 0.99))
    how = "exact" if exact else "batch"
    return f"{name:8} {how:6} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   max {max(spent):7.2f} ms"


def main() -> None:
    """Train, register, ask."""
    dice = np.random.default_rng(7)
    training = dice.normal(size=(TRAINING_ROWS, FEATURES))
    labels = (training[:, 0] + dice.normal(size=TRAINING_ROWS) > 0).astype(int)
    rows = dice.normal(size=(SYMBOLS, FEATURES))
    with tempfile.TemporaryDirectory() as folder:
        registry = ModelRegistry(folder)
        for name, model in MODELS.items():
            registry.save(model.fit(training, labels), name=name)
        with InferenceEngine(registry, deadline_s=5.0) as engine:
            for name in MODELS:
                start = perf_counter()
                engine.load(name)
                print(f"{name:8} ready in {perf_counter() - start:.2f} s")
                for exact in (False, True):
                    print(asked(engine, name, rows, exact=exact))
    print(f"goal: trees, batch, p99 at most {GOAL_MS:g} ms ({SYMBOLS} x {FEATURES})")


if __name__ == "__main__":
    main()
