"""From a desk to its shadow: a queue, a thread that writes, a process that predicts.

``ShadowTap`` is what a live desk is given as its listener. The desk's thread puts a row into a
queue and goes on; the queue is bounded, and what does not fit is counted and lost: the shadow is
told, and begins its features anew behind the gap. All else happens in another
process with a lower priority: a shadow that raises, hangs or eats memory takes nothing from the
desk.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import mqd
from mqd.core.bar import BarRow
from mqd.errors import ModelRefused

if TYPE_CHECKING:
    from mqd.ml.shadow.tracker import ShadowModeTracker

QUEUE_MAX: Final = 1_000_000
READY_S: Final = 60.0
END_S: Final = 60.0
"""A shadow that takes no row for so long while it is being closed hangs."""
PART_BYTES: Final = 4096
"""Some thirty rows: what is in the pipe, and what is read of it at once. Taken in such parts, rows
that are taken show that a slow shadow is at work."""
ROWS_A_WRITE: Final = 20
READY: Final = b"ready\n"
IDLE_S: Final = 0.05
"""After so long without a row a step is taken for complete."""
NICE: Final = 10
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from mqd.ml.shadow.tap import serve; serve()"
)


class ShadowTap:
    """A shadow in a process of its own, as a ``BarListener`` that never waits.

    ``folder`` is the shadow's, ``registry`` the folder of the models, ``models`` their references.
    Raises ``ModelRefused`` when the shadow does not come up, with its reason.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        registry: str | os.PathLike[str],
        models: Sequence[str],
    ) -> None:
        words = {
            "folder": os.fspath(folder), "registry": os.fspath(registry), "models": list(models)
        }  # fmt: skip
        root = str(Path(mqd.__file__).resolve().parents[1])
        self.n_lost = self.n_written = self._n_gap = self._n_cleared = 0
        self._is_full = False
        self.failure = ""
        self._rows: deque[str] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._process = subprocess.Popen(  # noqa: S603 - this very Python, our own program
            [sys.executable, "-I", "-c", _PROGRAM, root, json.dumps(words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        self._refuse_unready()
        self._narrow_pipe()
        self._thread = threading.Thread(target=self._write, name="shadow tap", daemon=True)
        self._thread.start()

    def on_bar(self, row: BarRow, *, past: bool) -> None:
        """Put a row into the queue; count it as lost when the shadow is far behind or gone."""
        n_waiting = len(self._rows)  # full until half empty: at each gap the shadow begins anew
        self._is_full = n_waiting >= (QUEUE_MAX // 2 if self._is_full else QUEUE_MAX)
        if self._is_full or self.failure:
            self._n_gap += 1
            return
        text = json.dumps((*row, past), separators=(",", ":"))
        with self._changed:
            self._tell_gap()
            self._rows.append(text)
            self._changed.notify()

    def close(self) -> dict[str, Any]:
        """Let the shadow finish what waits, end it, and return what it counted.

        One that takes no row for ``END_S``, or does not end then, is killed; ``failure`` says so.
        """
        with self._changed:
            self._tell_gap()
            self._closing = True
            self._changed.notify()
        self._await_writer()
        self.n_lost += self._n_cleared + sum(not _is_gap(row) for row in self._rows)
        told: dict[str, Any] = {}
        try:
            out, err = self._process.communicate(timeout=END_S)
            if self._process.returncode:
                self.failure = self.failure or _last_line(err)
            else:
                told = json.loads(out)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            self.failure = f"it hung: it did not end within {END_S:.0f} s"
        except ValueError:
            self.failure = "it ended without a word"
        return told | {"lost": self.n_lost, "failure": self.failure}

    def _tell_gap(self) -> None:
        """Put how many were lost since the last row into the queue."""
        if self._n_gap:
            self._rows.append(f"[{self._n_gap}]")
            self.n_lost += self._n_gap
            self._n_gap = 0

    def _await_writer(self) -> None:
        """Wait until all rows are taken; end a shadow that takes none any more."""
        n_before = -1
        while self._thread.is_alive() and n_before < self.n_written:
            n_before = self.n_written
            self._thread.join(END_S)
        if self._thread.is_alive():
            self._process.kill()
            self._thread.join()
            self.failure = f"it hung: it took no row for {END_S:.0f} s"

    def _refuse_unready(self) -> None:
        """Wait until the shadow has its log and models, or say why it has not."""
        timer = threading.Timer(READY_S, self._process.kill)
        timer.start()
        assert self._process.stdout is not None, "a pipe was asked for"
        line = self._process.stdout.readline()
        timer.cancel()
        if line != READY:
            _, err = self._process.communicate()
            raise ModelRefused("The shadow did not start", _last_line(err))

    def _narrow_pipe(self) -> None:
        assert self._process.stdin is not None, "a pipe was asked for"
        with suppress(OSError):  # a wide pipe only hides for longer that nothing is taken
            fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, PART_BYTES)

    def _write(self) -> None:
        """Write rows to the shadow until it is closed or gone."""
        pipe = self._process.stdin
        assert pipe is not None, "a pipe was asked for"
        rows: list[str] = []
        try:
            while rows := self._next():
                pipe.write("".join(f"{row}\n" for row in rows).encode())
                pipe.flush()
                self.n_written += len(rows)
            pipe.close()
        except OSError as error:
            self.failure = f"it is gone ({error.strerror})"
            self._n_cleared = sum(not _is_gap(row) for row in (*rows, *self._rows))
            self._rows.clear()
            with suppress(OSError):
                pipe.close()
        self._process.stdin = None  # `communicate` would flush a pipe that is closed

    def _next(self) -> list[str]:
        """Return the rows that wait, some at a time; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._closing)
            return [self._rows.popleft() for _ in range(min(len(self._rows), ROWS_A_WRITE))]


def serve() -> None:
    """The shadow's process: rows on stdin, one a line, until it closes; then what was counted."""
    from mqd.errors import MqdError
    from mqd.ml.registry.registry import ModelRegistry
    from mqd.ml.shadow.tracker import ShadowModeTracker

    os.nice(NICE)
    words = json.loads(sys.argv[1])
    try:
        tracker = ShadowModeTracker(
            words["folder"], ModelRegistry(words["registry"]), words["models"]
        )
        os.write(1, READY)
        with tracker:
            for rows in _arrivals(0):
                if not rows:
                    tracker.flush()
                for told in map(json.loads, rows):
                    _tell(tracker, told)
        os.write(1, json.dumps(tracker.stats()).encode())
    except MqdError as error:
        sys.exit(str(error))


def _is_gap(row: str) -> bool:
    return row.startswith("[") and "," not in row


def _tell(tracker: ShadowModeTracker, told: list[Any]) -> None:
    """Hand on what a line says: a bar and whether it is past, or how many were lost here."""
    if len(told) == 1:
        tracker.gap(told[0])
    else:
        tracker.on_bar(BarRow(*told[:-1]), past=told[-1])


def _arrivals(fd: int) -> Any:
    """Yield the lines that have come; none each time that nothing came for a moment after some."""
    import select

    rest, fresh = b"", False
    while True:
        ready, _, _ = select.select([fd], [], [], IDLE_S if fresh else None)
        if not ready:
            fresh = False
            yield []
            continue
        part = os.read(fd, PART_BYTES)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        fresh = True
        yield lines


def _environment() -> dict[str, str]:
    """Return what the shadow sees of the environment: no key."""
    kept = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "NUMBA_CACHE_DIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _last_line(err: bytes) -> str:
    lines = err.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"
