"""The lines of a shadow's log: what each kind of record holds, and how one is read.

``FOLDER/predictions.ndjson`` holds one JSON object a line, of four kinds:

* ``s``: a start, with the models that are watched;
* ``h``: the bar from which on a symbol's features are computed, after a start and after a gap;
* ``p``: a prediction as of its bar, with model, schema, score, source, latency and the features;
* ``o``: an outcome that matured, for all models with the same label; with ``again`` it corrects
  one that stands there already, and the last one counts.

Floats are written so that they come back to the bit; a missing number is null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from mqd.errors import LogDamaged, UsageError

FILE: Final = "predictions.ndjson"
FEATURES: Final = b',"x":['
START: Final = b'{"k":"s"'
HEARD: Final = b'{"k":"h"'
SAID: Final = b'{"k":"p"'
CORRECTED: Final = b',"again":true}\n'
_TYPES: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "p": {
        "ts": (int,), "symbol": (str,), "model": (str,), "score": (float, int, type(None)),
        "source": (str,), "latency_ns": (int,),
    },
    "o": {
        "ts": (int,), "symbol": (str,), "t1": (int,), "ret_frac": (float, int, type(None)),
        "label": (int,), "horizon": (str,),
    },
    "h": {"ts": (int,), "symbol": (str,), "lost": (int,)},
}  # fmt: skip


class Watched(NamedTuple):
    """A model as a start names it; ``horizon`` is the hash of its label, ``trained_to_ns`` the last
    instant that its training has seen, 0 when nobody says."""

    name: str
    sha256: str
    stage: str
    threshold: float | None
    label: dict[str, Any]
    horizon: str
    schema: str
    features: list[str]
    output: str = "probability"
    trained_to_ns: int = 0

    @property
    def reference(self) -> str:
        """``NAME@SHA256``."""
        return f"{self.name}@{self.sha256}"


class Prediction(NamedTuple):
    """What a model said as of the close of a bar; ``score`` is NaN where it said nothing."""

    ts_ns: int
    symbol: str
    model: str
    score: float
    source: str
    latency_ns: int
    error: str = ""


class Matured(NamedTuple):
    """What came of a bar: known at ``t1``. ``again``: it corrects an earlier one."""

    ts_ns: int
    symbol: str
    t1: int
    ret_frac: float
    label: int
    horizon: str
    again: bool = False


class Heard(NamedTuple):
    """The bar from which on a symbol's features and outcomes are computed: the first one heard
    since a start or a gap. The first behind a gap says how many bars were lost, of all symbols;
    when none came any more, a last record without a symbol does."""

    ts_ns: int
    symbol: str
    n_lost: int = 0


Record = Prediction | Matured | Heard | tuple[Watched, ...]
Key = tuple[str, int, str]
"""Symbol, bar, horizon: what an outcome belongs to."""


def read_watched(folder: str | os.PathLike[str]) -> dict[str, Watched]:
    """Return the models that a log's starts name, by hash, as the newest start tells them.

    Raises ``UsageError`` where there is no log, ``LogDamaged`` for a start that is none.
    """
    file = log_file(folder)
    found: dict[str, Watched] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(START) and line.endswith(b"\n"):
                for one in read_start(line, file, number):
                    found[one.sha256] = one
    return found


def log_file(folder: str | os.PathLike[str]) -> Path:
    """Return the log's file; raise ``UsageError`` when it is missing."""
    file = Path(folder) / FILE
    if not file.exists():
        raise UsageError(f"{Path(folder)} holds no shadow: no {FILE} in it.")
    return file


def read_records(folder: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield a log's records in order, features left out; a last line that is cut off is none.

    Raises ``LogDamaged`` for a line that is none of its records, and for a prediction of a model
    that no start before it names. May be called while the log is written.
    """
    file = log_file(folder)
    named: set[str] = set()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            record = read_record(line, file, number)
            if isinstance(record, Prediction):
                if record.model not in named:
                    raise LogDamaged(str(file), number, f"no start names {record.model[:12]}…")
            elif not isinstance(record, Matured | Heard):
                named |= {one.sha256 for one in record}
            yield record


def read_start(line: bytes, file: Path, number: int) -> tuple[Watched, ...]:
    """Return the models that a start names; raise ``LogDamaged`` when it is none."""
    found = read_record(line, file, number)
    if isinstance(found, Prediction | Matured | Heard):
        raise LogDamaged(str(file), number, "no start of a shadow")
    return found


def read_record(line: bytes, file: Path, number: int, *, whole: bool = False) -> Record:
    """Return the record of a line, features left out; raise ``LogDamaged`` when it is none.

    ``whole``: features have to be JSON as well.
    """
    head, found, _ = (line, b"", b"") if whole else line.partition(FEATURES)
    try:
        told: Any = json.loads(head + b"}" if found else line, parse_constant=_no_number)
        kind = told.pop("k")
        if kind == "s":
            return tuple(Watched(**one) for one in told["models"])
        if kind not in _TYPES:
            raise LogDamaged(str(file), number, f"a record of kind {kind!r}")
        _check(kind, told)
        if kind == "h":
            return Heard(told["ts"], told["symbol"], told["lost"])
        if kind == "p":
            return Prediction(
                told["ts"], told["symbol"], told["model"], _float(told["score"]), told["source"],
                told["latency_ns"], told.get("error", ""),
            )  # fmt: skip
        return Matured(
            told["ts"], told["symbol"], told["t1"], _float(told["ret_frac"]), told["label"],
            told["horizon"], told.get("again", False),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LogDamaged(str(file), number, f"no record of a shadow ({error})") from error


def _check(kind: str, told: dict[str, Any]) -> None:
    """Raise ``TypeError`` or ``ValueError`` for a record with values that it cannot have."""
    for name, allowed in _TYPES[kind].items():
        if type(told[name]) not in allowed:
            raise TypeError(f"{name} is {told[name]!r}")
    if kind == "o" and told["t1"] <= told["ts"]:
        raise ValueError("an outcome that is known before its prediction")


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def unawaited(symbol: str, ts_ns: int) -> str:
    """Return what is wrong with an outcome that belongs to no prediction."""
    return f"an outcome of {symbol} as of {ts_ns} that no prediction before it waits for"
