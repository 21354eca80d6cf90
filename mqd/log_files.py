"""The files of a run: its folder and lock, the log's segments, and what both its ends share."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic_core import to_json

from mqd.errors import RunFolderExists, RunFolderUnusable, StateFolderTaken

SCHEMA: Final = "1.0"
GENESIS: Final = "0" * 64
SEGMENT_OPEN: Final = "segment.open"
SEGMENT_CLOSE: Final = "segment.close"
SIMULATION_KINDS: Final = frozenset(
    {
        "run.start", "cash", "action", "decision", "denied",
        "intent", "command", "report", "fill", "run.end",
    }
)  # fmt: skip
"""The kinds that ``log_sha256`` covers: what happened in simulation time."""


class SystemCalls:
    """The system calls of log and reader; a test hands in one that fails."""

    mkdir = staticmethod(os.mkdir)
    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    ftruncate = staticmethod(os.ftruncate)
    close = staticmethod(os.close)


def new_run_folder(path: str | os.PathLike[str], io: SystemCalls | None = None) -> Path:
    """Create the folder of a run, mode 0700, parents as needed, and return it.

    Raises ``RunFolderExists`` when something is there (nothing in it is touched) and
    ``RunFolderUnusable`` when it cannot be created.
    """
    folder = Path(path)
    if folder.is_symlink() or folder.exists():
        raise RunFolderExists(str(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        (io or SystemCalls()).mkdir(folder, 0o700)
    except FileExistsError as error:
        if folder.exists():
            raise RunFolderExists(str(folder)) from error
        raise RunFolderUnusable(str(folder), f"{error.filename} is not a directory") from error
    except OSError as error:
        raise RunFolderUnusable(str(folder), f"{error.filename}: {error.strerror}") from error
    return folder


def lock_folder(folder: Path) -> int:
    """Take the folder for this process and return the descriptor that holds it.

    The lock dies with the process. Raises ``StateFolderTaken`` when another holder lives.
    """
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RunFolderUnusable(str(folder), str(error.strerror)) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StateFolderTaken(str(folder)) from error
    return fd


def segment_name(number: int) -> str:
    """Return the file name of a segment; names sort in order."""
    return f"{number:06d}.ndjson"


def encode(payload: Mapping[str, object]) -> bytes:
    """Return a payload as compact JSON in UTF-8, its keys in the caller's order.

    Raises ``ValueError`` for a number that is not finite and for what JSON cannot hold.
    """
    data = to_json(payload, inf_nan_mode="constants")
    if b"NaN" in data or b"Infinity" in data:
        json.dumps(payload, allow_nan=False)  # tells such a number from a text that reads alike
    return data
