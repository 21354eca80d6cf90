"""A shadow over recorded bars: a log without a desk, and online predictions held against offline.

Online features come bar by bar from handles, offline ones from whole columns. If both are what
they claim to be, every feature and every score of a log has the bits that the recorded bars give
now. A difference names the first bar and feature that differ: another feed, revised data, or a
definition that changed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mqd.core.bar import BarRow, SymbolBars, bar_row
from mqd.errors import ModelRefused
from mqd.logs import is_watched
from mqd.ml.inference import InferenceEngine
from mqd.ml.online_offline import Offline, compare_offline
from mqd.ml.predictor import HISTORY_S
from mqd.ml.registry import ModelRegistry
from mqd.ml.shadow import ShadowModeTracker
from mqd.ml.shadow_log import Watched, read_asked, read_watched


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
    shown = tqdm(
        rows_in_time(bars), "shadow", n_rows, leave=False, unit="bar", delay=1,
        disable=not is_watched(),
    )  # fmt: skip
    for row in shown:
        tracker.on_bar(row, past=from_ns is not None and row.ts_close < from_ns)
    tracker.flush()
    return n_rows


class Skew(NamedTuple):
    """Online against offline predictions of one model: how many were compared, and what differs."""

    model: Watched
    n: int
    found: Offline

    @property
    def equal(self) -> bool:
        """True when every bit is the same and every prediction was found again."""
        return self.found.equal

    @property
    def first(self) -> str:
        """The first difference in words, "" without one."""
        return self.found.first

    def summary(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        columns = self.found.frame
        return {
            "model": self.model.reference, "n": self.n, "equal": self.equal, "first": self.first,
            "without_bar": self.found.only_online,
            "differ": {str(name): int(n) for name, n in columns["differ"].items() if n},
        }  # fmt: skip


def against(folder: str | os.PathLike[str], registry: ModelRegistry, bars: ManyBars) -> list[Skew]:
    """Compute each prediction of a shadow's log anew, offline, from ``bars``; compare the bits.

    Models that said nothing are left out. Raises what the log, the registry and
    ``compare_offline`` raise.
    """
    with InferenceEngine(registry, deadline_s=HISTORY_S) as engine:
        found = (_skew(folder, engine, one, bars) for one in read_watched(folder).values())
        return [one for one in found if one is not None]


def _skew(
    folder: str | os.PathLike[str], engine: InferenceEngine, model: Watched, bars: ManyBars
) -> Skew | None:
    names = [*model.features, "score"]
    rows = {
        (said.ts_ns, said.symbol): [*features, said.score if said.source == "model" else math.nan]
        for said, _, features in read_asked(folder, model.sha256)
    }
    if not rows:
        return None
    online = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    online.index = pd.MultiIndex.from_tuples(rows, names=["ts_close", "symbol"])
    symbols = [one for one in online.index.unique("symbol") if one in bars.symbols]
    parts = [_offline(engine, model, bars[symbol]) for symbol in symbols]
    offline = pd.concat(parts) if parts else online.iloc[:0]
    offline = offline[offline.index.isin(online.index)].copy()
    by_another = online["score"].isna().reindex(offline.index)
    offline["score"] = offline["score"].mask(by_another)  # then there is no answer to compare
    return Skew(model, len(online), compare_offline(online, offline))


def _offline(engine: InferenceEngine, model: Watched, bars: SymbolBars) -> pd.DataFrame:
    """Return the features and scores of all rows of one symbol."""
    version = engine.load(model.reference)
    matrix = version.engineer.matrix(bars)
    told = engine.predict(
        model.reference, matrix, schema_sha256=model.schema, exact=True, fall_back=False
    )
    if told.error:
        raise ModelRefused(model.reference[:24], told.error)
    index = pd.MultiIndex.from_product(
        [bars.ts_close.tolist(), [bars.symbol]], names=["ts_close", "symbol"]
    )
    names = [*version.engineer.names, "score"]
    return pd.DataFrame(np.column_stack((matrix, told.scores)), index, names)
