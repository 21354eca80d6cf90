"""Setting and clearing the latches of a state folder by hand, from another process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mqd.core.clock import WallClock
from mqd.errors import UsageError
from mqd.live.errors import RearmRefused
from mqd.live.folder import ACCOUNT_FILE, LATCHES, account_sha256, check_private, sync_folder
from mqd.live.status import Latch, open_orders, read_account, read_latches
from mqd.log_files import lock_folder
from mqd.risk.kill_switch import KillSwitch, LatchLevel

REARMS_FILE: Final = "rearms.ndjson"
NAMED: Final = 5


def kill(folder: Path, reason: str, clock: WallClock) -> int:
    """Set the KILL latch of ``folder`` and return how long it took to be durable, ns.

    A desk may hold the folder: it reads the latch before each order. Raises ``UsageError``
    without a reason and ``LatchNotDurable`` when the disk fails.
    """
    if not reason.strip():
        raise UsageError("A desk is stopped with a reason: --reason 'what was seen'.")
    begun = clock.monotonic_ns()
    with suppress(FileExistsError):
        (folder / LATCHES).mkdir(mode=0o700)
    KillSwitch(folder / LATCHES).trip(" ".join(reason.split()), clock.now_ns())
    return clock.monotonic_ns() - begun


def rearm(
    folder: Path, levels: Sequence[LatchLevel], *, reason: str, account: str, now_ns: int
) -> list[Latch]:
    """Clear the latches of ``levels`` that are set and return them; ``account`` is the typed id.

    The desk must be stopped: a running one keeps its latches in memory. Raises
    ``StateFolderTaken`` while one runs, ``RearmRefused`` while orders are open according to the
    log or when the account is another, ``UsageError`` without a reason.
    """
    if not reason.strip():
        raise UsageError("A latch is reset with a reason: --reason 'why trading may go on'.")
    check_private(folder)
    with _held(folder):
        pinned = read_account(folder).get("account_sha256")
        if not account.strip() or account_sha256(account) != pinned:
            raise RearmRefused(f"the typed account id is not the one that {ACCOUNT_FILE} pins")
        waiting = open_orders(folder)
        if waiting:
            names = "; ".join(f"{row['id']} {row['fate']}" for row in waiting[:NAMED])
            raise RearmRefused(
                f"{len(waiting)} order(s) are open ({names}); 'mqd kill', then start the desk:"
                " it asks for what is in doubt, cancels what works, and ends"
            )
        latches = [latch for latch in read_latches(folder) if latch.level in levels]
        _note(folder, latches, reason, now_ns)
        switch = KillSwitch(folder / LATCHES, account=account)
        for latch in latches:
            switch.reset(
                latch.level, reason=reason, account=account, now_ns=now_ns, n_open_orders=0
            )
    return latches


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold both locks of a folder: that of the desk and that of the log."""
    fds = [lock_folder(folder / LATCHES)] if (folder / LATCHES).is_dir() else []
    try:
        fds.append(lock_folder(folder))
        yield
    finally:
        for fd in fds:
            os.close(fd)


def _note(folder: Path, latches: Sequence[Latch], reason: str, now_ns: int) -> None:
    """Write down, durably and before anything is cleared, who was cleared and why."""
    line = {
        "ns": now_ns, "levels": [latch.level.name for latch in latches],
        "reason": " ".join(reason.split()),
    }  # fmt: skip
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    (folder / LATCHES).mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / LATCHES / REARMS_FILE, flags, 0o600)
    try:
        os.write(fd, json.dumps(line).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(folder / LATCHES)
