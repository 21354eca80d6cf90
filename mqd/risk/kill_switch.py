"""Latches that stay set over restart, clock jump and reload until a human resets them.

Three levels, each its own file: REDUCE_ONLY (daily loss), HALT (drawdown) and KILL. A latch is
made with O_EXCL, synced, and its folder synced, before anything else happens. A latch that
cannot be read is set. Without a folder (a backtest) latches live in memory.
"""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from mqd.errors import UsageError
from mqd.risk.errors import LatchNotDurable


class LatchLevel(IntEnum):
    """How far the gate is shut. Orders that reduce risk pass the first two, nothing KILL."""

    CLEAR = 0
    REDUCE_ONLY = 1
    HALT = 2
    KILL = 3


LEVELS = (LatchLevel.KILL, LatchLevel.HALT, LatchLevel.REDUCE_ONLY)


class LatchIo(Protocol):
    """The file operations of a latch; a test hands in a disk that fails or loses power."""

    def make_folder(self, folder: Path) -> None:
        """Create ``folder`` and its parents."""
        ...

    def create(self, path: Path, text: bytes) -> None:
        """Create ``path``, which must not exist, write and sync it."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make the names in ``folder`` durable."""
        ...

    def exists(self, path: Path) -> bool:
        """Say whether ``path`` exists; raise ``OSError`` when that cannot be known."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Rename ``path``."""
        ...


class DiskIo:
    """The real disk."""

    def make_folder(self, folder: Path) -> None:
        """Create ``folder`` and its parents."""
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path, text: bytes) -> None:
        """Create ``path`` (O_EXCL), write all of ``text`` and fsync."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            while text:
                text = text[os.write(handle, text) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_folder(self, folder: Path) -> None:
        """Fsync the directory."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def exists(self, path: Path) -> bool:
        """Say whether ``path`` exists; only "no such file" counts as no."""
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def rename(self, path: Path, to: Path) -> None:
        """Rename ``path``."""
        path.rename(to)


class KillSwitch:
    """The latches of one account. ``folder=None`` keeps them in memory."""

    def __init__(
        self, folder: str | Path | None = None, *, account: str = "", io: LatchIo | None = None
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._account = account
        self._io: LatchIo = DiskIo() if io is None else io
        self._paths = {level: self._path(level) for level in LEVELS} if self._folder else {}
        self._set: dict[LatchLevel, str] = {}
        self._level = LatchLevel.CLEAR
        if self._folder is not None:
            try:
                self._io.make_folder(self._folder)
            except OSError as error:
                self._note(LatchLevel.KILL, f"the latch folder is unusable: {error}")
        self._read_disk()

    @property
    def level(self) -> LatchLevel:
        """The highest latch that is set, on disk too: another process may have set it."""
        if self._folder is not None:
            self._read_disk()
        return self._level

    @property
    def tripped(self) -> bool:
        """Whether the kill latch is set."""
        return self.level is LatchLevel.KILL

    @property
    def reasons(self) -> dict[LatchLevel, str]:
        """Why each set latch was set, as far as this process knows."""
        return dict(self._set)

    def trip(self, reason: str, now_ns: int, level: LatchLevel = LatchLevel.KILL) -> None:
        """Set a latch: at once in memory, then on disk.

        Setting it again changes nothing. Raises ``LatchNotDurable`` when the disk fails; the
        latch is set in memory all the same.
        """
        if level is LatchLevel.CLEAR:
            raise UsageError("CLEAR is no latch. Use reset() with a reason and the account id.")
        if level in self._set:
            return
        self._set[level] = reason
        self._level = max(self._set)
        if self._folder is None:
            return
        path = self._path(level)
        try:
            if not self._io.exists(path):
                self._io.create(path, f"{now_ns} {reason}\n".encode())
            self._io.sync_folder(self._folder)
        except FileExistsError:
            self._io.sync_folder(self._folder)
        except OSError as error:
            raise LatchNotDurable(str(path), error) from error

    def reset(
        self, level: LatchLevel, *, reason: str, account: str, now_ns: int, n_open_orders: int
    ) -> None:
        """Clear a latch by hand; what it said is kept beside it as ``*.reset-<now_ns>``.

        Raises ``UsageError`` without a reason, with another account's id, or while orders are
        open.
        """
        if not reason.strip():
            raise UsageError("A latch is reset with a reason. Write why trading may go on.")
        if account != self._account or not account:
            raise UsageError(f"Type the account id to reset {level.name}; {account!r} is not it.")
        if n_open_orders:
            raise UsageError(f"{n_open_orders} order(s) are open. Cancel them before the reset.")
        if self._folder is not None:
            path = self._path(level)
            if self._io.exists(path):
                self._io.rename(path, path.with_name(f"{path.name}.reset-{now_ns}"))
            self._io.sync_folder(self._folder)
        self._set.pop(level, None)
        self._level = max(self._set, default=LatchLevel.CLEAR)

    def n_resets(self, level: LatchLevel) -> int:
        """Return how often a latch was cleared by hand, as its folder tells."""
        if self._folder is None:
            return 0
        return sum(1 for _ in self._folder.glob(f"{level.name.lower()}.latch.reset-*"))

    def _path(self, level: LatchLevel) -> Path:
        assert self._folder is not None
        return self._folder / f"{level.name.lower()}.latch"

    def _read_disk(self) -> None:
        if self._folder is None:
            return
        for level in LEVELS:
            if level in self._set:
                continue
            try:
                found = self._io.exists(self._paths[level])
            except OSError as error:
                self._note(LatchLevel.KILL, f"a latch cannot be read: {error}")
            else:
                if found:
                    self._note(level, self._written(level))

    def _written(self, level: LatchLevel) -> str:
        """Return the reason that another process wrote; what cannot be read is set all the same."""
        try:
            text = self._paths[level].read_text(errors="replace")
        except OSError:
            text = ""
        return text.partition(" ")[2].strip() or "set on disk"

    def _note(self, level: LatchLevel, reason: str) -> None:
        self._set.setdefault(level, reason)
        self._level = max(self._set)
