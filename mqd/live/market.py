"""A market whose bars arrive one step after the other: what a desk knows of a running session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import CorporateAction, Floats, Ints, SymbolBars
from mqd.core.clock import NS_PER_DAY, iso
from mqd.core.money import Scale
from mqd.desk.market import RECENT_BARS, Market
from mqd.errors import DataError
from mqd.execution.tape import Tape, capacity_lots
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import TradingCalendar, calendar_for
from mqd.market_data.feed import ReplayFeed
from mqd.market_data.loading import on_grid, timeframe_text
from mqd.market_data.sessions import session_volumes

ROOM_BARS = 2048
_STAMPS = ("ts_open", "ts_close", "session")
_PRICES = ("open", "high", "low", "close")
_FLOATS = (*_PRICES, "volume", "session_index", "minutes_from_open", "minutes_to_close")
_OPTIONAL = ("vwap", "trade_count")


class LiveBar(NamedTuple):
    """One bar as a feed tells it: ``ts_open`` is its start (for a daily bar any of its stamps).

    Prices in currency units, ``volume`` in shares or coins; ``vwap`` and ``trade_count`` are
    None where the feed has none.
    """

    symbol: str
    ts_open: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None = None
    trade_count: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlan:
    """What is known of a market before its first bar.

    ``first_ns`` and ``last_ns`` span the calendar; ``sessions_per_year`` annualises;
    ``extras`` names the optional columns that the feed always fills.
    """

    symbols: tuple[str, ...]
    calendar: str
    timeframe_ns: int
    ticks: dict[str, Decimal]
    lots: dict[str, Decimal]
    first_ns: int
    last_ns: int
    sessions_per_year: float
    participation_frac: float = 0.1
    feed: str = "file"
    adjust: str = "split"
    extras: tuple[str, ...] = ()
    knows_volume: bool = True

    def words(self) -> dict[str, Any]:
        """Return what the log says of the market data."""
        return {
            "feed": self.feed, "timeframe": timeframe_text(self.timeframe_ns),
            "adjust": self.adjust, "anchor": self.first_ns, "symbols": list(self.symbols),
        }  # fmt: skip


def plan_of(bars: Bars, participation_frac: float) -> MarketPlan:
    """Return what a desk may know of a market before it opens: no price of it."""
    first = bars[bars.symbols[0]]
    extras = ("vwap", "trade_count")
    return MarketPlan(
        symbols=bars.symbols, calendar=bars.calendar, timeframe_ns=bars.timeframe_ns,
        ticks={symbol: bars[symbol].tick for symbol in bars.symbols},
        lots={symbol: bars[symbol].lot for symbol in bars.symbols},
        first_ns=bars.first, last_ns=bars.last, sessions_per_year=bars.sessions_per_year,
        participation_frac=participation_frac, feed=bars.feed, adjust=bars.adjust,
        extras=tuple(name for name in extras if getattr(first, name) is not None),
    )  # fmt: skip


class GrowingMarket(Market):
    """A ``Market`` that grows: ``announce`` a step, then ``take`` its bars at its close.

    Columns are kept with room for more rows; only rows that arrived are ever read.
    """

    def __init__(self, plan: MarketPlan, scales: dict[str, Scale]) -> None:
        self.plan, self._scales = plan, scales
        self.symbols = plan.symbols
        self.calendar: TradingCalendar = calendar_for(plan.calendar, plan.first_ns, plan.last_ns)
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
        self._rows_after: list[tuple[int, ...]] = []
        self.n_steps = self.step = 0
        self.present_rows = [-1] * n
        self._known_rows = [-1] * n
        self._restated: dict[str, int] = {}
        self.actions: dict[int, list[CorporateAction]] = {}
        self._action_list: list[int] = []
        self._session_first = -1
        self._volume: dict[str, Sequence[int]] = {}
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
        cut: dict[str, Any] = {
            field.name: value[:n]
            for field in fields(series)
            if isinstance(value := getattr(series, field.name), np.ndarray)
        }
        return replace(series, **cut)

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
        self._rows_after.append(tuple(self._known_rows))
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
        for ts_close, rows in zip(steps.ts_close.tolist(), steps.rows.tolist(), strict=True):
            self.announce(ts_close)
            pairs = zip(bars.symbols, rows, strict=True)
            there = [live_bar(bars[symbol], row) for symbol, row in pairs if row >= 0]
            last = there and bars[there[0].symbol].minutes_to_close[max(rows)] <= 0
            self.take(there, ends_session=bool(last))
        self.enter(self.n_steps - 1)

    def take(self, arrived: Sequence[LiveBar], *, ends_session: bool) -> None:
        """Add the bars of the announced step, at most one a symbol.

        Raises ``DataError`` for a bar that is no bar, repeats a row or lies in another step.
        """
        rows = dict.fromkeys(self.symbols, -1)
        if arrived:
            row, opens, closes = self._places(arrived)
            for at, bar in enumerate(arrived):
                rows[bar.symbol] = self._add(bar, int(row[at]), int(opens[at]), int(closes[at]))
        self._ends[-1] = ends_session
        self.present_rows = [rows[symbol] for symbol in self.symbols]
        self._rows_after[-1] = tuple(self.n_rows[symbol] - 1 for symbol in self.symbols)

    def close_of(self, ts_open: int) -> int | None:
        """Return when a bar that starts at ``ts_open`` closes, None where it lies in no session."""
        row, _, closes = self._located(np.array([ts_open], dtype=np.int64))
        return None if row[0] < 0 else int(closes[0])

    def _places(self, arrived: Sequence[LiveBar]) -> tuple[Ints, Ints, Ints]:
        """Return each bar's session (place in the calendar), open and close."""
        located = self._located(np.array([bar.ts_open for bar in arrived], dtype=np.int64))
        _refuse_outside(arrived, located[0])
        return located

    def _located(self, stamps: Ints) -> tuple[Ints, Ints, Ints]:
        """Return session, open and close of bars by their stamps; session -1 outside of all."""
        calendar, width = self.calendar, self.plan.timeframe_ns
        if width >= NS_PER_DAY:
            row = calendar.daily_index(stamps)
            return row, calendar.opens[row], calendar.closes[row]
        row = calendar.index_at(stamps)
        late = stamps >= calendar.break_ends[row]
        ends = np.where(late, calendar.closes[row], calendar.break_starts[row])
        return row, stamps, np.minimum(stamps + width, ends)

    def _add(self, bar: LiveBar, session: int, ts_open: int, ts_close: int) -> int:
        """Write one bar into the columns and return its row."""
        if bar.symbol not in self.n_rows:
            raise DataError(f"A bar of {bar.symbol}, which is no symbol of this run.")
        if ts_close != self._closes[-1]:
            closing = iso(self._closes[-1])
            raise DataError(f"{bar.symbol}: a bar of {iso(ts_open)} in the step of {closing}.")
        at = self.n_rows[bar.symbol]
        if at and int(self._columns[bar.symbol]["ts_close"][at - 1]) >= ts_close:
            raise DataError(f"{bar.symbol}: the bar of {iso(ts_open)} came twice.")
        if at >= self._room:
            self._grow()
        columns, plan = self._columns[bar.symbol], self.plan
        tick, lot = plan.ticks[bar.symbol], plan.lots[bar.symbol]
        prices = on_grid(np.array([getattr(bar, name) for name in _PRICES]), tick)
        _refuse_wrong(bar, prices)
        for name, px in zip(_PRICES, prices.tolist(), strict=True):
            columns[name][at] = px
            columns[f"{name}_ticks"][at] = round(px / float(tick))
        row = np.array([session])
        close = np.array([ts_close])
        columns["ts_open"][at], columns["ts_close"][at] = ts_open, ts_close
        columns["session"][at] = self.calendar.sessions[session]
        columns["session_index"][at] = float(session - self._session_first)
        columns["minutes_from_open"][at] = self.calendar.minutes_from_open(close, row)[0]
        columns["minutes_to_close"][at] = self.calendar.minutes_to_close(close, row)[0]
        columns["volume"][at] = bar.volume
        frac = plan.participation_frac
        columns["capacity"][at] = (
            capacity_lots(np.array([bar.volume]), frac, lot)[0] if plan.knows_volume else 2**62
        )
        for name in plan.extras:
            value = getattr(bar, name)
            columns[name][at] = np.nan if value is None else value
        self.n_rows[bar.symbol] = at + 1
        return at

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
        held = self._volume.get(symbol, ())
        if len(held) <= row:
            held = self._volume[symbol] = session_volumes(self.known(symbol)).tolist()
        return held[row]


def live_bar(one: SymbolBars, row: int) -> LiveBar:
    """Return a row of bars as a feed would tell it."""
    extras = [None if c is None else float(c[row]) for c in (one.vwap, one.trade_count)]
    prices = [float(getattr(one, name)[row]) for name in (*_PRICES, "volume")]
    return LiveBar(one.symbol, int(one.ts_open[row]), *prices, *extras)


def _refuse_outside(arrived: Sequence[LiveBar], row: Ints) -> None:
    for bar, place in zip(arrived, row.tolist(), strict=True):
        if place < 0:
            raise DataError(f"{bar.symbol}: the bar of {iso(bar.ts_open)} lies in no session.")


def _refuse_wrong(bar: LiveBar, prices: Floats) -> None:
    """Raise ``DataError`` for what ``load_bars`` would refuse in a file."""
    opened, high, low, close = prices.tolist()
    finite = bool(np.isfinite(prices).all()) and np.isfinite(bar.volume)
    if not finite or low <= 0 or bar.volume < 0 or high < max(opened, close, low):
        raise DataError(f"{bar.symbol}: {bar} is no bar.")
    if low > min(opened, close):
        raise DataError(f"{bar.symbol}: the low of {bar} lies above its open or close.")
