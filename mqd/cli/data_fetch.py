"""``mqd data fetch``: history from Alpaca, or from a file, into the local catalog."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mqd.cli import output
from mqd.errors import UsageError

if TYPE_CHECKING:
    from mqd.market_data.catalog import Chunk
    from mqd.market_data.pipeline import FetchReport
    from mqd.market_data.providers import Provider

DATA_URL: Final = "https://data.alpaca.markets"
ENVIRONMENT: Final = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
CATALOG: Final = Path("datasets/catalog")
KINDS: Final = ("bars", "quotes", "trades", "actions")


def fetch(
    *symbols: str,
    start: str,
    end: str,
    timeframe: str = "1Min",
    kind: Literal["bars", "quotes", "trades", "actions", "all"] = "bars",
    feed: str = "iex",
    catalog: Path = CATALOG,
    keys: Path | None = None,
    url: str = DATA_URL,
    file: Path | None = None,
    calendar: str = "XNYS",
    json: bool = False,
) -> int:
    """Fetch history into the catalog, month by month; a fetch that was stopped goes on.

    Prices are kept raw. Bars come with their corporate actions. Keys are read from --keys, or
    from APCA_API_KEY_ID and APCA_API_SECRET_KEY.

    Parameters
    ----------
    symbols
        What to fetch, such as MSFT SPY.
    start
        First day, YYYY-MM-DD; its whole month is fetched.
    end
        Last day, YYYY-MM-DD, included; its whole month is fetched, up to now.
    timeframe
        Of bars: 1Min, 5Min, 15Min, 30Min, 1Hour or 1Day.
    kind
        bars, quotes, trades, actions, or all of them.
    feed
        iex, sip, boats or otc; each is kept apart.
    catalog
        Folder of the catalog.
    keys
        Key file (TOML with key_id and secret, mode 0600).
    url
        Address of the data API.
    file
        Take bars of --timeframe from this parquet or csv file instead.
    calendar
        Exchange calendar, for gaps and sessions.
    json
        Print one JSON document to stdout.
    """
    from mqd.core.clock import WallClock
    from mqd.market_data.pipeline import pipeline_of
    from mqd.market_data.providers import DataQuery, Kind

    if not symbols:
        raise UsageError("Name at least one symbol: mqd data fetch MSFT --start … --end …")
    clock = WallClock()
    first_ns, last_ns = _day_ns("start", start), _day_ns("end", end, 1)
    provider = _provider(file, timeframe, feed, keys, url)
    pipeline = pipeline_of([provider], catalog, clock, calendar)
    wanted = [Kind(one) for one in KINDS if kind in {one, "all"}]
    if kind == "bars" and file is None:
        wanted.append(Kind.ACTIONS)
    if file is not None:
        wanted = [Kind.BARS]
    reports = {}
    for one in wanted:
        query = DataQuery(one, symbols, first_ns, last_ns, timeframe)
        with ExitStack() as stack:
            reports[str(one)] = pipeline.fetch(query, _progress(stack, str(one)))
    _print(reports, catalog, json=json)
    return 0


def _provider(
    file: Path | None, timeframe: str, feed: str, keys: Path | None, url: str
) -> Provider:
    from mqd.market_data.providers import FileProvider

    if file is not None:
        return FileProvider(file, timeframe)
    from mqd.adapters.alpaca.history import AlpacaHistory
    from mqd.adapters.alpaca.keys import read_keys
    from mqd.core.clock import WallClock

    both = read_keys(keys, ENVIRONMENT)
    return AlpacaHistory(url, both.key_id, both.secret, WallClock(), feed=feed)


def _progress(stack: ExitStack, what: str) -> Any:
    """Return a function that draws a bar of files on stderr."""
    from tqdm import tqdm

    bars: list[Any] = []

    def show(chunk: Chunk, number: int, count: int) -> None:
        if not bars:
            bars.append(stack.enter_context(tqdm(total=count, desc=what, unit="file")))
        bars[0].n = number - 1
        bars[0].set_postfix_str(f"{chunk.symbol} {chunk.month}")

    def finish() -> None:
        for bar in bars:
            bar.n = bar.total
            bar.refresh()

    stack.callback(finish)
    return show


def _print(reports: dict[str, FetchReport], catalog: Path, *, json: bool) -> None:
    if json:
        document = {name: vars(report) for name, report in reports.items()}
        output.print_json({"catalog": catalog, "fetched": document})
        return
    for name, report in reports.items():
        print(
            f"{name:<8} {report.n_rows:>10,} rows in {report.n_files} file(s) of feed"
            f" {report.feed}; {report.n_known} were complete"
        )
        for symbol, gaps in report.gaps.items():
            if gaps:
                print(f"         {symbol}: {gaps:,} bars that the calendar has are missing")
    print(f"The catalog is in {catalog}.")


def _day_ns(name: str, text: str, days_later: int = 0) -> int:
    """Return the UTC midnight of a day, or of a later one, in ns."""
    from mqd.core.clock import NS_PER_DAY

    try:
        day = date.fromisoformat(text) + timedelta(days=days_later)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name} = {text!r}: write a day as YYYY-MM-DD.") from error
    return (day - date(1970, 1, 1)).days * NS_PER_DAY
