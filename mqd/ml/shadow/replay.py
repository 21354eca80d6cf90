"""A shadow over recorded bars: a log without a desk, and online predictions held against offline.

Online features come bar by bar from handles, offline ones from whole columns. If both are what
they claim to be, every feature and every score of a log has the bits that the recorded bars give
now; and so have outcomes. A difference names the first bar and feature that differ: another feed,
revised data, bars that were missed, or a definition that changed.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mqd.core.bar import BarRow, Floats, Ints, SymbolBars, bar_row
from mqd.errors import ModelRefused, UsageError
from mqd.logs import is_watched
from mqd.ml.features.labels import label_from_spec, label_text
from mqd.ml.inference.engine import InferenceEngine
from mqd.ml.inference.predictor import HISTORY_S
from mqd.ml.registry.registry import ModelRegistry
from mqd.ml.shadow.asked import read_asked, read_outcomes
from mqd.ml.shadow.online_offline import Offline, compare_offline
from mqd.ml.shadow.records import Watched, read_watched
from mqd.ml.shadow.tracker import ShadowModeTracker


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


Recompute = Callable[[SymbolBars, Ints], tuple[Ints, Floats]]
"""Bars of a symbol and closes, int64 ns: the closes that a row was found for, and their rows."""


class Skew(NamedTuple):
    """What a log says against what bars say: how much was compared, and what differs.

    ``what``: a model or a label in words. ``n``: rows of the log. ``found`` is None when nothing
    could be compared; ``failure`` says why, where it was a model. ``without_bars``: symbols of the
    log that the bars have not. ``late``: symbols whose bars begin after the first one that the
    shadow heard. ``n_open``: outcomes that were known after the end of the bars; they are left out.
    ``unanchored``: the log does not say from which bar on some of it was computed.
    """

    what: str
    n: int
    found: Offline | None
    without_bars: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    n_open: int = 0
    unanchored: bool = False
    failure: str = ""

    @property
    def equal(self) -> bool:
        """True when every bit is the same and every row of the log was found again."""
        return not self.without_bars and self.found is not None and self.found.equal

    @property
    def n_missing(self) -> int:
        """Rows of the log that could not be computed from the bars."""
        return self.found.only_online if self.found else self.n - self.n_open

    @property
    def verdict(self) -> str:
        """The finding in a sentence."""
        found = self.found
        told = [
            "equal to the bit" if self.equal else "NOT equal",
            f"first: {found.first}" if found and found.first else "",
            f"{self.n_missing:,} have no bar" if self.n_missing else "",
            f"no bars of {', '.join(self.without_bars)}" if self.without_bars else "",
            f"{self.n_open:,} not over at the end of the bars" if self.n_open else "",
            f"the bars of {', '.join(self.late)} begin after the first that was heard, give an"
            " earlier start" if self.late else "",
            "the log does not say from which bar on it was computed" if self.unanchored else "",
            self.failure,
        ]  # fmt: skip
        return "; ".join(filter(None, told))

    def summary(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        found = self.found
        differ = {} if found is None else dict(found.frame["differ"])
        return {
            "what": self.what, "n": self.n, "equal": self.equal,
            "first": found.first if found else "",
            "without_bar": self.n_missing,
            "without_bars": list(self.without_bars), "late": list(self.late),
            "not_over": self.n_open, "unanchored": self.unanchored, "failure": self.failure,
            "differ": {str(name): int(n) for name, n in differ.items() if n},
        }  # fmt: skip


def against(folder: str | os.PathLike[str], registry: ModelRegistry, bars: ManyBars) -> list[Skew]:
    """Compute predictions and outcomes of a shadow's log anew, offline, from ``bars``; compare
    the bits. Each is computed from the bar on that the shadow heard first, after a start or a gap.

    A ``Skew`` for each model that said something, then one for each label with outcomes. Raises
    what the log, the registry and ``compare_offline`` raise.
    """
    models = read_watched(folder)
    with InferenceEngine(registry, deadline_s=HISTORY_S) as engine:
        said = [_predictions(folder, engine, one, bars) for one in models.values()]
    labels = {one.horizon: one.label for one in models.values()}
    return [one for one in (*said, *_outcomes(folder, labels, bars)) if one is not None]


def _predictions(
    folder: str | os.PathLike[str], engine: InferenceEngine, model: Watched, bars: ManyBars
) -> Skew | None:
    log = _Logged((*model.features, "score"))
    for said, _, features, heard_ns in read_asked(folder, model.sha256):
        score = said.score if said.source == "model" else math.nan
        log.add(said.ts_ns, said.symbol, heard_ns, [*features, score], said.ts_ns)
    if not log.rows:
        return None
    what = f"{model.name}@{model.sha256[:12]}, predictions"
    try:
        version = engine.load(model.reference)
    except (ModelRefused, UsageError) as error:
        return Skew(what, len(log.rows), None, failure=str(error))

    def offline(part: SymbolBars, closes: Ints) -> tuple[Ints, Floats]:
        chosen = np.isin(part.ts_close, closes)
        matrix, closes = version.engineer.matrix(part)[chosen], part.ts_close[chosen]
        told = engine.predict(
            model.reference, matrix, schema_sha256=model.schema, exact=True, fall_back=False
        )
        if told.error:
            raise ModelRefused(model.reference[:24], told.error)
        online = np.array([log.rows[ts_ns, part.symbol][-1] for ts_ns in closes.tolist()])
        scores = np.where(np.isnan(online), math.nan, told.scores)  # no answer, nothing to compare
        return closes, np.column_stack((matrix, scores))

    return log.against(what, bars, offline)


def _outcomes(
    folder: str | os.PathLike[str], labels: Mapping[str, dict[str, Any]], bars: ManyBars
) -> list[Skew]:
    logs = {horizon: _Logged(("span_ns", "ret_frac", "label")) for horizon in labels}
    for came, heard_ns in read_outcomes(folder):
        if came.horizon not in logs:
            raise UsageError(f"{folder}: an outcome of label {came.horizon}, which no start names.")
        values = [came.t1 - came.ts_ns, came.ret_frac, came.label]
        logs[came.horizon].add(came.ts_ns, came.symbol, heard_ns, values, came.t1)
    return [
        log.against(f"{label_text(labels[horizon])}, outcomes", bars, _relabelled(labels[horizon]))
        for horizon, log in logs.items()
        if log.rows
    ]


def _relabelled(spec: Mapping[str, Any]) -> Recompute:
    label = label_from_spec(spec)

    def offline(part: SymbolBars, closes: Ints) -> tuple[Ints, Floats]:
        watch = label.watch()  # not its columns: they leave out rows that touched a barrier early
        told = [one for at in range(len(part)) for one in watch.put(bar_row(part, at))]
        t0 = np.array([one.t0 for one in told], dtype=np.int64)
        rows = np.array([[one.t1 - one.t0, one.ret_frac, one.label] for one in told])
        chosen = np.isin(t0, closes)
        return t0[chosen], rows.reshape(len(told), 3)[chosen]

    return offline


class _Logged:
    """Rows of a log by close and symbol, each with the bar that its symbol was heard from, and with
    the instant at which it was known."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.rows: dict[tuple[int, str], list[float]] = {}
        self._heard: dict[tuple[int, str], int] = {}
        self._known: dict[tuple[int, str], int] = {}

    def add(
        self, ts_ns: int, symbol: str, heard_ns: int, values: list[float], known_ns: int
    ) -> None:
        at = ts_ns, symbol
        self.rows[at], self._known[at] = values, known_ns
        self._heard.setdefault(at, heard_ns)  # a correction stands further down in the log

    def against(self, what: str, bars: ManyBars, recompute: Recompute) -> Skew:
        """Compute all rows anew, from where they were heard, and compare them."""
        parts: list[pd.DataFrame] = []
        unheld, late, unready = set[str](), set[str](), set[tuple[int, str]]()
        for (symbol, heard_ns), closes in self._spans().items():
            if symbol not in bars.symbols or not len(bars[symbol]):
                unheld.add(symbol)
                continue
            whole = bars[symbol]
            part = whole.rows(slice(int(np.searchsorted(whole.ts_close, heard_ns)), None))
            if whole.ts_close[0] > heard_ns > 0:
                late.add(symbol)
            again, matrix = recompute(part, closes)
            end_ns = int(whole.ts_close[-1])
            of_symbol = ((ts_ns, symbol) for ts_ns in closes.tolist())
            unready |= {at for at in of_symbol if at[0] <= end_ns < self._known[at]}
            parts.append(_frame([(ts, symbol) for ts in again.tolist()], matrix, self.names))
        kept = {
            at: row for at, row in self.rows.items() if at[1] not in unheld and at not in unready
        }
        online = _frame(list(kept), np.array(list(kept.values())), self.names)
        offline = pd.concat(parts) if parts else online.iloc[:0]
        shared = online.index.intersection(offline.index)
        found = compare_offline(online, offline) if len(shared) else None
        return Skew(
            what, len(self.rows), found, tuple(sorted(unheld)), tuple(sorted(late)), len(unready),
            not all(self._heard.values()),
        )  # fmt: skip

    def _spans(self) -> dict[tuple[str, int], Ints]:
        """Return the closes of each symbol by the bar that it was heard from."""
        spans = defaultdict[tuple[str, int], list[int]](list)
        for (ts_ns, symbol), heard_ns in self._heard.items():
            spans[symbol, heard_ns].append(ts_ns)
        return {span: np.array(closes, dtype=np.int64) for span, closes in spans.items()}


def _frame(index: Sequence[tuple[int, str]], rows: Floats, names: Sequence[str]) -> pd.DataFrame:
    found = pd.MultiIndex.from_tuples(index, names=["ts_close", "symbol"])
    return pd.DataFrame(rows.reshape(len(index), len(names)), found, list(names))
