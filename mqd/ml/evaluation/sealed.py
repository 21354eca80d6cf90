"""A hold-out that stays shut: rows behind a seal are not handed out until it is opened, and each
opening is written down and counted.

A hold-out proves something once. Whoever looks, changes the model and looks again has trained on it
without saying so. Here the seal's instant is fixed in a folder when it is first made;
``mqd.load_bars(..., holdout=)`` refuses what lies behind it, ``cut`` gives what lies before;
``open`` wants a name and a reason, and its answer says how many have looked. It serves the next
look alone: who loads once more opens once more.

An edited line is noticed, for each names the hash of the one before it; lines cut off the end, or
the whole file taken away, are not: keep the folder under version control. A last line that was not
finished was never granted, and is put aside.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from mqd.core.bar import Ints, SymbolBars
from mqd.core.clock import NS_PER_S, WallClock, iso
from mqd.errors import LogDamaged, UsageError
from mqd.ml.errors import HoldoutSealed
from mqd.ml.evaluation.dataset import Dataset
from mqd.ml.features.labels import LabelTable
from mqd.ml.torn import cut_torn

FILE: Final = "seal.ndjson"


class Opening(NamedTuple):
    """One look behind the seal: the how-manieth, by whom and why, when (ns UTC)."""

    n_looks: int
    author: str
    reason: str
    ns: int


class SealedHoldout:
    """The seal in ``folder`` at ``seal``: rows that close at or after it are sealed.

    ``seal`` is an instant in ns UTC or a date, ``"2011-01-01"``, whose first instant in UTC counts.
    A relative folder is one of the working directory as it is now.

    The folder keeps the instant: made again with another one it is refused. Raises ``UsageError``
    for that, ``LogDamaged`` for a file that was edited.
    """

    def __init__(self, folder: str | os.PathLike[str], seal: int | str) -> None:
        self.folder = Path(folder).absolute()
        self.seal_ns = _instant(seal) if isinstance(seal, str) else int(seal)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._may_look = False
        with self._locked() as fd:
            lines = self._lines(fd)
            if not lines:
                _append(fd, "", {"kind": "seal", "seal_ns": self.seal_ns})
            elif lines[0]["seal_ns"] != self.seal_ns:
                raise UsageError(
                    f"{self.folder} is sealed at {iso(lines[0]['seal_ns'])}; a seal does not move."
                    " Take that instant, or begin a study of its own."
                )

    @property
    def openings(self) -> list[Opening]:
        """All looks so far, oldest first."""
        with self._locked() as fd:
            return [
                Opening(line["n_looks"], line["author"], line["reason"], line["ns"])
                for line in self._lines(fd)[1:]
            ]

    def cut(self, rows: Any) -> Any:
        """Return what closes before the seal: of ``Bars``, ``SymbolBars``, a ``Dataset``, a
        ``LabelTable`` or a frame whose index is time. A label that ends behind the seal has looked.

        Prices stay as they were loaded: bars that were loaded with a split behind the seal are
        adjusted for it. Load them with ``end=`` before the seal to know nothing of it. Raises
        ``UsageError`` for anything else.
        """
        before = _ends(rows) < self.seal_ns
        if isinstance(rows, SymbolBars):
            return rows.rows(slice(0, int(before.sum())))
        if isinstance(rows, Dataset):
            return rows.take(before)
        if isinstance(rows, LabelTable):
            return LabelTable._make(column[before] for column in rows)
        if hasattr(rows, "between"):
            return rows.between(None, iso(self.seal_ns - 1))
        return rows[before]

    def check(self, rows: Any) -> Any:
        """Return ``rows``, of the kinds of ``cut``, if none of them is sealed, or if the seal was
        opened by this object for this look.

        Raises ``HoldoutSealed``, and ``UsageError`` for something else.
        """
        n_sealed = int((_ends(rows) >= self.seal_ns).sum())
        if n_sealed and not self._may_look:
            raise HoldoutSealed(
                f"{n_sealed} rows close at or after the seal ({iso(self.seal_ns)}): end before"
                " it, take cut(), or open(reason, author), which is written down and counted, and"
                " serves one look."
            )
        if n_sealed:
            self._may_look = False
        return rows

    def open(self, reason: str, author: str) -> Opening:
        """Write down that ``author`` looks behind the seal, and why; return the look's number. The
        next ``check`` of sealed rows, such as that of ``load_bars``, is granted.

        Only the first look is a test of something unseen; say the number beside every result.
        """
        if not reason.strip() or not author.strip():
            raise UsageError("Opening a hold-out wants a reason and an author.")
        with self._locked() as fd:
            lines = self._lines(fd)
            opening = Opening(len(lines), author, reason, WallClock().now_ns())
            _append(fd, lines[-1]["hash"], {"kind": "open", **opening._asdict()})
        self._may_look = True
        return opening

    @contextmanager
    def _locked(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.folder / FILE, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            cut_torn(self.folder / FILE)
            yield fd
        finally:
            os.close(fd)

    def _lines(self, fd: int) -> list[dict[str, Any]]:
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        lines: list[dict[str, Any]] = []
        for number, text in enumerate(content.splitlines(), start=1):
            try:
                line: dict[str, Any] = json.loads(text)
                said = line.pop("hash")
            except (ValueError, KeyError, AttributeError) as error:
                raise LogDamaged(
                    str(self.folder / FILE), number, f"no line of a seal ({error})"
                ) from error
            before = lines[-1]["hash"] if lines else ""
            if said != _hash(before, line):
                raise LogDamaged(
                    str(self.folder / FILE), number, "it was edited, or a line before it was"
                )
            lines.append(line | {"hash": said})
        return lines


def _append(fd: int, before: str, line: dict[str, Any]) -> None:
    text = json.dumps(line | {"hash": _hash(before, line)}, separators=(",", ":"))
    os.write(fd, text.encode() + b"\n")
    os.fsync(fd)


def _hash(before: str, line: dict[str, Any]) -> str:
    text = before + json.dumps(line, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _instant(day: str) -> int:
    try:
        start = datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError as error:
        raise UsageError(f"seal = {day!r}: write a date such as '2011-01-01'.") from error
    return int(start.timestamp()) * NS_PER_S


def _ends(rows: Any) -> Ints:
    """Return when each row is known, int64 ns UTC: its close, of labelled rows its label's end."""
    if isinstance(rows, Dataset | LabelTable):
        return rows.t1
    if isinstance(rows, SymbolBars):
        return rows.ts_close
    if hasattr(rows, "symbols"):
        return np.concatenate([rows[symbol].ts_close for symbol in rows.symbols])
    if hasattr(rows, "loc"):
        return _index_of(rows)
    raise UsageError(
        f"A hold-out takes bars, a Dataset, a LabelTable or a frame, not {type(rows).__name__}."
    )


def _index_of(frame: Any) -> Ints:
    import pandas as pd

    index = frame.index
    names = getattr(index, "names", [None])
    times = index.get_level_values("ts_close") if "ts_close" in names else index
    if not isinstance(times, pd.DatetimeIndex) or times.tz is None:
        raise UsageError("The rows of a hold-out need a time with a zone as their index.")
    found: Ints = times.tz_convert("UTC").as_unit("ns").asi8
    return found
