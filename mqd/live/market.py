"""A market whose bars arrive one step after the other: what a desk knows of a running session."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import CorporateAction, Floats, Ints, SymbolBars
from mqd.core.clock import iso
from mqd.core.money import Scale
from mqd.desk.market import RECENT_BARS
from mqd.errors import DataError
from mqd.execution.tape import Tape, capacity_lots
from mqd.live.mean_volumes import MeanVolumes
from mqd.live.placing import Placed, Placing, located
from mqd.live.plan import LiveBar, MarketPlan
from mqd.live.split_marks import SplitMarks
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import TradingCalendar, calendar_for
from mqd.market_data.feed import ReplayFeed, Steps
from mqd.market_data.loading import on_grid

ROOM_BARS = 2048
_STAMPS = ("ts_open", "ts_close", "session")
_PRICES = ("open", "high", "low", "close")
_FLOATS = (*_PRICES, "volume", "session_index", "minutes_from_open", "minutes_to_close")
_ARRAYS = (*_STAMPS, *_FLOATS, "vwap", "trade_count")


class GrowingMarket(SplitMarks):
    """A ``Market`` that grows: ``announce`` a step, then ``take`` its bars at its close.

    Columns are kept with room for more rows; only rows that arrived are ever read.
    """

    def __init__(self, plan: MarketPlan, scales: dict[str, Scale]) -> None:
        self.plan, self._scales = plan, scales
        self.symbols = plan.symbols
        self.calendar: TradingCalendar = calendar_for(plan.calendar, plan.first_ns, plan.last_ns)
        self._placing = Placing(self.calendar, plan)
        self.n_rows = dict.fromkeys(plan.symbols, 0)
        self._room = 0
        self._columns: dict[str, dict[str, NDArray[Any]]] = {s: {} for s in plan.symbols}
        self._series: dict[str, SymbolBars] = {}
        self.tapes = {}
        self._grow()
        self.bars = Bars(
            self._series, plan.calendar, plan.timeframe_ns, "live", plan.feed,
            plan.adjust,  # type: ignore[arg-type]
        )  # fmt: skip
        self.bars.__dict__["trading_calendar"] = self.calendar
        self.bars.__dict__["sessions_per_year"] = plan.sessions_per_year
        self._start()

    def _start(self) -> None:
        n = len(self.symbols)
        self._closes: list[int] = []
        self._days: list[int] = []
        self._ends: list[bool] = []
        self._gaps: list[int] = []
        self.taken_ns = 0
        self._rows_after: list[tuple[int, ...]] = []
        self.n_steps = self.step = 0
        self.present_rows = [-1] * n
        self._known_rows = [-1] * n
        self._restated, self._splits = {}, {}
        self.actions: dict[int, list[CorporateAction]] = {}
        self._action_list: list[int] = []
        self._session_first = -1
        self._means = MeanVolumes(self.known)
        self.session_closes = self.calendar.closes.tolist()
        self.session_opens = self.calendar.opens.tolist()
        self.session_days = tuple(self.calendar.sessions.tolist())
        self.ts_close = self._closes  # type: ignore[assignment]
        self.day = self._days  # type: ignore[assignment]
        self.ends_session = self._ends
        self.days_to_next = self._gaps  # type: ignore[assignment]

    # --- columns -----------------------------------------------------------------------------

    def _grow(self) -> None:
        """Give every column more room and build series and tapes over the new columns."""
        room = self._room * 2 or ROOM_BARS
        for place, symbol in enumerate(self.symbols):
            old = self._columns[symbol]
            new = {name: np.zeros(room, np.int64) for name in (*_STAMPS, "capacity")}
            new |= {f"{name}_ticks": np.zeros(room, np.int64) for name in _PRICES}
            new |= {name: np.full(room, np.nan) for name in (*_FLOATS, *self.plan.extras)}
            for name, column in old.items():
                new[name][: len(column)] = column
            self._columns[symbol] = new
            self._series[symbol] = self._symbol_bars(symbol, new)
            self.tapes[symbol] = self._tape(symbol, place, new)
        self._room = room

    def _symbol_bars(self, symbol: str, columns: dict[str, NDArray[Any]]) -> SymbolBars:
        shown: dict[str, Any] = {}
        for name in (*_STAMPS, *_FLOATS, *self.plan.extras):
            view = columns[name][:]
            view.setflags(write=False)
            shown[name] = view
        return SymbolBars(
            symbol=symbol, tick=self.plan.ticks[symbol], lot=self.plan.lots[symbol], **shown
        )

    def _tape(self, symbol: str, place: int, columns: dict[str, NDArray[Any]]) -> Tape:
        prices = [columns[f"{name}_ticks"].data for name in _PRICES]
        rest = [columns[name].data for name in ("capacity", "ts_open", "ts_close", "session")]
        return Tape(symbol, place, self._scales[symbol], *prices, *rest)

    def known(self, symbol: str) -> SymbolBars:
        """Return the bars of a symbol that have arrived."""
        n, series = self.n_rows[symbol], self._series[symbol]
        named = ((name, getattr(series, name)) for name in _ARRAYS)
        return replace(series, **{name: c[:n] for name, c in named if c is not None})

    @property
    def starts_ns(self) -> int:
        """The run's first instant."""
        return self.plan.first_ns

    # --- steps -------------------------------------------------------------------------------

    def announce(self, ts_close: int) -> int:
        """Begin the step that closes at ``ts_close`` and return its number."""
        day = self.calendar.session_of(ts_close - 1)
        if day is None:
            raise DataError(f"No session of {self.plan.calendar} holds {iso(ts_close)}.")
        if self._closes and ts_close <= self._closes[-1]:
            raise DataError(f"The step of {iso(ts_close)} does not follow {iso(self._closes[-1])}.")
        sessions = self.calendar.sessions
        following = min(int(np.searchsorted(sessions, day, side="right")), len(sessions) - 1)
        self._closes.append(ts_close)
        self._days.append(day)
        self._ends.append(False)
        self._gaps.append(max(int(sessions[following]) - day, 1))
        self._rows_after.append(self._newest_rows())
        self.n_steps = len(self._closes)
        if self._session_first < 0:
            self._session_first = int(np.searchsorted(sessions, day))
        return self.n_steps - 1

    def postpone(self, ts_close: int) -> None:
        """Let the announced step close later: no bar came in the time that it had."""
        self._drop_last()
        self.announce(ts_close)

    def _drop_last(self) -> None:
        for column in (self._closes, self._days, self._ends, self._gaps, self._rows_after):
            column.pop()
        self.n_steps = len(self._closes)

    def preload(self, bars: Bars) -> None:
        """Take in the history before the run: its steps are over, nobody decides on them.

        Raises ``DataError`` when steps are there already.
        """
        if self.n_steps:
            raise DataError("History comes before the first step of a run.")
        steps = ReplayFeed(bars).steps()
        self._note_steps(steps, [self.symbols.index(symbol) for symbol in bars.symbols])
        while self._room < max(len(bars[symbol]) for symbol in bars.symbols):
            self._grow()
        for symbol in bars.symbols:
            self._write_series(bars[symbol])
        self.taken_ns = self._closes[-1]
        self.present_rows = self.rows(self.n_steps - 1)
        self.enter(self.n_steps - 1)

    def _note_steps(self, steps: Steps, places: Sequence[int]) -> None:
        """Note steps that are over; ``places`` are the symbols of the columns of ``steps.rows``."""
        closes, sessions = self.calendar.closes, self.calendar.sessions
        row = np.searchsorted(closes, steps.ts_close)
        following = np.minimum(row + 1, len(sessions) - 1)
        rows_after = np.full((len(row), len(self.symbols)), -1, dtype=np.int64)
        rows_after[:, places] = np.maximum.accumulate(steps.rows, axis=0)
        self._closes += steps.ts_close.tolist()
        self._days += sessions[row].tolist()
        self._ends += (closes[row] == steps.ts_close).tolist()
        self._gaps += np.maximum(sessions[following] - sessions[row], 1).tolist()
        self._rows_after += map(tuple, rows_after.tolist())
        self.n_steps, self._session_first = len(self._closes), int(row[0])

    def _write_series(self, one: SymbolBars) -> None:
        """Write all bars of a symbol that has none."""
        row, opens, closes = located(self.calendar, self.plan.timeframe_ns, one.ts_open)
        if (row < 0).any() or (closes != one.ts_close).any():
            raise DataError(f"{one.symbol}: history that does not fit {self.plan.calendar}.")
        prices = [on_grid(getattr(one, name), one.tick) for name in _PRICES]
        extras = {name: getattr(one, name) for name in self.plan.extras}
        self._put(one.symbol, row, (opens, closes), np.array(prices), one.volume, extras)

    def take(self, arrived: Sequence[LiveBar], *, ends_session: bool) -> None:
        """Add the bars of the announced step, at most one a symbol: all of them, or none.

        Raises ``DataError`` for a bar that is no bar, repeats a row or lies in another step.
        """
        placed = [self._placing.placed(bar) for bar in arrived]
        for one in placed:
            self._refuse_step(one)
        _refuse_twice(arrived)
        rows = dict.fromkeys(self.symbols, -1)
        for one in placed:
            rows[one.bar.symbol] = self._write(one)
        self._ends[-1] = ends_session
        self.taken_ns = self._closes[-1]
        self.present_rows = [rows[symbol] for symbol in self.symbols]
        self._rows_after[-1] = self._newest_rows()

    def take_late(self, arrived: Sequence[LiveBar]) -> int:
        """Add bars of the past as history, and return how many.

        Only rows behind a symbol's newest one are added, oldest first; the rest is left out. The
        steps that are over count them as if they had come in time; marks know them from the next
        close on. A fill of the meantime counts its bars from the late one.
        Raises ``DataError`` for a bar that is no bar; nothing is added then.
        """
        placed = [self._placing.placed(bar) for bar in arrived]
        n_before = sum(self.n_rows.values())
        for one in sorted(placed, key=lambda one: one.ts_close):
            if self._last_close(one.bar.symbol) < one.ts_close < self._under_way_ns:
                self._write(one)
                self._count_late(one)
        return sum(self.n_rows.values()) - n_before

    @property
    def _under_way_ns(self) -> int:
        """The close of the announced step; without one, just after the last step's."""
        last = self._closes[-1] if self._closes else 0
        return last if last > self.taken_ns else self.taken_ns + 1

    def _count_late(self, one: Placed) -> None:
        """Let the steps since a late row's close know it."""
        place = self.symbols.index(one.bar.symbol)
        for at in range(bisect_left(self._closes, one.ts_close), self.n_steps):
            rows = list(self._rows_after[at])
            rows[place] = self.n_rows[one.bar.symbol] - 1
            self._rows_after[at] = tuple(rows)
        if self._closes[-1] > self.taken_ns:
            self.present_rows = [self.n_rows[symbol] for symbol in self.symbols]

    def check(self, bar: LiveBar) -> int:
        """Return when a feed's bar closes; raise ``DataError`` with why the run cannot take it."""
        return self._placing.checked(bar).ts_close

    def has_closed(self, symbol: str, ts_close: int) -> bool:
        """Return whether a symbol has the row that closes at ``ts_close``, or a newer one."""
        return self._last_close(symbol) >= ts_close

    def _last_close(self, symbol: str) -> int:
        n = self.n_rows[symbol]
        return int(self._columns[symbol]["ts_close"][n - 1]) if n else 0

    def _newest_rows(self) -> tuple[int, ...]:
        return tuple(self.n_rows[symbol] - 1 for symbol in self.symbols)

    def _refuse_step(self, one: Placed) -> None:
        """Refuse a bar of another step than the announced one, and one that it has already."""
        symbol, opened = one.bar.symbol, iso(one.ts_open)
        if one.ts_close != self._closes[-1]:
            raise DataError(f"{symbol}: a bar of {opened} in the step of {iso(self._closes[-1])}.")
        if self.has_closed(symbol, one.ts_close):
            raise DataError(f"{symbol}: the bar of {opened} came twice.")

    def _write(self, one: Placed) -> int:
        """Write one bar into the columns and return its row."""
        bar, placing, symbol = one.bar, self._placing, one.bar.symbol
        if self.n_rows[symbol] >= self._room:
            self._grow()
        columns, row = self._columns[symbol], self.n_rows[symbol]
        for name, px in zip(_PRICES, one.prices, strict=True):
            columns[name][row] = px
            columns[f"{name}_ticks"][row] = placing.ticks(symbol, px)
        columns["ts_open"][row], columns["ts_close"][row] = one.ts_open, one.ts_close
        columns["session"][row] = placing.days[one.session]
        columns["session_index"][row] = one.session - self._session_first
        minutes = placing.minutes(one)
        columns["minutes_from_open"][row], columns["minutes_to_close"][row] = minutes
        columns["volume"][row] = bar.volume
        columns["capacity"][row] = placing.capacity_lots(bar)
        for name in self.plan.extras:
            value = getattr(bar, name)
            columns[name][row] = np.nan if value is None else value
        self.n_rows[symbol] = row + 1
        return row

    def _put(
        self, symbol: str, session: Ints, stamps: tuple[Ints, Ints], prices: Floats,
        volume: Floats, extras: Mapping[str, Floats | None],
    ) -> None:  # fmt: skip
        """Append bars: sessions (places in the calendar), opens and closes, prices (4, n)."""
        plan, calendar, columns = self.plan, self.calendar, self._columns[symbol]
        first = self.n_rows[symbol]
        rows = slice(first, first + len(session))
        for name, px in zip(_PRICES, prices, strict=True):
            columns[name][rows] = px
            columns[f"{name}_ticks"][rows] = np.rint(px / float(plan.ticks[symbol]))
        columns["ts_open"][rows], columns["ts_close"][rows] = stamps
        columns["session"][rows] = calendar.sessions[session]
        columns["session_index"][rows] = session - self._session_first
        columns["minutes_from_open"][rows] = calendar.minutes_from_open(stamps[1], session)
        columns["minutes_to_close"][rows] = calendar.minutes_to_close(stamps[1], session)
        columns["volume"][rows] = volume
        capacity = capacity_lots(volume, plan.participation_frac, plan.lots[symbol])
        columns["capacity"][rows] = capacity if plan.knows_volume else 2**62
        for name, values in extras.items():
            columns[name][rows] = np.nan if values is None else values
        self.n_rows[symbol] = rows.stop

    # --- what the desk asks ------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """Make ``step`` the present one: each symbol's next bar is the one that is under way."""
        self.step = step
        self.present_rows = [self.n_rows[symbol] for symbol in self.symbols]

    def enter(self, step: int) -> None:
        """Make the closes of ``step`` known."""
        self._known_rows = list(self.last_rows(step))
        self._restated.clear()

    def rows(self, step: int) -> Sequence[int]:
        """Return each symbol's row in a step, -1 where it has no bar."""
        before = self._rows_after[step - 1] if step else (-1,) * len(self.symbols)
        after = self._rows_after[step]
        return [new if new > old else -1 for new, old in zip(after, before, strict=True)]

    def last_rows(self, step: int) -> Sequence[int]:
        """Return each symbol's last row up to a step, -1 before its first."""
        return self._rows_after[step] if step >= 0 else (-1,) * len(self.symbols)

    def last_rows_of(self, place: int) -> Ints:
        """Return one symbol's last row at every step, -1 before its first."""
        return np.array([rows[place] for rows in self._rows_after], dtype=np.int64)

    def steps_of(self, symbol: str, rows: Sequence[int]) -> Sequence[int]:
        """Return the steps in which a symbol's rows close."""
        closes = self._series[symbol].ts_close[np.asarray(rows, dtype=np.int64)]
        steps: list[int] = np.searchsorted(np.asarray(self._closes), closes).tolist()
        return steps

    def closing(self, rows: Sequence[int]) -> list[str]:
        """Return the symbols whose bar in this step ends their session."""
        return [
            symbol
            for symbol, row in zip(self.symbols, rows, strict=True)
            if 0 <= row < self.n_rows[symbol] and self._series[symbol].minutes_to_close[row] <= 0
        ]

    def recent_ticks(self, symbol: str, row: int) -> tuple[int, ...]:
        """Return up to 20 closes before ``row``, oldest first."""
        return tuple(self.tapes[symbol].close[max(0, row - RECENT_BARS) : row].tolist())

    def average_volume_lots(self, symbol: str, row: int) -> int:
        """Return the mean volume in lots of the last 20 whole sessions, -1 without one."""
        return self._means.at(symbol, row)


def _refuse_twice(arrived: Sequence[LiveBar]) -> None:
    seen: set[str] = set()
    for bar in arrived:
        if bar.symbol in seen:
            raise DataError(f"{bar.symbol}: the bar of {iso(bar.ts_open)} came twice.")
        seen.add(bar.symbol)
