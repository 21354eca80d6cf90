"""A shadow over recorded bars: a log without a desk, and online predictions held against offline.

Online features come bar by bar from handles, offline ones from whole columns. If both are what
they claim to be, every feature and every score of a log has the bits that the recorded bars give
now. A difference names the first bar and feature that differ: another feed, revised data, or a
definition that changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from mqd.core.bar import BarRow, Floats, SymbolBars, bar_row
from mqd.core.clock import iso
from mqd.errors import ModelRefused
from mqd.ml.inference import InferenceEngine
from mqd.ml.registry import ModelRegistry
from mqd.ml.shadow import ShadowModeTracker
from mqd.ml.shadow_log import Matured, Prediction, Watched, read_asked, read_records


class ManyBars(Protocol):
    """Bars of several symbols."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Their symbols."""
        ...

    def __getitem__(self, symbol: str) -> SymbolBars:
        """Return one symbol's bars."""
        ...


def rows_in_time(bars: ManyBars) -> Iterator[BarRow]:
    """Yield all rows by close, those of one instant in the order of symbols."""
    series = [bars[symbol] for symbol in bars.symbols]
    closes = np.concatenate([one.ts_close for one in series])
    places = np.repeat(np.arange(len(series)), [len(one) for one in series])
    rows = np.concatenate([np.arange(len(one)) for one in series])
    for at in np.lexsort((places, closes)).tolist():
        yield bar_row(series[places[at]], int(rows[at]))


def replay(tracker: ShadowModeTracker, bars: ManyBars, *, from_ns: int | None = None) -> int:
    """Let ``tracker`` hear ``bars``; those that close before ``from_ns`` warm up only. Return how
    many rows it heard."""
    from tqdm.auto import tqdm

    n_rows = sum(len(bars[symbol]) for symbol in bars.symbols)
    shown = tqdm(rows_in_time(bars), "shadow", n_rows, leave=False, unit="bar", delay=1)
    for row in shown:
        tracker.on_bar(row, past=from_ns is not None and row.ts_close < from_ns)
    tracker.flush()
    return n_rows


class Skew(NamedTuple):
    """Online against offline predictions of one model.

    ``n``: predictions compared; ``n_missing``: without such a bar in the data; ``n_features`` and
    ``n_scores``: those that differ in a bit; ``largest``: the largest difference of a score;
    ``first`` names the first difference, "" without one.
    """

    model: Watched
    n: int
    n_missing: int
    n_features: int
    n_scores: int
    largest: float
    first: str

    @property
    def equal(self) -> bool:
        """True when every bit is the same and every prediction was found again."""
        return not (self.n_features or self.n_scores or self.n_missing)

    def summary(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return self._asdict() | {"model": self.model.reference, "equal": self.equal}


def against(folder: str | os.PathLike[str], registry: ModelRegistry, bars: ManyBars) -> list[Skew]:
    """Compute each prediction of a shadow's log anew, offline, from ``bars``; compare the bits.

    Raises what the log and the registry raise.
    """
    watched: dict[str, Watched] = {}
    for record in read_records(folder):
        if not isinstance(record, Prediction | Matured):
            watched |= {one.sha256: one for one in record}
    with InferenceEngine(registry, deadline_s=120.0) as engine:
        return [_skew(folder, engine, one, bars) for one in watched.values()]


def _skew(
    folder: str | os.PathLike[str], engine: InferenceEngine, model: Watched, bars: ManyBars
) -> Skew:
    version = engine.load(model.reference)
    engineer, offline = version.engineer, dict[str, tuple[SymbolBars, Floats, Floats]]()
    n = n_missing = n_features = n_scores = 0
    largest, first = 0.0, ""
    for said, _, features in read_asked(folder, model.sha256):
        n += 1
        if said.symbol not in offline and said.symbol in bars.symbols:
            series = bars[said.symbol]
            matrix = engineer.matrix(series)
            told = engine.predict(
                model.reference, matrix, schema_sha256=model.schema, exact=True, fall_back=False
            )
            if told.error:
                raise ModelRefused(model.reference[:24], told.error)
            offline[said.symbol] = (series, matrix, told.scores)
        row = -1 if said.symbol not in offline else _row_of(offline[said.symbol][0], said.ts_ns)
        if row < 0:
            n_missing += 1
            first = first or f"{said.symbol} has no bar closing {iso(said.ts_ns)} in the data"
            continue
        _, matrix, scores = offline[said.symbol]
        online = np.array(features)
        differ = online.view(np.int64) != matrix[row].view(np.int64)
        if differ.any():
            n_features += 1
            name = engineer.names[int(np.argmax(differ))]
            first = first or f"{name} of {said.symbol} at {iso(said.ts_ns)}"
        if said.source == "model" and said.score != scores[row]:
            n_scores += 1
            largest = max(largest, abs(said.score - float(scores[row])))
            first = first or f"the score of {said.symbol} at {iso(said.ts_ns)}"
    return Skew(model, n, n_missing, n_features, n_scores, largest, first)


def _row_of(bars: SymbolBars, ts_ns: int) -> int:
    """Return the row that closes at ``ts_ns``, -1 without one."""
    row = int(np.searchsorted(bars.ts_close, ts_ns))
    return row if row < len(bars) and int(bars.ts_close[row]) == ts_ns else -1
