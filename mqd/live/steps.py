"""Which bar is under way, and when all that will come of it has come."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.live.market import GrowingMarket, LiveBar
from mqd.live.paced import bar_of
from mqd.market_data.calendar import TradingCalendar

GRACE_NS = 3 * NS_PER_S
"""How long after a bar's close a feed may take to tell it; venue time."""


def next_close(calendar: TradingCalendar, width_ns: int, after_ns: int) -> int:
    """Return the first close of a bar of ``width_ns`` later than ``after_ns``."""
    row = int(np.searchsorted(calendar.closes, after_ns, side="right"))
    opens, closes = calendar.opens[row : row + 1], calendar.closes[row : row + 1]
    if width_ns >= NS_PER_DAY:
        return int(closes[0])
    start = np.maximum(opens, after_ns)
    in_break = (start >= calendar.break_starts[row]) & (start < calendar.break_ends[row])
    start = np.where(in_break, calendar.break_ends[row], start)
    return int(calendar.buckets(start, np.array([row]), width_ns)[1][0])


class Arrivals:
    """Bars from the stream's thread, by symbol, for the desk's thread.

    A later message about the same bar replaces it (a revision before the close wins); one about
    a bar that is over is counted in ``late`` and left alone.
    """

    def __init__(self, market: GrowingMarket, wake: threading.Event) -> None:
        self._market, self._wake = market, wake
        self._lock = threading.Lock()
        self._bars: dict[tuple[int, str], LiveBar] = {}
        self.late = 0
        self.foreign = 0

    def put(self, messages: Sequence[dict[str, Any]]) -> None:
        """Keep a frame's bars; called on the stream's thread."""
        daily = self._market.plan.timeframe_ns >= NS_PER_DAY
        bars = [bar_of(m) for m in messages if m.get("T") == ("d" if daily else "b")]
        with self._lock:
            for bar in bars:
                if bar.symbol in self._market.n_rows:
                    self._bars[bar.ts_open, bar.symbol] = bar
                else:
                    self.foreign += 1
        if bars:
            self._wake.set()

    def of(self, ts_close: int) -> dict[str, LiveBar]:
        """Return the bars that have arrived for the step of ``ts_close``; drop older ones."""
        with self._lock:
            kept = dict(self._bars)
        found: dict[str, LiveBar] = {}
        for key, bar in kept.items():
            closes = self._market.close_of(bar.ts_open)
            if closes == ts_close:
                found[bar.symbol] = bar
            elif closes is None or closes < ts_close:
                self._forget(key)
        return found

    def done(self, bars: Sequence[LiveBar]) -> None:
        """Forget the bars that a step has taken."""
        for bar in bars:
            self._forget((bar.ts_open, bar.symbol), late=0)

    def _forget(self, key: tuple[int, str], late: int = 1) -> None:
        with self._lock:
            self._bars.pop(key, None)
            self.late += late


def is_complete(
    found: int, wanted: int, now_ns: int, ts_close: int, grace_ns: int = GRACE_NS
) -> bool:
    """Return whether a step may end: all bars are there, or the feed has had its time."""
    if now_ns < ts_close:
        return False
    return found >= wanted or now_ns >= ts_close + grace_ns


def session_ends(calendar: TradingCalendar, ts_close: int) -> bool:
    """Return whether a bar's close is its session's."""
    row = int(np.searchsorted(calendar.closes, ts_close))
    return row < len(calendar.closes) and int(calendar.closes[row]) == ts_close
