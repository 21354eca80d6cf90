"""``InferenceEngine``: scores of models that live in processes of their own."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

import numpy as np

from mqd.core.bar import Floats
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import ModelRefused
from mqd.ml.child import ModelChild, ModelFailed
from mqd.ml.registry import ModelRegistry, ModelVersion

Source = Literal["model", "previous", "rule", "none"]

DEADLINE_S: Final = 0.5
MEMORY_MB: Final = 2048
FAILURES_MAX: Final = 5
WAIT_S: Final = (0.0, 1.0, 5.0, 30.0)
LATENCIES_KEPT: Final = 10_000


class Predictions(NamedTuple):
    """Scores of one matrix: float64 (rows,), NaN where there is none.

    ``source`` says who answered, ``model_sha256`` which file; ``error`` why the model did not.
    """

    scores: Floats
    model_sha256: str
    source: Source
    latency_ns: int
    error: str


class Fallback(Protocol):
    """A model of our own that answers in this process when no other does."""

    def scores(self, X: Floats, names: tuple[str, ...]) -> Floats:  # noqa: N803
        """Return one score a row."""
        ...


@dataclass(slots=True)
class _Loaded:
    """A version in use: its process while it lives, and what came of it."""

    version: ModelVersion
    names: tuple[str, ...]
    child: ModelChild | None = None
    failures: int = 0
    again_ns: int = 0
    n_starts: int = 0
    n_rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies_ns: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    @property
    def given_up(self) -> bool:
        """True after so many failures in a row that only a restart tries it again."""
        return self.failures >= FAILURES_MAX


class InferenceEngine:
    """Asks models of a registry for scores, each in a process that is shut off.

    ``deadline_s`` bounds one question; a process that is late, crashes or raises is ended and,
    after a growing wait, started anew, ``FAILURES_MAX`` times in a row at most. When a model does
    not answer, the champion before it is asked, then ``fallback``, then there is no score: the
    answer says who gave it. ``stats()`` counts all of that. For one thread; ``close()`` ends the
    processes.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        *,
        deadline_s: float = DEADLINE_S,
        memory_mb: int = MEMORY_MB,
        fallback: Fallback | None = None,
    ) -> None:
        self.registry, self.deadline_s, self.memory_mb = registry, deadline_s, memory_mb
        self.fallback = fallback
        self._loaded: dict[str, _Loaded] = {}
        self._clock = WallClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, reference: str) -> ModelVersion:
        """Load a version now; raise ``ModelRefused`` where it cannot be."""
        one = self._take(reference)
        if one.child is None:
            try:
                self._start(one)
            except ModelFailed as failed:
                raise ModelRefused(one.version.reference[:24], f"{failed.why}.") from failed
        return one.version

    def predict(
        self,
        reference: str,
        X: Floats,  # noqa: N803
        *,
        schema_sha256: str | None = None,
        exact: bool = False,
        fall_back: bool = True,
    ) -> Predictions:
        """Return a score for each row of features; rows with a NaN or infinity have none.

        ``schema_sha256``: that of the features; another than the model's gets no score.
        ``exact``: no row's score may depend on the batch. ``fall_back=False`` asks nobody else.
        """
        started_ns = self._clock.monotonic_ns()
        one = self._take(reference)
        source: Source = "model"
        scores, error = self._ask(one, X, schema_sha256, exact=exact)
        answered = one
        if error and fall_back:
            before = self.registry.previous_champion(one.version.name)
            if before is not None and before.sha256 != one.version.sha256:
                answered, source = self._take(before.reference), "previous"
                scores, said = self._ask(answered, X, schema_sha256, exact=exact)
                if said:
                    source = "none"
            else:
                source = "none"
            if source == "none" and self.fallback is not None:
                answered, source = one, "rule"
                scores = self._of_rules(X, one.names)
        elif error:
            source = "none"
        latency_ns = self._clock.monotonic_ns() - started_ns
        one.latencies_ns.append(latency_ns)
        return Predictions(scores, answered.version.sha256, source, latency_ns, error)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return by reference: rows scored, errors by kind, starts, latency, given up."""
        found = {}
        for one in self._loaded.values():
            spent = np.array(one.latencies_ns, dtype=np.float64)
            p50, p99 = np.quantile(spent, (0.5, 0.99)) if len(spent) else (np.nan, np.nan)
            found[one.version.reference] = {
                "rows": one.n_rows, "errors": dict(one.errors), "starts": one.n_starts,
                "latency_ns_p50": float(p50), "latency_ns_p99": float(p99),
                "given_up": one.given_up,
            }  # fmt: skip
        return found

    def close(self) -> None:
        """End all processes."""
        for one in self._loaded.values():
            if one.child is not None:
                one.child.close()
                one.child = None

    def _take(self, reference: str) -> _Loaded:
        found = self._loaded.get(reference)
        if found is None:
            version = self.registry.get(reference)
            fresh = _Loaded(version, version.engineer.names)
            found = self._loaded.setdefault(version.reference, fresh)
            self._loaded[reference] = found
        return found

    def _ask(
        self,
        one: _Loaded,
        X: Floats,  # noqa: N803
        schema_sha256: str | None,
        *,
        exact: bool,
    ) -> tuple[Floats, str]:
        """Return scores and "", or NaN and why there are none."""
        scores = np.full(len(X), np.nan)
        try:
            self._admit(one, X, schema_sha256)
            ready = np.isfinite(X).all(axis=1)
            if ready.any():
                scores[ready] = self._score(one, np.ascontiguousarray(X[ready]), exact=exact)
        except ModelFailed as failed:
            one.errors[failed.kind] += 1
            return np.full(len(X), np.nan), str(failed)
        one.n_rows += int(ready.sum())
        return scores, ""

    def _admit(self, one: _Loaded, X: Floats, schema_sha256: str | None) -> None:  # noqa: N803
        wanted = one.version.manifest.schema_sha256
        if schema_sha256 is not None and schema_sha256 != wanted:
            raise ModelFailed(
                "schema", f"the features are {schema_sha256[:12]}…, not {wanted[:12]}…"
            )
        if X.ndim != 2 or X.shape[1] != len(one.names) or X.dtype != np.float64:
            raise ModelFailed("schema", f"{X.shape} of {X.dtype} for {len(one.names)} features")

    def _score(self, one: _Loaded, X: Floats, *, exact: bool) -> Floats:  # noqa: N803
        if one.child is None:
            if one.given_up:
                raise ModelFailed("given_up", f"it failed {one.failures} times in a row")
            if self._clock.monotonic_ns() < one.again_ns:
                raise ModelFailed("waiting", "it failed, and is started again in a moment")
            self._start(one)
        assert one.child is not None, "it was started"
        try:
            row_by_row = exact and not one.version.manifest.row_exact
            scores = one.child.scores(X, self.deadline_s, exact=row_by_row)
            self._check_output(one, scores)
        except ModelFailed:
            self._failed(one)
            raise
        one.failures = 0
        return scores

    def _check_output(self, one: _Loaded, scores: Floats) -> None:
        good = np.isfinite(scores)
        if one.version.manifest.output == "probability":
            good &= (scores >= 0.0) & (scores <= 1.0)
        if not good.all():
            kind = one.version.manifest.output
            raise ModelFailed("output", f"{scores[int(np.argmin(good))]} is no {kind}")

    def _start(self, one: _Loaded) -> None:
        one.n_starts += 1
        try:
            file = self.registry.read(one.version.reference)
            one.child = ModelChild(file, one.names, self.memory_mb)
        except ModelRefused as refused:
            one.failures = FAILURES_MAX
            raise ModelFailed("refused", str(refused)) from refused
        except ModelFailed:
            self._failed(one)
            raise

    def _failed(self, one: _Loaded) -> None:
        if one.child is not None:
            one.child.close()
        one.child = None
        one.failures += 1
        wait_s = WAIT_S[min(one.failures, len(WAIT_S)) - 1]
        one.again_ns = self._clock.monotonic_ns() + int(wait_s * NS_PER_S)

    def _of_rules(self, X: Floats, names: tuple[str, ...]) -> Floats:  # noqa: N803
        assert self.fallback is not None, "asked only where there is one"
        ready = np.isfinite(X).all(axis=1)
        scores = np.full(len(X), np.nan)
        scores[ready] = self.fallback.scores(X[ready], names)
        return scores
