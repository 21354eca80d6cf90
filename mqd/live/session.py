"""A desk in real time: it hears reports as they come, and decides when a bar has closed.

The session's thread is the only one that changes anything. The stream's thread hands over bars
and trade updates, the watcher's thread what it asked the venue, the executor's threads what
became of their calls; each sets ``wake``.

A step ends when all its bars are there, or a grace after its close. Its end is either a decision
or history:

- The desk decides on the newest step alone. While it was late (a slow chore, a blocked machine)
  bars of several steps came: the older ones are taken in their order as history. The market,
  marks and features know them; nobody decides on their closes, no hook hears of them. A step that
  ended more than its own width (and the grace) ago is history too: its close is no price any more.
- Bars that come after their step are history as well, while their symbol has no newer row.
- Bars that did not come in half of the grace are asked for, where there is someone to ask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from mqd import logs
from mqd.core.clock import NS_PER_DAY, NS_PER_S, LiveClock, iso
from mqd.desk.loop import Desk
from mqd.live.carry_over import CarryOver
from mqd.live.catching_up import CatchingUp
from mqd.live.market import GrowingMarket
from mqd.live.realtime import RealtimeBroker
from mqd.live.steps import GRACE_NS, Arrivals, is_complete, next_close, session_ends

TICK_S = 0.02
WARM_S, WARM_TICK_S = 0.1, 0.004
"""How long before a close the way to an order is kept warm, and how often; real time."""


LET_GO_S = 0.001
"""How long the desk stands back after it decided: workers that send orders go first."""


class Chore(Protocol):
    """Something that the session does between reports, on its own thread; cheap when not due."""

    def __call__(self, session: LiveSession) -> None:
        """Do what is due now."""
        ...


class LiveSession:
    """Drives one desk until ``stop`` or until its time is over.

    ``chores`` run in their order at every turn of the loop (heartbeat, latches, reconciliation,
    queries of unknown orders). ``catching_up`` is told of the bars that a step lacks;
    ``warm_up`` goes the way of an order, without one, shortly before a bar.
    ``stopped`` says why the session ended, ``ended`` that its last step is over and only late
    reports are heard; ``n_closed`` counts steps, ``n_passed`` those of them
    that were taken as history, ``n_late_taken`` late bars that became history.
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
        catching_up: CatchingUp | None = None,
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        self.desk, self.market, self.broker, self.clock = desk, market, broker, clock
        self.arrivals, self.wake = arrivals, wake
        self._chores, self._grace_ns = tuple(chores), grace_ns
        self._catching_up, self._warm_up = catching_up, warm_up
        self._carry_over = CarryOver()
        self._log = logs.get_logger("session")
        self._pause = threading.Event()
        self.stopped, self.ended = "", False
        self._wanted_ns = 0
        self.n_closed = self.n_passed = self.n_late_taken = 0

    def stop(self, why: str) -> None:
        """End the session at its next turn; from any thread."""
        self.stopped = self.stopped or why
        self.wake.set()

    def run(self, over: Callable[[], bool]) -> None:
        """Go on until ``over()`` or ``stop``; ``over`` is asked between steps.

        Raises ``DataError`` when the calendar ends before the session does.
        """
        self._wanted_ns = self.market.taken_ns or self.clock.now_ns()
        self.desk.start()
        while not self.stopped and not over():
            step = self._begin()
            if not self._follow(step, over):
                break
            self._end(step)
        self.desk.stop()
        self.ended = True

    def counters(self) -> dict[str, int]:
        """Return what status shows: steps, those passed as history, bars that came after their
        step, those of them that became history, and bars that were asked for and filled in."""
        catching_up = self._catching_up
        return {
            "bars": self.n_closed, "n_passed": self.n_passed, "late_bars": self.arrivals.late,
            "n_late_taken": self.n_late_taken,
            "n_backfilled": 0 if catching_up is None else catching_up.n_backfilled,
        }  # fmt: skip

    def hear(self) -> None:
        """Take in what has arrived and do the chores that are due."""
        self._listen()
        for chore in self._chores:
            chore(self)
        self._carry_over.note(self.desk)

    def _listen(self) -> None:
        self.desk.parts.journal.now_ns = self.clock.now_ns()
        self._carry_over.note_bars(self.desk, self.market.taken_ns)
        self.desk.hear()
        for activity in self.broker.activities():
            self.desk.book(activity)

    # --- which step --------------------------------------------------------------------------

    def _begin(self) -> int:
        """Announce the bar that is under way."""
        step = self.market.announce(self._following(self.market.taken_ns))
        self._carry_over.note_bars(self.desk, self.market.taken_ns)
        self.desk.begin(step)
        self._carry_over.note(self.desk)
        return step

    def _following(self, after_ns: int) -> int:
        """Return the close of the step after one: the oldest whose bars have come, else the first
        whose bars may still come."""
        now_ns = self.clock.now_ns()
        told = self.arrivals.closes(after_ns, now_ns)
        if told:
            return told[0]
        plan = self.market.plan
        after_ns = max(after_ns, now_ns - self._grace_ns)
        return next_close(self.market.calendar, plan.timeframe_ns, after_ns)

    def _follow(self, step: int, over: Callable[[], bool]) -> bool:
        """Hear what comes until the step is complete; False when the session ends before."""
        while not self.stopped:
            self.hear()
            ts_close = self.market.ts_close[step]
            if not self._is_over(ts_close):
                self._catch_up(ts_close)
                self._rest(ts_close)
                if not self._has_all(ts_close):
                    continue
                self._listen()  # no chore: an order may wait for these bars
            if self._gather(ts_close):
                return not self.stopped
            if over():
                return False
            self.market.postpone(self._following(ts_close))
            self.desk.begin(step)
        return False

    def _rest(self, ts_close: int) -> None:
        """Wait for what comes next, at most a tick; near a close the way to an order is kept warm.

        Never past the close: a bar may have come before it.
        """
        left_s = (ts_close - self.clock.now_ns()) / NS_PER_S / self.clock.factor
        pause_s = TICK_S
        if self._warm_up is not None and left_s <= WARM_S:
            pause_s = WARM_TICK_S
            if not 0 < left_s < WARM_TICK_S / 2:
                self._warm_up()
        self.wake.wait(min(pause_s, left_s) if left_s > 0 else pause_s)
        self.wake.clear()

    def _catch_up(self, ts_close: int) -> None:
        """Ask for what older steps lack, and this one too when half of the grace is over."""
        if self._catching_up is None:
            return
        late_ns = self.clock.now_ns() - ts_close
        until_ns = ts_close if late_ns * 2 >= self._grace_ns else ts_close - 1
        if until_ns > self._wanted_ns:
            self._catching_up.want(self._lacking(self._wanted_ns, until_ns))
            self._wanted_ns = until_ns

    def _lacking(self, after_ns: int, until_ns: int) -> dict[int, frozenset[str]]:
        """Return the symbols without a bar, taken or waiting, by the closes of the steps."""
        found: dict[int, frozenset[str]] = {}
        market, ts_close = self.market, after_ns
        while ts_close < until_ns:
            ts_close = next_close(market.calendar, market.plan.timeframe_ns, ts_close)
            if ts_close > until_ns:
                break
            arrived = self.arrivals.of(ts_close)
            found[ts_close] = frozenset(
                symbol
                for symbol in market.symbols
                if symbol not in arrived and not market.has_closed(symbol, ts_close)
            )
        return found

    def _is_over(self, ts_close: int) -> bool:
        """Return whether nothing more is waited for: feeds tell their bars in order."""
        return self._is_complete(ts_close) or self._is_overtaken(ts_close)

    def _has_all(self, ts_close: int) -> bool:
        """Return whether a step is over because every symbol's bar is there."""
        everything = len(self.arrivals.of(ts_close)) == len(self.market.symbols)
        return everything and self._is_complete(ts_close)

    def _is_complete(self, ts_close: int) -> bool:
        """Return whether a step may end. A daily bar is told while it grows: only the grace says
        that it is whole."""
        n_symbols, plan = len(self.market.symbols), self.market.plan
        wanted = n_symbols + 1 if plan.timeframe_ns >= NS_PER_DAY else n_symbols
        found = len(self.arrivals.of(ts_close))
        return is_complete(found, wanted, self.clock.now_ns(), ts_close, self._grace_ns)

    def _is_overtaken(self, ts_close: int) -> bool:
        """Return whether a newer step is complete."""
        newer = self.arrivals.closes(ts_close, self.clock.now_ns())
        return any(self._is_complete(ts) for ts in newer)

    def _is_history(self, ts_close: int) -> bool:
        """Return whether a step is too old to be decided on."""
        age_ns = self.clock.now_ns() - ts_close
        too_old = age_ns > self.market.plan.timeframe_ns + self._grace_ns
        return too_old or self._is_overtaken(ts_close)

    # --- its end -----------------------------------------------------------------------------

    def _gather(self, ts_close: int) -> bool:
        """Put the step's bars before the broker; False when there is none."""
        late = self.arrivals.take_before(ts_close)
        self.n_late_taken += self.market.take_late(late)
        found = self.arrivals.of(ts_close)
        self.broker.arrived = [found[s] for s in self.market.symbols if s in found]
        return bool(found)

    def _end(self, step: int) -> None:
        """Close the step: mark, decide, send; or take it as history."""
        ts_close = self.market.ts_close[step]
        self.broker.ends_session = session_ends(self.market.calendar, ts_close)
        taken = list(self.broker.arrived)
        self.desk.parts.journal.now_ns = ts_close
        if self._is_history(ts_close):
            self.desk.close(step)
            self.n_passed += 1
            self._log.warning("step_passed", step=iso(ts_close), n_bars=len(taken))
        else:
            self.desk.end(step)
            self._pause.wait(LET_GO_S)
        self._carry_over.note(self.desk)
        self.arrivals.done(ts_close, taken)
        self.n_closed += 1
