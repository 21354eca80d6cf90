"""``Bars``: several symbols' bars of one time frame, read-only; and the ways to load them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mqd.core.bar import SymbolBars
from mqd.errors import DataError, EmptyBars, UnknownSymbol, UsageError
from mqd.market_data import columns as columns_of
from mqd.market_data import corporate_actions, display
from mqd.market_data.calendar import TradingCalendar, calendar_for, sessions_per_year
from mqd.market_data.corporate_actions import Adjust, Convention, RawAction
from mqd.market_data.loading import (
    Assembled,
    Options,
    Step,
    assemble,
    frozen,
    timeframe_text,
    window,
)  # fmt: skip

if TYPE_CHECKING:
    import pandas as pd

Steps = Step | Mapping[str, Step] | None
COLUMNS = (
    "ts_open", "ts_close", "open", "high", "low", "close", "volume", "session", "session_index",
    "minutes_from_open", "minutes_to_close", "vwap", "trade_count",
)  # fmt: skip
HASHED = (
    "ts_open", "ts_close", "open", "high", "low", "close", "volume", "vwap", "trade_count",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Bars(Mapping[str, SymbolBars]):
    """Read-only bars by symbol, in the order asked for.

    ``calendar`` is the exchange's code; ``timeframe_ns`` the base time frame; ``feed`` and
    ``adjust`` belong to the identity of the data; ``source`` is a name, never a path. ``gaps``
    counts, a symbol, the bars that the calendar has and the data have not, between the symbol's
    first and last bar; nothing is filled. ``dropped`` holds one sentence a row left out under
    ``on_bad="drop"``. ``close_only`` marks data whose open, high and low are the close.
    """

    by_symbol: Mapping[str, SymbolBars]
    calendar: str
    timeframe_ns: int
    source: str = "frame"
    feed: str = "file"
    adjust: Adjust = "none"
    dividends: Convention = "yahoo"
    gaps: Mapping[str, int] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    close_only: bool = False

    def __getitem__(self, symbol: str) -> SymbolBars:
        if symbol not in self.by_symbol:
            raise UnknownSymbol(symbol, self.source, self.by_symbol)
        return self.by_symbol[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_symbol)

    def __len__(self) -> int:
        return len(self.by_symbol)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self.by_symbol

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bars) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Freeze the columns again: numpy forgets the flag when it is pickled or copied."""
        self.__dict__.update(state)
        self.__dict__["by_symbol"] = {
            symbol: replace(bars, **{n: frozen(c) for n, c in _columns_of(bars).items()})
            for symbol, bars in self.by_symbol.items()
        }

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in the order asked for, or in the order of the source."""
        return tuple(self.by_symbol)

    @property
    def timeframe(self) -> str:
        """The base time frame in words: "1min", "60min", "1day"."""
        return timeframe_text(self.timeframe_ns)

    @property
    def n_bars(self) -> int:
        """The number of bars over all symbols."""
        return sum(len(bars) for bars in self.by_symbol.values())

    @property
    def first(self) -> int:
        """The earliest ``ts_open``, ns UTC."""
        return min(int(bars.ts_open[0]) for bars in self.by_symbol.values())

    @property
    def last(self) -> int:
        """The latest ``ts_close``, ns UTC."""
        return max(int(bars.ts_close[-1]) for bars in self.by_symbol.values())

    @cached_property
    def trading_calendar(self) -> TradingCalendar:
        """The sessions over the span of the bars, a year more on both sides."""
        return calendar_for(self.calendar, self.first, self.last)

    @cached_property
    def bars_per_session(self) -> float:
        """Base bars in a regular full session (the commonest length in the calendar)."""
        return self.trading_calendar.bars_per_session(self.timeframe_ns)

    @cached_property
    def sessions_per_year(self) -> float:
        """Mean sessions a year over the ten calendar years that end at the last bar."""
        return sessions_per_year(self.calendar, self.last)

    @cached_property
    def sha256(self) -> str:
        """The identity of the data: symbols, columns, scales, actions, calendar and feed."""
        digest = hashlib.sha256()
        digest.update(f"{self.calendar}|{self.feed}|{self.timeframe_ns}".encode())
        for symbol, bars in self.by_symbol.items():
            steps = f"{bars.tick.normalize()}|{bars.lot.normalize()}"
            digest.update(f"\n{symbol}|{steps}|{len(bars)}".encode())
            for name in HASHED:
                column = getattr(bars, name)
                if column is not None:
                    digest.update(f"\n{name}\n".encode())
                    digest.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
            for action in bars.actions:
                amount = f"{action.amount.normalize():f}"
                digest.update(f"\n{action[:2]}{action.kind}{action[3:5]}{amount}".encode())
        return digest.hexdigest()

    def between(self, start: object = None, end: object = None) -> Bars:
        """Return the bars that lie wholly between two dates (both included) or instants.

        Dates mean whole sessions; instants need a zone. The basis of adjusted prices stays that
        of these bars. Raises ``EmptyBars`` when nothing is left.
        """
        span = window(start, end)
        cut = {}
        for symbol, bars in self.by_symbol.items():
            rows = np.flatnonzero(span.exact(bars.ts_open, bars.ts_close, bars.session))
            if len(rows):
                cut[symbol] = bars.rows(slice(int(rows[0]), int(rows[-1]) + 1))
        if not cut:
            raise EmptyBars(self.source, f"none lies between {start} and {end}")
        return self._of(cut)

    def select(self, symbols: Sequence[str]) -> Bars:
        """Return the bars of some symbols, in the order given."""
        return self._of({symbol: self[symbol] for symbol in symbols})

    def _of(self, by_symbol: dict[str, SymbolBars]) -> Bars:
        sessions = min(float(bars.session_index[0]) for bars in by_symbol.values())
        day_first = min(int(bars.session[0]) for bars in by_symbol.values())
        last = max(int(bars.ts_close[-1]) for bars in by_symbol.values())
        calendar, width = self.trading_calendar, self.timeframe_ns
        rebased, gaps = {}, {}
        for symbol, bars in by_symbol.items():
            index = bars.session_index - sessions
            first_ns = int(calendar.opens[np.searchsorted(calendar.sessions, day_first)])
            actions = tuple(a for a in bars.actions if first_ns <= a.ts_ex < last)
            rebased[symbol] = replace(bars, session_index=frozen(index), actions=actions)
            gaps[symbol] = calendar.missing_bars(bars.ts_open, bars.session, width)
        return replace(self, by_symbol=rebased, gaps=gaps)

    def to_pandas(self) -> pd.DataFrame:
        """Return the bars in long form: symbol, timestamp (the bar's start, UTC), ts_close, OHLCV.

        ``vwap`` and ``trade_count`` follow where a symbol has them (NaN where another has not).
        """
        import pandas as pd

        frames = []
        for symbol, bars in self.by_symbol.items():
            data: dict[str, Any] = {"symbol": symbol}
            for name, column in (("timestamp", bars.ts_open), ("ts_close", bars.ts_close)):
                data[name] = pd.to_datetime(column, unit="ns", utc=True)
            for name in ("open", "high", "low", "close", "volume", "vwap", "trade_count"):
                if getattr(bars, name) is not None:
                    data[name] = getattr(bars, name).copy()
            frames.append(pd.DataFrame(data))
        return pd.concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        return display.as_text(self)

    def _repr_html_(self) -> str:
        return display.as_html(self)

    @staticmethod
    def from_pandas(
        frame: pd.DataFrame,
        calendar: str = "XNYS",
        tick: Steps = None,
        lot: Steps = None,
        adjust: Adjust = "none",
        actions: pd.DataFrame | None = None,
        feed: str = "file",
        *,
        symbols: Sequence[str] | None = None,
        dividends: Convention = "yahoo",
        on_bad: str = "refuse",
        start: object = None,
        end: object = None,
        timeframe: str | None = None,
        source: str = "frame",
    ) -> Bars:
        """Return bars from a frame in long form.

        Columns: ``symbol``, open, high, low, close, volume (vwap and trade_count if known) and
        a zone-aware ``timestamp`` (a column or an index level) = the bar's start; or
        ``session`` (dates) for daily bars. ``actions`` has symbol, ex_date, kind, ratio,
        amount. ``timeframe`` is inferred when None. Raises the errors of ``load_bars``.
        """
        import pandas as pd
        import pyarrow as pa

        shape: object = frame
        if not isinstance(shape, pd.DataFrame):
            raise UsageError(f"from_pandas takes a DataFrame, not {type(shape).__name__}.")
        levels = [name for name in frame.index.names if name in ("timestamp", "symbol")]
        plain = frame.reset_index(levels) if levels else frame
        if "timestamp" not in plain and isinstance(frame.index, pd.DatetimeIndex):
            plain = plain.assign(timestamp=frame.index)
        return Bars.from_arrow(
            pa.Table.from_pandas(plain, preserve_index=False), _options(locals()), actions=actions,
            symbols=symbols, feed=feed, source=source,
        )  # fmt: skip

    @staticmethod
    def from_polars(frame: Any, calendar: str = "XNYS", **words: Any) -> Bars:
        """Return bars from anything that speaks the Arrow stream protocol, a polars frame too.

        ``words`` are those of ``from_pandas``.
        """
        import pyarrow as pa

        return Bars.from_pandas(pa.table(frame).to_pandas(), calendar, **words)

    @staticmethod
    def from_arrow(
        table: Any,
        options: Options,
        *,
        actions: pd.DataFrame | None = None,
        symbols: Sequence[str] | None = None,
        feed: str = "file",
        source: str = "table",
    ) -> Bars:
        """Return bars from an Arrow table in the columns of ``from_pandas``."""
        import pyarrow as pa

        columns = columns_of.from_table(table, source, symbols, columns_of.table_row)
        raw: list[RawAction] = []
        if actions is not None:
            records = pa.Table.from_pandas(actions, preserve_index=False).to_pylist()
            raw = corporate_actions.from_records(records, f"actions of {source}")
        return _bars(assemble(columns, raw, options), options, source, feed)

    @staticmethod
    def from_parquet(path: str | Path, **words: Any) -> Bars:
        """Return ``load_bars(path, ...)`` of a parquet file."""
        return load_bars(path, **words)

    @staticmethod
    def from_csv(path: str | Path, **words: Any) -> Bars:
        """Return ``load_bars(path, ...)`` of a csv file."""
        return load_bars(path, **words)


class Holdout(Protocol):
    """What stands before rows that nobody may have seen yet: ``mqd.ml.SealedHoldout``."""

    def check(self, bars: Bars) -> object:
        """Raise when some of ``bars`` are sealed."""
        ...


def load_bars(
    path: str | Path,
    symbols: Sequence[str] | None = None,
    start: object = None,
    end: object = None,
    adjust: Adjust = "split",
    calendar: str = "XNYS",
    tick: Steps = None,
    lot: Steps = None,
    dividends: Convention = "yahoo",
    on_bad: str = "refuse",
    *,
    timeframe: str | None = None,
    feed: str = "file",
    holdout: Holdout | None = None,
) -> Bars:
    """Return the bars of a parquet or csv file, validated, adjusted and on the tick grid.

    Only the chosen ``symbols`` are read and validated (None: all). ``start`` and ``end`` are
    dates (whole sessions, both included) or zone-aware instants. Actions come from
    ``corporate_actions.parquet`` beside the file (rows whose ``applies_to`` is the file's
    stem); only those known at the last bar are used. ``dividends`` says how the source computes
    a dividend's step: "yahoo" (default; also CRSP) or "wiki" (us_equity_daily_raw); it matters
    for ``adjust="split+dividend"`` alone. ``tick`` and ``lot`` default to 0.0001 and 1, to 0.01
    and 0.00000001 for calendar "24/7"; either may be a dict by symbol; a tick that would move a
    price by more than 2 in 1,000 is refused. ``timeframe`` is inferred when None. With a
    ``holdout`` (``mqd.ml.SealedHoldout``) bars behind its seal are refused until it is opened.

    Raises BadRows, MissingColumn, MissingZone, EmptyBars, UnknownSymbol, UsageError. With
    ``on_bad="drop"`` rows that break a rule are left out and listed in ``Bars.dropped``.
    """
    if not isinstance(path, str | Path):
        raise UsageError(f"load_bars takes the path of a .parquet or .csv file, not {path!r}.")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"There is no data file {str(path)!r}.")
    if isinstance(symbols, str):
        raise UsageError(f"symbols = {symbols!r}: pass a list, such as [{symbols!r}].")
    if symbols is not None and not (symbols and all(isinstance(name, str) for name in symbols)):
        raise UsageError(f"symbols = {symbols!r}: pass a list of names, or None for all.")
    options = _options(locals())
    columns = _columns(file, symbols)
    raw = corporate_actions.beside(file)
    bars = _bars(assemble(columns, raw, options), options, file.name, feed)
    if holdout is not None:
        holdout.check(bars)
    return bars


def _columns(file: Path, symbols: Sequence[str] | None) -> columns_of.Columns:
    kind = file.suffix.lower()
    if kind not in (".parquet", ".pq", ".csv", ".gz"):
        raise UsageError(f"{file.name}: write .parquet or .csv, not {kind!r}.")
    import pyarrow as pa

    try:
        if kind in (".parquet", ".pq"):
            table, say_row = columns_of.read_parquet(file, symbols)
        else:
            table, say_row = columns_of.read_csv(file), columns_of.csv_line
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file.name}: it cannot be read ({error}).") from error
    return columns_of.from_table(table, file.name, symbols, say_row)


def _options(words: dict[str, Any]) -> Options:
    names = (
        "calendar", "tick", "lot", "adjust", "dividends", "on_bad", "start", "end", "timeframe",
    )  # fmt: skip
    return Options(**{name: words[name] for name in names}, asked=words["symbols"] is not None)


def _bars(parts: Assembled, options: Options, source: str, feed: str) -> Bars:
    return Bars(
        parts.by_symbol, options.calendar, parts.timeframe_ns, source, feed, options.adjust,
        options.dividends, parts.gaps, tuple(parts.dropped), parts.close_only,
    )  # fmt: skip


def _columns_of(bars: SymbolBars) -> dict[str, Any]:
    columns = {name: getattr(bars, name) for name in COLUMNS}
    return {name: column for name, column in columns.items() if column is not None}
