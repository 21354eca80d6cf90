"""Predictions joined with what came of them: one pass over a log, memory for what is open.

An outcome belongs to the predictions before it with its symbol, bar and label; it settles those
that wait. Corrections are read first, for they are few: the last one counts from the beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.errors import LogDamaged
from mqd.ml.shadow.chunks import ROWS, Came, Chunk, Said, Words, read_chunks
from mqd.ml.shadow.records import (
    CORRECTED,
    Key,
    Matured,
    Watched,
    log_file,
    read_record,
    unawaited,
)


class Joined(NamedTuple):
    """Predictions with their outcomes; texts as codes of ``words``.

    ``matured``: False for those that still wait; their ``t1`` is 0, their ``ret_frac`` NaN, their
    ``label`` 0. ``score`` is NaN where a model said nothing.
    """

    words: Words
    model: Ints
    symbol: Ints
    ts_ns: Ints
    score: Floats
    source: Ints
    latency_ns: Ints
    cause: Ints
    matured: NDArray[np.bool]
    t1: Ints
    ret_frac: Floats
    label: Ints

    def where(self, chosen: NDArray[np.bool] | Ints) -> Joined:
        """Return some of the rows."""
        columns = (column[chosen] for column in self[1:])
        return Joined(self.words, *columns)  # type: ignore[arg-type]


def joined(
    folder: str | os.PathLike[str], rows: int = ROWS
) -> Iterator[Joined | tuple[Watched, ...]]:
    """Yield starts, and each prediction once: with its outcome in the order in which outcomes
    came, those that still wait at the end.

    Raises what ``read_chunks`` raises, and ``LogDamaged`` for an outcome that no prediction before
    it waits for.
    """
    file = str(log_file(folder))
    fixed = corrections(folder)
    waiting: Said | None = None
    words, horizon_of = Words(), dict[str, str]()
    for part in read_chunks(folder, rows):
        if not isinstance(part, Chunk):
            horizon_of |= {one.sha256: one.horizon for one in part}
            yield part
            continue
        words, said, came = part
        if waiting is not None:
            said = waiting.then(said)
        came = came.where(~came.again)
        codes = {words.code(one): words.code(horizon) for one, horizon in horizon_of.items()}
        horizons = np.zeros(len(words.texts), dtype=np.int64)
        horizons[list(codes)] = list(codes.values())
        found = match(said, horizons[said.model], came)
        unused = np.ones(len(came.line), dtype=np.bool_)
        unused[found[found >= 0]] = False
        if unused.any():
            at = int(np.argmax(unused))
            what = unawaited(words.texts[came.symbol[at]], int(came.ts_ns[at]))
            raise LogDamaged(file, int(came.line[at]), what)
        settled = np.flatnonzero(found >= 0)
        settled = settled[np.argsort(found[settled], kind="stable")]
        if len(settled):
            yield _corrected(_settled(words, said, came, settled, found[settled]), fixed, horizons)
        waiting = said.where(found < 0)
    if waiting is not None and len(waiting.line):
        yield _waiting(words, waiting)


def match(said: Said, horizon: Ints, came: Came) -> Ints:
    """Return for each prediction the row of the first outcome behind it that is its own, or -1."""
    n = len(said.line)
    if not len(came.line) or not n:
        return np.full(n, -1, dtype=np.int64)
    _, instant = np.unique(np.concatenate((said.ts_ns, came.ts_ns)), return_inverse=True)
    size = int(max(said.symbol.max(), came.symbol.max(), horizon.max(), came.horizon.max())) + 1
    symbol, label = (
        np.concatenate(both) for both in ((said.symbol, came.symbol), (horizon, came.horizon))
    )
    _, key = np.unique((instant * size + symbol) * size + label, return_inverse=True)
    _, line = np.unique(np.concatenate((said.line, came.line)), return_inverse=True)
    place = key * (len(line) + 1) + line
    order = np.argsort(place[n:], kind="stable")
    at = np.searchsorted(place[n:][order], place[:n])
    behind = order[np.minimum(at, len(order) - 1)]
    own = (at < len(order)) & (key[n:][behind] == key[:n])
    found: Ints = np.where(own, behind, -1)
    return found


def corrections(folder: str | os.PathLike[str]) -> dict[Key, Matured]:
    """Return the last correction of each outcome that has one."""
    file = log_file(folder)
    found: dict[Key, Matured] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith(CORRECTED):
                one = read_record(line, file, number)
                if isinstance(one, Matured):
                    found[one.symbol, one.ts_ns, one.horizon] = one
    return found


def _settled(words: Words, said: Said, came: Came, rows: Ints, outcome: Ints) -> Joined:
    one, own = said.where(rows), came.where(outcome)
    return Joined(
        words, one.model, one.symbol, one.ts_ns, one.score, one.source, one.latency_ns, one.cause,
        np.ones(len(rows), dtype=np.bool_), own.t1, own.ret_frac, own.label,
    )  # fmt: skip


def _waiting(words: Words, one: Said) -> Joined:
    n = len(one.line)
    return Joined(
        words, one.model, one.symbol, one.ts_ns, one.score, one.source, one.latency_ns, one.cause,
        np.zeros(n, dtype=np.bool_), np.zeros(n, dtype=np.int64), np.full(n, np.nan),
        np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def _corrected(part: Joined, fixed: dict[Key, Matured], horizons: Ints) -> Joined:
    """Put corrections in the place of what they correct."""
    if not fixed:
        return part
    texts = part.words.texts
    for row in np.flatnonzero(np.isin(part.ts_ns, [key[1] for key in fixed])).tolist():
        horizon = texts[horizons[part.model[row]]]
        one = fixed.get((texts[part.symbol[row]], int(part.ts_ns[row]), horizon))
        if one is not None:
            part.t1[row], part.ret_frac[row], part.label[row] = one.t1, one.ret_frac, one.label
    return part
