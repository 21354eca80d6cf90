"""Which bar is under way, and when all that will come of it has come."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mqd import logs
from mqd.core.clock import NS_PER_DAY, NS_PER_S, iso
from mqd.errors import DataError
from mqd.live.market import GrowingMarket
from mqd.live.paced import bar_of
from mqd.live.plan import LiveBar
from mqd.market_data.calendar import TradingCalendar

GRACE_NS = 3 * NS_PER_S
"""How long after a bar's close a feed may take to tell it; venue time."""


def next_close(calendar: TradingCalendar, width_ns: int, after_ns: int) -> int:
    """Return the first close of a bar of ``width_ns`` later than ``after_ns``.

    Raises ``DataError`` where the calendar knows no later session.
    """
    row = int(np.searchsorted(calendar.closes, after_ns, side="right"))
    if row == len(calendar.closes):
        raise DataError(
            f"The calendar {calendar.name} was opened up to {iso(int(calendar.closes[-1]))}, and"
            f" no bar closes in it after {iso(after_ns)}. Start the desk again: it opens the"
            " calendar up to the end of next year."
        )
    opens, closes = calendar.opens[row : row + 1], calendar.closes[row : row + 1]
    if width_ns >= NS_PER_DAY:
        return int(closes[0])
    start = np.maximum(opens, after_ns)
    in_break = (start >= calendar.break_starts[row]) & (start < calendar.break_ends[row])
    start = np.where(in_break, calendar.break_ends[row], start)
    return int(calendar.buckets(start, np.array([row]), width_ns)[1][0])


class Arrivals:
    """Bars from the stream's thread, by step and symbol, for the desk's thread.

    A later message about the same bar replaces it (a revision before the step's end wins).
    ``late`` counts bars that came after their step, ``foreign`` those of other symbols, ``bad``
    those that are no bars of this run: each is logged and dropped, the others stay.
    """

    def __init__(self, market: GrowingMarket, wake: threading.Event) -> None:
        self._market, self._wake = market, wake
        self._lock = threading.Lock()
        self._steps: dict[int, dict[str, LiveBar]] = {}
        self._log = logs.get_logger("arrivals")
        self.late = 0
        self.foreign = 0
        self.bad = 0

    def put(self, messages: Sequence[dict[str, Any]]) -> None:
        """Keep a frame's bars; called on the stream's thread."""
        daily = self._market.plan.timeframe_ns >= NS_PER_DAY
        wanted = [m for m in messages if m.get("T") == ("d" if daily else "b")]
        for message in wanted:
            try:
                self.keep(bar_of(message))
            except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
                self._drop(str(message.get("S")), error)
        if wanted:
            self._wake.set()

    def keep(self, bar: LiveBar) -> None:
        """Keep one bar; raise ``DataError`` for one that is no bar of this run."""
        if bar.symbol not in self._market.n_rows:
            self.foreign += 1
            return
        ts_close = self._market.check(bar)
        with self._lock:
            self._steps.setdefault(ts_close, {})[bar.symbol] = bar

    def add(self, bars: Sequence[LiveBar], owed: Mapping[int, frozenset[str]]) -> int:
        """Keep those of the bars that are owed, ``owed`` by close, and return how many.

        One that is no bar is counted and dropped; one that came meanwhile stays as it is.
        """
        n_kept = 0
        for bar in bars:
            try:
                ts_close = self._market.check(bar)
                if bar.symbol in owed.get(ts_close, ()) and bar.symbol not in self.of(ts_close):
                    self.keep(bar)
                    n_kept += 1
            except (DataError, TypeError, OverflowError) as error:
                self._drop(bar.symbol, error)
        if n_kept:
            self._wake.set()
        return n_kept

    def _drop(self, symbol: str, error: Exception) -> None:
        self.bad += 1
        why = str(error) if isinstance(error, DataError) else repr(error)
        self._log.warning("bad_bar_dropped", symbol=symbol, why=why)

    def of(self, ts_close: int) -> dict[str, LiveBar]:
        """Return the bars that have arrived for the step of ``ts_close``."""
        with self._lock:
            return dict(self._steps.get(ts_close, {}))

    def closes(self, after_ns: int, until_ns: int) -> list[int]:
        """Return the closes in ``(after_ns, until_ns]`` that have bars here, oldest first."""
        with self._lock:
            return sorted(ts for ts in self._steps if after_ns < ts <= until_ns)

    def take_before(self, ts_close: int) -> list[LiveBar]:
        """Return and forget the bars of steps before ``ts_close``: they came late."""
        found: list[LiveBar] = []
        with self._lock:
            for ts in sorted(ts for ts in self._steps if ts < ts_close):
                found += self._steps.pop(ts).values()
            self.late += len(found)
        return found

    def done(self, ts_close: int, bars: Sequence[LiveBar]) -> None:
        """Forget the bars that a step has taken; a revision of the meantime came late."""
        with self._lock:
            step = self._steps.pop(ts_close, {})
            taken = {bar.symbol: bar for bar in bars}
            self.late += sum(1 for symbol, bar in step.items() if taken.get(symbol) is not bar)


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
