"""The local catalog: one parquet file a feed, kind, time frame, symbol and month.

    catalog/feed=iex/bars-1Min/MSFT/2024-01.parquet

A file is written whole or not at all. Its metadata say which stretch of time it covers; a file
whose stretch was over when it was fetched is complete and is never fetched again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mqd.core.clock import NS_PER_S
from mqd.market_data.errors import CatalogDamaged, ProviderFailed
from mqd.market_data.providers import DataQuery, Kind, Page, empty, within

if TYPE_CHECKING:
    import pyarrow as pa

META = b"mqd"


class Chunk(NamedTuple):
    """One file: a whole month (UTC) of a symbol. ``end_ns`` is left out."""

    kind: Kind
    timeframe: str
    symbol: str
    month: str
    start_ns: int
    end_ns: int

    @property
    def query(self) -> DataQuery:
        """The query that fills this file."""
        return DataQuery(self.kind, (self.symbol,), self.start_ns, self.end_ns, self.timeframe)


def chunks_of(query: DataQuery) -> list[Chunk]:
    """Return the files that a query touches: whole months UTC, by symbol, then time."""
    months = list(_months(query.start_ns, query.end_ns))
    return [
        Chunk(query.kind, query.timeframe, symbol, *month)
        for symbol in query.symbols
        for month in months
    ]


def _months(start_ns: int, end_ns: int) -> Iterator[tuple[str, int, int]]:
    first = datetime.fromtimestamp(start_ns // NS_PER_S, UTC)
    year, month = first.year, first.month
    while True:
        begin_ns = _ns(year, month)
        if begin_ns >= end_ns:
            return
        following = (year, month + 1) if month < 12 else (year + 1, 1)
        yield f"{year:04d}-{month:02d}", begin_ns, _ns(*following)
        year, month = following


def _ns(year: int, month: int) -> int:
    return (date(year, month, 1) - date(1970, 1, 1)).days * 86_400 * NS_PER_S


class Catalog:
    """A folder of fetched history."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, feed: str, chunk: Chunk) -> Path:
        """Return where a chunk lies."""
        kind = f"bars-{chunk.timeframe}" if chunk.kind is Kind.BARS else str(chunk.kind)
        return self.folder / f"feed={feed}" / kind / chunk.symbol / f"{chunk.month}.parquet"

    def is_complete(self, feed: str, chunk: Chunk) -> bool:
        """Return True when a chunk is there and its month was over when it was fetched."""
        path = self.path(feed, chunk)
        return path.exists() and bool(self._meta(path)["complete"])

    def write(self, feed: str, chunk: Chunk, table: pa.Table, fetched_ns: int) -> Path:
        """Write a chunk whole: to a side file, to the disk, then to its name."""
        import pyarrow.parquet as pq

        path = self.path(feed, chunk)
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = {
            "feed": feed, "symbol": chunk.symbol, "kind": str(chunk.kind),
            "timeframe": chunk.timeframe, "month": chunk.month, "fetched_ns": fetched_ns,
            "complete": fetched_ns >= chunk.end_ns,
        }  # fmt: skip
        side = path.with_suffix(f".{os.getpid()}.part")
        pq.write_table(
            table.replace_schema_metadata({META: json.dumps(meta).encode()}), side,
            compression="zstd",
        )  # fmt: skip
        with side.open("rb") as handle:
            os.fsync(handle.fileno())
        side.replace(path)
        return path

    def read(self, feed: str, query: DataQuery) -> pa.Table:
        """Return what the catalog has of a query; missing files are simply absent."""
        import pyarrow as pa

        tables = [
            self._table(self.path(feed, chunk), chunk)
            for chunk in chunks_of(query)
            if self.path(feed, chunk).exists()
        ]
        return within(pa.concat_tables(tables), query) if tables else empty(query.kind)

    def feeds(self) -> list[str]:
        """Return the feeds that the catalog has."""
        return sorted(path.name.removeprefix("feed=") for path in self.folder.glob("feed=*"))

    def _table(self, path: Path, chunk: Chunk) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        meta = self._meta(path)
        for name, expected in (("symbol", chunk.symbol), ("kind", str(chunk.kind))):
            if meta[name] != expected:
                raise CatalogDamaged(path.name, f"it says {name} {meta[name]!r}")
        try:
            return pq.read_table(path).replace_schema_metadata(None)
        except (OSError, pa.ArrowInvalid) as error:
            raise CatalogDamaged(path.name, f"it cannot be read ({error})") from error

    @staticmethod
    def _meta(path: Path) -> dict[str, Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            metadata = pq.read_schema(path).metadata or {}
            meta = json.loads(metadata[META])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
            raise CatalogDamaged(path.name, "it was not written by mqd, or was cut off") from error
        return dict(meta)


class CatalogProvider:
    """The catalog as a provider: what was fetched before."""

    def __init__(self, catalog: Catalog, feed: str) -> None:
        self.catalog, self.feed = catalog, feed
        self.name = f"catalog ({feed})"

    def page(self, query: DataQuery, token: str) -> Page:
        """Return everything in one page; raise ``ProviderFailed`` unless all files are there."""
        if token:
            raise ProviderFailed(self.name, "the catalog has one page")
        for chunk in chunks_of(query):
            if not self.catalog.path(self.feed, chunk).exists():
                raise ProviderFailed(self.name, f"it has no {chunk.month} of {chunk.symbol}")
        return Page(self.catalog.read(self.feed, query))
