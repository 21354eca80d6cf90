"""Bars that the stream owes: asked for from another place, on a thread that may wait.

The desk never waits for an answer. What comes lies with the arrivals: bars of the step under way
complete it, bars of steps that are over become history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mqd import logs
from mqd.live.plan import LiveBar
from mqd.live.steps import Arrivals

BarsBetween = Callable[[int, int], list[LiveBar]]
"""Returns the bars that close in ``(after_ns, until_ns]``."""
STEPS_MAX = 4096
"""Steps that are remembered at most; older ones stay without their bars."""
AGAIN_S = 1.0
AGAIN_S_MAX = 15.0
JOIN_S = 10.0


class CatchingUp:
    """Asks once for what each step lacks, all steps that are owed in one question.

    A step for which there is an answer is settled, whatever it held: no bar there means that
    nothing traded. A question that fails is asked again, later and later.
    """

    def __init__(self, arrivals: Arrivals, bars_between: BarsBetween) -> None:
        self._arrivals, self._bars_between = arrivals, bars_between
        self._owed: dict[int, frozenset[str]] = {}
        self._lock, self._due = threading.Lock(), threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqd-backfill", daemon=True)
        self._log = logs.get_logger("backfill")
        self.n_backfilled = 0

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking and join the thread."""
        self._stop.set()
        self._due.set()
        self._thread.join(JOIN_S)

    def want(self, owed: Mapping[int, frozenset[str]]) -> None:
        """Note the symbols whose bars a step lacks, by the step's close."""
        with self._lock:
            self._owed |= {ts_close: symbols for ts_close, symbols in owed.items() if symbols}
            for ts_close in sorted(self._owed)[:-STEPS_MAX]:
                del self._owed[ts_close]
        self._due.set()

    def ask(self) -> None:
        """Ask for all that is owed; what the question raises comes through, and all stays owed."""
        with self._lock:
            owed = dict(self._owed)
        if not owed:
            return
        bars = self._bars_between(min(owed) - 1, max(owed))
        with self._lock:
            for ts_close in owed:
                self._owed.pop(ts_close, None)
        self.n_backfilled += self._arrivals.add(bars, owed)

    def _run(self) -> None:
        n_failed = 0
        while not self._stop.is_set():
            self._due.wait()
            self._due.clear()
            try:
                self.ask()
                n_failed = 0
            except Exception as error:  # noqa: BLE001 - without this thread bars stay owed
                again_s = min(AGAIN_S * 2.0**n_failed, AGAIN_S_MAX)
                n_failed = min(n_failed + 1, 10)
                self._log.warning("backfill_failed", why=str(error) or type(error).__name__)
                self._stop.wait(again_s)
                self._due.set()
