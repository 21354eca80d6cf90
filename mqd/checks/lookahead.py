"""Lookahead: the past is computed again without its future, or with another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from mqd.checks.cuts import cuts_of, poisoned
from mqd.checks.report import Finding
from mqd.core.bar import Floats, SymbolBars
from mqd.core.clock import iso
from mqd.strategy.causality import CUT_BARS_MIN, first_rows
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

ROUNDING_FRAC = 1e-12
"""Values that differ by less than this of the column's scale differ by rounding alone."""
POISONED_CUTS = 3


class Difference(NamedTuple):
    """The first bar at which a feature has another value without, or with another, future."""

    feature: str
    row: int
    full: float
    other: float
    frac: float


def feature_lookahead(
    strategy: Strategy, bars: SymbolBars, features: Features, n_cuts: int, seed: int
) -> Iterator[Finding]:
    """Yield a finding for each feature of one symbol that changes with later bars.

    Values are compared bit for bit. A difference within ``ROUNDING_FRAC`` is a note: it comes
    from code whose order of additions depends on the number of bars.
    """
    if len(bars) <= CUT_BARS_MIN:
        yield Finding(
            "not checked",
            f"{bars.symbol} has {len(bars)} bars: cuts shorter than {CUT_BARS_MIN} are not"
            " tried, so lookahead of its features was not looked for. Give more bars.",
            bars.symbol,
        )
        return
    worst: dict[str, tuple[Difference, str]] = {}
    for end, what, other in _retold(strategy, bars, features, n_cuts, seed):
        if other.names != features.names:
            said = f"there are the features {list(other.names)}, not {list(features.names)}"
            yield Finding("lookahead", f"{what(end)} {said}.", bars.symbol)
            return
        for found in differences(features, other, end):
            known = worst.get(found.feature)
            if known is None or _is_worse(found, known[0]):
                worst[found.feature] = found, what(end)
    for found, what_was_done in worst.values():
        yield _finding(bars, found, what_was_done)


def _is_worse(found: Difference, known: Difference) -> bool:
    """True for a leak where rounding was known, and for an earlier bar of the same sort."""
    leaks, leaked = (one.frac > ROUNDING_FRAC for one in (found, known))
    return leaks > leaked or (leaks == leaked and found.row < known.row)


def _retold(
    strategy: Strategy, bars: SymbolBars, features: Features, n_cuts: int, seed: int
) -> Iterator[tuple[int, Callable[[int], str], Features]]:
    """Yield ``(end, what was done, features)``: the first ``end`` rows must be as before."""
    ends = cuts_of(bars, features, n_cuts, seed)
    for end in ends:
        yield end, _cut_words, compute_features(strategy, first_rows(bars, end))
    spread = np.linspace(0, len(ends) - 1, min(POISONED_CUTS, len(ends)))
    for end in [ends[int(place)] for place in spread]:
        for how, other in poisoned(bars, end, seed).items():
            yield end, _poison_words(how), compute_features(strategy, other)


def _cut_words(end: int) -> str:
    return f"with the first {end} bars alone"


def _poison_words(how: str) -> Callable[[int], str]:
    return lambda end: f"with every bar after the first {end} {how}"


def differences(full: Features, other: Features, end: int) -> Iterator[Difference]:
    """Yield, a feature, the first of the first ``end`` rows whose bits differ."""
    for name, ours, theirs in zip(full.names, full.columns, other.columns, strict=True):
        ours_past, theirs_past = ours[:end], theirs[:end]
        if np.array_equal(ours_past.view(np.int64), theirs_past.view(np.int64)):
            continue
        row, frac = first_difference(ours_past, theirs_past)
        if row >= 0:
            yield Difference(name, row, float(ours_past[row]), float(theirs_past[row]), frac)


def first_difference(ours: Floats, theirs: Floats) -> tuple[int, float]:
    """Return the first row that differs by more than rounding, and by which part of the scale.

    The scale is the mean finite magnitude of the column. Rounding alone gives its first
    row; (-1, 0.0) when all values are equal (two NaN are, and so are 0.0 and -0.0).
    """
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return -1, 0.0
    finite = np.abs(ours[np.isfinite(ours)])
    scale = float(finite.mean()) if len(finite) else 1.0
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(ours - theirs))
    apart = np.where(np.isfinite(apart), apart, np.inf) / (scale or 1.0)
    beyond = apart > ROUNDING_FRAC
    row = int(np.argmax(beyond)) if beyond.any() else int(np.argmax(~same))
    return row, float(apart[row])


def _finding(bars: SymbolBars, found: Difference, what: str) -> Finding:
    when = iso(int(bars.ts_close[found.row]))
    place = f"feature {found.feature!r} of {bars.symbol} at the bar closing {when}"
    if found.frac <= ROUNDING_FRAC:
        return Finding(
            "rounding",
            f"{place} is {found.full!r} with all {len(bars)} bars and {found.other!r} {what}:"
            " its order of additions depends on the number of bars, so live values can differ"
            " from a replay's in the last bits. Use mqd.indicators, or a sum that runs forward.",
            bars.symbol, when, found.frac,
        )  # fmt: skip
    return Finding(
        "lookahead",
        f"{place} is {found.full!r} with all {len(bars)} bars, but {found.other!r} {what}."
        " Use values of the same and earlier bars only (rolling, expanding, shift(+1)).",
        bars.symbol, when, found.frac,
    )  # fmt: skip
