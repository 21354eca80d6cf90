"""``ShadowModeTracker``: models that predict beside a desk and cannot trade.

It hears closed bars as values (``BarListener``) and writes a log; it is given nothing through which
an order could be made, and returns nothing. Features are computed online, with the bits of the
offline ones; each prediction is one of its bar, made when the step is complete; outcomes are joined
when their label matures, also after a restart, once the history has been heard again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from mqd.core.bar import BarRow, Floats
from mqd.errors import ModelRefused, UsageError
from mqd.ml.errors import BadFeature
from mqd.ml.features.engineer import FeatureEngineer, OnlineFeatures
from mqd.ml.features.labels import Label, Watch, label_from_spec, label_hash
from mqd.ml.inference.engine import PROCESSES_MAX, InferenceEngine, Predictions
from mqd.ml.registry.registry import ModelRegistry, ModelVersion
from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.records import Heard, Matured, Prediction, Watched


class Engine(Protocol):
    """What answers for models: ``InferenceEngine``, or a stand-in."""

    def predict(
        self,
        reference: str,
        X: Floats,  # noqa: N803
        *,
        schema_sha256: str | None = None,
        exact: bool = False,
    ) -> Predictions:
        """Return a score for each row; it does not raise for what a model does."""
        ...

    def close(self) -> None:
        """End what it runs."""
        ...


@dataclass(slots=True)
class _Group:
    """Models on the same features: one set of handles a symbol serves them all."""

    engineer: FeatureEngineer
    schema: str
    models: list[Watched] = field(default_factory=list)
    online: dict[str, OnlineFeatures] = field(default_factory=dict)
    staged: list[tuple[str, Floats]] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def update(self, row: BarRow) -> Floats | None:
        """Return the features at a bar, None once they cannot be computed any more."""
        if row.symbol in self.broken:
            return None
        handles = self.online.get(row.symbol)
        if handles is None:
            handles = self.online[row.symbol] = self.engineer.online()
        try:
            return handles.update(row)
        except BadFeature as error:
            self.broken[row.symbol] = str(error)
            return None


class ShadowModeTracker:
    """Watches models of a registry and keeps what they said and what came of it in ``folder``.

    ``models``: references, ``name`` or ``name@sha256``; each needs a label in its manifest. A
    ``BarListener``: ``mqd.backtest(..., listener=tracker)``. For one thread. ``close()`` ends it;
    what has not matured waits in the log for the next start, which has to hear the history again.

    Raises ``StateFolderTaken`` while another process writes ``folder``, ``ModelRefused`` for a
    model without a label or that cannot be read, ``UsageError`` for one that is not there.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        registry: ModelRegistry,
        models: Sequence[str],
        *,
        engine: Engine | None = None,
        symbols: Sequence[str] = (),
    ) -> None:
        if not models:
            raise UsageError("A shadow watches at least one model.")
        versions = [registry.get(one) for one in models]
        watched = tuple(watched_of(one) for one in versions)
        self._groups = _groups(versions, watched)
        self._labels = {one.horizon: label_from_spec(one.label) for one in watched}
        self._watches: dict[tuple[str, str], Watch] = {}
        self._symbols = frozenset(symbols)
        self._log = ShadowLog.open(folder)
        self._engine = engine or InferenceEngine(
            registry, processes_max=max(PROCESSES_MAX, len(models) + 1)
        )
        if isinstance(self._engine, InferenceEngine):
            for one in watched:
                self._engine.load(one.reference)
        self._step_ns = self._last_ns = -1
        self._heard: set[str] = set()
        self._n_lost_before = 0
        self._were_broken: dict[str, str] = {}
        self.n_bars = self.n_warming = self.n_gaps = 0
        self._silent: dict[str, tuple[int, str]] = {}
        self._log.start(watched, tuple(symbols))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_bar(self, row: BarRow, *, past: bool) -> None:
        """Take a closed bar. Past ones warm features up and let labels mature, no more.

        A bar of a later step ends the step before: its predictions are made then.
        """
        if self._symbols and row.symbol not in self._symbols:
            return
        if row.ts_close != self._step_ns:
            self.flush()
            self._step_ns = self._last_ns = row.ts_close
        self.n_bars += 1
        if row.symbol not in self._heard:
            self._heard.add(row.symbol)
            self._log.hear(Heard(row.ts_close, row.symbol, self._n_lost_before))
            self._n_lost_before = 0
        for group in self._groups:
            features = group.update(row)
            if not past and features is not None:
                self._stage(group, row.symbol, features)
        for horizon, label in self._labels.items():
            self._mature(horizon, label, row)

    def gap(self, n_lost: int) -> None:
        """Begin anew after ``n_lost`` bars that were not heard: which ones nobody knows.

        Features are computed from the next bar of each symbol on, and warm up again; what waited
        for its outcome waits for the next start, which hears the history.
        """
        self.flush()
        self._step_ns = -1
        self.n_gaps += 1
        self._n_lost_before += n_lost
        self._heard.clear()
        self._watches.clear()
        for group in self._groups:
            self._were_broken |= group.broken
            group.online.clear()
            group.broken.clear()

    def flush(self) -> None:
        """Make the predictions of the step that was heard, and hand them to the system."""
        for group in self._groups:
            if group.staged:
                self._predict(group)
                group.staged.clear()
        self._log.flush()

    def close(self) -> None:
        """Make the last predictions, close the log and end the models' processes."""
        try:
            self.flush()
            if self._n_lost_before:
                self._log.hear(Heard(max(self._last_ns, 0), "", self._n_lost_before))
        finally:
            self._log.close()
            self._engine.close()

    def stats(self) -> dict[str, Any]:
        """Return what was counted: bars, rows still warming up, gaps, symbols without features, and
        of each model that did not answer itself how many rows, and the first reason."""
        broken = dict(self._were_broken)
        for group in self._groups:
            broken |= group.broken
        silent = {name: f"{n:,} rows: {why}" for name, (n, why) in self._silent.items()}
        return {
            "bars": self.n_bars, "warming": self.n_warming, "gaps": self.n_gaps,
            "broken": broken, "silent": silent,
        }  # fmt: skip

    def _stage(self, group: _Group, symbol: str, features: Floats) -> None:
        if np.isfinite(features).all():
            group.staged.append((symbol, features))
        else:
            self.n_warming += 1

    def _predict(self, group: _Group) -> None:
        """Ask each model for all symbols of a step at once."""
        matrix = np.array([features for _, features in group.staged])
        for model in group.models:
            said = self._engine.predict(
                model.reference, matrix, schema_sha256=group.schema, exact=True
            )
            if said.error:
                n_before, why = self._silent.get(model.reference, (0, said.error))
                self._silent[model.reference] = n_before + len(matrix), why
            for (symbol, features), score in zip(group.staged, said.scores.tolist(), strict=True):
                prediction = Prediction(
                    self._step_ns, symbol, model.sha256, score, said.source, said.latency_ns,
                    said.error,
                )  # fmt: skip
                self._log.predict(prediction, group.schema, features)

    def _mature(self, horizon: str, label: Label, row: BarRow) -> None:
        watch = self._watches.get((horizon, row.symbol))
        if watch is None:
            watch = self._watches[horizon, row.symbol] = label.watch()
        for one in watch.put(row):
            self._log.mature(Matured(one.t0, one.symbol, one.t1, one.ret_frac, one.label, horizon))


def watched_of(version: ModelVersion) -> Watched:
    """Return a version as the log names it; raise ``ModelRefused`` when it has no label."""
    manifest = version.manifest
    if manifest.label is None:
        raise ModelRefused(
            version.reference[:24],
            "its manifest names no label, so that no outcome could be joined: register it with"
            " label=.",
        )
    return Watched(
        version.name, version.sha256, version.stage, manifest.threshold, manifest.label,
        label_hash(label_from_spec(manifest.label)), manifest.schema_sha256,
        list(version.engineer.names), manifest.output, manifest.trained_to_ns or 0,
    )  # fmt: skip


def _groups(versions: Sequence[ModelVersion], watched: Sequence[Watched]) -> list[_Group]:
    """Return the models by what they are made of."""
    groups: dict[str, _Group] = {}
    for version, model in zip(versions, watched, strict=True):
        engineer = version.engineer
        if engineer.schema.sha256 != model.schema:
            raise ModelRefused(
                version.reference[:24],
                "its features mean something else in this version of mqd: train it again.",
            )
        group = groups.setdefault(model.schema, _Group(engineer, model.schema))
        if model.sha256 not in {one.sha256 for one in group.models}:
            group.models.append(model)
    return list(groups.values())
