"""One model in a process of its own: asked with a deadline, killed when it does not answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from mqd.core.bar import Floats
from mqd.core.clock import NS_PER_S, WallClock
from mqd.ml.model_file import ModelFile
from mqd.ml.worker import FAILED, HEAD, LOAD, PREDICT, PREDICT_EXACT, write_frame

START_S: Final = 60.0
CPU_S: Final = 86_400
ANSWER_BYTES_MAX: Final = 1 << 30
ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LANG": "C.UTF-8",
}  # fmt: skip
"""All that the process sees: no key, no home."""
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {} import main; main()"


class ModelFailed(Exception):
    """A model did not answer: ``kind`` is what is counted (crash, deadline, raised, output)."""

    def __init__(self, kind: str, why: str) -> None:
        self.kind, self.why = kind, why
        super().__init__(f"{kind}: {why}")


class ModelChild:
    """A process with one model. ``said`` is what the model told of itself when it was loaded."""

    entry: str = "mqd.ml.worker"

    def __init__(self, file: ModelFile, names: tuple[str, ...], memory_mb: int) -> None:
        words = {
            "kind": file.kind, "n_features": len(names), "feature_names": list(names),
            "memory_mb": memory_mb, "cpu_s": CPU_S,
        }  # fmt: skip
        root = str(Path(__file__).resolve().parents[2])
        self._process = subprocess.Popen(  # noqa: S603 - this very Python, our own program
            [sys.executable, "-I", "-c", _PROGRAM.format(self.entry), root, json.dumps(words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT, close_fds=True, start_new_session=True,
        )  # fmt: skip
        try:
            body, _ = self._ask(LOAD, file.content, 0, 0, START_S)
        except ModelFailed:
            self.close()
            raise
        self.said: dict[str, Any] = json.loads(body)

    def scores(self, matrix: Floats, deadline_s: float, *, exact: bool = False) -> Floats:
        """Return one score a row; raise ``ModelFailed`` and end when there is no good answer."""
        rows, columns = matrix.shape
        what = PREDICT_EXACT if exact else PREDICT
        body, n_rows = self._ask(what, matrix.tobytes(), rows, columns, deadline_s)
        if n_rows != rows or len(body) != 8 * rows:
            self.close()
            raise ModelFailed("output", f"{n_rows} scores for {rows} rows")
        return np.frombuffer(body).copy()

    def close(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(
        self, what: bytes, body: bytes, rows: int, columns: int, deadline_s: float
    ) -> tuple[bytes, int]:
        clock = WallClock()
        until_ns = clock.monotonic_ns() + int(deadline_s * NS_PER_S)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None, "pipes were asked for"
        assert stdout is not None, "pipes were asked for"
        try:
            write_frame(stdin, what, body, rows, columns)  # type: ignore[arg-type]
            kind, n_rows, _, size = HEAD.unpack(self._read(stdout.fileno(), HEAD.size, until_ns))
            answer = self._read(stdout.fileno(), min(size, ANSWER_BYTES_MAX), until_ns)
        except OSError as error:
            self.close()
            raise ModelFailed("crash", str(error)) from error
        except ModelFailed:
            self.close()
            raise
        if kind == FAILED:
            self.close()
            raise ModelFailed("raised", answer.decode(errors="replace"))
        return answer, n_rows

    def _read(self, fd: int, size: int, until_ns: int) -> bytes:
        """Read exactly ``size`` bytes before the deadline."""
        clock, parts, left = WallClock(), [], size
        while left:
            wait_s = (until_ns - clock.monotonic_ns()) / NS_PER_S
            ready, _, _ = select.select([fd], [], [], max(wait_s, 0.0))
            if not ready:
                raise ModelFailed("deadline", "no answer in time")
            part = os.read(fd, min(left, 1 << 20))
            if not part:
                raise ModelFailed("crash", f"it ended ({self._ended()})")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _ended(self) -> str:
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"
