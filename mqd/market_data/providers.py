"""Where history comes from, behind one protocol: a venue's API, the local catalog, files.

Every provider answers in the same columns, pages by pages. A table holds one feed; the pipeline
never mixes two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE
from mqd.errors import DataError, UsageError
from mqd.market_data.errors import ProviderFailed

if TYPE_CHECKING:
    import pyarrow as pa

WIDTHS: Final = {
    "1Min": NS_PER_MINUTE, "5Min": 5 * NS_PER_MINUTE, "15Min": 15 * NS_PER_MINUTE,
    "30Min": 30 * NS_PER_MINUTE, "1Hour": 60 * NS_PER_MINUTE, "1Day": NS_PER_DAY,
}  # fmt: skip


class Kind(StrEnum):
    """What history is asked for."""

    BARS = "bars"
    QUOTES = "quotes"
    TRADES = "trades"
    ACTIONS = "actions"


@dataclass(frozen=True)
class DataQuery:
    """What is wanted: ``start_ns`` and ``end_ns`` are instants UTC, the end left out.

    ``timeframe`` is one of "1Min", "5Min", "15Min", "30Min", "1Hour", "1Day" and counts for
    bars alone; a bar belongs to the query by its start. Raises ``UsageError`` for anything else.
    """

    kind: Kind
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int
    timeframe: str = "1Min"

    def __post_init__(self) -> None:
        symbols: object = self.symbols
        if not isinstance(symbols, tuple) or not symbols:
            raise UsageError(f"symbols = {self.symbols!r}: name at least one, in a tuple.")
        for symbol in self.symbols:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}", symbol):
                raise UsageError(f"symbols: {symbol!r} is no symbol.")
        if self.timeframe not in WIDTHS:
            raise UsageError(f"timeframe = {self.timeframe!r}: write one of {', '.join(WIDTHS)}.")
        if self.start_ns >= self.end_ns:
            raise UsageError("start must lie before end.")

    def __str__(self) -> str:
        what = f"{self.timeframe} bars" if self.kind is Kind.BARS else str(self.kind)
        return f"{what} of {', '.join(self.symbols)}"


class Page(NamedTuple):
    """A part of an answer, and the token that asks for the next one ("" after the last)."""

    table: pa.Table
    token: str = ""


class Provider(Protocol):
    """Gives history in pages. Raises ``ProviderFailed`` or ``ProviderRefused``."""

    name: str
    feed: str

    def page(self, query: DataQuery, token: str) -> Page:
        """Return the page that ``token`` names, the first one for ""."""
        ...


def schema_of(kind: Kind) -> pa.Schema:
    """Return the columns of a kind; ``timestamp`` is UTC ns, for bars the start of the bar."""
    import pyarrow as pa

    at, number, text = pa.timestamp("ns", tz="UTC"), pa.float64(), pa.string()
    fields: dict[Kind, dict[str, Any]] = {
        Kind.BARS: {
            "symbol": text, "timestamp": at, "open": number, "high": number, "low": number,
            "close": number, "volume": number, "trade_count": number, "vwap": number,
        },
        Kind.QUOTES: {
            "symbol": text, "timestamp": at, "bid_px": number, "bid_qty": number,
            "ask_px": number, "ask_qty": number, "bid_exchange": text, "ask_exchange": text,
        },
        Kind.TRADES: {
            "symbol": text, "timestamp": at, "px": number, "qty": number, "trade_id": text,
            "exchange": text, "conditions": text,
        },
        Kind.ACTIONS: {
            "symbol": text, "ex_date": pa.date32(), "kind": text, "ratio": text, "amount": text,
        },
    }  # fmt: skip
    return pa.schema(list(fields[kind].items()))


def table_of(kind: Kind, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows (``timestamp`` in int ns) as a table; raise ``DataError`` for wrong values."""
    import pyarrow as pa

    schema = schema_of(kind)
    try:
        columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise DataError(f"A row of {kind} holds a value of a wrong kind ({error}).") from error
    return pa.Table.from_arrays(columns, schema=schema)


def empty(kind: Kind) -> pa.Table:
    """Return a table of a kind without rows."""
    return schema_of(kind).empty_table()


def stamps_of(table: pa.Table) -> Any:
    """Return the ``timestamp`` column as int64 ns."""
    import pyarrow as pa

    return table.column("timestamp").cast(pa.int64()).to_numpy()


def within(table: pa.Table, query: DataQuery) -> pa.Table:
    """Return the rows that a query asks for, by symbol, then time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kept = pc.is_in(table.column("symbol"), pa.array(list(query.symbols)))
    if query.kind is Kind.ACTIONS:
        days = table.column("ex_date").cast(pa.int32())
        first, last = query.start_ns // NS_PER_DAY, (query.end_ns - 1) // NS_PER_DAY
        order = "ex_date"
    else:
        days = table.column("timestamp").cast(pa.int64())
        first, last, order = query.start_ns, query.end_ns - 1, "timestamp"
    kept = pc.and_(kept, pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last)))
    return table.filter(kept).sort_by([("symbol", "ascending"), (order, "ascending")])


class FileProvider:
    """Bars of a parquet or csv file in the columns of `load_bars`; one time frame, one feed."""

    def __init__(self, path: str | Path, timeframe: str, feed: str = "file") -> None:
        self.path, self.timeframe, self.feed = Path(path), timeframe, feed
        self.name = self.path.name
        self._table: pa.Table | None = None

    def page(self, query: DataQuery, token: str) -> Page:
        """Return everything in one page; raise ``ProviderFailed`` for what the file has not."""
        if token:
            raise ProviderFailed(self.name, "a file has one page")
        if query.kind is not Kind.BARS or query.timeframe != self.timeframe:
            raise ProviderFailed(self.name, f"it holds {self.timeframe} bars, not {query}")
        if self._table is None:
            self._table = self._read()
        return Page(within(self._table, query))

    def _read(self) -> pa.Table:
        import pyarrow as pa

        from mqd.market_data.columns import read_csv, read_parquet

        try:
            parquet = self.path.suffix.lower() in {".parquet", ".pq"}
            table = read_parquet(self.path, None)[0] if parquet else read_csv(self.path)
            columns = []
            for field in schema_of(Kind.BARS):
                if field.name in table.column_names:
                    columns.append(table.column(field.name).cast(field.type))
                else:
                    columns.append(pa.nulls(table.num_rows, field.type))
        except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError, DataError) as error:
            raise ProviderFailed(self.name, f"it cannot be read ({error})") from error
        return pa.Table.from_arrays(columns, schema=schema_of(Kind.BARS))
