"""Decisions: a run on bars without their future, or with another, must decide the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pandas as pd

from mqd.checks.cuts import decision_cuts, levelled, poisoned, until, with_symbols
from mqd.checks.report import Finding
from mqd.core.bar import SymbolBars
from mqd.core.clock import iso
from mqd.core.signal import HOLD
from mqd.errors import MqdError
from mqd.market_data.bars import Bars
from mqd.result import Result
from mqd.strategy.causality import CUT_BARS_MIN, first_rows
from mqd.strategy.compiled import Program, program
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

Run = Callable[[Bars], Result]
DECIDED: Final = (
    "strategy", "symbol", "side", "qty", "type", "limit_px", "stop_px", "time_in_force",
    "reason", "decided",
)  # fmt: skip
LEVEL_FRAC: Final = 0.002
"""So many weights may change by the rounding of adjusted prices to the tick."""


def decision_lookahead(
    run: Run, bars: Bars, full: Result, seed: int, *, thorough: bool
) -> Iterator[Finding]:
    """Yield the first order that a run without, or with another, future does not send alike.

    Orders decided up to the cut and fills known by then are compared exactly. A compiled rule
    can keep nothing, so one random cut is enough; ``thorough`` adds a cut near the end and
    another future, for what runs as plain Python.
    """
    cuts = decision_cuts(bars, seed, 1)
    others = [(cut, "with the later bars removed", until(bars, cut)) for cut in cuts]
    if not thorough:
        others = others[:1]
    elif cuts:
        others.append((cuts[0], "with later prices eight times higher", _poisoned(bars, cuts[0])))
    for cut, how, changed in others:
        try:
            other = run(changed)
        except MqdError as error:
            said = f"the run fails {how} at {iso(cut)}: {error}"
            yield Finding("lookahead", f"{said} It did not fail on all bars.", bar=iso(cut))
            return
        said = first_order_apart(full, other, cut) or first_fill_apart(full, other, cut)
        if said:
            yield Finding(
                "lookahead",
                f"{said} {how}, those after {iso(cut)}: a decision depends on what comes after"
                " it. Look for data kept outside of features: a global, a cache, a file.",
                bar=iso(cut),
            )
            return


def _poisoned(bars: Bars, cut: int) -> Bars:
    ends = {s: int(np.searchsorted(bars[s].ts_close, cut, side="right")) for s in bars.symbols}
    changed = {s: poisoned(bars[s], end, 0)["times 8"] for s, end in ends.items()}
    return with_symbols(bars, changed)


def first_order_apart(full: Result, other: Result, cut_ns: int) -> str:
    """Return which order decided by ``cut_ns`` differs first, "" when none does."""
    return _first_apart(full.orders, other.orders, DECIDED, "decided", cut_ns, "order")


def first_fill_apart(full: Result, other: Result, cut_ns: int) -> str:
    """Return which fill known by ``cut_ns`` differs first, "" when none does."""
    columns = ("strategy", "symbol", "side", "qty", "px", "fee_usd", "ts_known")
    return _first_apart(full.fills, other.fills, columns, "ts_known", cut_ns, "fill")


def _first_apart(
    full: pd.DataFrame, other: pd.DataFrame, names: tuple[str, ...], when: str, cut: int, what: str
) -> str:
    ours, theirs = (_known(frame, names, when, cut) for frame in (full, other))
    for row in range(max(len(ours), len(theirs))):
        mine, its = (rows[row] if row < len(rows) else None for rows in (ours, theirs))
        if mine != its:
            return f"{what} {row + 1} is {_words(mine, names)} but {_words(its, names)}"
    return ""


def _known(frame: pd.DataFrame, names: tuple[str, ...], when: str, cut: int) -> list[Any]:
    known = frame[frame[when] <= pd.Timestamp(cut, tz="UTC")]
    plain = known[list(names)].astype(object)
    return list(plain.where(plain.notna(), None).itertuples(index=False, name=None))


def _words(row: Any, names: tuple[str, ...]) -> str:
    if row is None:
        return "not there"
    values = dict(zip(names, row, strict=True))
    when = values.get("decided", values.get("ts_known"))
    return f"{values['side']} {values['qty']:g} {values['symbol']} at {when:%Y-%m-%d %H:%M}"


def price_level(strategy: Strategy, bars: Bars, features: dict[str, Features]) -> Iterator[Finding]:
    """Yield lookahead where weights hang on the level of prices that later splits restated.

    A price before a split that the data already show was another price then: the bars before
    it are taken at the level at which they traded, and a rule must decide the same. For a
    ``decide`` that reads neither position nor state.
    """
    if strategy.kind != "decide":
        return
    for symbol in bars.symbols:
        one = bars[symbol]
        made = program(strategy, features[symbol].names)
        if not made.pure:
            return
        full = weights_of(made, features[symbol], one)
        for place, (ts_ex, _) in enumerate(one.shown_splits):
            end = int(np.searchsorted(one.ts_open, ts_ex))
            if not CUT_BARS_MIN <= end < len(one):
                continue
            ratio = math.prod(later for _, later in one.shown_splits[place:])
            then = levelled(first_rows(one, end), ratio)
            theirs = weights_of(made, compute_features(strategy, then), then)
            apart = int(np.sum(full[:end] != theirs))
            if apart > LEVEL_FRAC * end:
                row = int(np.argmax(full[:end] != theirs))
                yield _level_finding(one, row, apart, end, ratio, ts_ex)
                break


def _level_finding(
    bars: SymbolBars, row: int, apart: int, end: int, ratio: float, ts_ex: int
) -> Finding:
    when = iso(int(bars.ts_close[row]))
    return Finding(
        "lookahead",
        f"{apart} of the {end} weights of {bars.symbol} before the split of {iso(ts_ex)[:10]}"
        f" change when prices are what they were then, {ratio:g} times as high; the first at the"
        f" bar closing {when}. Adjusted prices know of later splits: compare ratios of prices, or"
        " load with adjust='none'.",
        bars.symbol, when, float(apart),
    )  # fmt: skip


def weights_of(made: Program, features: Features, bars: Any) -> Any:
    """Return a pure rule's weight a bar, HOLD where it is skipped."""
    named = dict(zip(features.names, features.columns, strict=True))
    columns = [
        named[name] if name in named else np.ascontiguousarray(getattr(bars, name))
        for name in made.fields
    ]
    weights = made.sweep(columns, features.ready, bars.symbol, bars.ts_close)
    return np.where(features.ready, weights, HOLD)
