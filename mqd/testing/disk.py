"""A disk in memory that can fail and lose power, for latches and for your own fault plans."""

from __future__ import annotations

import errno
from pathlib import Path


class MemoryDisk:
    """The file operations of ``KillSwitch``; names become durable when their folder is synced.

    ``fail_at`` makes the n-th operation (from 0) raise ``OSError``: run a test for n = 0, 1, …
    until nothing fails. ``lose_power()`` forgets every name that was not made durable.
    """

    def __init__(self, fail_at: int | None = None) -> None:
        self.files: dict[Path, bytes] = {}
        self._durable: dict[Path, bytes] = {}
        self._fail_at = fail_at
        self.n_operations = 0

    def make_folder(self, folder: Path) -> None:
        """Accept a folder."""
        self._count(f"make_folder {folder}")

    def create(self, path: Path, text: bytes) -> None:
        """Create ``path``; raise ``FileExistsError`` when it is there."""
        self._count("create")
        if path in self.files:
            raise FileExistsError(errno.EEXIST, "it exists", str(path))
        self.files[path] = text

    def sync_folder(self, folder: Path) -> None:
        """Make all names durable."""
        self._count(f"sync_folder {folder}")
        self._durable = dict(self.files)

    def exists(self, path: Path) -> bool:
        """Say whether ``path`` exists."""
        self._count("exists")
        return path in self.files

    def rename(self, path: Path, to: Path) -> None:
        """Rename ``path``."""
        self._count("rename")
        self.files[to] = self.files.pop(path)

    def lose_power(self) -> None:
        """Forget what no sync has made durable, and repair the disk."""
        self.files = dict(self._durable)
        self._fail_at = None

    def _count(self, what: str) -> None:
        number, self.n_operations = self.n_operations, self.n_operations + 1
        if number == self._fail_at:
            raise OSError(errno.EIO, f"planned failure of {what}")
