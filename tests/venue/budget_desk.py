"""``mqd`` in a process whose paper desk counts its calls as one on Alpaca's own host does.

``python budget_desk.py NOTES HOLD WORDS...``: each turn at the rate budget becomes a line of JSON
in the file NOTES; when the file HOLD appears, the budget is held for twenty seconds, as after a 429
that names such a reset.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from pathlib import Path

from mqd.adapters.alpaca.budget import Budget
from mqd.cli.main import main
from mqd.core.clock import NS_PER_S, WallClock
from mqd.live import trading

HOLD_S = 20


class NotedBudget(Budget):
    """A budget that notes who asked, when, and how long the turn was waited for."""

    def __init__(self, notes, hold):
        self._mono = WallClock()
        super().__init__(self._mono)
        self._notes, self._hold_file = notes.open("a"), hold
        self._note_lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        pause = threading.Event()
        while not self._hold_file.exists():
            pause.wait(0.02)
        super().hold(HOLD_S * NS_PER_S)
        self._note(kind="held")

    def hold(self, for_ns):
        """Hold, and note that the venue said so."""
        super().hold(for_ns)
        self._note(kind="429")

    def take(self, *, urgent, patience_s=5.0):
        """Take a call, and note how."""
        began_ns = self._mono.monotonic_ns()
        granted = super().take(urgent=urgent, patience_s=patience_s)
        waited_ns = self._mono.monotonic_ns() - began_ns
        self._note(
            kind="call", urgent=urgent, granted=granted, waited_s=waited_ns / NS_PER_S,
            thread=threading.current_thread().name,
        )  # fmt: skip
        return granted

    def _note(self, **words):
        with self._note_lock:
            line = {"at_s": self._mono.monotonic_ns() / NS_PER_S, **words}
            self._notes.write(json.dumps(line) + "\n")
            self._notes.flush()


if __name__ == "__main__":
    budget = NotedBudget(Path(sys.argv[1]), Path(sys.argv[2]))
    terms = trading.Terms

    @functools.wraps(terms)
    def counted(**words):
        """Return the terms of a session that has a budget."""
        return terms(**words | {"budget": budget})

    trading.Terms = counted
    sys.exit(main(sys.argv[3:]))
