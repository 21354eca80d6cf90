"""A version in use: its process while it lives, what it failed at, and when it is tried again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mqd.core.bar import Floats
from mqd.core.clock import NS_PER_S
from mqd.core.protocols import Clock
from mqd.errors import ModelRefused
from mqd.ml.errors import NoSandbox
from mqd.ml.registry.registry import ModelVersion
from mqd.ml.sandbox.child import START_S, Child, ChildFailed

FAILURES_MAX: Final = 5
WAIT_S: Final = (0.1, 1.0, 5.0, 30.0)
LATENCIES_KEPT: Final = 10_000
ROWS_MAX: Final = 4096
EXACT_ROWS_MAX: Final = 64

Start = Callable[[ModelVersion], Child]


class VersionInUse:
    """One version's process and what came of it.

    A process that is late, ends, needs too much memory or answers nonsense is ended, and started
    again after ``WAIT_S``; the waiting and the start happen while nobody waits for them, so a
    question meanwhile fails at once. ``FAILURES_MAX`` failures in a row, or a file that is
    refused, give the version up until `revive`.
    """

    def __init__(self, version: ModelVersion, start: Start, clock: Clock) -> None:
        self.version = version
        self._start, self._clock = start, clock
        self._child: Child | None = None
        self._ready, self._may_wait = False, True
        self._again_ns = self._started_ns = 0
        self.failures = self.n_starts = self.n_rows = self.n_asked = 0
        self.refusal = ""
        self.errors: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)

    @property
    def alive(self) -> bool:
        """Whether it has a process."""
        return self._child is not None

    @property
    def given_up(self) -> bool:
        """Whether only a person has it tried again."""
        return self.failures >= FAILURES_MAX or bool(self.refusal)

    def revive(self) -> None:
        """Forget the failures and try again at the next question."""
        self.park()
        self.failures, self.refusal, self._again_ns = 0, "", 0

    def load(self) -> None:
        """Start the process and wait until the model is ready; raises ``ChildFailed``."""
        try:
            self._bring_up(START_S)
        except ChildFailed as failed:
            self._note(failed)
            raise

    def score(
        self, rows: Floats, *, exact: bool, deadline_s: float, may_wait: bool = True
    ) -> Floats:
        """Return one score a row of finite ``rows``; raises ``ChildFailed`` and counts it.

        ``deadline_s`` is for each of ``ROWS_MAX`` rows, 64 where they are scored one by one.
        ``may_wait``: a process that was never started is waited for.
        """
        self.n_asked += 1
        started_ns = self._clock.monotonic_ns()
        try:
            scores = self._scores(rows, exact=exact, deadline_s=deadline_s, may_wait=may_wait)
        finally:
            self.latencies_ns.append(self._clock.monotonic_ns() - started_ns)
        self.failures = 0
        self.n_rows += len(rows)
        return scores

    def _scores(self, rows: Floats, *, exact: bool, deadline_s: float, may_wait: bool) -> Floats:
        try:
            child = self._bring_up(START_S if may_wait and self._may_wait else 0.0)
            by_row = exact and not self.version.manifest.row_exact
            step = EXACT_ROWS_MAX if by_row else ROWS_MAX
            scores = np.concatenate(
                [
                    child.ask(rows[i : i + step], row_by_row=by_row, deadline_s=deadline_s)
                    for i in range(0, len(rows), step)
                ]
            )
            check_scores(scores, len(rows), self.version.manifest.output)
        except ChildFailed as failed:
            self._note(failed)
            raise
        return scores

    def park(self) -> None:
        """End the process for want of room; the next question starts it and waits."""
        self.close()
        self._may_wait = True

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
        self._child, self._ready = None, False

    def figures(self) -> dict[str, Any]:
        """Return what was counted; latencies in ns, NaN before the first."""
        spent = np.array(self.latencies_ns, dtype=np.float64)
        p50, p99 = np.quantile(spent, (0.5, 0.99)) if len(spent) else (np.nan, np.nan)
        return {
            "asked": self.n_asked, "rows": self.n_rows, "errors": dict(self.errors),
            "latency_ns_p50": float(p50), "latency_ns_p99": float(p99),
            "restarts": max(0, self.n_starts - 1), "given_up": self.given_up,
            "answered_by": dict(self.answers),
        }  # fmt: skip

    def _bring_up(self, wait_s: float) -> Child:
        """Return the process once it is ready; raises ``ChildFailed`` "starting" when it is not."""
        if self.given_up:
            raise ChildFailed("given_up", self.refusal or f"it failed {self.failures} times")
        now_ns = self._clock.monotonic_ns()
        if self._child is None:
            if now_ns < self._again_ns:
                raise ChildFailed("starting", "it failed, and is started again in a moment")
            self.n_starts += 1
            self._child, self._started_ns = self._begin(), now_ns
        if not self._ready:
            facts = self._child.facts(wait_s)
            if facts is None and now_ns - self._started_ns < START_S * NS_PER_S and not wait_s:
                raise ChildFailed("starting", "its process is not ready yet")
            if facts is None:
                raise ChildFailed("deadline", f"its process was not ready in {START_S:g} s")
            self._compare(facts)
            self._ready = True
        return self._child

    def _begin(self) -> Child:
        try:
            return self._start(self.version)
        except (ModelRefused, NoSandbox) as error:
            raise ChildFailed("refused", str(error)) from error
        except OSError as error:
            raise ChildFailed("crashed", f"no process could be started ({error})") from error

    def _compare(self, facts: dict[str, Any]) -> None:
        """Refuse a file that is read otherwise than when it was registered."""
        manifest = self.version.manifest
        told = (facts["n_features"], facts["output"], tuple(facts["types"]))
        if told != (manifest.n_features, manifest.output, manifest.trusted_types):
            raise ChildFailed("refused", "the file is read otherwise than when it was registered")

    def _note(self, failed: ChildFailed) -> None:
        self.errors[failed.cause] += 1
        if failed.cause in {"starting", "given_up"}:
            return
        if failed.cause == "refused":
            self.refusal = failed.why
        self.failures += 1
        if not failed.alive:
            self.close()
            self._may_wait = False
            wait_s = WAIT_S[min(self.failures, len(WAIT_S)) - 1]
            self._again_ns = self._clock.monotonic_ns() + int(wait_s * NS_PER_S)


def check_scores(scores: Floats, n_rows: int, output: str) -> None:
    """Raise ``ChildFailed`` unless there is one finite score a row, of a probability in [0, 1]."""
    if scores.shape != (n_rows,):
        raise ChildFailed("output", f"{scores.shape} scores for {n_rows} rows")
    good = np.isfinite(scores)
    if output == "probability":
        good &= (scores >= 0.0) & (scores <= 1.0)
    if not good.all():
        raise ChildFailed("output", f"{scores[int(np.argmin(good))]} is no {output}")
