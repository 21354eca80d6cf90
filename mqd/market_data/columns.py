"""From an Arrow table to plain columns: names, types and zones are settled here, once.

Rows keep their number in the source, so that every later message can name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Floats, Ints
from mqd.core.clock import NS_PER_DAY
from mqd.errors import BadRows, EmptyBars, MissingColumn, MissingZone, UnknownSymbol

PRICES = ("open", "high", "low", "close")
OPTIONAL = ("vwap", "trade_count")
ZONED = r"[T ]\d{2}[\d:.,]*(?:Z|z|[+-]\d{2}(?::?\d{2})?)$"


@dataclass(frozen=True)
class Columns:
    """Rows of bars as they stand in the source, not yet judged.

    ``code`` is each row's index into ``symbols``; ``ts`` is ns UTC, or the UTC midnight of a
    session when the source holds dates only (``dated``). ``numbers`` maps a column name to
    float64. ``where`` names row ``i`` of these arrays as the source counts it.
    """

    source: str
    symbols: tuple[str, ...]
    code: Ints
    ts: Ints
    dated: bool
    numbers: dict[str, Floats]
    close_only: bool
    where: Callable[[int], str]

    def take(self, rows: NDArray[Any]) -> Columns:
        """Return the rows chosen by a mask or by indices."""
        kept = np.flatnonzero(rows) if rows.dtype == bool else rows
        where = self.where
        return Columns(
            self.source, self.symbols, self.code[kept], self.ts[kept], self.dated,
            {name: column[kept] for name, column in self.numbers.items()}, self.close_only,
            lambda i: where(int(kept[i])),
        )  # fmt: skip


def from_table(
    table: Any, source: str, symbols: Sequence[str] | None, say_row: Callable[[int], str]
) -> Columns:
    """Read an Arrow table in long form; keep the chosen symbols; ``say_row`` names a table row.

    Needs ``symbol``, ``close`` and a zone-aware ``timestamp`` (or ``session``, dates only);
    ``open``, ``high`` and ``low`` come together or not at all. Raises ``MissingColumn``,
    ``MissingZone``, ``UnknownSymbol``, ``EmptyBars``.
    """
    if table.num_rows == 0:
        raise EmptyBars(source, "it holds no row")
    names, code = _symbols(table, source)
    rows: Ints = np.arange(len(code))
    chosen = names if symbols is None else tuple(dict.fromkeys(symbols))
    _check_known(chosen, names, source)
    if chosen != names:
        place = {symbol: index for index, symbol in enumerate(chosen)}
        code = np.array([place.get(name, -1) for name in names], dtype=np.int64)[code]
        if (code < 0).any():
            rows = np.flatnonzero(code >= 0)
            table, code = table.take(rows), code[rows]
    if not len(code):
        raise EmptyBars(source, "no symbol was asked for")

    def where(i: int) -> str:
        return say_row(int(rows[i]))

    ts, dated = _stamps(table, source, where)
    numbers, close_only = _numbers(table, source, where)
    return Columns(source, chosen, code, ts, dated, numbers, close_only, where)


def table_row(row: int) -> str:
    """Name a row of a frame, counted from 0."""
    return f"row {row}"


def csv_line(row: int) -> str:
    """Name a row of a csv file by its line: the header is line 1."""
    return f"line {row + 2}"


def read_parquet(path: Path, symbols: Sequence[str] | None) -> tuple[Any, Callable[[int], str]]:
    """Read what bars need from a parquet file: the chosen symbols' rows and the bars' columns.

    Returns the table and a function that names a row by its number in the file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    present = pq.read_schema(path).names
    wanted = [n for n in ("symbol", "timestamp", *PRICES, "volume", *OPTIONAL) if n in present]
    if "timestamp" not in present and "session" in present:
        wanted.append("session")
    if "close" not in present and "adj_close" in present:
        wanted.append("adj_close")
    if symbols is None or "symbol" not in present:
        return pq.read_table(path, columns=wanted, read_dictionary=["symbol"]), table_row
    chosen = [("symbol", "in", list(symbols))]
    table = pq.read_table(path, columns=wanted, read_dictionary=["symbol"], filters=chosen)
    in_file = pq.read_table(path, columns=["symbol"])
    _check_known(symbols, in_file.column("symbol").unique().to_pylist(), path.name)

    def say_row(row: int) -> str:
        kept = pc.is_in(in_file.column("symbol"), pa.array(list(symbols)))
        return table_row(int(np.flatnonzero(kept.to_numpy())[row]))

    return table, say_row


def read_csv(path: Path) -> Any:
    """Read a csv file; stamps stay text, so that a missing zone is seen."""
    import pyarrow as pa
    from pyarrow import csv

    if path.stat().st_size == 0:
        raise EmptyBars(path.name, "the file is empty")
    types = {"timestamp": pa.string(), "session": pa.string(), "symbol": pa.string()}
    return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))


def _check_known(symbols: Sequence[str], known: Sequence[str], source: str) -> None:
    for symbol in symbols:
        if symbol not in known:
            raise UnknownSymbol(symbol, source, known)


def _symbols(table: Any, source: str) -> tuple[tuple[str, ...], Ints]:
    import pyarrow as pa

    _need(table, source, "symbol")
    column = table.column("symbol").combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadRows(source, "every row names its symbol", [f"row {row}: no symbol"],
                      column.null_count, "Fill the column, or drop the rows.")  # fmt: skip
    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    values = [str(value) for value in column.dictionary.to_pylist()]
    used, first = np.unique(codes, return_index=True)
    order = used[np.argsort(first)]
    place = np.full(len(values), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    return tuple(values[i] for i in order), place[codes]


def _stamps(table: Any, source: str, where: Callable[[int], str]) -> tuple[Ints, bool]:
    import pyarrow as pa

    if "timestamp" not in table.column_names and "session" in table.column_names:
        days = _whole(table.column("session").cast(pa.date32()).cast(pa.int32()))
        return days.astype(np.int64) * NS_PER_DAY, True
    _need(table, source, "timestamp")
    column = table.column("timestamp")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _parse(column, source)
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise MissingZone(source, "timestamp", str(column[0].as_py()))
    if column.null_count:
        row = int(np.flatnonzero(_whole(column.is_null()))[0])
        raise BadRows(source, "every row has a time", [f"{where(row)}: no timestamp"],
                      column.null_count, "Fill the column, or drop the rows.")  # fmt: skip
    return _whole(column.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64())), False


def _parse(column: Any, source: str) -> Any:
    """Parse ISO 8601 text with an offset in every row."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    bare = _whole(pc.invert(pc.match_substring_regex(column, ZONED)).fill_null(True))
    if bare.any():
        row = int(np.flatnonzero(bare)[0])
        raise MissingZone(source, "timestamp", str(column[row].as_py()))
    try:
        stamps = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
    except ValueError as error:
        raise BadRows(source, "timestamps are ISO 8601", [str(error)], 1,
                      "Write 2024-01-02T09:30:00-05:00.") from error  # fmt: skip
    return pa.chunked_array([pa.array(stamps)])


def _numbers(
    table: Any, source: str, where: Callable[[int], str]
) -> tuple[dict[str, Floats], bool]:
    present = set(table.column_names)
    close_only = not present & {"open", "high", "low"}
    wanted = ["close"] if close_only else [*PRICES, "volume"]
    for name in wanted:
        _need(table, source, name)
    if close_only and "volume" in present:
        wanted.append("volume")
    wanted += [name for name in OPTIONAL if name in present]
    numbers = {name: _floats(table.column(name), source, name, where) for name in wanted}
    if close_only:
        zeros = np.zeros(len(numbers["close"]))
        numbers = {**dict.fromkeys(PRICES, numbers["close"]), "volume": zeros, **numbers}
    return numbers, close_only


def _floats(column: Any, source: str, name: str, where: Callable[[int], str]) -> Floats:
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = column.to_pandas()
        values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
        bad = np.flatnonzero(np.isnan(values) & ~text.str.lower().isin(["nan", ""]).to_numpy())
        if len(bad):
            rows = [f"{where(int(i))}: {name} = {text.iloc[int(i)]!r}" for i in bad[:5]]
            raise BadRows(source, f"{name} is a number", rows, len(bad), "Correct the text.")
        return np.asarray(values)
    return np.asarray(_whole(column.cast(pa.float64())))


def _whole(column: Any) -> Any:
    """Return a chunked Arrow column as one numpy array (nulls become NaN)."""
    return column.to_numpy()


def _need(table: Any, source: str, name: str) -> None:
    present: Iterable[str] = table.column_names
    if name not in present:
        raise MissingColumn(source, name, present)
