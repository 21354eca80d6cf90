"""Checkpoints: what a desk knew at a record of its log, so that a restart reads only what follows.

Files ``checkpoints/000001.ndjson`` and on, each a header line and the orders that changed since
the file before. The log is the truth: its next record after a checkpoint names the file's sha256,
and each header that of the file before. A file that is missing, changed, or made on another
ground (strategies, ticks, lots) is passed over, and the log is read from an earlier record or from
its first. Only a recovery writes them: a checkpoint is what reading the log came to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from pydantic_core import from_json, to_json

from mqd import logs
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.live.desk_memory import Memory, Row, ground_of, memory_of, remember, row_of, states_of
from mqd.live.folder import write_atomically
from mqd.live.market import GrowingMarket
from mqd.live.recovery import Recovered, Recovery
from mqd.log_reader import read_again
from mqd.orders.state import OrderState

FOLDER: Final = "checkpoints"
KIND: Final = "checkpoint"
SCHEMA: Final = "1.0"
TAIL_MIN: Final = 20_000
_UNUSABLE: Final = (OSError, ValueError, KeyError, TypeError)


class _File(NamedTuple):
    """One file, read as far as its header."""

    path: Path
    sha256: str
    header: Memory


class Checkpoints:
    """The checkpoints of a state folder; one process holds it. ``tail_min``: as many records must
    have followed the last one before another is written."""

    def __init__(self, folder: Path, *, tail_min: int = TAIL_MIN) -> None:
        self._folder, self._tail_min = folder, tail_min
        self._last: _File | None = None
        self._written: dict[str, OrderState] = {}

    def recover(self, desk: Desk, market: GrowingMarket, journal: Journal) -> Recovered:
        """Rebuild a desk from the newest checkpoint and the log after it; write another when the
        log has grown. The caller has verified the log and holds it."""
        recovery, after = Recovery(desk, market), 0
        files = self._usable(ground_of(desk))
        if files:
            self._last = files[-1]
            states = [one for file in files for one in self._states(file, desk)]
            remember(desk, market, states, self._last.header["memory"])
            recovery.go_on_from(self._last.header["counters"])
            after = self._last.header["seq"]
            self._written = {one.order.client_order_id: one for one in states}
        found = recovery.take(read_again(self._folder, after))
        if journal.log.seq - after >= self._tail_min:
            self._write(desk, market, journal, recovery)
        return found

    # --- reading -----------------------------------------------------------------------------

    def _usable(self, ground: Memory) -> list[_File]:
        """Return the files up to the newest that the log vouches for, [] for none."""
        files = list(self._chain())
        while files:
            newest = files[-1]
            if newest.header["ground"] == ground and self._is_vouched(newest, len(files)):
                return files
            _pass_over(files.pop().path)
        return []

    def _chain(self) -> Iterator[_File]:
        """Yield the files from the first on, as long as each names the one before it."""
        before = ""
        for number, path in enumerate(sorted((self._folder / FOLDER).glob("*.ndjson")), 1):
            file = _opened(path)
            if file is None or path.name != _name(number) or file.header["prev"] != before:
                _pass_over(path)
                return
            before = file.sha256
            yield file

    def _is_vouched(self, file: _File, number: int) -> bool:
        """Return whether the record after a file's is the one that names its hash."""
        record = next(iter(read_again(self._folder, file.header["seq"])), None)
        wanted = {"number": number, "sha256": file.sha256}
        return record is not None and record.kind == KIND and record.payload == wanted

    def _states(self, file: _File, desk: Desk) -> Iterator[OrderState]:
        return states_of(_rows(file.path), desk.parts.valuation.scales)

    # --- writing -----------------------------------------------------------------------------

    def _write(
        self, desk: Desk, market: GrowingMarket, journal: Journal, recovery: Recovery
    ) -> None:
        """Write the next file, then the record that vouches for it."""
        last, states = self._last, desk.parts.machine.states()
        number = 1 if last is None else int(last.path.stem) + 1
        header: Memory = {
            "schema": SCHEMA, "prev": "" if last is None else last.sha256,
            "seq": journal.log.seq, "ground": ground_of(desk),
            "counters": recovery.counters(), "memory": memory_of(desk, market),
        }  # fmt: skip
        known = self._written
        rows = [row_of(s) for s in states if known.get(s.order.client_order_id) is not s]
        head = to_json(header, inf_nan_mode="constants")  # what no limit binds is infinite
        data = b"\n".join([head, *map(to_json, rows), b""])
        path = self._folder / FOLDER / _name(number)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, data, durable=True)
        except OSError as error:
            logs.get_logger("start").warning("checkpoint_not_written", why=str(error))
            return
        sha256 = hashlib.sha256(data).hexdigest()
        journal.write(KIND, {"number": number, "sha256": sha256})


def _name(number: int) -> str:
    return f"{number:06d}.ndjson"


def _opened(path: Path) -> _File | None:
    """Return a file with its hash and header, None for one that is no checkpoint of ours."""
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            header = from_json(file.readline())
        return _File(path, sha256, header) if header["schema"] == SCHEMA else None
    except _UNUSABLE:
        return None


def _pass_over(path: Path) -> None:
    logs.get_logger("start").warning("checkpoint_passed_over", file=path.name)


def _rows(path: Path) -> Iterator[Row]:
    """Yield the orders of a file."""
    with path.open("rb") as file:
        file.readline()
        for line in file:
            yield from_json(line)
