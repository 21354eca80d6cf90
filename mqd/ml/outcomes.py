"""Predictions joined with what came of them: one pass over a log, memory for what is open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from mqd.ml.shadow_log import Matured, Prediction, Watched, read_records


class Scored(NamedTuple):
    """A prediction and its outcome, None while it has not matured."""

    said: Prediction
    outcome: Matured | None


def joined(folder: str | os.PathLike[str]) -> Iterator[Scored | tuple[Watched, ...]]:
    """Yield starts, and each prediction once: with its outcome in the order in which outcomes
    came, then those that still wait. Raises what ``read_records`` raises."""
    waiting: dict[tuple[str, int, str], list[Prediction]] = {}
    horizons: dict[str, str] = {}
    for record in read_records(folder):
        match record:
            case Prediction():
                key = (record.symbol, record.ts_ns, horizons[record.model])
                waiting.setdefault(key, []).append(record)
            case Matured():
                key = (record.symbol, record.ts_ns, record.horizon)
                for said in waiting.pop(key, ()):
                    yield Scored(said, record)
            case _:
                horizons |= {one.sha256: one.horizon for one in record}
                yield record
    for left in waiting.values():
        for said in left:
            yield Scored(said, None)
