"""The append-only log of a run: record first, then act.

One folder a run (`new_run_folder`), in it ``log/000001.ndjson`` and on. A line is

    {"seq":7,"kind":"fill","ts":...,"payload":{...},"prev":"<sha256>","crc":"<crc32>"}

``prev`` is the sha256 of the line before, across segments; ``crc`` covers the bytes before it.
In live mode ``utc`` and ``mono`` (receive times, nanoseconds) stand between seq and kind. Every
record is one ``write`` on an O_APPEND descriptor; nothing waits in the process. The keys of a
payload are written in the order the caller inserted them: the caller's order is the canonical one.
`mqd.log_reader` reads, verifies and repairs. Protocol: reference/reliability.md section 5.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from enum import IntEnum
from errno import ENOSPC
from pathlib import Path
from typing import Final, NoReturn, Self
from zlib import crc32

from mqd.core.protocols import Clock
from mqd.errors import LogWriteFailed, RunFolderExists, RunFolderUnusable, UsageError
from mqd.log_files import (
    GENESIS,
    SCHEMA,
    SEGMENT_CLOSE,
    SEGMENT_OPEN,
    SIMULATION_KINDS,
    SystemCalls,
    encode,
    lock_folder,
    new_run_folder,
    segment_name,
)
from mqd.log_reader import Record, Verifier, cut_torn_tail, pass_over, read, repair

__all__ = ["Record", "Tier", "TransactionLog", "new_run_folder", "read", "repair"]

RECORD_BYTES_MAX: Final = 1 << 20
SEGMENT_BYTES_MAX: Final = 64 << 20
GROUP_COMMIT_S: Final = 0.04
EXIT_CODE_FSYNC: Final = 74


class Tier(IntEnum):
    """How soon a record must survive a power loss.

    D0: before ``append`` returns. D1: within 50 ms (group commit). WRITE: it survives the
    process, and the next sync of any kind carries it to the disk.
    """

    D0 = 0
    D1 = 1
    WRITE = 2


def exit_now(file: str, cause: OSError) -> None:
    """End the process at once: after a failed fsync nobody knows what the disk holds."""
    os.write(2, f"{file}: fsync failed ({cause.strerror}); the process ends.\n".encode())
    os._exit(EXIT_CODE_FSYNC)


_PREFIXES: dict[str, bytes] = {}


def _prefix(kind: str) -> bytes:
    """Return the opening of a record's body, after checking the kind's spelling once."""
    if not re.fullmatch(r"[a-z][a-z0-9_.]{0,39}", kind):
        raise UsageError(f"A record kind is a short lower-case word with dots, not {kind!r}.")
    return _PREFIXES.setdefault(kind, f'"kind":"{kind}","ts":'.encode())


class TransactionLog:
    """The one writer of a run's log. ``append`` is called from the desk's thread alone.

    ``durable=False`` is for runs that can be repeated: every tier is WRITE and nothing is
    synced. ``folder=None`` keeps no record at all, only ``sha256`` and the count.
    """

    def __init__(
        self,
        folder: Path | None,
        header: Mapping[str, object],
        *,
        durable: bool,
        clock: Clock | None,
        io: SystemCalls,
        die: Callable[[str, OSError], None],
        segment_bytes_max: int,
    ) -> None:
        """Use ``create``."""
        self.folder = folder
        self._header = dict(header)
        self._durable = durable and folder is not None
        self._clock = clock
        self._io, self._write, self._die = io, io.write, die
        self._segment_bytes_max = segment_bytes_max
        self._sha = hashlib.sha256()
        self._seq = self._durable_seq = self._grouped_seq = 0
        self._ts_ns = self._segment = self._size = 0
        self._records = 0
        self._prev = GENESIS
        self._file = ""
        self._fd = self._lock_fd = -1
        self._failed: LogWriteFailed | None = None
        self._closed = False
        self._sync_lock = threading.Lock()
        self._stop = threading.Event()
        self._flusher: threading.Thread | None = None

    @classmethod
    def create(
        cls,
        folder: Path | None,
        header: Mapping[str, object],
        *,
        durable: bool,
        clock: Clock | None = None,
        io: SystemCalls | None = None,
        die: Callable[[str, OSError], None] = exit_now,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> Self:
        """Lock ``folder`` (made by ``new_run_folder``) and start its log with a header record.

        ``header`` says who writes: run id, code version, config hash, mode, host. It is left
        out of ``sha256``. ``clock`` adds receive times to each record; a replay has none.
        Raises ``StateFolderTaken``, ``RunFolderExists`` (a log is there), ``LogWriteFailed``.
        """
        log = cls(
            folder, header, durable=durable, clock=clock, io=io or SystemCalls(), die=die,
            segment_bytes_max=segment_bytes_max,
        )  # fmt: skip
        if folder is None:
            log._seq = 1  # the header that a folder would hold
            return log
        return log._begin(folder, log._start_anew)

    @classmethod
    def resume(
        cls,
        folder: Path,
        header: Mapping[str, object],
        *,
        durable: bool,
        clock: Clock | None = None,
        io: SystemCalls | None = None,
        die: Callable[[str, OSError], None] = exit_now,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> Self:
        """Lock ``folder`` and go on with its log in a new segment; hash and seq continue.

        The whole log is verified first. A torn last line goes to a side file and a record
        ``log.repair`` notes it. May be killed and run again. Raises what `read` raises (nothing
        is touched then), ``StateFolderTaken``, ``LogWriteFailed``.
        """
        log = cls(
            folder, header, durable=durable, clock=clock, io=io or SystemCalls(), die=die,
            segment_bytes_max=segment_bytes_max,
        )  # fmt: skip
        return log._begin(folder, log._take_over)

    def append(
        self, kind: str, ts_ns: int, payload: dict[str, object], tier: Tier = Tier.WRITE
    ) -> int:
        """Write one record and return its seq. Money, prices and quantities are strings.

        ``ts_ns`` is the instant of the desk's clock. The record survives the process when this
        returns, and a power loss as ``tier`` says. Raises ``LogWriteFailed`` when the disk
        refuses: the file then ends with the last full record, and the log takes no more.
        """
        data = b'%b%d,"payload":%b' % (_PREFIXES.get(kind) or _prefix(kind), ts_ns, encode(payload))
        if self._fd >= 0:
            if self._size >= self._segment_bytes_max:
                self.rotate()
            self._write_line(data)
        elif self._closed or self.folder is not None:
            self._refuse()
        if kind in SIMULATION_KINDS:
            self._sha.update(data)
        self._seq += 1
        self._ts_ns = ts_ns
        if tier is not Tier.WRITE and self._durable:
            self._commit(tier)
        return self._seq

    @property
    def seq(self) -> int:
        """The seq of the last record written."""
        return self._seq

    @property
    def durable_seq(self) -> int:
        """The last seq that a power loss cannot take; ``seq`` itself when not durable."""
        return self._durable_seq if self._durable else self._seq

    @property
    def sha256(self) -> str:
        """The hash of all simulation records so far: (kind, ts, payload), nothing else."""
        return self._sha.hexdigest()

    def tip(self) -> tuple[int, str]:
        """Return ``(seq, sha256 of its line)`` of the last record: what a projection notes."""
        return self._seq, self._prev

    def flush(self) -> None:
        """Sync all that is written; nothing to do when not durable."""
        if self._durable and self._durable_seq < self._seq:
            self._sync()

    def rotate(self) -> None:
        """Seal the segment with a closing record and go on in a new one."""
        if self._fd < 0:
            return self._refuse() if self.folder is not None else None
        self._seal("rotated")
        with self._sync_lock:
            fd, self._fd = self._fd, -1
            self._io.close(fd)
        self._open_segment()
        return None

    def close(self, reason: str) -> None:
        """Seal the log with ``reason``, stop the flusher and free the folder. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        if self._flusher is not None:
            self._flusher.join()
        try:
            if self._fd >= 0 and self._failed is None:
                self._seal(reason)
        finally:
            self._release()

    def _refuse(self) -> NoReturn:
        if self._failed is not None:
            raise self._failed
        raise UsageError("The transaction log is closed; no record can be added.")

    def _write_line(self, body: bytes) -> None:
        """Write one line, or leave the file as it was and raise."""
        if self._failed is not None:
            raise self._failed
        stamps = b""
        if self._clock is not None:
            stamps = b'"utc":%d,"mono":%d,' % (self._clock.now_ns(), self._clock.monotonic_ns())
        head = b'{"seq":%d,%b%b,"prev":"%b"' % (
            self._seq + 1, stamps, body, self._prev.encode()
        )  # fmt: skip
        line = b'%b,"crc":"%08x"}\n' % (head, crc32(head))
        size = len(line)
        if size > RECORD_BYTES_MAX:
            raise UsageError(f"A record of {size} bytes exceeds {RECORD_BYTES_MAX}: {body[:60]!r}")
        try:
            written = self._write(self._fd, line)
        except OSError as error:
            self._cut_back(error)
        if written != size:
            self._cut_back(OSError(ENOSPC, f"only {written} of {size} bytes were written"))
        self._size += size
        self._records += 1
        self._prev = hashlib.sha256(line).hexdigest()

    def _cut_back(self, error: OSError) -> NoReturn:
        """Take the unfinished record off the file; what stays torn, the next repair cuts."""
        self._failed = LogWriteFailed(self._file, error)
        try:
            self._io.ftruncate(self._fd, self._size)
        except OSError as second:
            self._failed.add_note(f"The unfinished record could not be cut off: {second}")
        raise self._failed from error

    def _append_envelope(self, kind: str, payload: dict[str, object]) -> None:
        self._write_line(b'%b%d,"payload":%b' % (_prefix(kind), self._ts_ns, encode(payload)))
        self._seq += 1

    def _seal(self, reason: str) -> None:
        closing = {"reason": reason, "records": self._records, "log_sha256": self.sha256}
        self._append_envelope(SEGMENT_CLOSE, closing)
        self.flush()

    def _commit(self, tier: Tier) -> None:
        if tier is Tier.D0:
            return self._sync()
        self._grouped_seq = self._seq
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._flush_loop, name="log-flusher")
            self._flusher.daemon = True
            self._flusher.start()
        return None

    def _flush_loop(self) -> None:
        """Look again and again: to wake a thread costs the writer more than a short record."""
        while not self._stop.wait(GROUP_COMMIT_S):
            try:
                if self._durable_seq < self._grouped_seq:
                    self.flush()
            except LogWriteFailed:
                return

    def _sync(self) -> None:
        """Sync the segment; a failure is final, because a second fsync would lie."""
        with self._sync_lock:
            if self._failed is not None:
                raise self._failed
            if self._fd < 0:
                return
            target = self._seq
            try:
                self._io.fsync(self._fd)
            except OSError as error:
                self._failed = LogWriteFailed(self._file, error)
                self._die(self._file, error)
                raise self._failed from error
            self._durable_seq = max(self._durable_seq, target)

    def _begin(self, folder: Path, start: Callable[[Path], None]) -> Self:
        """Lock the folder and start; a start that fails gives it back."""
        self._lock_fd = lock_folder(folder)
        try:
            start(folder)
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise LogWriteFailed(str(folder), error) from error
            raise
        return self

    def _start_anew(self, folder: Path) -> None:
        try:
            self._io.mkdir(folder / "log", 0o700)
            self._sync_path(folder)
        except FileExistsError as error:
            raise RunFolderExists(str(folder)) from error
        except OSError as error:
            raise RunFolderUnusable(str(folder), str(error.strerror)) from error
        self._open_segment()

    def _take_over(self, folder: Path) -> None:
        """Continue seq, chain and hash where the log ends, on a durable ground."""
        verifier = Verifier()
        record = None
        for record in pass_over(folder, verifier):
            if record.kind in SIMULATION_KINDS:
                self._sha.update(record.body)
        if record is not None:
            self._ts_ns = record.ts_ns
        cut = cut_torn_tail(folder, self._io)
        self._seq, self._prev, self._segment = verifier.seq, verifier.prev, verifier.segment
        if self._segment:
            self._sync_path(folder / "log" / segment_name(self._segment))
        self._open_segment()
        if cut is not None:
            self.append("log.repair", self._ts_ns, cut._asdict(), Tier.D0)

    def _open_segment(self) -> None:
        """Create the next segment, write its header, sync file and folder, only then use it."""
        assert self.folder is not None
        self._segment += 1
        path = self.folder / "log" / segment_name(self._segment)
        self._file, self._size, self._records = str(path), 0, 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = self._io.open(path, flags, 0o600)
        except OSError as error:
            self._failed = LogWriteFailed(self._file, error)
            raise self._failed from error
        header: dict[str, object] = {"schema": SCHEMA, "segment": self._segment}
        self._append_envelope(SEGMENT_OPEN, header | self._header)
        self.flush()
        try:
            self._sync_path(path.parent)
        except OSError as error:
            self._failed = LogWriteFailed(self._file, error)
            raise self._failed from error

    def _sync_path(self, path: Path) -> None:
        """Sync a folder's entries, or a file that is open nowhere."""
        if not self._durable:
            return
        fd = self._io.open(path, os.O_RDONLY | os.O_CLOEXEC, 0)
        try:
            self._io.fsync(fd)
        finally:
            self._io.close(fd)

    def _release(self) -> None:
        with self._sync_lock:
            fds, self._fd, self._lock_fd = (self._fd, self._lock_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                self._io.close(fd)
