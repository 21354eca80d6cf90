"""The trials of a study, counted: every backtest and sweep that was tried, kept or not.

A study is a folder; ``trials.ndjson`` in it has one line a trial or sweep. Lines are only ever
added, each in one locked append, so several processes and restarted notebooks share one count.
The number of trials is what the deflated Sharpe ratio asks for: a search that is not counted
makes luck look like skill.

What counts: each distinct *identity* once, with the largest number recorded for it. Running the
same cell again tries nothing new; a sweep that was stopped and resumed is one sweep; two different
grids are two, also where they overlap. No time is written: a count needs none.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mqd.errors import RunFolderUnusable, UsageError

FILE = "trials.ndjson"


@dataclass(frozen=True, slots=True)
class Trials:
    """What a study has tried.

    ``n``: trials in all. ``n_by_kind``: the same by kind ("sweep", "backtest"). ``damaged``:
    one sentence for each line that could not be read and is not counted.
    """

    n: int
    n_by_kind: dict[str, int]
    damaged: tuple[str, ...]


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[int]:
    """Open the file and hold a lock on it; both end with the block or the process."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, lock)
        yield fd
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    content = b""
    while part := os.pread(fd, 1 << 24, len(content)):
        content += part
    return content


def _parse(line: bytes) -> tuple[str, str, int] | None:
    """Return kind, identity and number of a line, None when it is not a whole record."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    match found:
        case {"kind": str(kind), "identity": str(identity), "n": int(n)} if n >= 0:
            return kind, identity, n
        case _:
            return None


def _records(content: bytes, path: Path) -> tuple[dict[tuple[str, str], int], list[str]]:
    """Return the largest number of each (kind, identity), and a sentence a damaged line."""
    largest: dict[tuple[str, str], int] = {}
    damaged = []
    for number, line in enumerate(content.splitlines(), start=1):
        record = _parse(line) if line else None
        if record is not None:
            kind, identity, n = record
            largest[kind, identity] = max(n, largest.get((kind, identity), 0))
        elif line:
            damaged.append(
                f"{path}, line {number} is no whole record (a process ended while writing, or the"
                " file was edited): it is not counted."
            )
    return largest, damaged


def _append(fd: int, content: bytes, line: bytes) -> None:
    """Add one line durably; when the disk refuses a part of it, take that part back."""
    cut_off = bool(content) and not content.endswith(b"\n")
    data = b"\n" + line if cut_off else line
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, len(content))
        raise


def _path(folder: str | Path) -> Path:
    return Path(folder) / FILE


def record(folder: str | Path, kind: str, n: int, identity: str) -> Trials:
    """Count ``n`` trials of a study and return what it has tried now, these included.

    ``kind`` is what was run ("sweep", "backtest"); ``identity`` a text that is the same for the
    same run and different for another: a hash of code, parameters or grid, data and costs. One
    that is there with as many trials or more adds nothing. The folder is made when it is missing.
    Safe between threads and processes; the line is on the disk when this returns. Raises
    ``UsageError`` for a negative number or an empty text, ``RunFolderUnusable`` when the folder
    cannot be written.
    """
    if n < 0 or not kind or not identity:
        raise UsageError(
            f"A trial is recorded with a kind, an identity and a number >= 0; got {kind!r},"
            f" {identity!r}, {n!r}."
        )
    path = _path(folder)
    line = json.dumps({"kind": kind, "identity": identity, "n": int(n)}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as fd:
            content = _read_all(fd)
            known, _ = _records(content, path)
            if known.get((kind, identity), -1) < n:
                _append(fd, content, line.encode())
            return _summary(*_records(_read_all(fd), path))
    except OSError as error:
        raise RunFolderUnusable(str(folder), f"{FILE}: {error.strerror or error}") from error


def read(folder: str | Path) -> Trials:
    """Return what a study has tried; nothing when the folder or its file is not there.

    Raises ``RunFolderUnusable`` when the file cannot be read.
    """
    path = _path(folder)
    try:
        with _locked(path, os.O_RDONLY, fcntl.LOCK_SH) as fd:
            return _summary(*_records(_read_all(fd), path))
    except FileNotFoundError:
        return Trials(0, {}, ())
    except OSError as error:
        raise RunFolderUnusable(str(folder), f"{FILE}: {error.strerror or error}") from error


def _summary(largest: dict[tuple[str, str], int], damaged: list[str]) -> Trials:
    n_by_kind: dict[str, int] = {}
    for (kind, _), n in largest.items():
        n_by_kind[kind] = n_by_kind.get(kind, 0) + n
    return Trials(sum(n_by_kind.values()), n_by_kind, tuple(damaged))


def count(folder: str | Path) -> int:
    """Return the number of trials of a study (``read(folder).n``)."""
    return read(folder).n
