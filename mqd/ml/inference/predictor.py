"""A registered model as a ``Predictor``: what a strategy asks for scores, the same everywhere.

Scores are those of the model's own features of the bars since the anchor, each row scored so that
no other row has a part in it. So a replay, a rehearsal and a desk that adds a bar at a time get the
same bits. Rows that were scored before are not asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import numpy as np

from mqd import logs
from mqd.core.bar import Floats, SymbolBars
from mqd.errors import ModelRefused
from mqd.ml.inference.engine import DEADLINE_S, InferenceEngine
from mqd.ml.registry.registry import ModelRegistry, ModelVersion

HISTORY_S: Final = 120.0
"""How long the scores of a whole history may take."""
_log = logs.get_logger("model")


class ModelPredictor:
    """Scores of one version, by an engine that asks nobody else for them.

    A row has no score (NaN) while a feature is no number, and when the model does not answer.
    ``trades``: for a desk in real time. Rows after the history are asked with ``DEADLINE_S``, and
    a version that is its name's champion no longer has no scores for them.
    """

    def __init__(
        self, engine: InferenceEngine, version: ModelVersion, *, trades: bool = False
    ) -> None:
        self.version = engine.load(version.reference)
        self._engine, self._trades = engine, trades
        self._engineer = version.engineer
        if self._engineer.schema.sha256 != version.manifest.schema_sha256:
            raise ModelRefused(
                version.reference[:24],
                "its features mean something else in this version of mqd: train it again.",
            )
        self._seen: dict[str, tuple[Floats, Floats]] = {}

    @property
    def is_champion(self) -> bool:
        """True when the version was its name's champion as it was handed in."""
        return self.version.stage == "champion"

    @property
    def trained_to_ns(self) -> int | None:
        """The last instant (ns UTC) that its labels have seen, None when its manifest says none."""
        return self.version.manifest.trained_to_ns

    def scores(self, bars: SymbolBars) -> Floats:
        """Return the score as of each close, float64 of the bars' length."""
        matrix = self._engineer.matrix(bars)
        n_same = self._n_same(bars.symbol, matrix)
        scores = np.full(len(bars), np.nan)
        if n_same:
            scores[:n_same] = self._seen[bars.symbol][1][:n_same]
        if n_same < len(bars) and self._may_answer():
            said = self._engine.predict(
                self.version.reference, matrix[n_same:], exact=True, fall_back=False,
                schema_sha256=self.version.manifest.schema_sha256,
                deadline_s=DEADLINE_S if self._trades and n_same else HISTORY_S,
            )  # fmt: skip
            scores[n_same:] = said.scores
            if said.error:
                _log.warning("no_scores", model=self.version.short, why=said.error)
            else:
                self._seen[bars.symbol] = (matrix, scores)
        return scores.copy()

    def _may_answer(self) -> bool:
        """Return whether the version still is what it was handed in as."""
        if not self._trades:
            return True
        try:
            stage = self._engine.registry.get(self.version.reference).stage
        except (ModelRefused, OSError) as error:
            stage = str(error)
        if stage != "champion":
            _log.warning("no_champion", model=self.version.short, stage=stage)
        return stage == "champion"

    def _n_same(self, symbol: str, matrix: Floats) -> int:
        """Return how many of the first rows were scored before, on the same bits."""
        if symbol not in self._seen:
            return 0
        before = self._seen[symbol][0]
        n = min(len(before), len(matrix))
        same = (before[:n].view(np.int64) == matrix[:n].view(np.int64)).all(axis=1)
        return n if same.all() else int(np.argmin(same))


@contextmanager
def model_predictors(
    registry: ModelRegistry,
    references: Sequence[str],
    *,
    champions_only: bool = False,
    trades: bool = False,
) -> Iterator[dict[str, ModelPredictor]]:
    """Load versions and yield them by ``NAME@SHA256``; their processes end with the block.

    ``champions_only``: a version that is not its name's champion is refused. ``trades``: for a desk
    in real time, see ``ModelPredictor``.
    """
    with ExitStack() as stack:
        engine = stack.enter_context(InferenceEngine(registry, deadline_s=HISTORY_S))
        found = {}
        for reference in references:
            version = registry.get(reference)
            if champions_only and version.stage != "champion":
                raise ModelRefused(
                    version.reference[:24],
                    f"it is {version.stage}; a model that trades is its name's champion. Move it:"
                    " ModelRegistry.move(..., 'champion', reason).",
                )
            found[version.reference] = ModelPredictor(engine, version, trades=trades)
        yield found
