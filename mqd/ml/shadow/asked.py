"""A shadow's log in the order of its lines, with features, and with the bar they begin at."""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from mqd.errors import LogDamaged
from mqd.ml.shadow.records import HEARD, SAID, Heard, Matured, Prediction, log_file, read_record

BLOCK_BYTES: Final = 1 << 18
_OUTCOME: Final = b'{"k":"o"'


class Asked(NamedTuple):
    """A prediction with what it was made of; a feature that was no number is NaN.

    ``heard_ns``: the close of the bar from which on its features were computed, 0 where the log
    does not say.
    """

    said: Prediction
    schema: str
    features: list[float]
    heard_ns: int = 0


class Outcome(NamedTuple):
    """An outcome with the close of the first bar that it was computed from."""

    came: Matured
    heard_ns: int


def read_asked(folder: str | os.PathLike[str], model: str) -> Iterator[Asked]:
    """Yield a model's predictions with the features that they were made of.

    Raises ``UsageError`` where there is no log, ``LogDamaged`` for a line of this model's that is
    no record.
    """
    file = log_file(folder)
    wanted = model.encode()
    for number, line, heard in _lines(file):
        if line.startswith(SAID) and wanted in line:
            one = _asked(line, file, number)
            yield one._replace(heard_ns=heard.get(one.said.symbol, 0))


def read_outcomes(folder: str | os.PathLike[str]) -> Iterator[Outcome]:
    """Yield the outcomes and their corrections. Raises what ``read_asked`` raises."""
    file = log_file(folder)
    for number, line, heard in _lines(file):
        if line.startswith(_OUTCOME):
            one = read_record(line, file, number)
            assert isinstance(one, Matured), "the line says so"
            yield Outcome(one, heard.get(one.symbol, 0))


def lost_bars(folder: str | os.PathLike[str]) -> int:
    """Return how many bars did not reach the shadow. Raises what ``read_asked`` raises."""
    n_lost = 0
    with (file := log_file(folder)).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(HEARD) and line.endswith(b"\n"):
                n_lost += _heard(line, file, number).n_lost
    return n_lost


def read_newest(folder: str | os.PathLike[str], model: str, rows: int) -> list[Asked]:
    """Return a model's last ``rows`` predictions, the oldest first, without ``heard_ns``.

    Reads the log from its end, and no further than these reach back. Raises what ``read_asked``
    raises.
    """
    file = log_file(folder)
    wanted = model.encode()
    found: list[Asked] = []
    try:
        with file.open("rb") as log:
            for line in _from_the_end(log):
                if line.startswith(SAID) and wanted in line:
                    found.append(_asked(line, file, 0))
                    if len(found) == rows:
                        break
    except LogDamaged:
        return list(deque(read_asked(folder, model), maxlen=rows))  # it names the line
    return found[::-1]


def _lines(file: Path) -> Iterator[tuple[int, bytes, dict[str, int]]]:
    """Yield the whole lines by number, each with the bars that the symbols were heard from."""
    heard: dict[str, int] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            if line.startswith(HEARD):
                one = _heard(line, file, number)
                heard[one.symbol] = one.ts_ns
            yield number, line, heard


def _heard(line: bytes, file: Path, number: int) -> Heard:
    found = read_record(line, file, number)
    assert isinstance(found, Heard), "the line says so"
    return found


def _from_the_end(log: BinaryIO) -> Iterator[bytes]:
    """Yield the whole lines, the last one first."""
    end, rest = log.seek(0, os.SEEK_END), b""
    is_cut = True  # what stands behind the last newline is no line
    while end > 0:
        begin = max(end - BLOCK_BYTES, 0)
        log.seek(begin)
        rest, *lines = (log.read(end - begin) + rest).split(b"\n")
        if lines and is_cut:
            lines.pop()
            is_cut = False
        yield from reversed(lines)
        end = begin
    if not is_cut:
        yield rest


def _asked(line: bytes, file: Path, number: int) -> Asked:
    said = read_record(line, file, number, whole=True)
    assert isinstance(said, Prediction), "the line says so"
    told = json.loads(line)
    try:
        values = [math.nan if one is None else float(one) for one in told["x"]]
        return Asked(said, told["schema"], values)
    except (KeyError, TypeError, ValueError) as error:
        raise LogDamaged(str(file), number, f"no features of a prediction ({error})") from error
