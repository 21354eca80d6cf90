"""What the writer of a shadow's log knows of its lines, kept beside the log when it is closed.

A log that was closed is not read again line by line: its bytes are hashed, and if they are the ones
that were kept, so is what they say. If not, or if nothing was kept, the lines are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mqd.errors import LogDamaged
from mqd.ml.shadow.chunks import Chunk, read_chunks
from mqd.ml.shadow.records import FILE, Key, Watched, unawaited

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT: Final = "known.json"
FORMAT: Final = 1
BLOCK_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Known:
    """The newest bar of each model and symbol, and what waits for its outcome.

    ``horizons``: the label of each model that a start names, by the model's hash.
    """

    n_bytes: int = 0
    n_lines: int = 0
    digest: _Hash = field(default_factory=hashlib.sha256)
    horizons: dict[str, str] = field(default_factory=dict)
    last_ns: dict[tuple[str, str], int] = field(default_factory=dict)
    pending: dict[Key, None] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return what the log in ``folder`` says; raise ``LogDamaged`` for a line that is none."""
        known = cls._kept(folder)
        for part in read_chunks(
            folder, offset=known.n_bytes, n_before=known.n_lines, named=frozenset(known.horizons)
        ):
            if isinstance(part, Chunk):
                known._take(part, folder / FILE)
            else:
                known.start(part)
        with (folder / FILE).open("rb") as log:
            log.seek(known.n_bytes)
            for block in _blocks(log):
                known.count(block)
        return known

    def count(self, written: bytes) -> None:
        """Count whole lines that stand in the log now."""
        self.n_bytes += len(written)
        self.n_lines += written.count(b"\n")
        self.digest.update(written)

    def start(self, models: Iterable[Watched]) -> None:
        """Take the models that a start names."""
        self.horizons |= {one.sha256: one.horizon for one in models}

    def predict(self, model: str, symbol: str, ts_ns: int) -> None:
        """Take a prediction: it waits for its outcome."""
        key = (model, symbol)
        self.last_ns[key] = max(ts_ns, self.last_ns.get(key, -1))
        self.pending[symbol, ts_ns, self.horizons[model]] = None

    def mature(self, key: Key) -> bool:
        """Take an outcome; return whether a prediction waited for it."""
        waited = key in self.pending
        if waited:
            del self.pending[key]
        return waited

    def keep(self, folder: Path) -> None:
        """Write it beside the log, whole or not at all."""
        told = {
            "format": FORMAT, "bytes": self.n_bytes, "lines": self.n_lines,
            "sha256": self.digest.hexdigest(), "horizons": self.horizons,
            "last": [[*key, ts] for key, ts in self.last_ns.items()],
            "pending": [list(key) for key in self.pending],
        }  # fmt: skip
        text = json.dumps(told, separators=(",", ":")).encode()
        scratch = folder / f".{KEPT}.new"
        scratch.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        scratch.replace(folder / KEPT)

    def _take(self, chunk: Chunk, file: Path) -> None:
        """Take predictions and outcomes in the order of their lines."""
        words, said, came = chunk.words.texts, chunk.said, chunk.came.where(~chunk.came.again)
        line = np.concatenate((said.line, came.line))
        order = np.argsort(line)
        columns = (
            line, np.concatenate((said.ts_ns, came.ts_ns)),
            np.concatenate((said.symbol, came.symbol)),
            np.concatenate((said.model, came.horizon)), np.arange(len(line)) < len(said.line),
        )  # fmt: skip
        rows = zip(*(column[order].tolist() for column in columns), strict=True)
        for number, ts_ns, symbol, other, is_said in rows:
            if is_said:
                self.predict(words[other], words[symbol], ts_ns)
            elif not self.mature((words[symbol], ts_ns, words[other])):
                raise LogDamaged(str(file), number, unawaited(words[symbol], ts_ns))

    @classmethod
    def _kept(cls, folder: Path) -> Self:
        """Return what was kept, when the log begins with the bytes that it was kept for."""
        found = cls()
        with suppress(OSError, ValueError, KeyError, TypeError):
            seal, _, text = (folder / KEPT).read_bytes().partition(b"\n")
            told: Any = json.loads(text)
            if hashlib.sha256(text).hexdigest().encode() != seal or told["format"] != FORMAT:
                return found
            with (folder / FILE).open("rb") as log:
                for block in _blocks(log, told["bytes"]):
                    found.digest.update(block)
            if found.digest.hexdigest() == told["sha256"]:
                found.n_bytes, found.n_lines = told["bytes"], told["lines"]
                found.horizons = told["horizons"]
                found.last_ns = {(model, symbol): ts for model, symbol, ts in told["last"]}
                found.pending = dict.fromkeys(map(tuple, told["pending"]))
                return found
        return cls()


def _blocks(log: Any, n_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the bytes from here on, at most ``n_bytes``."""
    left = os.fstat(log.fileno()).st_size if n_bytes is None else n_bytes
    while left > 0 and (block := log.read(min(left, BLOCK_BYTES))):
        left -= len(block)
        yield block
