"""A desk in real time: it hears reports as they come, and decides when a bar has closed.

The session's thread is the only one that changes anything. The stream's thread hands over bars
and trade updates, the watcher's thread what it asked the venue, the executor's threads what
became of their calls; each sets ``wake``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from mqd.core.clock import LiveClock
from mqd.desk.loop import Desk
from mqd.live.market import GrowingMarket
from mqd.live.realtime import RealtimeBroker
from mqd.live.steps import GRACE_NS, Arrivals, is_complete, next_close, session_ends

TICK_S = 0.02


class Chore(Protocol):
    """Something that the session does between reports, on its own thread; cheap when not due."""

    def __call__(self, session: LiveSession) -> None:
        """Do what is due now."""
        ...


class LiveSession:
    """Drives one desk until ``stop`` or until its time is over.

    ``chores`` run in their order at every turn of the loop (heartbeat, latches, reconciliation,
    queries of unknown orders). ``stopped`` says why the session ended.
    """

    def __init__(
        self,
        desk: Desk,
        market: GrowingMarket,
        broker: RealtimeBroker,
        clock: LiveClock,
        arrivals: Arrivals,
        wake: threading.Event,
        chores: Sequence[Chore] = (),
        *,
        grace_ns: int = GRACE_NS,
    ) -> None:
        self.desk, self.market, self.broker, self.clock = desk, market, broker, clock
        self.arrivals, self.wake = arrivals, wake
        self._chores, self._grace_ns = tuple(chores), grace_ns
        self.stopped = ""
        self.n_closed = 0

    def stop(self, why: str) -> None:
        """End the session at its next turn; from any thread."""
        self.stopped = self.stopped or why
        self.wake.set()

    def run(self, over: Callable[[], bool]) -> None:
        """Go on until ``over()`` or ``stop``; ``over`` is asked between steps."""
        self.desk.start()
        while not self.stopped and not over():
            step = self._begin()
            if self._follow(step, over):
                self._end(step)
        self.desk.stop()

    def _begin(self) -> int:
        """Announce the bar that is under way."""
        last = self.market.ts_close[-1] if self.market.n_steps else 0
        after = max(int(last), self.clock.now_ns())
        step = self.market.announce(self._next(after))
        self.desk.begin(step)
        return step

    def _next(self, after_ns: int) -> int:
        return next_close(self.market.calendar, self.market.plan.timeframe_ns, after_ns)

    def _follow(self, step: int, over: Callable[[], bool]) -> bool:
        """Hear what comes until the step is complete; False when the session ends before."""
        while not self.stopped:
            self.wake.wait(TICK_S)
            self.wake.clear()
            self.hear()
            ts_close = self.market.ts_close[step]
            found = self.arrivals.of(ts_close)
            if is_complete(
                len(found), len(self.market.symbols), self.clock.now_ns(), ts_close, self._grace_ns
            ):
                if found:
                    self.broker.arrived = [found[s] for s in self.market.symbols if s in found]
                    return True
                if over():
                    return False
                self.market.postpone(self._next(self.clock.now_ns()))
                self.desk.begin(step)
        return False

    def hear(self) -> None:
        """Take in what has arrived and do the chores that are due."""
        self.desk.parts.journal.now_ns = self.clock.now_ns()
        self.desk.hear()
        for activity in self.broker.activities():
            self.desk.book(activity)
        for chore in self._chores:
            chore(self)

    def _end(self, step: int) -> None:
        """Close the step: mark, decide, send."""
        ts_close = self.market.ts_close[step]
        self.broker.ends_session = session_ends(self.market.calendar, ts_close)
        taken = list(self.broker.arrived)
        self.desk.parts.journal.now_ns = ts_close
        self.desk.end(step)
        self.arrivals.done(taken)
        self.n_closed += 1
