"""What a state folder says to another process: read without the lock, nothing is changed."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from mqd.core.clock import NS_PER_S
from mqd.errors import LogDamaged, StoreFailed
from mqd.live.carry_over import BASE, TAKEN
from mqd.live.errors import NoStateFolder
from mqd.live.folder import ACCOUNT_FILE, HEARTBEAT_FILE, LATCHES, STOPPED
from mqd.live.last_words import may_be_open, not_over
from mqd.live.toml_file import TomlFile
from mqd.log_files import SEGMENT_OPEN
from mqd.log_reader import Record, Verifier, read
from mqd.positions.store import FILE_NAME, PositionStore
from mqd.risk.kill_switch import LEVELS, LatchLevel

RECORDS_SHOWN: Final = 10
BOOKKEEPING: Final = frozenset({BASE, TAKEN})
"""Kinds that a restart needs and that tell a person nothing."""
LOCK_FILE: Final = "lock"
LOCKS: Final = Path("/proc/locks")
ALIVE_NS: Final = 60 * NS_PER_S
"""A desk whose heartbeat is older than this is taken for dead (control 24)."""


class Latch(NamedTuple):
    """A latch that is set: how far, since when (ns UTC, 0 when unknown) and why."""

    level: LatchLevel
    since_ns: int
    reason: str


class Heartbeat(NamedTuple):
    """The desk's last sign of life: its age and what it said."""

    age_ns: int
    said: dict[str, Any]

    @property
    def alive(self) -> bool:
        """True when it is at most a minute old and not the desk's last word."""
        return self.age_ns <= ALIVE_NS and not self.stopped

    @property
    def stopped(self) -> bool:
        """True when the desk said that it ended."""
        return self.said.get("state") == STOPPED

    def counted(self, name: str) -> int | None:
        """Return a counter of the session, None where the desk did not say it."""
        found = self.said.get(name)
        return found if type(found) is int else None


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """A state folder at one instant; quantities and money as decimal texts.

    ``mode``, ``account_sha256`` and ``code`` (version) are of the last start, "" when unknown.
    ``holder`` is the process that holds the folder, ``seq`` the last record; ``notes`` say what
    could not be read.
    """

    folder: Path
    mode: str
    account_sha256: str
    code: str
    latches: tuple[Latch, ...]
    holder: int | None
    heartbeat: Heartbeat | None
    seq: int
    positions: dict[str, dict[str, str]]
    open_orders: tuple[dict[str, Any], ...]
    records: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        beat = self.heartbeat
        return {
            "folder": str(self.folder), "mode": self.mode, "code": self.code,
            "account_sha256": self.account_sha256,
            "latches": [latch._asdict() | {"level": latch.level.name} for latch in self.latches],
            "holder": self.holder,
            "heartbeat": None if beat is None else {
                "age_s": beat.age_ns / NS_PER_S, "alive": beat.alive, **beat.said,
            },
            "seq": self.seq, "positions": self.positions, "open_orders": list(self.open_orders),
            "records": list(self.records), "notes": list(self.notes),
        }  # fmt: skip


def read_status(path: str | Path, now_ns: int) -> FolderStatus:
    """Return what the folder says at ``now_ns`` (wall clock).

    The store is read as a copy and brought level with the log's tail. Raises
    ``NoStateFolder``; a log that is damaged becomes a note, so that latches can still be seen.
    """
    folder = check_folder(path)
    account = read_account(folder)
    latches, notes = read_latches(folder), list[str]()
    header: dict[str, Any] = {}
    book = _Book(0, {}, (), ())
    try:
        header, book = _read_book(folder)
    except (LogDamaged, StoreFailed) as error:
        notes.append(str(error))
    return FolderStatus(
        folder, str(account.get("mode") or header.get("mode", "")),
        str(account.get("account_sha256", "")), str(header.get("code", "")), latches,
        holder_of(folder), read_heartbeat(folder, now_ns), *book, tuple(notes),
    )  # fmt: skip


def folder_named(path: str | Path) -> Path:
    """Return the state folder that ``path`` is, or that the configuration ``path`` names.

    Nothing else of a configuration is looked at: a desk can be stopped whatever is wrong in it.
    """
    file = Path(path)
    if not file.is_file():
        return check_folder(file)
    toml = TomlFile(file)
    named = toml.tables.get("state")
    if not isinstance(named, str) or not named.strip():
        raise toml.bad("", "state", "state is missing: name the state folder itself.")
    return check_folder(file.absolute().parent / Path(named.strip()).expanduser())


def check_folder(path: str | Path) -> Path:
    """Return the folder; raise ``NoStateFolder`` unless a desk has written there."""
    folder = Path(path)
    if not folder.is_dir():
        raise NoStateFolder(str(folder), "there is no such folder")
    if not any((folder / name).exists() for name in (LATCHES, ACCOUNT_FILE, "log")):
        raise NoStateFolder(str(folder), f"it holds no log, no {LATCHES} and no {ACCOUNT_FILE}")
    return folder


def read_latches(folder: Path) -> tuple[Latch, ...]:
    """Return the latches that are set, the highest first; one that cannot be read is set."""
    found = []
    for level in LEVELS:
        path = folder / LATCHES / f"{level.name.lower()}.latch"
        try:
            since, _, reason = path.read_text(errors="replace").strip().partition(" ")
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(Latch(level, 0, f"it cannot be read ({error.strerror})"))
        else:
            found.append(Latch(level, int(since) if since.isdecimal() else 0, reason))
    return tuple(found)


def holder_of(folder: Path) -> int | None:
    """Return the process that holds the folder, None when there is none or nobody can say.

    The kernel's table of locks is read: trying the lock could keep a desk from starting.
    """
    for lock in (folder / LATCHES / LOCK_FILE, folder / LOCK_FILE):
        try:
            found, table = lock.stat(), LOCKS.read_text()
        except OSError:
            continue
        device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
        held = re.search(rf"FLOCK .* (\d+) {device}:{found.st_ino} ", table)
        if held:
            return int(held[1])
    return None


def read_account(folder: Path) -> dict[str, Any]:
    """Return what pins the folder: ``account_sha256`` and ``mode``; empty where nothing does."""
    return _json(folder / ACCOUNT_FILE) or {}


def read_heartbeat(folder: Path, now_ns: int) -> Heartbeat | None:
    """Return the last sign of life, None where there was none that can be read."""
    said = _json(folder / HEARTBEAT_FILE)
    if said is None or type(said.get("now_ns")) is not int:
        return None
    return Heartbeat(now_ns - said["now_ns"], said)


def open_orders(folder: Path) -> list[dict[str, Any]]:
    """Return the orders that are not over by all of the log, which is verified; see ``not_over``.

    Raises what `mqd.log_reader.read` raises.
    """
    if not any((folder / "log").glob("*.ndjson")):
        return []
    with _book_of(folder) as store:
        rows = [row for row in store.rows("orders") if may_be_open(row)]
    return not_over(rows, read(folder)) if rows else []


def _open_of(folder: Path, store: PositionStore) -> tuple[dict[str, Any], ...]:
    """Return the same orders by the log's records since the oldest of them."""
    rows = [row for row in store.rows("orders") if may_be_open(row)]
    if not rows:
        return ()
    return tuple(not_over(rows, tail(folder, min(row["seq"] for row in rows))))


class _Book(NamedTuple):
    """What store and log know together."""

    seq: int
    positions: dict[str, dict[str, str]]
    open_orders: tuple[dict[str, Any], ...]
    records: tuple[dict[str, Any], ...]


def _read_book(folder: Path) -> tuple[dict[str, Any], _Book]:
    header: dict[str, Any] = {}
    if not any((folder / "log").glob("*.ndjson")):
        return header, _Book(0, {}, (), ())
    last: deque[Record] = deque(maxlen=RECORDS_SHOWN)
    seq = 0
    for record in tail(folder, 2**63):
        header = record.payload if record.kind == SEGMENT_OPEN else header
        seq = record.seq
        if record.kind not in BOOKKEEPING:
            last.append(record)
    with _book_of(folder) as store:
        held = {
            symbol: {
                "qty": f"{one.qty:f}",
                "cost": f"{one.cost:f}",
                "realized": f"{one.realized:f}",
            }
            for symbol, one in store.positions().items()
            if one.qty
        }
        orders = _open_of(folder, store)
    shown = tuple(
        {"seq": r.seq, "kind": r.kind, "ts_ns": r.ts_ns, "payload": r.payload} for r in last
    )
    return header, _Book(seq, held, orders, shown)


@contextmanager
def _book_of(folder: Path) -> Iterator[PositionStore]:
    """Hold a copy of the folder's store, level with its log, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="mqd-status-") as scratch:
        copy = Path(scratch) / FILE_NAME
        try:
            copy_store(folder / FILE_NAME, copy)
            store = PositionStore(copy)
            applied = store.applied_seq
            for record in tail(folder, applied):
                if record.seq > applied:
                    store.apply(record.seq, record.kind, record.ts_ns, record.payload)
            store.commit()
        except (StoreFailed, sqlite3.Error):
            copy.unlink(missing_ok=True)
            store = PositionStore.rebuild(folder, into=Path(scratch))
        try:
            yield store
        finally:
            store.close()


def copy_store(source: Path, into: Path) -> None:
    """Copy a store that another process may be writing; raises ``sqlite3.Error``.

    Without a write-ahead file nobody writes: it is read as it lies, so that no file is made.
    """
    idle = not source.with_name(f"{source.name}-wal").exists()
    uri = f"{source.absolute().as_uri()}?mode=ro{'&immutable=1' if idle else ''}"
    with closing(sqlite3.connect(uri, uri=True)) as here, closing(sqlite3.connect(into)) as there:
        here.backup(there)


def tail(folder: Path, after_seq: int) -> Iterator[Record]:
    """Yield the records of the segments from the one that follows ``after_seq`` on, verified.

    The chain before the first of them is taken as it is said: `read` verifies all of it.
    """
    segments = sorted((folder / "log").glob("*.ndjson"))
    first = max((i for i, path in enumerate(segments) if _first_seq(path) <= after_seq), default=0)
    verifier: Verifier | None = None
    for path in segments[first:]:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                verifier = verifier or _verifier_at(path, line)
                yield verifier.check(str(path), number, line)


def _first_seq(path: Path) -> int:
    """Return the seq of a segment's first record; of an unfinished one a seq beyond all."""
    with path.open("rb") as file:
        line = file.readline()
    return int(_envelope(path, line)["seq"]) if line.endswith(b"\n") else 2**63 + 1


def _verifier_at(path: Path, line: bytes) -> Verifier:
    fields = _envelope(path, line)
    verifier = Verifier()
    verifier.seq, verifier.prev = fields["seq"] - 1, fields["prev"]
    verifier.segment = fields["payload"]["segment"] - 1
    return verifier


def _envelope(path: Path, line: bytes) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
        if {"seq", "prev", "payload"} <= fields.keys() and "segment" in fields["payload"]:
            return fields
    except (ValueError, AttributeError, TypeError) as error:
        raise LogDamaged(str(path), 1, f"this is no header of a segment ({error})") from error
    raise LogDamaged(str(path), 1, "this is no header of a segment")


def _json(path: Path) -> dict[str, Any] | None:
    """Return a small JSON object, None where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
