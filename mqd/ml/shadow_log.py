"""The shadow's log: what each model said of each bar, and what came of it. Lines are only added.

``FOLDER/predictions.ndjson`` holds one JSON object a line, of three kinds:

* ``s``: a start, with the models that are watched;
* ``p``: a prediction as of its bar, with model, schema, score, source, latency and the features;
* ``o``: an outcome that matured, for all models with the same label.

One process writes at a time. A last line that was cut off goes to a side file when the log is
opened again; damage before it is refused with its line. Floats are written so that they come back
to the bit; a missing number is null.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self

from mqd.core.bar import Floats
from mqd.errors import LogDamaged, StateFolderTaken, UsageError

FILE: Final = "predictions.ndjson"
LOCK: Final = "lock"
FEATURES: Final = b',"x":['
BUFFER_BYTES: Final = 1 << 16


class Watched(NamedTuple):
    """A model as a start names it; ``horizon`` is the hash of its label."""

    name: str
    sha256: str
    stage: str
    threshold: float | None
    label: dict[str, Any]
    horizon: str
    schema: str
    features: list[str]
    output: str = "probability"

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
    """What came of a bar: known at ``t1``."""

    ts_ns: int
    symbol: str
    t1: int
    ret_frac: float
    label: int
    horizon: str


Record = Prediction | Matured | tuple[Watched, ...]
Key = tuple[str, int, str]
"""Symbol, bar, horizon: what an outcome belongs to."""


class ShadowLog:
    """The one writer of a shadow's folder."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self._lock = folder, lock
        self.last_ns: dict[tuple[str, str], int] = {}
        self.pending: dict[Key, None] = {}
        self._horizons: dict[str, str] = {}
        self._read()
        self._out: BinaryIO = (folder / FILE).open("ab", buffering=BUFFER_BYTES)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open the log of ``folder`` for writing, made when it is missing.

        Raises ``StateFolderTaken`` while another process writes it, ``LogDamaged`` for a line in
        its middle that is none of its records.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StateFolderTaken(str(place)) from error
        try:
            _cut_torn(place / FILE)
            return cls(place, lock)
        except BaseException:
            os.close(lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, models: tuple[Watched, ...], symbols: tuple[str, ...]) -> None:
        """Write which models are watched from here on."""
        told = {"k": "s", "models": [one._asdict() for one in models], "symbols": list(symbols)}
        self._horizons |= {one.sha256: one.horizon for one in models}
        self._out.write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        self.flush()

    def predict(self, said: Prediction, schema: str, features: Floats) -> bool:
        """Write a prediction; one that is there already, or older, is passed over (False).

        Raises ``UsageError`` for a model that no start has named.
        """
        horizon = self._horizons.get(said.model)
        if horizon is None:
            raise UsageError(f"The model {said.model[:12]}… is not watched by this shadow.")
        key = (said.model, said.symbol)
        if said.ts_ns <= self.last_ns.get(key, -1):
            return False
        self.last_ns[key] = said.ts_ns
        self.pending[said.symbol, said.ts_ns, horizon] = None
        self._out.write(_line(said, schema, features))
        return True

    def mature(self, outcome: Matured) -> bool:
        """Write the outcome of predictions that wait for it; one that nobody waits for is passed
        over (False). Raises ``UsageError`` for one that is known before its bar is over."""
        if outcome.t1 <= outcome.ts_ns:
            raise UsageError(
                f"{outcome.symbol}: an outcome known at {outcome.t1}, before its prediction as of"
                f" {outcome.ts_ns}. A label has to look ahead."
            )
        key = (outcome.symbol, outcome.ts_ns, outcome.horizon)
        if key not in self.pending:
            return False
        del self.pending[key]
        told = {
            "k": "o", "ts": outcome.ts_ns, "symbol": outcome.symbol, "t1": outcome.t1,
            "ret_frac": _number(outcome.ret_frac), "label": outcome.label,
            "horizon": outcome.horizon,
        }  # fmt: skip
        self._out.write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
        return True

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._out.flush()

    def close(self) -> None:
        """Write all to the disk and let the folder go."""
        if not self._out.closed:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
            os.close(self._lock)

    def _read(self) -> None:
        """Learn what is there: the newest bar of each model, and what waits for its outcome."""
        for record in read_records(self.folder):
            match record:
                case Prediction():
                    self.last_ns[record.model, record.symbol] = record.ts_ns
                    horizon = self._horizons[record.model]
                    self.pending[record.symbol, record.ts_ns, horizon] = None
                case Matured():
                    self.pending.pop((record.symbol, record.ts_ns, record.horizon), None)
                case _:
                    self._horizons |= {one.sha256: one.horizon for one in record}


def read_records(folder: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield a log's records in order, features left out; a last line that is cut off is none.

    Raises ``LogDamaged`` for a line that is none of its records, and for a prediction of a model
    that no start before it names. May be called while the log is written.
    """
    file = Path(folder) / FILE
    if not file.exists():
        raise UsageError(f"{Path(folder)} holds no shadow: no {FILE} in it.")
    named: set[str] = set()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            record = _record(line, file, number)
            if isinstance(record, Prediction):
                if record.model not in named:
                    raise LogDamaged(str(file), number, f"no start names {record.model[:12]}…")
            elif not isinstance(record, Prediction | Matured):
                named |= {one.sha256 for one in record}
            yield record


class Asked(NamedTuple):
    """A prediction with what it was made of; a feature that was no number is NaN."""

    said: Prediction
    schema: str
    features: list[float]


def read_asked(folder: str | os.PathLike[str], model: str) -> Iterator[Asked]:
    """Yield a model's predictions with the features that they were made of."""
    file = Path(folder) / FILE
    wanted = model.encode()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(b'{"k":"p"') and wanted in line and line.endswith(b"\n"):
                told = json.loads(line)
                values = [math.nan if one is None else float(one) for one in told["x"]]
                found = _record(line, file, number)
                assert isinstance(found, Prediction), "the line says so"
                yield Asked(found, told["schema"], values)


def features_hash(features: Floats) -> str:
    """Return 16 hex digits of the features' bits."""
    return hashlib.sha256(features.tobytes()).hexdigest()[:16]


def _line(said: Prediction, schema: str, features: Floats) -> bytes:
    """Return a prediction's line; the features come last, so that a reader can leave them out."""
    told = {
        "k": "p", "ts": said.ts_ns, "symbol": said.symbol, "model": said.model, "schema": schema,
        "score": _number(said.score), "source": said.source, "latency_ns": said.latency_ns,
    }  # fmt: skip
    if said.error:
        told["error"] = said.error
    told["xh"] = features_hash(features)
    head = json.dumps(told, separators=(",", ":"))[:-1].encode()
    values = json.dumps([_number(one) for one in features.tolist()], separators=(",", ":"))
    return head + FEATURES + values[1:].encode() + b"}\n"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _record(line: bytes, file: Path, number: int) -> Record:
    head, found, _ = line.partition(FEATURES)
    try:
        told: Any = json.loads(head + b"}" if found else line)
        match told.pop("k"):
            case "p":
                score = told["score"]
                return Prediction(
                    told["ts"], told["symbol"], told["model"],
                    math.nan if score is None else score, told["source"], told["latency_ns"],
                    told.get("error", ""),
                )  # fmt: skip
            case "o":
                told["ts_ns"] = told.pop("ts")
                return Matured(**told)
            case "s":
                return tuple(Watched(**one) for one in told["models"])
            case other:
                raise LogDamaged(str(file), number, f"a record of kind {other!r}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LogDamaged(str(file), number, f"no record of a shadow ({error})") from error


def _cut_torn(file: Path) -> None:
    """Move a last line that was never finished to a side file."""
    if not file.exists():
        file.touch(0o600)
        return
    with file.open("r+b") as log:
        size = log.seek(0, os.SEEK_END)
        start = size
        while start > 0:
            begin = max(start - (1 << 16), 0)
            log.seek(begin)
            newline = log.read(start - begin).rfind(b"\n")
            start = begin
            if newline >= 0:
                start = begin + newline + 1
                break
        if start == size:
            return
        log.seek(start)
        torn = log.read()
        number = 1
        while (side := file.with_name(f"predictions.torn-{number}")).exists():
            number += 1
        side.write_bytes(torn)
        log.truncate(start)
