"""The steps of a replay: which symbol has a bar when, and what is known at each close."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from mqd.core.bar import Ints
from mqd.core.money import Scale
from mqd.execution.tape import Tape, tape_of
from mqd.market_data.bars import Bars
from mqd.market_data.feed import ReplayFeed, Steps
from mqd.market_data.sessions import (
    action_steps,
    session_steps,
    session_volumes,
    unknown_volume,
)

RECENT_BARS = 20
NEVER = 2**62


def _after(steps: list[int], step: int) -> int:
    place = bisect_right(steps, step)
    return steps[place] if place < len(steps) else NEVER


class Market:
    """All bars of a run as integer tapes, in steps of one ``ts_close`` each.

    ``ts_close[k]`` is the step's close; ``rows(k)`` gives each symbol's row in that step, -1
    where it has no bar; ``last_rows(k)`` its last row up to and including that step.
    """

    def __init__(self, bars: Bars, scales: dict[str, Scale], participation_frac: float) -> None:
        self.bars = bars
        self.symbols = bars.symbols
        self.tapes: dict[str, Tape] = {
            symbol: tape_of(
                bars[symbol],
                place,
                scales[symbol],
                None if unknown_volume(bars, symbol) else participation_frac,
            )
            for place, symbol in enumerate(self.symbols)
        }
        steps = ReplayFeed(bars).steps()
        ts_close, rows = steps.ts_close, steps.rows
        self.ts_close = ts_close.data
        self.n_steps = len(ts_close)
        self._rows = rows
        self._last_rows = np.maximum.accumulate(rows, axis=0)
        self._alone = len(self.symbols) == 1
        self.step = 0
        self.present_rows: Sequence[int] = [-1] * len(self.symbols)
        self._known_rows: Sequence[int] = self.present_rows
        self._restated: dict[str, int] = {}
        self._sessions(bars, steps)
        self.actions = action_steps(bars, ts_close)
        self._action_list = sorted(self.actions)
        self._volume: dict[str, Sequence[int]] = {}

    def _sessions(self, bars: Bars, steps: Steps) -> None:
        """Find the last step of each session and the calendar days until the next one."""
        calendar = bars.trading_calendar
        self.session_closes: Sequence[int] = calendar.closes.tolist()
        self.session_opens: Sequence[int] = calendar.opens.tolist()
        self.session_days: tuple[int, ...] = tuple(calendar.sessions.tolist())
        sessions = session_steps(bars, steps)
        self.day = sessions.day.data
        self.ends_session = sessions.ends.tolist()
        self._session_ends: list[int] = np.flatnonzero(sessions.ends).tolist()
        self.days_to_next = sessions.days_to_next.data
        self._at_close = {
            symbol: (bars[symbol].minutes_to_close <= 0).tolist() for symbol in self.symbols
        }

    @property
    def starts_ns(self) -> int:
        """The run's first instant: the first open."""
        return min(tape.ts_open[0] for tape in self.tapes.values() if len(tape.ts_open))

    def rows(self, step: int) -> Sequence[int]:
        """Return each symbol's row in a step, -1 where it has no bar."""
        if self._alone:
            return (step,)
        rows: list[int] = self._rows[step].tolist()
        return rows

    def last_rows(self, step: int) -> Sequence[int]:
        """Return each symbol's last row up to a step, -1 before its first."""
        if self._alone:
            return (step,)
        rows: list[int] = self._last_rows[step].tolist()
        return rows

    def last_rows_of(self, place: int) -> Ints:
        """Return one symbol's last row at every step, -1 before its first."""
        rows: Ints = self._last_rows[:, place]
        return rows

    def begin(self, step: int) -> None:
        """Make ``step`` the present one; its closes are not known yet."""
        self.step = step
        self.present_rows = self.rows(step)

    def present_row(self, symbol: str) -> int:
        """Return the row of a symbol's bar in the present step, -1 without one."""
        return self.present_rows[self.tapes[symbol].place]

    def enter(self, step: int) -> None:
        """Make the closes of ``step`` known: ``row_now`` and ``mark`` answer from here."""
        self._known_rows = self.last_rows(step)
        if self._restated:
            self._restated.clear()

    def row_now(self, symbol: str) -> int:
        """Return a symbol's last closed row, -1 before its first."""
        return self._known_rows[self.tapes[symbol].place]

    def mark(self, symbol: str) -> int:
        """Return a symbol's last known close in ticks, 0 before its first."""
        if self._restated and symbol in self._restated:
            return self._restated[symbol]
        tape = self.tapes[symbol]
        row = self._known_rows[tape.place]
        return tape.close[row] if row >= 0 else 0

    def marked_ns(self, symbol: str) -> int:
        """Return when a symbol's last close became known, -1 before its first."""
        tape = self.tapes[symbol]
        row = self._known_rows[tape.place]
        return tape.ts_close[row] if row >= 0 else -1

    def marks(self) -> dict[str, int]:
        """Return the last known closes in ticks of all symbols that have one."""
        known = {symbol: self.mark(symbol) for symbol in self.symbols}
        return {symbol: ticks for symbol, ticks in known.items() if ticks}

    def restate(self, symbol: str, numerator: int, denominator: int) -> None:
        """Restate a symbol's last close after a split, until its next close is known."""
        self._restated[symbol] = self.mark(symbol) * denominator // numerator

    def steps_of(self, symbol: str, rows: Sequence[int]) -> Sequence[int]:
        """Return the steps in which a symbol's rows close."""
        if self._alone:
            return rows
        closes = self.bars[symbol].ts_close[np.asarray(rows, dtype=np.int64)]
        steps: list[int] = np.searchsorted(np.asarray(self.ts_close), closes).tolist()
        return steps

    def step_of(self, symbol: str, row: int) -> int:
        """Return the step in which a symbol's row closes."""
        return bisect_left(self.ts_close, self.tapes[symbol].ts_close[row])

    def next_session_end(self, step: int) -> int:
        """Return the first later step that ends a session."""
        return _after(self._session_ends, step)

    def next_action(self, step: int) -> int:
        """Return the first later step with a corporate action."""
        return _after(self._action_list, step)

    def closing(self, rows: Sequence[int]) -> list[str]:
        """Return the symbols whose bar in this step ends their session."""
        return [
            symbol
            for symbol, row in zip(self.symbols, rows, strict=True)
            if row >= 0 and self._at_close[symbol][row]
        ]

    def recent_ticks(self, symbol: str, row: int) -> tuple[int, ...]:
        """Return up to 20 closes before ``row``, oldest first."""
        return tuple(self.tapes[symbol].close[max(0, row - RECENT_BARS) : row].tolist())

    def closes(self, symbol: str, row: int, n: int) -> list[float]:
        """Return the last ``n`` closes up to ``row``, oldest first; fewer at the start."""
        out: list[float] = self.bars[symbol].close[max(0, row + 1 - n) : row + 1].tolist()
        return out

    def average_volume_lots(self, symbol: str, row: int) -> int:
        """Return the mean volume in lots of the last 20 whole sessions, -1 without one."""
        means = self._volume.get(symbol)
        if means is None:
            means = self._volume[symbol] = session_volumes(self.bars[symbol]).tolist()
        return means[row]
