"""The parent's end of a model's process: started, greeted, asked with a deadline, ended.

The model's bytes go through a sealed memory file: they are in this process when their digest is
checked, and nobody can change them after that. The process has an empty environment but for the
settings below, a working folder of its own, and this Python without user packages.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

import mqd
from mqd.core.bar import Floats
from mqd.core.clock import NS_PER_S, WallClock
from mqd.errors import ModelRefused
from mqd.ml.errors import NoSandbox
from mqd.ml.sandbox.wire import (
    ANSWER,
    FAILED,
    MAGIC,
    READY,
    REQUEST,
    SCORES,
    TEXT_BYTES_MAX,
    pack_job,
)

START_S: Final = 60.0
MEMORY_MB: Final = 2048
ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "JOBLIB_MULTIPROCESSING": "0",
}  # fmt: skip


_SAID: Final = {"cause": str, "why": str}
_CAUSES: Final = frozenset({"raised", "memory", "refused"})
"""What a process may say of itself; all other causes are found on this side."""
_FACTS: Final = {"types": list, "n_features": int, "output": str, "sha256": str}
_SAMPLED: Final = {"estimator": str, "classes": list, "row_exact": bool}
ENDED_S: Final = 0.2


class ChildFailed(Exception):
    """A request that brought no scores. ``alive`` says whether the process can be asked again.

    ``cause``: "deadline", "crashed", "memory", "raised", "refused" or "protocol".
    """

    def __init__(self, cause: str, why: str, *, alive: bool = False) -> None:
        self.cause, self.why, self.alive = cause, why, alive
        super().__init__(f"{cause}: {why}")


class Child:
    """A process that holds one model. Not for several threads at once.

    ``memory_mb`` is all the address space that the process may have. Raises ``NoSandbox`` on a
    machine without sealed memory files, ``OSError`` when no process can be started.
    """

    entry = "from mqd.ml.sandbox.worker import main; main()"
    """What the process runs; tests of the sandbox start a worker of their own here."""

    def __init__(
        self, data: bytes, model_format: str, *, memory_mb: int = MEMORY_MB, sample: bool = False
    ) -> None:
        self._clock = WallClock()
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._buffer, self._number = b"", 0
        self._facts: dict[str, Any] | None = None
        job = {"format": model_format, "memory_bytes": memory_mb << 20, "sample": sample}
        memory = _sealed(pack_job(json.dumps(job).encode(), data))
        self._folder = tempfile.TemporaryDirectory(prefix="mqd-model-")
        try:
            self._process = _starter(os.getpid()).submit(self._start, memory).result()
        except OSError:
            self._folder.cleanup()
            raise
        finally:
            os.close(memory)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def _start(self, memory: int) -> subprocess.Popen[bytes]:
        root = Path(mqd.__file__).resolve().parents[1]
        boot = f"import sys; sys.path.insert(0, sys.argv[1]); {self.entry}"
        command = [sys.executable, "-I", "-c", boot, str(root), str(memory), str(os.getpid())]
        return subprocess.Popen(  # noqa: S603 - this very Python, no word of it from outside
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            bufsize=0, pass_fds=(memory,), cwd=self._folder.name, env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def facts(self, wait_s: float = START_S) -> dict[str, Any] | None:
        """Return what the model says of itself, None when it is not ready after ``wait_s``.

        Raises ``ChildFailed``: "refused" when the model is, another cause when the process ended.
        """
        if self._facts is None:
            try:
                facts = self._answer(0, READY, self._clock.monotonic_ns() + int(wait_s * NS_PER_S))
            except ChildFailed as failed:
                if failed.cause == "deadline":
                    return None
                raise
            told = _document(facts, _FACTS)
            if told.get("sha256") != self._sha256:
                raise ChildFailed("protocol", "it read other bytes than it was given")
            self._facts = told
        return self._facts

    def ask(self, rows: Floats, *, row_by_row: bool, deadline_s: float) -> Floats:
        """Return the scores (n,) of ``rows`` (n, k); raises ``ChildFailed``."""
        deadline_ns = self._clock.monotonic_ns() + int(deadline_s * NS_PER_S)
        n, k = rows.shape
        self._number = self._number % 0xFFFFFFFF + 1
        header = REQUEST.pack(MAGIC, row_by_row, self._number, n, k)
        self._send(header + np.ascontiguousarray(rows, dtype=np.float64).tobytes(), deadline_ns)
        told = self._answer(self._number, SCORES, deadline_ns, 8 * n)
        return np.frombuffer(told, dtype=np.float64).copy()

    def kill(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def _send(self, data: bytes, deadline_ns: int) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in, select.POLLOUT, deadline_ns)
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended() from None

    def _answer(
        self, number: int, kind: int, deadline_ns: int, n_bytes: int | None = None
    ) -> bytes:
        """Return the payload of the answer to request ``number``, of ``n_bytes`` if given."""
        magic, told, to, length = ANSWER.unpack(self._read(ANSWER.size, deadline_ns))
        wanted = length <= TEXT_BYTES_MAX if told != SCORES or n_bytes is None else True
        if magic != MAGIC or to != number or told not in {kind, FAILED} or not wanted:
            raise ChildFailed("protocol", "its answer is none to this request")
        if told == kind and n_bytes is not None and length != n_bytes:
            raise ChildFailed("output", f"{length // 8} scores for {n_bytes // 8} rows")
        payload = self._read(ANSWER.size + length, deadline_ns)[ANSWER.size :]
        self._buffer = self._buffer[ANSWER.size + length :]
        if told == FAILED:
            said = _document(payload, _SAID)
            if said["cause"] not in _CAUSES:
                raise ChildFailed("protocol", "its answer is none that a model gives")
            raise ChildFailed(said["cause"], said["why"], alive=said["cause"] == "raised")
        return payload

    def _read(self, n_bytes: int, deadline_ns: int) -> bytes:
        """Return the next ``n_bytes`` without taking them from the buffer."""
        while len(self._buffer) < n_bytes:
            self._wait(self._out, select.POLLIN, deadline_ns)
            try:
                part = os.read(self._out, 1 << 20)
            except BlockingIOError:
                continue
            if not part:
                raise self._ended()
            self._buffer += part
        return self._buffer[:n_bytes]

    def _wait(self, fd: int, event: int, deadline_ns: int) -> None:
        left_ns = deadline_ns - self._clock.monotonic_ns()
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, left_ns / 1e6)):
            raise ChildFailed("deadline", "no answer in time")

    def _ended(self) -> ChildFailed:
        try:
            code = self._process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            return ChildFailed("crashed", "it closed its pipe")
        if code >= 0:
            return ChildFailed("crashed", f"its process ended with code {code}")
        return ChildFailed("crashed", f"its process was ended by {_signal_name(-code)}")


def _document(payload: bytes, wanted: Mapping[str, type]) -> dict[str, Any]:
    """Return the JSON object that a process sent; one without ``wanted`` breaks the protocol."""
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ChildFailed("protocol", "its answer is no JSON") from error
    if not isinstance(told, dict):
        raise ChildFailed("protocol", "its answer is no JSON object")
    for name, kind in wanted.items():
        if not isinstance(told.get(name), kind):
            raise ChildFailed("protocol", f"its answer says no {name}")
    return told


def inspect_model(
    data: bytes, model_format: str, *, memory_mb: int = MEMORY_MB, child: type[Child] = Child
) -> dict[str, Any]:
    """Return what a model file is, found in a process of its own that then ends.

    Keys: types, estimator, n_features, feature_names, output, classes, row_exact, sha256. Raises
    ``ModelRefused`` when the file is refused there, breaks the process or takes too long.
    """
    process = child(data, model_format, memory_mb=memory_mb, sample=True)
    try:
        facts = process.facts()
    except ChildFailed as failed:
        told = failed.why if failed.cause == "refused" else f"it breaks its process: {failed.why}"
        raise ModelRefused("The model file is refused", told) from failed
    finally:
        process.kill()
    if facts is None:
        raise ModelRefused("The model file is refused", f"it was not read in {START_S:g} s")
    if not all(isinstance(facts.get(name), kind) for name, kind in _SAMPLED.items()):
        raise ModelRefused("The model file is refused", "its process does not say what it is")
    return facts


@cache
def _starter(_pid: int) -> ThreadPoolExecutor:
    """Return the thread that starts processes: they die with it, so it lives as long as we do."""
    return ThreadPoolExecutor(1, thread_name_prefix="mqd-model-starter")


def _sealed(data: bytes) -> int:
    """Return a memory file of ``data`` that nobody can change any more."""
    if not hasattr(os, "memfd_create"):
        raise NoSandbox(f"no sealed memory files on {sys.platform}")
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fd = os.memfd_create("mqd-model", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(fd)
        raise
    return fd


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
