"""One symbol's bars as the simulated venue trades them: integer ticks and lots."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import SymbolBars
from mqd.core.money import Scale

LOTS_MAX = 2**62


class Tape(NamedTuple):
    """Integer columns of one symbol; indexing gives Python ints.

    Prices in ticks; ``capacity`` is the participation share of the bar's volume in lots, -1 where
    the bar has no volume; ``day`` is the session's date as days since 1970.
    """

    symbol: str
    place: int
    scale: Scale
    open: memoryview
    high: memoryview
    low: memoryview
    close: memoryview
    capacity: memoryview
    ts_open: memoryview
    ts_close: memoryview
    day: memoryview


CAPACITY_GUARD = 1.0 + 2.0**-50  # 0.29 of 1,500 is 435, although the float product is a hair below


def capacity_lots(volume: NDArray[np.float64], frac: float, lot: Decimal) -> NDArray[np.int64]:
    """Return ``floor(volume x frac / lot)`` a bar, -1 where nothing traded; at most 2**62."""
    share = np.floor(volume * frac / float(lot) * CAPACITY_GUARD)
    lots = np.minimum(share, LOTS_MAX).astype(np.int64)
    lots[volume <= 0] = -1
    return lots


def tape_of(bars: SymbolBars, place: int, scale: Scale, participation_frac: float | None) -> Tape:
    """Build the tape of ``bars``; ``place`` is the symbol's place in the run.

    ``participation_frac=None``: no volume is known, every bar fills whatever is asked.
    """

    def column(values: NDArray[np.int64]) -> memoryview:
        return np.ascontiguousarray(values, dtype=np.int64).data

    if participation_frac is None:
        capacity = np.full(len(bars), LOTS_MAX, dtype=np.int64)
    else:
        capacity = capacity_lots(bars.volume, participation_frac, bars.lot)
    return Tape(
        bars.symbol,
        place,
        scale,
        column(bars.ticks("open")),
        column(bars.ticks("high")),
        column(bars.ticks("low")),
        column(bars.ticks("close")),
        column(capacity),
        column(bars.ts_open),
        column(bars.ts_close),
        column(bars.session),
    )
