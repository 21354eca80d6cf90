"""Lookahead, found by cutting: a feature of a bar must not change when later bars are removed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from mqd.core.bar import Floats, SymbolBars
from mqd.core.clock import iso
from mqd.errors import BadFeatures
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

CUT_BARS_MIN = 64
"""Shorter cuts are not tried: many features mean nothing on a handful of bars."""


def check_causal(
    strategy: Strategy,
    bars: SymbolBars,
    features: Features,
    cuts: int = 2,
    tolerance: float = 1e-9,
) -> None:
    """Recompute the features on bars cut short and compare with ``features`` up to the cut.

    The shortest cut finds warm-up rows that were filled backwards; beside it ``cuts`` equally
    spaced ends, the last one bar before the end; the start is never cut. Two
    values agree when both are NaN, or differ by at most ``tolerance`` of the larger (0 asks for
    equal bits). Raises ``BadFeatures`` naming feature, bar and both values.
    """
    for end in cut_points(len(bars), cuts):
        short = compute_features(strategy, first_rows(bars, end))
        name = type(strategy).__name__
        if short.names != features.names:
            what = f"returns {list(short.names)} on the first {end} bars, {list(features.names)}"
            raise BadFeatures(name, bars.symbol, f"{what} on all {len(bars)}")
        for key, cut, full in zip(features.names, short.columns, features.columns, strict=True):
            row = _first_difference(cut, full[:end], tolerance)
            if row is not None:
                raise BadFeatures(name, bars.symbol, _sentence(bars, key, row, full, cut, end))


def cut_points(n: int, cuts: int) -> tuple[int, ...]:
    """Return the ends of the cuts: deterministic, ascending, at least ``CUT_BARS_MIN`` bars."""
    ends = {CUT_BARS_MIN, *((n - 1) * (step + 1) // cuts for step in range(cuts))}
    return tuple(sorted(end for end in ends if CUT_BARS_MIN <= end < n))


def first_rows(bars: SymbolBars, end: int) -> SymbolBars:
    """Return the first ``end`` bars, with the corporate actions known by then."""
    columns = {
        field.name: value[:end]
        for field in fields(bars)
        if isinstance(value := getattr(bars, field.name), np.ndarray)
    }
    last = int(bars.ts_close[end - 1])
    known = tuple(action for action in bars.actions if action.ts_ex <= last)
    return replace(bars, **columns, actions=known)  # type: ignore[arg-type]


def _first_difference(cut: Floats, full: Floats, tolerance: float) -> int | None:
    if np.array_equal(cut, full, equal_nan=True):
        return None
    larger = np.maximum(np.abs(cut), np.abs(full))
    with np.errstate(invalid="ignore"):
        near = np.abs(cut - full) <= tolerance * larger
    same = near | (cut == full) | (np.isnan(cut) & np.isnan(full))
    return None if same.all() else int(np.argmin(same))


def _sentence(bars: SymbolBars, key: str, row: int, full: Floats, cut: Floats, end: int) -> str:
    return (
        f"feature {key!r} looks ahead: at the bar closing {iso(int(bars.ts_close[row]))} it is"
        f" {full[row]} with all {len(bars)} bars, but {cut[row]} with the first {end} alone."
        " Use values of the same and earlier bars only"
    )
