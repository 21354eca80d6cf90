"""The state folder of one account: held by one process, closed to all others.

    state/paper/
      account.json       which account and mode it belongs to (the account id as a hash)
      log/ store.sqlite  the transaction log and its projection, as in any run folder
      latches/           kill.latch, halt.latch, reduce_only.latch, and the lock of the desk
      heartbeat.json     when the desk was last alive, and what it said of itself
      reserve            room that a full disk gives back, so that fills and cancels are logged

The lock is an flock on an open descriptor: it dies with the process, and no file tells it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from mqd.core.clock import WallClock
from mqd.errors import RunFolderUnusable
from mqd.live.errors import StateFolderUnsafe
from mqd.log_files import SystemCalls, lock_folder
from mqd.risk.kill_switch import KillSwitch

Mode = Literal["rehearsal", "paper", "live"]

LATCHES: Final = "latches"
ACCOUNT_FILE: Final = "account.json"
HEARTBEAT_FILE: Final = "heartbeat.json"
STOPPED: Final = "stopped"
RESERVE_FILE: Final = "reserve"
RESERVE_BYTES: Final = 16 << 20
FREE_BYTES_MIN: Final = 1 << 30
"""With less than this free, no order that opens risk is sent."""


class Space(NamedTuple):
    """What is left on the folder's disk; ``enough`` says whether opening orders may go on."""

    free_bytes: int

    @property
    def enough(self) -> bool:
        """False below 1 GiB."""
        return self.free_bytes >= FREE_BYTES_MIN


def account_sha256(account_id: str) -> str:
    """Return the hash that pins an account; the id itself stands in no file."""
    return hashlib.sha256(account_id.strip().encode()).hexdigest()


class StateFolder:
    """A state folder that this process holds until ``close``.

    ``latches`` is its kill switch: another process may set it, and ``level`` reads the disk.
    """

    def __init__(self, path: Path, lock_fd: int, free_bytes: Callable[[Path], int]) -> None:
        """Use ``open``."""
        self.path = path
        self._lock_fd = lock_fd
        self._free_bytes = free_bytes
        self._said: dict[str, Any] = {}
        self.latches = KillSwitch(path / LATCHES)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        account: str,
        mode: Mode,
        free_bytes: Callable[[Path], int] | None = None,
    ) -> Self:
        """Create or take the folder; ``account`` is the hash of the account's id.

        Raises ``StateFolderTaken`` (exit code 3) when another process holds it,
        ``StateFolderUnsafe`` for a symlink, another owner, a mode wider than 0700, or when it
        belongs to another account or mode, ``RunFolderUnusable`` when the disk refuses.
        """
        folder = Path(path).absolute()
        try:
            _make_private(folder)
            _make_private(folder / LATCHES)
            held = cls(folder, lock_folder(folder / LATCHES), free_bytes or _free_on_disk)
        except OSError as error:
            raise RunFolderUnusable(str(folder), error.strerror or str(error)) from error
        try:
            _bind_account(folder, account, mode)
            held.fill_reserve()
        except BaseException:
            held.close()
            raise
        return held

    @property
    def has_log(self) -> bool:
        """True when the desk goes on with a log; False at its very first start."""
        return any((self.path / "log").glob("*.ndjson"))

    def space(self) -> Space:
        """Return what is left on the disk; below 1 GiB opening orders must stop."""
        return Space(self._free_bytes(self.path))

    def fill_reserve(self) -> bool:
        """Set the reserve aside, where the disk has room for it; True when it is there."""
        path = self.path / RESERVE_FILE
        if path.exists() and path.stat().st_size >= RESERVE_BYTES:
            return True
        if self._free_bytes(self.path) < 2 * RESERVE_BYTES:
            return False
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        finally:
            os.close(fd)
        return True

    def free_reserve(self) -> bool:
        """Give the reserve back to the disk; False when it was given back before."""
        try:
            (self.path / RESERVE_FILE).unlink()
        except FileNotFoundError:
            return False
        return True

    def system_calls(self) -> SystemCalls:
        """Return the system calls for the log: a full disk takes the reserve and goes on."""
        return ReserveCalls(self.free_reserve)

    def beat(self, now_ns: int, **words: Any) -> None:
        """Say that the desk lives at ``now_ns`` (wall clock); ``words`` are shown by status.

        What was said before stays until it is said anew.
        """
        self._said |= words
        said = json.dumps({"now_ns": now_ns, "pid": os.getpid(), **self._said}, default=str)
        write_atomically(self.path / HEARTBEAT_FILE, said.encode(), durable=False)

    def close(self) -> None:
        """Give the folder back; a desk that said that it lives says that it ended. Idempotent."""
        if self._lock_fd >= 0:
            if self._said.get("state", STOPPED) != STOPPED:
                with suppress(OSError):  # a full disk keeps no folder
                    self.beat(WallClock().now_ns(), state=STOPPED)
            fd, self._lock_fd = self._lock_fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ReserveCalls(SystemCalls):
    """System calls of a log whose writes, on a full disk, free a reserve and go on once."""

    def __init__(self, free: Callable[[], bool], calls: SystemCalls | None = None) -> None:
        inner = calls or SystemCalls()
        self._free, self._inner_write = free, inner.write
        self.write = self._write  # type: ignore[assignment]

    def _write(self, fd: int, data: bytes) -> int:
        """Write ``data``; what a full disk refused of it is tried once more on the reserve."""
        try:
            written = self._inner_write(fd, data)
        except OSError as error:
            if error.errno != errno.ENOSPC or not self._free():
                raise
            return self._inner_write(fd, data)
        if written < len(data) and self._free():
            written += self._inner_write(fd, data[written:])
        return written


def write_atomically(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace ``path`` (mode 0600) as a whole: a reader sees the old text or the new one."""
    scratch = path.with_name(f".{path.name}.new")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    scratch.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _free_on_disk(path: Path) -> int:
    return shutil.disk_usage(path).free


def _make_private(folder: Path) -> None:
    """Create ``folder`` with mode 0700, or refuse the one that is there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
    except FileExistsError:
        check_private(folder)


def check_private(folder: Path) -> None:
    """Raise ``StateFolderUnsafe`` unless ``folder`` is ours, no link, and open to nobody else."""
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise StateFolderUnsafe(str(folder), "it is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(found.st_mode):
        raise StateFolderUnsafe(str(folder), "it is no folder")
    if found.st_uid != os.geteuid():
        raise StateFolderUnsafe(str(folder), f"its owner is user {found.st_uid}, not us")
    if stat.S_IMODE(found.st_mode) & 0o077:
        wide = f"{stat.S_IMODE(found.st_mode):04o}"
        raise StateFolderUnsafe(str(folder), f"its mode is {wide}; others could read it: chmod 700")


def _bind_account(folder: Path, account: str, mode: Mode) -> None:
    """Note whose folder it is at the first start; refuse another account's or mode's later."""
    path = folder / ACCOUNT_FILE
    wanted = {"account_sha256": account, "mode": mode}
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        write_atomically(path, json.dumps(wanted).encode(), durable=True)
        return
    except ValueError as error:
        raise StateFolderUnsafe(str(folder), f"{ACCOUNT_FILE} is no JSON ({error})") from error
    for name, value in wanted.items():
        if not isinstance(found, dict) or found.get(name) != value:
            raise StateFolderUnsafe(
                str(folder),
                f"{ACCOUNT_FILE} says another {name}: each account and mode has its own",
            )
