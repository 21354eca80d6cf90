"""What runs on a worker: the chunks of a job that is laid out once and kept.

A worker is a thread of a process, here or on another machine. It keeps the evaluators of the
last ``KEPT_MAX`` parcels, so that a chunk brings its parameters along and nothing else.
Whatever fails here, a strategy that leaves the process too, is returned, not raised: what a
pool itself raises means a lost worker.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, NamedTuple, assert_never

from mqd.errors import DataError, MqdError
from mqd.market_data.bars import load_bars
from mqd.sweeps.bars_file import BarsFile
from mqd.sweeps.evaluate import Columns, Evaluator, Job, Outcome, evaluator

KEPT_MAX: Final = 2
_TOLD: Final = (str, bytes, int, float, type(None))


class Parcel(NamedTuple):
    """A job under a name of its own. Its bars travel with it, or are a file to read."""

    key: str
    job: Job


class RayHandle(NamedTuple):
    """A parcel in Ray's object store."""

    key: str
    reference: Any


Handle = Parcel | RayHandle


class Done(NamedTuple):
    """The rows of a chunk (None: it had no columns), and what its evaluator says of itself."""

    engine: str
    notes: tuple[str, ...]
    outcome: Outcome | None


class Raised(NamedTuple):
    """The error that the worker met."""

    error: Exception


class _Kept(threading.local):
    """The evaluators of one thread, the last used at the end."""

    def __init__(self) -> None:
        self.evaluators: OrderedDict[str, Evaluator] = OrderedDict()


_KEPT = _Kept()


def compute(handle: Handle, columns: Columns) -> Done | Raised:
    """Return the rows of a chunk; without columns only lay the job out."""
    try:
        evaluate = _evaluator(handle)
        outcome = evaluate(columns) if columns else None
        return Done(evaluate.engine, evaluate.notes, outcome)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - raised where the user is
        return Raised(_portable(error))


def survey(path: str) -> BarsFile | Raised:
    """Return what a file holds: all that the caller learns of it."""
    try:
        bars = load_bars(path)
        return BarsFile(Path(path), bars.symbols, bars.n_bars, bars.sha256)
    except Exception as error:  # noqa: BLE001 - as above
        return Raised(_portable(error))


def _evaluator(handle: Handle) -> Evaluator:
    kept = _KEPT.evaluators
    if handle.key not in kept:
        while len(kept) >= KEPT_MAX:
            kept.popitem(last=False)
        kept[handle.key] = evaluator(_loaded(_opened(handle).job))
    kept.move_to_end(handle.key)
    return kept[handle.key]


def _opened(handle: Handle) -> Parcel:
    match handle:
        case Parcel():
            return handle
        case RayHandle():
            import ray

            found: Parcel = ray.get(handle.reference)
            return found
        case _:
            assert_never(handle)


def _loaded(job: Job) -> Job:
    """Return the job with its bars in memory; a file that changed since its survey is refused."""
    if not isinstance(job.bars, BarsFile):
        return job
    file, bars = job.bars, job.bars.load()
    if bars.sha256 != file.sha256:
        raise DataError(f"{file.path} changed while it was swept. Sweep it again.")
    return job._replace(bars=bars)


def _portable(error: Exception | SystemExit) -> Exception:
    """Return the error, or what it says when it cannot travel or its class may not be known."""
    if isinstance(error, MqdError):
        return error
    told = type(error).__module__ == "builtins" and all(isinstance(x, _TOLD) for x in error.args)
    if told and isinstance(error, Exception):
        return error
    return MqdError(f"{type(error).__name__}: {error}")
