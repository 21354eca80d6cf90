"""Where chunks are computed: here, or on a pool of workers, with the same rows to the bit.

On workers a block of combinations is cut into slices of each dataset. A slice is asked for by
number and its answer taken once, so a slice that is computed twice because a worker died counts
once; after ``STRIKES_MAX`` rounds that brought nothing the sweep ends with ``WorkersLost`` and
what is kept stays kept. Slices of a dataset come out in order, whatever order they end in.

What travels. In-memory bars go to each worker once a sweep (Dask: scattered to all; Ray: its
object store; processes of joblib: shared memory). A dataset that is a path is read by the worker,
and only its symbols, length and sha256 come back. A chunk then brings its parameter columns
(8 bytes a combination and parameter) and takes about 800 bytes a row back: metrics and moments.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mqd.core.clock import WallClock
from mqd.sweeps.bars_file import BarsFile
from mqd.sweeps.errors import WorkersLost
from mqd.sweeps.evaluate import Columns, Evaluator, Job, Outcome
from mqd.sweeps.pools import Pool, check_travels
from mqd.sweeps.worker import Done, Parcel, Raised, compute, survey

STRIKES_MAX: Final = 3
SLICES: Final = 4
"""Slices a worker and block, so that none waits long for the last."""

Value = TypeVar("Value")
Slice = dict[str, NDArray[Any]]
Wanted = Mapping[int, Slice]


class Piece(NamedTuple):
    """Some combinations of a dataset (its place), in order, and their rows."""

    place: int
    columns: Slice
    outcome: Outcome


class Runner(Protocol):
    """Computes blocks of combinations on all datasets."""

    @property
    def engine(self) -> str:
        """Which engine computes: "compiled", or "event" when any dataset needs the desk."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the evaluators have to say by now: those of the first dataset that has any."""

    @property
    def slices(self) -> int:
        """Parts of one dataset's block that are computed at a time or soon after."""

    def pieces(self, wanted: Wanted, *, whole: bool) -> Generator[Piece]:
        """Yield the rows of datasets' combinations; ``whole``: one piece a dataset."""


class Here:
    """Computes in this process, one dataset after the other."""

    slices = 1

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self._evaluators = evaluators

    @property
    def engine(self) -> str:
        """Which engine computes."""
        return _engine(one.engine for one in self._evaluators)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the evaluators have to say by now."""
        return next((one.notes for one in self._evaluators if one.notes), ())

    def pieces(self, wanted: Wanted, *, whole: bool) -> Generator[Piece]:  # noqa: ARG002
        """Yield one piece a dataset."""
        for place, columns in wanted.items():
            yield Piece(place, columns, self._evaluators[place](columns))


def _engine(engines: Iterator[str]) -> str:
    return "compiled" if set(engines) == {"compiled"} else "event"


class OnWorkers:
    """Computes on a pool. Which engine runs is asked of one worker, on the first dataset."""

    def __init__(self, pool: Pool, jobs: Sequence[Job]) -> None:
        self._pool, self._jobs = pool, jobs
        check_travels(jobs[0])
        name = f"{socket.gethostname()}-{os.getpid()}-{WallClock().monotonic_ns()}"
        self._keys = [f"{name}-{place}" for place in range(len(jobs))]
        self._handles: dict[int, Any] = {}
        self._engines = {"event"}
        self._notes: dict[int, tuple[str, ...]] = {}
        if jobs[0].settings.engine != "event":
            ((_, probed),) = self._answers(compute, {0: (0, {})})
            self._engines = {probed.engine}

    @property
    def engine(self) -> str:
        """Which engine computes."""
        return _engine(iter(self._engines))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the evaluators have to say by now."""
        return self._notes[min(self._notes)] if self._notes else ()

    @property
    def slices(self) -> int:
        """As many as keep all workers busy; one when there are datasets enough."""
        return -(-SLICES * self._pool.n // len(self._jobs))

    def pieces(self, wanted: Wanted, *, whole: bool) -> Generator[Piece]:
        """Yield pieces of datasets as they end, those of one dataset in order."""
        cut = {
            (place, number): columns
            for place, all_columns in wanted.items()
            for number, columns in enumerate(_cut(all_columns, self.slices))
        }
        names = list(cut)
        calls = {n: (place, cut[place, number]) for n, (place, number) in enumerate(names)}
        found: dict[int, dict[int, Outcome]] = {place: {} for place in wanted}
        following = dict.fromkeys(wanted, 0)
        for n, done in self._answers(compute, calls):
            place, number = names[n]
            self._engines.add(done.engine)
            if done.notes:
                self._notes[place] = done.notes
            waiting = found[place]
            assert done.outcome is not None, "a slice has columns"
            waiting[number] = done.outcome
            while not whole and following[place] in waiting:
                at = following[place]
                yield Piece(place, cut[place, at], waiting.pop(at))
                following[place] += 1
        for place in wanted if whole else ():
            joined = _joined([found[place][number] for number in sorted(found[place])])
            yield Piece(place, wanted[place], joined)

    def _answers(
        self, function: Callable[..., Any], calls: Mapping[int, tuple[int, Columns]]
    ) -> Iterator[tuple[int, Done]]:
        def arguments(call: tuple[int, Columns]) -> tuple[Any, Columns]:
            return self._handle(call[0]), call[1]

        return answers(self._pool, function, calls, arguments, self._handles.clear)

    def _handle(self, place: int) -> Any:
        """Return what stands for a dataset's job; one that reads its bars itself is sent as is."""
        if place not in self._handles:
            parcel = Parcel(self._keys[place], self._jobs[place])
            if isinstance(parcel.job.bars, BarsFile):
                return parcel
            self._handles[place] = self._pool.sent(parcel)
        return self._handles[place]


def answers(
    pool: Pool,
    function: Callable[..., Any],
    calls: Mapping[int, Value],
    arguments: Callable[[Value], tuple[Any, ...]],
    forget: Callable[[], None],
) -> Generator[tuple[int, Any]]:
    """Yield every call's answer once, and raise the error that one met.

    A worker that is lost is made up for: ``forget`` drops what lay on it, then what is missing
    is asked for anew. Raises ``WorkersLost`` when that brought nothing several times.
    """
    left = dict(calls)
    strikes = 0
    while left:
        n_left = len(left)
        try:
            with closing(_asked(pool, function, left, arguments)) as source:
                for number, found in source:
                    if number in left:
                        del left[number]
                        yield number, _value(found)
            assert not left, "a pool answers every call or raises"
        except _LostWorkerError as lost:
            strikes = strikes + 1 if len(left) == n_left else 0
            if strikes >= STRIKES_MAX:
                raise WorkersLost(len(left), strikes, lost.cause) from lost.cause
            forget()


class _LostWorkerError(Exception):
    """What a pool raised, told apart from what is raised on its answers."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _asked(
    pool: Pool,
    function: Callable[..., Any],
    calls: Mapping[int, Value],
    arguments: Callable[[Value], tuple[Any, ...]],
) -> Generator[tuple[int, Any]]:
    """Yield what comes of one try; whatever the pool raises is a lost worker."""
    try:
        source = pool.run(function, {number: arguments(call) for number, call in calls.items()})
        yield from source
    except Exception as error:
        raise _LostWorkerError(error) from error


def _value(found: Any) -> Any:
    if isinstance(found, Raised):
        raise found.error
    return found


def surveyed(pool: Pool, paths: Mapping[str, Path]) -> dict[str, BarsFile]:
    """Return what is in files that the workers read, by dataset."""
    numbered = dict(enumerate(paths.values()))
    found = dict(answers(pool, survey, numbered, lambda path: (str(path.resolve()),), _nothing))
    return {name: found[number] for number, name in enumerate(paths)}


def _nothing() -> None:
    """Files lie on no worker."""


def _cut(columns: Slice, n_slices: int) -> list[Slice]:
    n = len(next(iter(columns.values())))
    width = max(-(-n // n_slices), 1)
    return [{k: v[at : at + width] for k, v in columns.items()} for at in range(0, n, width)]


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        {name: np.concatenate([o.columns[name] for o in outcomes]) for name in outcomes[0].columns},
        np.concatenate([o.moments for o in outcomes]),
        tuple(why for o in outcomes for why in o.failed),
    )
