"""``MarketDataPipeline``: history from the first provider that can give it, cached and kept.

Providers are asked in order; one answers a whole question, so that feeds never mix. What fails
is said. The cache holds answers for ``ttl_s``; an answer about the present whose newest row is
older than ``stale_s`` in an open session is marked stale, and the next provider is asked first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mqd.core.clock import NS_PER_DAY, NS_PER_S
from mqd.core.protocols import Clock
from mqd.errors import EmptyBars, UsageError
from mqd.market_data.aggregation import aggregate
from mqd.market_data.calendar import TradingCalendar, calendar_for
from mqd.market_data.catalog import Catalog, Chunk, chunks_of
from mqd.market_data.errors import NoProvider, ProviderFailed
from mqd.market_data.providers import (
    WIDTHS,
    DataQuery,
    Kind,
    Provider,
    empty,
    stamps_of,
    within,
)  # fmt: skip

if TYPE_CHECKING:
    import pyarrow as pa

    from mqd.market_data.bars import Bars
    from mqd.market_data.corporate_actions import Adjust

TTL_S: Final = 30.0
STALE_S: Final = 90.0
CACHED: Final = 256
PAGES_MAX: Final = 100_000
BAR_TIMEFRAMES: Final = {"1Min": "1min", "5Min": "5min", "15Min": "15min", "30Min": "30min",
                         "1Hour": "60min", "1Day": "1day"}  # fmt: skip


class Fetched(NamedTuple):
    """An answer: the rows, who gave them from which feed, and what was tried before in vain.

    ``stale`` is True when the question reaches the present of an open session and the newest
    row is older than the pipeline allows.
    """

    table: pa.Table
    provider: str
    feed: str
    stale: bool = False
    failures: tuple[str, ...] = ()


@dataclass
class FetchReport:
    """What a fetch did: files written and found complete, rows written, gaps and failures.

    ``gaps`` counts, a symbol, the bars that the calendar has and the data have not between its
    first and last bar of the fetched stretch; nothing is filled.
    """

    feed: str = ""
    n_files: int = 0
    n_known: int = 0
    n_rows: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class _Entry:
    """A question's place in the cache; its lock lets one thread ask, the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at_ns = 0
        self.answer: Fetched | None = None


class MarketDataPipeline:
    """History behind one door; every method may be called from any thread.

    ``providers`` in the order in which they are asked. ``catalog`` is the folder that `fetch`
    fills. ``clock`` gives the present. Raises ``UsageError`` without a provider.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        catalog: Catalog,
        clock: Clock,
        *,
        calendar: str = "XNYS",
        ttl_s: float = TTL_S,
        stale_s: float = STALE_S,
    ) -> None:
        if not providers:
            raise UsageError("A pipeline needs at least one provider.")
        self.providers, self.catalog, self.calendar = tuple(providers), catalog, calendar
        self._clock = clock
        self._ttl_ns, self._stale_ns = int(ttl_s * NS_PER_S), int(stale_s * NS_PER_S)
        self._cache: OrderedDict[DataQuery, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, query: DataQuery) -> Fetched:
        """Return the answer to a query, from the cache while it is fresh.

        Raises ``NoProvider`` when all failed, ``ProviderRefused`` at the first refusal.
        """
        with self._lock:
            entry = self._cache.setdefault(query, _Entry())
            self._cache.move_to_end(query)
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        with entry.lock:
            now_ns = self._clock.monotonic_ns()
            if entry.answer is None or now_ns - entry.at_ns >= self._ttl_ns:
                entry.answer, entry.at_ns = self._ask(query), now_ns
            return entry.answer

    def bars(
        self, symbols: Sequence[str], start_ns: int, end_ns: int, timeframe: str = "1Min"
    ) -> Fetched:
        """Return bars that start in ``[start_ns, end_ns)``."""
        return self.get(DataQuery(Kind.BARS, tuple(symbols), start_ns, end_ns, timeframe))

    def _ask(self, query: DataQuery) -> Fetched:
        failures: list[str] = []
        stale: Fetched | None = None
        for provider in self.providers:
            try:
                table = self._closed(read_all(provider, query), query)
            except ProviderFailed as failed:
                failures.append(str(failed))
                continue
            answer = Fetched(table, provider.name, provider.feed)
            if not self._is_stale(query, table):
                return answer._replace(failures=tuple(failures))
            failures.append(f"{provider.name}: its newest row is old.")
            stale = stale or answer
        if stale is not None:
            return stale._replace(stale=True, failures=tuple(failures))
        raise NoProvider(str(query), failures)

    def _closed(self, table: pa.Table, query: DataQuery) -> pa.Table:
        """Leave out the bars that are not over yet: a bar is known at its close."""
        if query.kind is not Kind.BARS or not table.num_rows:
            return table
        now_ns, ts = self._clock.now_ns(), stamps_of(table)
        ends = ts + WIDTHS[query.timeframe]
        if WIDTHS[query.timeframe] >= NS_PER_DAY:
            calendar = calendar_for(self.calendar, int(ts.min()), int(ts.max()))
            row = calendar.daily_index(ts)
            ends = np.where(row >= 0, calendar.closes[row], ends)
        return table.take(np.flatnonzero(ends <= now_ns))

    def _is_stale(self, query: DataQuery, table: pa.Table) -> bool:
        """Return True when rows of the present are missing while the market is open."""
        now_ns = self._clock.now_ns()
        if query.kind is Kind.ACTIONS or query.end_ns < now_ns - self._stale_ns:
            return False
        calendar = calendar_for(self.calendar, now_ns, now_ns)
        row = int(calendar.index_at(np.array([now_ns], np.int64))[0])
        width_ns = WIDTHS[query.timeframe] if query.kind is Kind.BARS else 0
        if row < 0 or width_ns >= NS_PER_DAY:
            return False
        newest_ns = int(stamps_of(table).max()) + width_ns if table.num_rows else 0
        since_ns = max(newest_ns, int(calendar.opens[row]) + width_ns)
        return now_ns - since_ns > self._stale_ns + width_ns

    def fetch(
        self, query: DataQuery, progress: Callable[[Chunk, int, int], None] | None = None
    ) -> FetchReport:
        """Fetch a query's months into the catalog, from the first provider that can.

        Months that are complete are not asked for again, so a fetch that was stopped goes on
        where it was. ``progress(chunk, number, count)`` is told each file before it is fetched.
        Raises ``NoProvider`` when a month cannot be had; what was fetched stays.
        """
        query = stored(query)
        report = FetchReport(feed=self.providers[0].feed)
        chunks = chunks_of(query)
        now_ns = self._clock.now_ns()
        for number, chunk in enumerate(chunks, 1):
            if chunk.start_ns >= now_ns:
                continue
            if self.catalog.is_complete(report.feed, chunk):
                report.n_known += 1
                continue
            if progress is not None:
                progress(chunk, number, len(chunks))
            self._fetch_one(chunk, report, now_ns)
        if query.kind is Kind.BARS:
            self._count_gaps(query, report)
        return report

    def _fetch_one(self, chunk: Chunk, report: FetchReport, now_ns: int) -> None:
        """Write one month; only providers of the report's feed are asked."""
        failures = []
        query = chunk.query
        if chunk.end_ns > now_ns:
            query = DataQuery(query.kind, query.symbols, chunk.start_ns, now_ns, query.timeframe)
        for provider in self.providers:
            if provider.feed != report.feed:
                continue
            try:
                table = self._closed(read_all(provider, query), query)
            except ProviderFailed as failed:
                failures.append(str(failed))
                continue
            self.catalog.write(report.feed, chunk, table, now_ns)
            report.n_files, report.n_rows = report.n_files + 1, report.n_rows + table.num_rows
            report.failures += failures
            return
        raise NoProvider(f"{query} in {chunk.month}", failures)

    def _count_gaps(self, query: DataQuery, report: FetchReport) -> None:
        calendar = calendar_for(self.calendar, query.start_ns, query.end_ns)
        for symbol in query.symbols:
            one = DataQuery(query.kind, (symbol,), query.start_ns, query.end_ns, query.timeframe)
            table = regular(self.catalog.read(report.feed, one), calendar, query.timeframe)
            ts = stamps_of(table)
            if len(ts):
                daily = WIDTHS[query.timeframe] >= NS_PER_DAY
                row = calendar.daily_index(ts) if daily else calendar.index_at(ts)
                starts = calendar.opens[row] if daily else ts
                sessions = calendar.sessions[row]
                width_ns = WIDTHS[query.timeframe]
                report.gaps[symbol] = calendar.missing_bars(starts, sessions, width_ns)

    def load(
        self,
        symbols: Sequence[str],
        start_ns: int,
        end_ns: int,
        timeframe: str = "1Min",
        *,
        feed: str | None = None,
        adjust: Adjust = "split",
    ) -> Bars:
        """Return the catalog's bars of regular sessions as ``Bars``; the feed is their identity.

        Raw prices with the catalog's corporate actions, adjusted as asked. Rows outside the
        sessions (extended hours) are left out. Raises ``EmptyBars``, and what ``Bars`` raises.
        """
        from mqd.market_data.bars import Bars

        feed = feed or self.providers[0].feed
        query = stored(DataQuery(Kind.BARS, tuple(symbols), start_ns, end_ns, timeframe))
        calendar = calendar_for(self.calendar, start_ns, end_ns)
        table = regular(self.catalog.read(feed, query), calendar, query.timeframe)
        if not table.num_rows:
            raise EmptyBars(f"catalog ({feed})", f"it has no {query}")
        known = DataQuery(Kind.ACTIONS, tuple(symbols), start_ns, end_ns)
        actions = self.catalog.read(feed, known)
        bars = Bars.from_pandas(
            table.to_pandas(), self.calendar, adjust=adjust, feed=feed, symbols=list(symbols),
            actions=actions.to_pandas() if actions.num_rows else None,
            timeframe=BAR_TIMEFRAMES[query.timeframe], source=f"catalog ({feed})",
        )  # fmt: skip
        return bars if query.timeframe == timeframe else aggregate(bars, BAR_TIMEFRAMES[timeframe])


def stored(query: DataQuery) -> DataQuery:
    """Return the query as the catalog keeps it: hours as half hours.

    Alpaca cuts hours at the full hour, sessions begin at half past nine.
    """
    return replace(query, timeframe="30Min") if query.timeframe == "1Hour" else query


def read_all(provider: Provider, query: DataQuery) -> pa.Table:
    """Return all pages of a provider as one table, each row once.

    Raises ``ProviderFailed`` for a provider whose tokens never end.
    """
    import pyarrow as pa

    tables, token, seen = [empty(query.kind)], "", set[str]()
    for _ in range(PAGES_MAX):
        page = provider.page(query, token)
        tables.append(page.table)
        token = page.token
        if not token:
            return within(pa.concat_tables(tables), query)
        if token in seen:
            break
        seen.add(token)
    raise ProviderFailed(provider.name, "its pages do not end: it gave a token twice")


def regular(table: pa.Table, calendar: TradingCalendar, timeframe: str) -> pa.Table:
    """Return the rows that lie in regular sessions."""
    ts = stamps_of(table)
    daily = WIDTHS[timeframe] >= NS_PER_DAY
    row = calendar.daily_index(ts) if daily else calendar.index_at(ts)
    return table.take(np.flatnonzero(row >= 0))


def pipeline_of(
    providers: Sequence[Provider], folder: str | Path, clock: Clock, calendar: str = "XNYS"
) -> MarketDataPipeline:
    """Return a pipeline over a catalog folder with the default times."""
    return MarketDataPipeline(providers, Catalog(folder), clock, calendar=calendar)
