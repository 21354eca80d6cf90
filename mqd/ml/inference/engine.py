"""``InferenceEngine``: scores of registered models, each alive in a process of its own.

One version, one process (`mqd.ml.sandbox`), many symbols in one hop. Who answers when a model does
not: the champion that it replaced, then a rule of our own, then nobody; the answer says which.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

import numpy as np

from mqd.core.bar import Floats
from mqd.core.clock import WallClock
from mqd.core.protocols import Clock
from mqd.errors import ModelRefused, UsageError
from mqd.ml.errors import BadFeatureMatrix
from mqd.ml.inference.versions import VersionInUse, check_scores
from mqd.ml.registry.manifest import check_versions
from mqd.ml.registry.registry import ModelRegistry, ModelVersion
from mqd.ml.sandbox.child import MEMORY_MB, Child, ChildFailed

Source = Literal["model", "previous", "rule", "none"]
DEADLINE_S: Final = 0.5
PROCESSES_MAX: Final = 8


class Predictions(NamedTuple):
    """Scores of one matrix: float64 (n,), NaN where there is none.

    ``source`` says who answered and ``model_sha256`` whose turn it was: of "previous" the champion
    (before, or of a version that is none), else the model that was asked. ``error`` says why the
    model did not answer, else "". Without a row of numbers alone nobody is asked: "none", and "".
    """

    scores: Floats
    model_sha256: str
    source: Source
    latency_ns: int
    error: str


class _Question(NamedTuple):
    """What is asked: rows (n, k), what their columns mean, and how they are to be scored."""

    X: Floats
    schema_sha256: str
    exact: bool
    deadline_s: float

    @property
    def ready(self) -> Any:
        """Which rows are all finite numbers."""
        return np.isfinite(self.X).all(axis=1)


class Fallback(Protocol):
    """A rule of our own that answers in this process when no model does."""

    def scores(self, X: Floats, names: Sequence[str]) -> Floats:  # noqa: N803
        """Return one score a row of ``X`` (n, k), whose columns are ``names``."""
        ...


class InferenceEngine:
    """Asks models of a registry for scores. Use it in a ``with``, or call ``close``.

    ``deadline_s`` bounds one hop to a process that is up; the first question to a version starts
    its process and waits for it (a second or two: `load` does it beforehand). The champion before
    is not waited for. ``memory_mb`` is the address space of a process. At most ``processes_max``
    live at once: who was not asked for longest ends first, and starts again when it is asked, so
    give as many as you ask in turn. Safe from several threads, one question at a time.
    """

    child: type[Child] = Child

    def __init__(
        self, registry: ModelRegistry, *, deadline_s: float = DEADLINE_S,
        memory_mb: int = MEMORY_MB, fallback: Fallback | None = None,
        processes_max: int = PROCESSES_MAX, clock: Clock | None = None,
    ) -> None:  # fmt: skip
        if not deadline_s > 0 or memory_mb < 1 or processes_max < 2:
            raise UsageError(
                f"deadline_s = {deadline_s!r}, memory_mb = {memory_mb!r}, processes_max ="
                f" {processes_max!r}: a deadline and memory above 0, two processes or more."
            )
        self.registry, self.deadline_s, self.memory_mb = registry, deadline_s, memory_mb
        self.fallback = fallback
        self._processes_max = processes_max
        self._clock: Clock = clock or WallClock()
        self._in_use: OrderedDict[str, VersionInUse] = OrderedDict()
        self._unreadable: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, reference: str) -> ModelVersion:
        """Start a version's process now and wait for it, and for that of who would answer in its
        place; raises ``ModelRefused`` if it fails itself."""
        with self._lock:
            one = self._take(self.registry.get(reference))
            try:
                one.load()
            except ChildFailed as failed:
                raise ModelRefused(one.version.short, failed.why) from failed
            before = self._before(one.version)
            if before is not None:
                with suppress(ChildFailed):  # it is counted there
                    self._take(before).load()
            return one.version

    def restart(self, reference: str) -> None:
        """Try a version again that was given up: a person's decision."""
        with self._lock:
            self._take(self.registry.get(reference)).revive()

    def predict(
        self,
        reference: str,
        X: Floats,  # noqa: N803
        *,
        schema_sha256: str = "",
        exact: bool = False,
        fall_back: bool = True,
        deadline_s: float | None = None,
    ) -> Predictions:
        """Return a score for each row of ``X`` (n, k) float64; a row with NaN or infinity has none.

        ``schema_sha256``: that of the features in ``X``; another than the manifest's is refused.
        ``exact``: no row's score may depend on the other rows, to the bit. ``deadline_s``: of this
        question, in place of the engine's. What a model or its file does wrong is told in the
        answer and counted; it does not raise. Raises ``BadFeatureMatrix`` for what is no matrix of
        float64, ``UsageError`` for a reference that the registry does not have.
        """
        if not isinstance(X, np.ndarray):
            raise BadFeatureMatrix(f"{type(X).__name__}: wanted is a matrix of float64.")
        if X.ndim != 2 or X.dtype != np.float64:
            raise BadFeatureMatrix(f"{X.shape} of {X.dtype}: wanted is a matrix of float64.")
        started_ns = self._clock.monotonic_ns()
        with self._lock:
            question = _Question(X, schema_sha256, exact, deadline_s or self.deadline_s)
            answer = self._predict(reference, question, fall_back=fall_back)
            spent_ns = self._clock.monotonic_ns() - started_ns
        return answer._replace(latency_ns=spent_ns)

    def predict_many(
        self, references: Sequence[str], X: Floats, *, schema_sha256: str = "",  # noqa: N803
        exact: bool = False, fall_back: bool = True,
    ) -> list[Predictions]:  # fmt: skip
        """Return what each of several versions says of the same rows, in their order."""
        return [
            self.predict(
                one, X, schema_sha256=schema_sha256, exact=exact, fall_back=fall_back
            )
            for one in references
        ]  # fmt: skip

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return by reference what was counted.

        asked, rows, errors by cause, latency_ns_p50 and _p99 of its own hops, restarts, given_up,
        answered_by (who answered when it was asked for). A reference whose manifest or record
        could not be trusted has errors alone: "registry".
        """
        with self._lock:
            told = {reference: one.figures() for reference, one in self._in_use.items()}
            return told | {
                name: {"errors": {"registry": n}} for name, n in self._unreadable.items()
            }

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            for one in self._in_use.values():
                one.close()

    def _predict(self, reference: str, asked: _Question, *, fall_back: bool) -> Predictions:
        try:
            version = self.registry.get(reference)
        except (ModelRefused, OSError) as error:
            self._unreadable[reference] += 1
            return Predictions(np.full(len(asked.X), np.nan), "", "none", 0, str(error))
        answer = self._answer(version, asked, fall_back=fall_back)
        self._take(version).answers[answer.source] += 1
        return answer

    def _answer(self, version: ModelVersion, asked: _Question, *, fall_back: bool) -> Predictions:
        """Return what the version says, else the champion before, else the rule, else nothing."""
        nothing = np.full(len(asked.X), np.nan)
        try:
            scores = self._ask(version, asked)
            source: Source = "model" if asked.ready.any() else "none"
            return Predictions(scores, version.sha256, source, 0, "")
        except ChildFailed as failed:
            said = str(failed)
        if not fall_back:
            return Predictions(nothing, version.sha256, "none", 0, said)
        before = self._before(version)
        if before is not None:
            try:
                scores = self._ask(before, asked, may_wait=False)
                return Predictions(scores, before.sha256, "previous", 0, said)
            except ChildFailed as failed:
                said += f"; the champion before: {failed}"
        try:
            scores = self._of_rules(version, asked)
        except ChildFailed as failed:
            return Predictions(nothing, version.sha256, "none", 0, f"{said}; {failed}")
        return Predictions(scores, version.sha256, "rule", 0, said)

    def _ask(self, version: ModelVersion, asked: _Question, *, may_wait: bool = True) -> Floats:
        """Return the scores of one version, NaN for rows that are not finite."""
        one, ready = self._take(version), asked.ready
        self._admit(one, asked)
        scores = np.full(len(ready), np.nan)
        if ready.any():
            rows = asked.X if ready.all() else asked.X[ready]
            scores[ready] = one.score(
                rows, exact=asked.exact, deadline_s=asked.deadline_s, may_wait=may_wait
            )
        return scores

    def _admit(self, one: VersionInUse, asked: _Question) -> None:
        manifest = one.version.manifest
        if asked.schema_sha256 != manifest.schema_sha256:
            one.errors["schema"] += 1
            raise ChildFailed(
                "schema",
                f"the features are {asked.schema_sha256[:12] or 'unnamed'}, it was trained on"
                f" {manifest.schema_sha256[:12] or 'unnamed ones'}",
            )
        if asked.X.shape[1] != manifest.n_features:
            one.errors["schema"] += 1
            raise ChildFailed(
                "schema", f"{asked.X.shape[1]} features; it takes {manifest.n_features}"
            )

    def _before(self, version: ModelVersion) -> ModelVersion | None:
        """Return who answers in a version's place: of a champion the one before it, of another the
        champion. None when there is none, it cannot be read, or its scores mean something else."""
        try:
            before = self.registry.champion(version.name)
            if before is None or before.sha256 == version.sha256:
                before = self.registry.previous_champion(version.name)
        except (ModelRefused, OSError):
            return None
        if before is None or before.sha256 == version.sha256:
            return None
        same = _meaning(before) == _meaning(version)
        return before if same else None

    def _of_rules(self, version: ModelVersion, asked: _Question) -> Floats:
        """Return what the rule says of the features that the model would have been asked with."""
        manifest, ready = version.manifest, asked.ready
        if self.fallback is None:
            raise ChildFailed("rule", "there is no rule to fall back on")
        if manifest.output != "probability":
            raise ChildFailed("rule", f"the model gives a {manifest.output}, the rule a chance")
        known = asked.X.shape[1] == len(manifest.feature_names)
        if asked.schema_sha256 != manifest.schema_sha256 or not known:
            raise ChildFailed("rule", "the rule does not know these features")
        scores = np.full(len(ready), np.nan)
        try:
            told = np.asarray(
                self.fallback.scores(asked.X[ready], manifest.feature_names), dtype=np.float64
            )
            check_scores(told, int(ready.sum()), "probability")
        except Exception as error:  # a rule is anybody's code, and a desk goes on
            raise ChildFailed("rule", f"the rule failed: {error}") from error
        scores[ready] = told
        return scores

    def _take(self, version: ModelVersion) -> VersionInUse:
        """Return a version's place, made when it is new; the one not asked longest may end."""
        one = self._in_use.get(version.reference)
        if one is None:
            one = VersionInUse(version, self._start, self._clock)
            self._in_use[version.reference] = one
        one.version = version  # its stage may be another than when it was asked last
        self._in_use.move_to_end(version.reference)
        alive = [other for other in self._in_use.values() if other.alive and other is not one]
        if not one.alive and len(alive) >= self._processes_max:
            alive[0].park()
        return one

    def _start(self, version: ModelVersion) -> Child:
        check_versions(version.manifest)
        data = self.registry.read(version.reference)
        return self.child(data, version.manifest.format, memory_mb=self.memory_mb)


def _meaning(version: ModelVersion) -> tuple[Any, ...]:
    """Return what a score of a version says: only a score that says the same may stand for it."""
    manifest = version.manifest
    return manifest.output, manifest.classes, manifest.label
