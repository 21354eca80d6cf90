"""Reading a run's log: each line is verified before anything of it is used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

from pydantic_core import from_json

from mqd.errors import LogDamaged, LogSchemaUnknown, RunFolderUnusable
from mqd.log_files import GENESIS, SCHEMA, SEGMENT_OPEN, SIMULATION_KINDS, SystemCalls

_TAIL: Final = 19  # ,"crc":"01234567"} and the line feed
_HASH: Final = 64
_PREV: Final = 74  # ,"prev":"<64 hex digits>"
_KIND: Final = b'"kind":"'
_HEADER: Final = b'"kind":"%b"' % SEGMENT_OPEN.encode()


class Record(NamedTuple):
    """One verified record. ``line_sha256`` is the chain hash that the next record carries.

    ``body`` is the canonical text of (kind, ts, payload), as hashed by ``log_sha256``.
    """

    seq: int
    kind: str
    ts_ns: int
    payload: dict[str, Any]
    line_sha256: str
    body: bytes


class Passed(NamedTuple):
    """A record whose line was verified and whose payload was not read."""

    kind: str
    body: bytes

    @property
    def ts_ns(self) -> int:
        """The instant of the record."""
        found = re.match(rb'"kind":"[^"]*","ts":(-?\d+)', self.body)
        assert found is not None, self.body
        return int(found[1])


class Repair(NamedTuple):
    """What `repair` cut: ``cut_bytes`` of ``file`` now lie in ``side_file``."""

    file: str
    side_file: str
    cut_bytes: int


class _Segment(NamedTuple):
    path: Path
    is_last: bool


class Verifier:
    """Checks lines in order: checksum, JSON, chain, count, header. Holds no record."""

    def __init__(self) -> None:
        self.seq = 0
        self.prev = GENESIS
        self.segment = 0

    @classmethod
    def after(cls, seq: int, prev: str, segment: int) -> Verifier:
        """Return one that goes on after a record that was verified before."""
        made = cls()
        made.seq, made.prev, made.segment = seq, prev, segment
        return made

    def check(self, file: str, number: int, line: bytes) -> Record:
        """Return the record of a full line (line feed included), or raise ``LogDamaged``."""
        head = line[:-_TAIL]
        if line[-_TAIL:] != b',"crc":"%08x"}\n' % crc32(head):
            raise LogDamaged(file, number, "the checksum does not match the text")
        try:
            fields = from_json(line)
            seq, kind, ts_ns = fields["seq"], fields["kind"], fields["ts"]
            payload, prev = fields["payload"], fields["prev"]
        except (ValueError, KeyError, TypeError) as error:
            raise LogDamaged(file, number, f"this is no record of a log ({error})") from error
        if prev != self.prev:
            raise LogDamaged(
                file, number, "the hash of the record before it does not match: one was changed"
            )
        if seq != self.seq + 1:
            raise LogDamaged(file, number, f"record {seq} follows record {self.seq}")
        self._check_header(file, number, kind, payload)
        self.seq, self.prev = seq, hashlib.sha256(line).hexdigest()
        start = line.index(_KIND)
        return Record(seq, kind, ts_ns, payload, self.prev, head[start:-_PREV])

    def pass_over(self, file: str, number: int, line: bytes) -> Passed:
        """Check a line as `check` does, and leave its payload unread."""
        head = line[:-_TAIL]
        start, end = line.find(_KIND), len(head) - _PREV
        body = head[start:end]
        stop = body.find(b'"', len(_KIND))
        if (
            number == 1
            or stop < 0
            or line[-_TAIL:] != b',"crc":"%08x"}\n' % crc32(head)
            or not head.startswith(b'{"seq":%d,' % (self.seq + 1))
            or head[end:] != b',"prev":"%b"' % self.prev.encode()
            or body.startswith(_HEADER)
        ):
            record = self.check(file, number, line)  # a header, or it says what is wrong
            return Passed(record.kind, record.body)
        self.seq, self.prev = self.seq + 1, hashlib.sha256(line).hexdigest()
        return Passed(body[len(_KIND) : stop].decode(), body)

    def _check_header(self, file: str, number: int, kind: str, payload: Any) -> None:
        if (number == 1) != (kind == SEGMENT_OPEN):
            raise LogDamaged(file, number, "a segment opens with one header record")
        if number != 1:
            return
        self.segment += 1
        schema = payload.get("schema")
        if str(schema).partition(".")[0] != SCHEMA.partition(".")[0]:
            raise LogSchemaUnknown(file, schema, SCHEMA)
        if payload.get("segment") != self.segment:
            raise LogDamaged(file, number, f"segment {self.segment} is missing")


def read(folder: str | os.PathLike[str], verifier: Verifier | None = None) -> Iterator[Record]:
    """Yield the log's records in order, headers and closing records included.

    A torn last line of the last segment ends the reading: it was never acted on, and `repair`
    cuts it off. Raises ``LogDamaged`` with file and line for damage anywhere else,
    ``LogSchemaUnknown``, ``RunFolderUnusable`` when there is no log. Changes nothing.
    """
    check = (verifier or Verifier()).check
    for name, number, line in _lines(Path(folder)):
        yield check(name, number, line)


def pass_over(folder: str | os.PathLike[str], verifier: Verifier) -> Iterator[Passed]:
    """Yield kind and body of the log's records: verified as by `read`, and no payload is read."""
    for name, number, line in _lines(Path(folder)):
        yield verifier.pass_over(name, number, line)


def read_again(folder: str | os.PathLike[str], after: int = 0) -> Iterator[Record]:
    """Yield the records after number ``after`` of a log that this process verified, and held since.

    Nothing is checked again; hash and body are left out. Segments before are not opened but for
    their first line. Raises ``LogDamaged`` for a line that is no record.
    """
    path = Path(folder)
    for name, number, line in _lines(path, _segment_of(path, after + 1)):
        try:
            fields = from_json(line)
            seq, kind, ts_ns = fields["seq"], fields["kind"], fields["ts"]
            record = Record(seq, kind, ts_ns, fields["payload"], "", b"")
        except (ValueError, KeyError, TypeError) as error:
            raise LogDamaged(name, number, f"this is no record of a log ({error})") from error
        if seq > after:
            yield record


def read_from(folder: str | os.PathLike[str], seq: int) -> Iterator[Record]:
    """Yield the records from number ``seq`` on, verified from there as by `read`.

    A line is a record, so those before it are passed over unread.
    """
    verifier, segments = None, 0
    for passed, (name, number, line) in enumerate(_lines(Path(folder)), 1):
        if passed >= seq:
            if verifier is None:
                prev = line[: -_TAIL - 1][-_HASH:].decode(errors="replace")
                verifier = Verifier.after(passed - 1, prev, segments)
            yield verifier.check(name, number, line)
        segments += number == 1


def _lines(folder: Path, first: int = 0) -> Iterator[tuple[str, int, bytes]]:
    """Yield file, line number and line of all segments from the one in place ``first`` on; a torn
    last line ends the reading."""
    for segment in _segments(folder)[first:]:
        name = str(segment.path)
        with segment.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    if segment.is_last:
                        return
                    raise LogDamaged(name, number, "the line is cut off")
                yield name, number, line


def _segment_of(folder: Path, seq: int) -> int:
    """Return the place of the segment that holds record ``seq``, by the segments' first lines."""
    place = 0
    for at, segment in enumerate(_segments(folder)):
        with segment.path.open("rb") as file:
            found = re.match(rb'\{"seq":(\d+),', file.readline())
        if found is None or int(found[1]) > seq:
            break
        place = at
    return place


def log_sha256(folder: str | os.PathLike[str]) -> str:
    """Return the hash of the log's simulation records: what ``TransactionLog.sha256`` was."""
    sha = hashlib.sha256()
    for record in read(folder):
        if record.kind in SIMULATION_KINDS:
            sha.update(record.body)
    return sha.hexdigest()


def repair(folder: str | os.PathLike[str], io: SystemCalls | None = None) -> Repair | None:
    """Move a torn last line to ``<segment>.torn`` and return what was cut, None when whole.

    The caller holds the folder's lock. All of the log is verified first: damage before the
    last line raises ``LogDamaged`` and nothing is touched. May be killed and run again.
    """
    for _ in read(folder):
        pass
    return cut_torn_tail(Path(folder), io or SystemCalls())


def cut_torn_tail(folder: Path, calls: SystemCalls) -> Repair | None:
    """Do what `repair` says on a log that the caller has verified."""
    path = _segments(folder)[-1].path
    data = path.read_bytes()
    if not data:
        path.unlink()  # a kill between creating a segment and its header
        return None
    keep = data.rfind(b"\n") + 1
    if keep == len(data):
        return None
    side = _side_file(path)
    _save(calls, side, data[keep:])
    fd = calls.open(path, os.O_WRONLY | os.O_CLOEXEC, 0)
    try:
        calls.ftruncate(fd, keep)
        calls.fsync(fd)
    finally:
        calls.close(fd)
    if keep == 0:
        path.unlink()
    return Repair(str(path), str(side), len(data) - keep)


def _segments(folder: Path) -> list[_Segment]:
    paths = sorted((folder / "log").glob("*.ndjson"))
    if not paths:
        raise RunFolderUnusable(str(folder), "it holds no log (log/*.ndjson)")
    return [_Segment(path, path is paths[-1]) for path in paths]


def _side_file(path: Path) -> Path:
    side, count = path.with_suffix(".torn"), 1
    while side.exists():
        count += 1
        side = path.with_suffix(f".torn{count}")
    return side


def _save(calls: SystemCalls, path: Path, data: bytes) -> None:
    fd = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[calls.write(fd, data) :]
        calls.fsync(fd)
    finally:
        calls.close(fd)
