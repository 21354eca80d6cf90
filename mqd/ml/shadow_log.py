"""The shadow's log: what each model said of each bar, and what came of it. Lines are only added.

``FOLDER/predictions.ndjson`` holds one JSON object a line, of three kinds:

* ``s``: a start, with the models that are watched;
* ``p``: a prediction as of its bar, with model, schema, score, source, latency and the features;
* ``o``: an outcome that matured, for all models with the same label; with ``again`` it corrects
  one that stands there already, and the last one counts.

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
from mqd.ml.torn import cut_torn

FILE: Final = "predictions.ndjson"
LOCK: Final = "lock"
FEATURES: Final = b',"x":['
START: Final = b'{"k":"s"'
CORRECTED: Final = b',"again":true}\n'
BUFFER_BYTES: Final = 1 << 16
HEADS_MAX: Final = 4096
_TYPES: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "p": {
        "ts": (int,), "symbol": (str,), "model": (str,), "score": (float, int, type(None)),
        "source": (str,), "latency_ns": (int,),
    },
    "o": {
        "ts": (int,), "symbol": (str,), "t1": (int,), "ret_frac": (float, int, type(None)),
        "label": (int,), "horizon": (str,),
    },
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
        self._heads: dict[tuple[str, str, str, str], tuple[str, str]] = {}
        self._features: tuple[bytes, str] = (b"", "")
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
            cut_torn(place / FILE)
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
        self._out.write(self._line(said, schema, features))
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
        self._out.write(_outcome_line(outcome))
        return True

    def correct(self, outcome: Matured) -> None:
        """Write an outcome anew, such as after data were revised; the last one counts.

        Reads the log, for it is rare. Raises ``UsageError`` for one that no outcome stands for.
        """
        self.flush()
        key = (outcome.symbol, outcome.ts_ns, outcome.horizon)
        there = any(
            isinstance(one, Matured) and (one.symbol, one.ts_ns, one.horizon) == key
            for one in read_records(self.folder)
        )
        if not there or outcome.t1 <= outcome.ts_ns:
            raise UsageError(
                f"{outcome.symbol}: no outcome as of {outcome.ts_ns} stands in {self.folder} that"
                " could be corrected."
            )
        self._out.write(_outcome_line(outcome._replace(again=True)))

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
        if (self.folder / FILE).stat().st_size == 0:
            return
        from mqd.ml.outcomes import Joined, joined

        for part in joined(self.folder):
            if not isinstance(part, Joined):
                self._horizons |= {one.sha256: one.horizon for one in part}
                continue
            words = part.words.texts
            for model, symbol, ts_ns, matured in zip(
                part.model.tolist(), part.symbol.tolist(), part.ts_ns.tolist(),
                part.matured.tolist(), strict=True,
            ):  # fmt: skip
                key = (words[model], words[symbol])
                self.last_ns[key] = max(ts_ns, self.last_ns.get(key, -1))
                if not matured:
                    self.pending[key[1], ts_ns, self._horizons[key[0]]] = None

    def _line(self, said: Prediction, schema: str, features: Floats) -> bytes:
        """Return a prediction's line; the features come last, so that a reader can leave them out.

        Put together by hand: ``json.dumps`` would take twice the time. Models of one step share
        their features, so the newest ones are kept as text.
        """
        key = (said.symbol, said.model, schema, said.source)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            texts = [json.dumps(one) for one in key]
            head = self._heads[key] = (
                f',"symbol":{texts[0]},"model":{texts[1]},"schema":{texts[2]},"score":',
                f',"source":{texts[3]},"latency_ns":',
            )
        bits = features.tobytes()
        if bits != self._features[0]:
            values = ",".join(map(_text, features.tolist()))
            self._features = (bits, f',"xh":"{features_hash(features)}","x":[{values}]}}\n')
        error = f',"error":{json.dumps(said.error)}' if said.error else ""
        return (
            f'{{"k":"p","ts":{said.ts_ns}{head[0]}{_text(said.score)}{head[1]}{said.latency_ns}'
            f"{error}{self._features[1]}"
        ).encode()


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
    file = log_file(folder)
    wanted = model.encode()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(b'{"k":"p"') and wanted in line and line.endswith(b"\n"):
                told = json.loads(line)
                values = [math.nan if one is None else float(one) for one in told["x"]]
                found = read_record(line, file, number)
                assert isinstance(found, Prediction), "the line says so"
                yield Asked(found, told["schema"], values)


def features_hash(features: Floats) -> str:
    """Return 16 hex digits of the features' bits."""
    return hashlib.sha256(features.tobytes()).hexdigest()[:16]


def read_start(line: bytes, file: Path, number: int) -> tuple[Watched, ...]:
    """Return the models that a start names; raise ``LogDamaged`` when it is none."""
    found = read_record(line, file, number)
    if isinstance(found, Prediction | Matured):
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
        if kind == "p":
            return Prediction(
                told["ts"],
                told["symbol"],
                told["model"],
                _float(told["score"]),
                told["source"],
                told["latency_ns"],
                told.get("error", ""),
            )
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


def _outcome_line(outcome: Matured) -> bytes:
    told = {
        "k": "o", "ts": outcome.ts_ns, "symbol": outcome.symbol, "t1": outcome.t1,
        "ret_frac": outcome.ret_frac if math.isfinite(outcome.ret_frac) else None,
        "label": outcome.label, "horizon": outcome.horizon,
    }  # fmt: skip
    if outcome.again:
        told["again"] = True
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def _text(value: float) -> str:
    """Return a float so that it comes back to the bit, null for what is no number."""
    return repr(float(value)) if math.isfinite(value) else "null"  # of numpy as well


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
