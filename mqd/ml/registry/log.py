"""The record of a registry: one file, lines only added, each holding the hash of the one before.

A line is ``{"k":"register"|"stage", "name", "sha256", ..., "ts": ns UTC, "prev", "line"}``:
``line`` is the sha256 of what stands before it, ``prev`` the ``line`` of the line before. A line
that was changed, taken out or put in breaks the chain; so does a manifest that does not match the
hash in its line. Whole lines cut off the end are not noticed: there is no key. A last line without
its end was never acknowledged; the next writer moves it to ``registry.torn-N``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mqd.errors import ModelRefused
from mqd.ml.torn import cut_torn

GENESIS: Final = "0" * 64
FILE: Final = "registry.ndjson"
_MARK: Final = b', "line": "'


class RegistryLog:
    """Reads and adds the lines of ``folder/registry.ndjson``; ``folder`` exists."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock_path = folder / "lock"
        self._read_at: tuple[int, ...] = ()
        self._records: list[dict[str, Any]] = []

    def records(self) -> list[dict[str, Any]]:
        """Return all records, verified; raises ``ModelRefused`` where the chain breaks.

        Read again only when the file has changed.
        """
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return []
        at = (state.st_ino, state.st_size, state.st_ctime_ns)
        if at != self._read_at:
            self._records = _verified(self.path, self.path.read_bytes())
            self._read_at = at
        return self._records

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the registry against other writers."""
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record, on the disk when this returns. The caller holds the lock.

        One that the disk does not take whole is taken back; raises ``ModelRefused`` then.
        """
        known = self.records()
        prev = known[-1]["line"] if known else GENESIS
        body = json.dumps({**record, "prev": prev}, allow_nan=False).encode()[:-1]
        text = body + _MARK + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
        cut_torn(self.path)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _add_whole(fd, text)
        except OSError as error:
            raise ModelRefused(str(self.path), f"the record was not written ({error})") from error
        finally:
            os.close(fd)
        sync_folder(self.path.parent)


def _add_whole(fd: int, text: bytes) -> None:
    """Write ``text`` at the end and carry it to the disk; else the end stays where it was."""
    start = os.lseek(fd, 0, os.SEEK_END)
    n_written = -1
    try:
        n_written = os.write(fd, text)
        os.fsync(fd)
    except OSError:
        n_written = -1
        raise
    finally:
        if n_written < len(text):
            os.ftruncate(fd, start)
    if n_written < len(text):
        raise OSError(errno.ENOSPC, "the disk took only a part of it")


def sync_folder(folder: Path) -> None:
    """Carry the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _verified(path: Path, data: bytes) -> list[dict[str, Any]]:
    records, prev = [], GENESIS
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        body, _, end = line.rpartition(_MARK)
        own = hashlib.sha256(body).hexdigest()
        whole = end == own.encode() + b'"}' and isinstance(record, dict)
        if not whole or record.get("prev") != prev:
            raise ModelRefused(
                f"{path}, line {number}",
                "it was changed, or a line before it was: the chain of hashes breaks here."
                " Restore the file from a copy; no model of it is used",
            )
        records.append(record)
        prev = own
    return records
