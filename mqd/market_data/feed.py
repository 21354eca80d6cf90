"""``ReplayFeed``: history in the one total order, as a live feed would have told it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from mqd.core.bar import Bar, Ints, SymbolBars
from mqd.market_data.aggregation import aggregate
from mqd.market_data.bars import Bars

CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Steps:
    """The steps of a replay: all base bars of one close form one step.

    ``ts_close`` int64 of shape (n_steps,), ascending and unique; ``rows`` int64 of shape
    (n_steps, n_symbols): the row of each symbol's bar in that step, -1 where it has none.
    """

    ts_close: Ints
    rows: Ints


class ReplayFeed:
    """Replays the bars of many symbols by ``(ts_close, time frame, symbol order)``.

    ``timeframes`` names longer frames; their bars are aggregated from the base bars and come
    when their bucket closes, after all base bars of that instant, shorter frames first.
    """

    def __init__(self, bars: Bars, timeframes: Sequence[str] = ()) -> None:
        self.bars = bars
        longer = [aggregate(bars, timeframe) for timeframe in timeframes]
        self._frames = [bars, *sorted(longer, key=lambda one: one.timeframe_ns)]

    def __iter__(self) -> Iterator[Bar]:
        for _, bar in self.events():
            yield bar

    def events(self) -> Iterator[tuple[str, Bar]]:
        """Yield every bar with its time frame in words, in the total order."""
        series = [(frame.timeframe, one) for frame in self._frames for one in frame.values()]
        waiting = [_in_order(one) for _, one in series]
        for index in _merge([one.ts_close for _, one in series]):
            yield series[index][0], next(waiting[index])

    def steps(self) -> Steps:
        """Return the base bars as one table of rows, for a loop without objects."""
        series = list(self.bars.values())
        every = np.sort(np.concatenate([one.ts_close for one in series]), kind="stable")
        closes = every[np.concatenate([[True], every[1:] != every[:-1]])]
        rows = np.full((len(closes), len(series)), -1, dtype=np.int64)
        for column, one in enumerate(series):
            rows[np.searchsorted(closes, one.ts_close), column] = np.arange(len(one))
        return Steps(closes, rows)


def _merge(stamps: list[Ints]) -> list[int]:
    """Return which ascending series comes next, again and again; ties by series order."""
    owner = np.repeat(np.arange(len(stamps)), [len(column) for column in stamps])
    order = np.argsort(np.concatenate(stamps), kind="stable")
    chosen: list[int] = owner[order].tolist()
    return chosen


def _in_order(bars: SymbolBars) -> Iterator[Bar]:
    columns = (
        bars.ts_open, bars.ts_close, bars.open, bars.high, bars.low, bars.close, bars.volume,
    )  # fmt: skip
    for start in range(0, len(bars), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        yield from map(Bar, repeat(bars.symbol), *(column[part].tolist() for column in columns))
