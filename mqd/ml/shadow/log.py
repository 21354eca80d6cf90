"""The writer of a shadow's log: lines are only added (``mqd.ml.shadow.records`` tells their form).

One process writes at a time. A last line that was cut off goes to a side file when the log is
opened again; damage before it is refused with its line.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Self

from mqd.core.bar import Floats
from mqd.errors import StateFolderTaken, UsageError
from mqd.ml.shadow.known import Known
from mqd.ml.shadow.records import FILE, Heard, Key, Matured, Prediction, Watched, read_records
from mqd.ml.torn import cut_torn

LOCK: Final = "lock"
BUFFER_BYTES: Final = 1 << 16
HEADS_MAX: Final = 4096


class ShadowLog:
    """The one writer of a shadow's folder."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self._lock = folder, lock
        self._known, self._is_whole = Known.of(folder), True
        self._heads: dict[tuple[str, str, str, str], tuple[str, str]] = {}
        self._features: tuple[bytes, str] = (b"", "")
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

    @property
    def last_ns(self) -> Mapping[tuple[str, str], int]:
        """The newest bar that each model and symbol has a prediction of."""
        return self._known.last_ns

    @property
    def pending(self) -> Mapping[Key, None]:
        """What waits for its outcome."""
        return self._known.pending

    def start(self, models: tuple[Watched, ...], symbols: tuple[str, ...]) -> None:
        """Write which models are watched from here on."""
        told = {"k": "s", "models": [one._asdict() for one in models], "symbols": list(symbols)}
        with self._whole():
            self._write(json.dumps(told, separators=(",", ":")).encode() + b"\n")
            self._known.start(models)
        self.flush()

    def hear(self, first: Heard) -> None:
        """Write from which bar on the features of a symbol are computed."""
        told = {"k": "h", "ts": first.ts_ns, "symbol": first.symbol, "lost": first.n_lost}
        with self._whole():
            self._write(json.dumps(told, separators=(",", ":")).encode() + b"\n")

    def predict(self, said: Prediction, schema: str, features: Floats) -> bool:
        """Write a prediction; one that is there already, or older, is passed over (False).

        Raises ``UsageError`` for a model that no start has named.
        """
        if said.model not in self._known.horizons:
            raise UsageError(f"The model {said.model[:12]}… is not watched by this shadow.")
        if said.ts_ns <= self.last_ns.get((said.model, said.symbol), -1):
            return False
        line = self._line(said, schema, features)
        with self._whole():
            self._write(line)
            self._known.predict(said.model, said.symbol, int(said.ts_ns))
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
        line = _outcome_line(outcome)
        with self._whole():
            self._write(line)
            self._known.mature(key)
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
        with self._whole():
            self._write(_outcome_line(outcome._replace(again=True)))

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._out.flush()

    def close(self) -> None:
        """Write all to the disk and let the folder go."""
        if not self._out.closed:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
            if self._is_whole:
                with suppress(OSError):  # without it the next start reads the lines
                    self._known.keep(self.folder)
            os.close(self._lock)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Let what is known and what is written change together: when one of them once did not,
        what is known is not kept, and the next start reads the lines."""
        was, self._is_whole = self._is_whole, False
        yield
        self._is_whole = was

    def _write(self, line: bytes) -> None:
        self._known.count(line)
        self._out.write(line)

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


def features_hash(features: Floats) -> str:
    """Return 16 hex digits of the features' bits."""
    return hashlib.sha256(features.tobytes()).hexdigest()[:16]


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
