"""The process of one model: reads it in the sandbox, answers batches, does nothing else.

Started by `child` with a sealed memory file (job and model) and two pipes. It answers once
with the facts of the model or why it is refused, then one answer a request. Whatever a model
prints goes nowhere; the pipes have numbers of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mqd.ml.sandbox import limits
from mqd.ml.sandbox.loading import Loaded, ScoreRows, import_libraries, load_model
from mqd.ml.sandbox.wire import (
    ANSWER,
    FAILED,
    MAGIC,
    READY,
    REQUEST,
    SCORES,
    read_exactly,
    unpack_job,
    write_all,
)

Load = Callable[[Mapping[str, Any], bytes], Loaded]


def main() -> None:
    """Run the worker on the arguments that `mqd.ml.sandbox.child` passed."""
    serve(load_model)


def serve(load: Load) -> None:
    """Close the sandbox, ``load`` the model, then answer until the pipe is closed."""
    requests, answers = _own_pipes()
    try:
        limits.begin(int(sys.argv[3]))
        job_text, data = unpack_job(_read_file(int(sys.argv[2])))
        job = json.loads(job_text)
        import_libraries(job["format"])
        warnings.simplefilter("ignore")
        limits.lock_down(job["memory_bytes"])
        score, facts, by_row = load(job, data)
        facts["sha256"] = hashlib.sha256(data).hexdigest()
    except BaseException as error:  # noqa: BLE001 - every refusal is told, then the process ends
        _tell(answers, FAILED, 0, _why(error, "refused"))
        return
    _tell(answers, READY, 0, facts)
    while _answer_one(requests, answers, score, by_row):
        pass


def _own_pipes() -> tuple[int, int]:
    """Move the pipes away from 0 and 1, where prints go, and let those lead nowhere."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    os.close(nowhere)
    return requests, answers


def _read_file(fd: int) -> bytes:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


def _answer_one(requests: int, answers: int, score: ScoreRows, by_row: ScoreRows) -> bool:
    header = read_exactly(requests, REQUEST.size)
    if len(header) < REQUEST.size:
        return False
    _, one_by_one, number, n, k = REQUEST.unpack(header)
    rows = np.frombuffer(read_exactly(requests, n * k * 8), dtype=np.float64).reshape(n, k)
    try:
        scores = by_row(rows) if one_by_one else score(rows)
        told = np.ascontiguousarray(scores, dtype=np.float64).tobytes()
    except MemoryError as error:
        _tell(answers, FAILED, number, _why(error, "memory"))
        return False
    except BaseException as error:  # noqa: BLE001 - a model may raise anything
        _tell(answers, FAILED, number, _why(error, "raised"))
        return True
    write_all(answers, ANSWER.pack(MAGIC, SCORES, number, len(told)) + told)
    return True


def _why(error: BaseException, cause: str) -> dict[str, str]:
    if isinstance(error, MemoryError):
        return {"cause": "memory", "why": "it needs more memory than it was given"}
    told = str(getattr(error, "why", "")) or f"{type(error).__name__}: {error}"
    return {"cause": cause, "why": told[:2000]}


def _tell(answers: int, kind: int, number: int, facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts).encode()
    write_all(answers, ANSWER.pack(MAGIC, kind, number, len(text)) + text)
