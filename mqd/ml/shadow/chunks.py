"""A shadow's log as columns, some ten thousand lines at a time: memory does not grow with the log.

The same records as ``mqd.ml.shadow.records.read_records`` gives, twenty times as fast. What a table
cannot hold is read again line by line, so that the damaged line is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import LogDamaged
from mqd.ml.shadow.records import HEARD, START, Watched, log_file, read_record, read_start

ROWS: Final = 50_000
BLOCK_BYTES: Final = 1 << 21
TEXTS: Final = ("k", "symbol", "model", "source", "error", "horizon")
NUMBERS: Final = ("ts", "latency_ns", "t1", "label")
_COLUMNS: Final = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [(name, pa.int64()) for name in NUMBERS]
    + [("score", pa.float64()), ("ret_frac", pa.float64()), ("again", pa.bool_())]
)
_NEEDED: Final = {
    "p": ("ts", "symbol", "model", "source", "latency_ns"),
    "o": ("ts", "symbol", "t1", "label", "horizon"),
}


class Words:
    """Texts and their numbers: columns hold the number."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def code(self, text: str) -> int:
        """Return the text's number, a new one when it is new."""
        found = self._codes.setdefault(text, len(self.texts))
        if found == len(self.texts):
            self.texts.append(text)
        return found


class Said(NamedTuple):
    """Predictions: ``line`` of the log, codes of texts, ``score`` NaN where there is none.

    ``cause`` is the first word of what went wrong, the code of "" where nothing did.
    """

    line: Ints
    ts_ns: Ints
    symbol: Ints
    model: Ints
    score: Floats
    source: Ints
    latency_ns: Ints
    cause: Ints

    def where(self, chosen: NDArray[np.bool] | Ints) -> Said:
        """Return some of the rows."""
        return Said(*(column[chosen] for column in self))  # type: ignore[arg-type]

    def then(self, other: Said) -> Said:
        """Return these rows and those of another."""
        return Said(*map(np.concatenate, zip(self, other, strict=True)))  # type: ignore[arg-type]


class Came(NamedTuple):
    """Outcomes; ``again`` marks corrections."""

    line: Ints
    ts_ns: Ints
    symbol: Ints
    t1: Ints
    ret_frac: Floats
    label: Ints
    horizon: Ints
    again: NDArray[np.bool]

    def where(self, chosen: NDArray[np.bool] | Ints) -> Came:
        """Return some of the rows."""
        return Came(*(column[chosen] for column in self))  # type: ignore[arg-type]


class Chunk(NamedTuple):
    """Predictions and outcomes of some lines that no start stands between; ``words`` decodes."""

    words: Words
    said: Said
    came: Came


def read_chunks(
    folder: str | os.PathLike[str],
    rows: int = ROWS,
    *,
    offset: int = 0,
    n_before: int = 0,
    named: frozenset[str] = frozenset(),
) -> Iterator[Chunk | tuple[Watched, ...]]:
    """Yield a log's starts, and what was said and came between them, ``rows`` lines at a time.

    A last line that is cut off is none. Raises ``UsageError`` where there is no log, ``LogDamaged``
    for a line that is none of its records, and for a prediction of a model that no start before
    it names. May be called while the log is written. ``offset``: bytes to pass over, with the
    ``n_before`` lines in them and the models that they have ``named``.
    """
    file = log_file(folder)
    words, known, number = Words(), set(named), n_before + 1
    with file.open("rb") as log:
        log.seek(offset)
        is_whole = True
        while is_whole and (lines := list(islice(log, rows))):
            is_whole = lines[-1].endswith(b"\n")
            if not is_whole:  # and what its writer adds to it meanwhile is the rest of a line
                lines.pop()
            begin = 0
            for at in [n for n, line in enumerate(lines) if line.startswith(START)]:
                yield from _between(lines[begin:at], file, number + begin, words, known)
                start = read_start(lines[at], file, number + at)
                known |= {one.sha256 for one in start}
                yield start
                begin = at + 1
            yield from _between(lines[begin:], file, number + begin, words, known)
            number += len(lines)


def _between(
    lines: Sequence[bytes], file: Path, first: int, words: Words, named: set[str]
) -> Iterator[Chunk]:
    """Yield what was said and came in lines that no start stands between, if anything."""
    numbers, rest = [], []
    for number, line in enumerate(lines, start=first):
        if line.startswith(HEARD):
            read_record(line, file, number)
        else:
            numbers.append(number)
            rest.append(line)
    if rest:
        yield _chunk(rest, file, np.array(numbers, dtype=np.int64), words, named)


def _chunk(lines: Sequence[bytes], file: Path, place: Ints, words: Words, named: set[str]) -> Chunk:
    """Return the lines, whose numbers are ``place``, as columns."""
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(b"".join(lines)),
            read_options=pyarrow.json.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=_COLUMNS, unexpected_field_behavior="ignore"
            ),
        )
        columns = _columns(table, len(lines), words)
    except (pa.ArrowException, ValueError) as error:
        for number, line in zip(place.tolist(), lines, strict=True):
            read_record(line, file, number, whole=True)
        what = f"this line or one of the {len(lines)} behind it is no record ({error})"
        raise LogDamaged(str(file), int(place[0]), what) from error
    is_said = columns.pop("k") == words.code("p")
    wrong = ~is_said & (columns["t1"] <= columns["ts"])
    if wrong.any():
        at = int(np.argmax(wrong))
        read_record(lines[at], file, int(place[at]))
    said = {name: column[is_said] for name, column in columns.items()}
    came = {name: column[~is_said] for name, column in columns.items()}
    unknown = {code for code in np.unique(said["model"]) if words.texts[code] not in named}
    if unknown:
        at = int(np.argmax(np.isin(said["model"], list(unknown))))
        model = words.texts[said["model"][at]]
        where = int(place[is_said][at])
        raise LogDamaged(str(file), where, f"no start names {model[:12]}…")
    return Chunk(
        words,
        Said(
            place[is_said], said["ts"], said["symbol"], said["model"], said["score"],
            said["source"], said["latency_ns"], said["error"],
        ),
        Came(
            place[~is_said], came["ts"], came["symbol"], came["t1"], came["ret_frac"],
            came["label"], came["horizon"], came["again"],
        ),
    )  # fmt: skip


def _columns(table: pa.Table, n_lines: int, words: Words) -> dict[str, NDArray[Any]]:
    """Return the columns as arrays, texts as codes; raise ``ValueError`` for what is missing."""
    if len(table) != n_lines:
        raise ValueError("more than one record a line")
    found: dict[str, NDArray[Any]] = {}
    missing: dict[str, NDArray[np.bool]] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        missing[name] = column.is_null().to_numpy(zero_copy_only=False)
        if name in TEXTS:
            found[name] = _codes(column, words, cause=name == "error")
        elif name in NUMBERS:
            found[name] = column.fill_null(0).to_numpy()
        elif name == "again":
            found[name] = column.fill_null(False).to_numpy(zero_copy_only=False)
        else:
            found[name] = column.to_numpy(zero_copy_only=False)
            if not (np.isfinite(found[name]) | missing[name]).all():
                raise ValueError(f"{name} is no number")
    known = np.zeros(len(found["k"]), dtype=np.bool_)
    for kind, needed in _NEEDED.items():
        of_kind = found["k"] == words.code(kind)
        known |= of_kind
        if any((missing[name] & of_kind).any() for name in needed):
            raise ValueError(f"a record of kind {kind!r} is not whole")
    if not known.all():
        raise ValueError("a record of an unknown kind")
    return found


def _codes(column: Any, words: Words, *, cause: bool) -> Ints:
    """Return a text column as codes, those of missing ones the code of ""."""
    coded = column.fill_null("").dictionary_encode()
    texts = [one.partition(":")[0] if cause else one for one in coded.dictionary.to_pylist()]
    codes = np.array([words.code(one) for one in texts], dtype=np.int64)
    found: Ints = codes[coded.indices.to_numpy()]
    return found
