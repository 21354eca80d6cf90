"""From columns to one run's bars: cut, judge, place in sessions, adjust, round, freeze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

import numpy as np

from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.errors import EmptyBars, UsageError, did_you_mean
from mqd.market_data import validation
from mqd.market_data.calendar import TradingCalendar, calendar_for, day_number
from mqd.market_data.columns import OPTIONAL, PRICES, Columns
from mqd.market_data.corporate_actions import (
    Adjust,
    Convention,
    RawAction,
    dividend_divisors,
    known,
    restated,
    shown_splits,
    split_divisors,
)  # fmt: skip

Step = Decimal | str | int | float
DAILY_AT_LEAST_NS = 22 * 60 * NS_PER_MINUTE
TICK_DEFAULT = {"24/7": Decimal("0.01")}
LOT_DEFAULT = {"24/7": Decimal("0.00000001")}
ROUNDING_FRAC_MAX = 0.002
DAY_FIRST, DAY_LAST = -100_000, 100_000


@dataclass(frozen=True)
class Options:
    """How to read bars; the words of ``load_bars``."""

    calendar: str = "XNYS"
    tick: Step | Mapping[str, Step] | None = None
    lot: Step | Mapping[str, Step] | None = None
    adjust: Adjust = "none"
    dividends: Convention = "yahoo"
    on_bad: str = "refuse"
    start: object = None
    end: object = None
    timeframe: str | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        _one_of("adjust", self.adjust, get_args(Adjust))
        _one_of("dividends", self.dividends, get_args(Convention))
        _one_of("on_bad", self.on_bad, ("refuse", "drop"))


@dataclass(frozen=True)
class Assembled:
    """What ``assemble`` hands to ``Bars``."""

    by_symbol: dict[str, SymbolBars]
    timeframe_ns: int
    gaps: dict[str, int]
    dropped: list[str]
    close_only: bool


@dataclass(frozen=True)
class Window:
    """The sessions (days since 1970) and instants (ns) that are asked for, all inclusive."""

    day_first: int = DAY_FIRST
    day_last: int = DAY_LAST
    ns_first: int | None = None
    ns_last: int | None = None

    def coarse(self, ts: Ints) -> Any:
        """Return the rows that may lie in the window, before sessions are known."""
        low, high = (self.day_first - 2) * NS_PER_DAY, (self.day_last + 3) * NS_PER_DAY
        if self.ns_first is not None:
            low = self.ns_first - 2 * NS_PER_DAY
        if self.ns_last is not None:
            high = self.ns_last + 2 * NS_PER_DAY
        return (ts >= low) & (ts <= high)

    def exact(self, ts_open: Ints, ts_close: Ints, session: Ints) -> Any:
        """Return the bars that lie wholly in the window."""
        kept = (session >= self.day_first) & (session <= self.day_last)
        if self.ns_first is not None:
            kept &= ts_open >= self.ns_first
        if self.ns_last is not None:
            kept &= ts_close <= self.ns_last
        return kept


def window(start: object, end: object) -> Window:
    """Return a window from dates (whole sessions) or zone-aware instants, either may be None."""
    day_first, ns_first = _edge("start", start)
    day_last, ns_last = _edge("end", end)
    return Window(
        DAY_FIRST if day_first is None else day_first,
        DAY_LAST if day_last is None else day_last,
        ns_first,
        ns_last,
    )


def assemble(columns: Columns, actions: Sequence[RawAction], options: Options) -> Assembled:
    """Judge the columns by every rule and build one ``SymbolBars`` a symbol."""
    dropped: list[str] = []
    span = window(options.start, options.end)
    columns = columns.take(span.coarse(columns.ts))
    _refuse_empty(columns, "no row lies between start and end")
    findings = validation.check_values(columns) + validation.check_order(columns)
    if findings:
        columns = columns.take(
            validation.refuse_or_drop(columns, findings, options.on_bad, dropped)
        )
        _refuse_empty(columns, "every row was dropped")
    calendar = calendar_for(options.calendar, int(columns.ts.min()), int(columns.ts.max()))
    rows = validation.rows_by_symbol(columns.code, len(columns.symbols))
    width = _width(columns, rows, calendar, options.timeframe)
    daily = width >= NS_PER_DAY
    row = calendar.daily_index(columns.ts) if daily else calendar.index_at(columns.ts)
    findings = validation.check_sessions(columns, row, calendar.name, daily)
    findings += validation.check_width(columns, rows, row if daily else columns.ts, width)
    if findings:
        keep = validation.refuse_or_drop(columns, findings, options.on_bad, dropped)
        columns, row = columns.take(keep), row[keep]
        _refuse_empty(columns, "every row was dropped")
    ts_open, ts_close = _stamps(columns, row, calendar, width)
    kept = np.flatnonzero(span.exact(ts_open, ts_close, calendar.sessions[row]))
    if len(kept) < len(row):
        columns, row = columns.take(kept), row[kept]
        ts_open, ts_close = ts_open[kept], ts_close[kept]
        _refuse_empty(columns, "no bar lies between start and end")
    placed = Placed(calendar, row, ts_open, ts_close, columns)
    return _by_symbol(placed, actions, options, width, dropped)


@dataclass(frozen=True)
class Placed:
    """Columns with the session row and the stamps of each bar."""

    calendar: TradingCalendar
    row: Ints
    ts_open: Ints
    ts_close: Ints
    columns: Columns

    @property
    def row_first(self) -> int:
        """The calendar row of the run's first session."""
        return int(self.row.min())

    @property
    def day_first(self) -> int:
        """The run's first session, days since 1970."""
        return int(self.calendar.sessions[self.row_first])

    @property
    def day_last(self) -> int:
        """The run's last session, days since 1970."""
        return int(self.calendar.sessions[self.row.max()])


def _by_symbol(
    placed: Placed, actions: Sequence[RawAction], options: Options, width: int, dropped: list[str]
) -> Assembled:
    columns, calendar = placed.columns, placed.calendar
    by_symbol, gaps = {}, {}
    all_rows = validation.rows_by_symbol(columns.code, len(columns.symbols))
    for symbol, rows in zip(columns.symbols, all_rows, strict=True):
        if not len(rows):
            if options.asked:
                raise EmptyBars(columns.source, f"{symbol} has none between start and end")
            continue
        by_symbol[symbol] = _symbol_bars(symbol, rows, placed, actions, options)
        mine = by_symbol[symbol]
        gaps[symbol] = calendar.missing_bars(mine.ts_open, mine.session, width)
    return Assembled(by_symbol, width, gaps, dropped, columns.close_only)


def _symbol_bars(
    symbol: str, rows: Ints, placed: Placed, actions: Sequence[RawAction], options: Options
) -> SymbolBars:
    calendar, row, numbers = placed.calendar, placed.row[rows], placed.columns.numbers
    session = calendar.sessions[row]
    tick = step_for(options.tick, symbol, TICK_DEFAULT, options.calendar, "0.0001", "tick")
    lot = step_for(options.lot, symbol, LOT_DEFAULT, options.calendar, "1", "lot")
    mine = known(actions, symbol, placed.day_last)
    divisors, volume_factors = _factors(session, numbers["close"][rows], mine, options)
    prices = {}
    for name in PRICES:
        column = numbers[name][rows]
        exact = column if divisors is None else column / divisors
        prices[name] = on_grid(exact, tick)
        _refuse_coarse(f"{placed.columns.source}: {name} of {symbol}", exact, prices[name], tick)
    volume = numbers["volume"][rows]
    extra = {name: numbers[name][rows] for name in OPTIONAL if name in numbers}
    extra = {name: column for name, column in extra.items() if np.isfinite(column).all()}
    if divisors is not None and "vwap" in extra:
        extra["vwap"] = extra["vwap"] / divisors
    ts_close = placed.ts_close[rows]
    return SymbolBars(
        symbol=symbol,
        tick=tick,
        lot=lot,
        ts_open=frozen(placed.ts_open[rows]),
        ts_close=frozen(ts_close),
        open=frozen(prices["open"]),
        high=frozen(prices["high"]),
        low=frozen(prices["low"]),
        close=frozen(prices["close"]),
        volume=frozen(volume if volume_factors is None else volume * volume_factors),
        session=frozen(session),
        session_index=frozen((row - placed.row_first).astype(np.float64)),
        minutes_from_open=frozen(calendar.minutes_from_open(ts_close, row)),
        minutes_to_close=frozen(calendar.minutes_to_close(ts_close, row)),
        actions=restated(mine, options.adjust, calendar, placed.day_first),
        shown_splits=shown_splits(mine, options.adjust, calendar, placed.day_first),
        **{name: frozen(column) for name, column in extra.items()},
    )


def _factors(
    session: Ints, close: Floats, actions: Sequence[RawAction], options: Options
) -> tuple[Floats | None, Floats | None]:
    """Return what divides the prices and what multiplies the volumes; None for no change."""
    if options.adjust == "none" or not actions:
        return None, None
    splits = split_divisors(session, actions)
    if options.adjust == "split":
        return splits, splits
    return splits * dividend_divisors(session, close, actions, options.dividends), splits


def on_grid(prices: Floats, tick: Decimal) -> Floats:
    """Return prices rounded half-even to the tick, each the float nearest to ticks x tick.

    A half is one of the float64 quotient price / tick.
    """
    numerator, denominator = tick.as_integer_ratio()
    ticks = np.rint(prices * denominator / numerator)
    return np.asarray(ticks * numerator / denominator)


def _refuse_coarse(what: str, exact: Floats, rounded: Floats, tick: Decimal) -> None:
    """Refuse a tick that is no fit for the prices: rounding must not change what they say."""
    moved = np.abs(rounded - exact) / exact
    worst = int(np.argmax(moved))
    if moved[worst] > ROUNDING_FRAC_MAX:
        raise UsageError(
            f"{what} {exact[worst]:.10g} becomes {rounded[worst]:.10g} at tick {tick}."
            " Pass a finer one (tick=...)."
        )


def frozen(column: Any) -> Any:
    """Return a view that nobody can make writable again."""
    own = np.array(column, dtype=column.dtype)
    own.setflags(write=False)
    return own[:]


def step_for(
    given: Step | Mapping[str, Step] | None,
    symbol: str,
    defaults: Mapping[str, Decimal],
    calendar: str,
    fallback: str,
    what: str,
) -> Decimal:
    """Return a symbol's tick or lot: as given, or the default of its calendar."""
    value = given.get(symbol) if isinstance(given, Mapping) else given
    if value is None:
        return defaults.get(calendar, Decimal(fallback))
    try:
        step = Decimal(str(value))
    except InvalidOperation as error:
        raise UsageError(f"{what} = {value!r} is not a decimal number.") from error
    if not step.is_finite() or step <= 0:
        raise UsageError(f"{what} = {value!r}: it must be above zero.")
    return step


def _stamps(
    columns: Columns, row: Ints, calendar: TradingCalendar, width: int
) -> tuple[Ints, Ints]:
    if width >= NS_PER_DAY:
        return calendar.opens[row], calendar.closes[row]
    late = columns.ts >= calendar.break_ends[row]
    part_end = np.where(late, calendar.closes[row], calendar.break_starts[row])
    return columns.ts, np.minimum(columns.ts + width, part_end)


def _width(
    columns: Columns, all_rows: Sequence[Ints], calendar: TradingCalendar, timeframe: str | None
) -> int:
    """Return the bars' width: as told, or the smallest distance of two bars of a symbol."""
    if timeframe is not None:
        return timeframe_ns(timeframe)
    if columns.dated:
        return NS_PER_DAY
    nearest = [int(np.diff(columns.ts[rows]).min()) for rows in all_rows if len(rows) > 1]
    if not nearest:
        lone = (calendar.daily_index(columns.ts) >= 0).all()
        return NS_PER_DAY if lone else NS_PER_MINUTE
    return NS_PER_DAY if min(nearest) >= DAILY_AT_LEAST_NS else min(nearest)


def timeframe_ns(text: str) -> int:
    """Return the width of "1min", "5min", "60min", "1hour", "1day" or "30s" in ns."""
    units = {"day": NS_PER_DAY, "hour": 60 * NS_PER_MINUTE, "min": NS_PER_MINUTE, "s": NS_PER_S}
    for unit, width in units.items():
        count = text.removesuffix(unit)
        if count != text and count.isdecimal() and int(count) > 0:
            if unit == "day" and int(count) != 1:
                break
            return int(count) * width
    raise UsageError(f"Time frame {text!r} is none of 30s, 1min, 5min, 15min, 60min, 1hour, 1day.")


def timeframe_text(width_ns: int) -> str:
    """Return a width in ns as "1min", "60min", "1day" or "30s"."""
    if width_ns == NS_PER_DAY:
        return "1day"
    if width_ns % NS_PER_MINUTE == 0:
        return f"{width_ns // NS_PER_MINUTE}min"
    return f"{width_ns / NS_PER_S:g}s"


def _edge(name: str, value: object) -> tuple[int | None, int | None]:
    """Return an edge of the window as (day, None) or (None, ns)."""
    if value is None:
        return None, None
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return None, int(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return day_number(value), None
    import pandas as pd

    try:
        stamp = pd.Timestamp(value)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name} = {value!r} is neither a date nor an instant.") from error
    if stamp.tz is not None:
        return None, int(stamp.as_unit("ns").value)
    if stamp != stamp.normalize():
        raise UsageError(
            f"{name} = {value!r} has a time but no zone. Write a date, or an instant with its"
            " offset: 2024-01-02T09:30:00-05:00."
        )
    return day_number(stamp.date()), None


def _refuse_empty(columns: Columns, why: str) -> None:
    if not len(columns.ts):
        raise EmptyBars(columns.source, why)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} = {value!r}.{did_you_mean(str(value), allowed)}")
