"""Log and store of a state folder: begun, or gone on with after a restart."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from mqd import __version__
from mqd.core.clock import WallClock
from mqd.desk.journal import Journal
from mqd.event_bus import OrderEventBus
from mqd.live.folder import StateFolder
from mqd.log_reader import read
from mqd.positions.store import PositionStore
from mqd.transaction_log import TransactionLog

STORE_BATCH = 200


class OpenBooks(NamedTuple):
    """The journal of a folder that this process holds. ``resumed``: a run had begun there."""

    journal: Journal
    resumed: bool

    def close(self, reason: str) -> None:
        """Drain the bus, seal the log with ``reason`` and close the store."""
        journal = self.journal
        journal.bus.close()
        journal.log.close(reason)
        if journal.store is not None:
            journal.store.close()


def open_books(folder: StateFolder, *, mode: str, account: str, config: str) -> OpenBooks:
    """Open log and store: verified to the last record, a torn tail cut, the store level with it.

    ``account`` and ``config`` are hashes that the segment's header carries. Raises what the log
    raises for damage: then nothing is touched and the desk does not start.
    """
    resumed = folder.has_log
    header = {
        "run_id": folder.path.name, "mode": mode, "code": __version__, "account": account,
        "config": config,
    }  # fmt: skip
    if not resumed:
        _clear_unbegun(folder)
    start = TransactionLog.resume if resumed else TransactionLog.create
    log = start(folder.path, header, durable=True, clock=WallClock(), io=folder.system_calls())
    try:
        if resumed:
            store = PositionStore.recover(
                folder.path, tip=log.tip, batch=STORE_BATCH, verified=True
            )
        else:
            store = PositionStore.create(folder.path, tip=log.tip, batch=STORE_BATCH)
    except BaseException:
        log.close("failed")
        raise
    begun = resumed and _has_deposit(folder)
    return OpenBooks(Journal(log, store, OrderEventBus()), begun)


def _clear_unbegun(folder: StateFolder) -> None:
    """Remove the empty folder of a log whose process was killed before the first segment."""
    with contextlib.suppress(OSError):  # there is none, or it is not empty: `create` says so
        (folder.path / "log").rmdir()


def _has_deposit(folder: StateFolder) -> bool:
    """Return whether a log holds its first records; a desk may have been killed before them."""
    return any(record.kind == "cash" for record in read(folder.path))
