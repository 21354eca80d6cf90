"""Warm-up: how many bars a feature needs until its value is that of the whole history."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Final

import numpy as np

from mqd.checks.report import Finding
from mqd.core.bar import SymbolBars
from mqd.errors import MqdError
from mqd.strategy.causality import CUT_BARS_MIN
from mqd.strategy.feature_columns import Features, compute_features
from mqd.strategy.strategy import Strategy

NEAR: Final = 1e-9
"""The stated tolerance for recursive features, relative to the value of the full history."""
ROWS: Final = 4


def warm_up(
    strategy: Strategy, bars: SymbolBars, features: Features, seed: int
) -> Iterator[Finding]:
    """Yield a note on the shortest window that gives the values of the full history.

    Windows that end at the last bar and at ``ROWS`` random ones of the second half are
    compared, to the bit. Where none is equal the values depend on the first bar (the anchor):
    the note then tells the window within ``NEAR``.
    """
    n = len(bars)
    if not features.names or n <= CUT_BARS_MIN:
        return
    if not features.ready.any():
        sentence = f"{bars.symbol}: its features are never all finite; the strategy never decides."
        yield Finding("warm-up", sentence, bars.symbol)
        return
    first = int(np.argmax(features.ready))
    rows = [n - 1, *np.random.default_rng(seed).integers(n // 2, n, ROWS).tolist()]
    search = _Search(strategy, bars, features, rows)
    window = search.shortest(0.0)
    begins = f"{bars.symbol}: the first decision is at bar {first + 1}"
    if window is not None:
        yield Finding(
            "warm-up",
            f"{begins}; a window of {window} bars gives the values of all {n} to the bit.",
            bars.symbol, value=float(window),
        )  # fmt: skip
        return
    near = search.shortest(NEAR)
    names = ", ".join(search.apart(0.0))
    told = (
        f"from {near} bars on they agree within {NEAR:g} of their value"
        if near is not None
        else f"even {search.longest} bars do not agree within {NEAR:g}: they count from the anchor"
    )
    yield Finding(
        "anchor dependence",
        f"{begins}; {names} depend on where the bars begin: {told}. Live values equal a replay's"
        " only when both begin at the same bar (the run's anchor).",
        bars.symbol, value=None if near is None else float(near),
    )  # fmt: skip


class _Search:
    """Windows of one symbol's bars against the features of its full history."""

    def __init__(
        self, strategy: Strategy, bars: SymbolBars, features: Features, rows: Sequence[int]
    ) -> None:
        self._strategy, self._bars, self._features = strategy, bars, features
        self._rows = rows
        self.longest = min(rows)
        self._values: dict[tuple[int, int], tuple[float, ...] | None] = {}

    def shortest(self, tolerance: float) -> int | None:
        """Return the shortest window that agrees; longer ones must agree too. None if none."""
        short, window = 0, 1
        while not self._agrees(window, tolerance):
            short = window
            if window == self.longest:
                return None
            window = min(2 * window, self.longest)
        while window - short > 1:
            middle = (short + window) // 2
            if self._agrees(middle, tolerance):
                window = middle
            else:
                short = middle
        longer = (min(window + 1, self.longest), min(2 * window, self.longest), self.longest)
        return window if all(self._agrees(one, tolerance) for one in longer) else None

    def apart(self, tolerance: float) -> list[str]:
        """Return the features whose values differ in some window of more than half the bars."""
        differ: set[str] = set()
        for window in (self.longest, self.longest * 3 // 4, self.longest // 2):
            for row in self._rows:
                differ |= self._differing(window, row, tolerance)
        return [name for name in self._features.names if name in differ]

    def _agrees(self, window: int, tolerance: float) -> bool:
        return not any(self._differing(window, row, tolerance) for row in self._rows)

    def _differing(self, window: int, row: int, tolerance: float) -> set[str]:
        values = self._last_values(window, row)
        names = self._features.names
        if values is None:
            return set(names)
        full = [float(column[row]) for column in self._features.columns]
        return {
            name
            for name, ours, theirs in zip(names, full, values, strict=True)
            if not (_equal(ours, theirs) or abs(ours - theirs) <= tolerance * abs(ours))
        }

    def _last_values(self, window: int, row: int) -> tuple[float, ...] | None:
        key = window, row
        if key not in self._values:
            self._values[key] = self._computed(rows_between(self._bars, row + 1 - window, row + 1))
        return self._values[key]

    def _computed(self, part: SymbolBars) -> tuple[float, ...] | None:
        """Return the features at the last row, None where so few bars are refused."""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                short = compute_features(self._strategy, part)
        except MqdError:
            return None
        if short.names != self._features.names:
            return None
        return tuple(float(column[-1]) for column in short.columns)


def _equal(ours: float, theirs: float) -> bool:
    return ours == theirs or (math.isnan(ours) and math.isnan(theirs))


def rows_between(bars: SymbolBars, first: int, end: int) -> SymbolBars:
    """Return rows ``first`` to ``end`` (left out), with the actions between them."""
    columns = {
        field.name: value[first:end]
        for field in fields(bars)
        if isinstance(value := getattr(bars, field.name), np.ndarray)
    }
    opens, closes = int(bars.ts_open[first]), int(bars.ts_close[end - 1])
    actions = tuple(a for a in bars.actions if opens <= a.ts_ex <= closes)
    return replace(bars, **columns, actions=actions)  # type: ignore[arg-type]
