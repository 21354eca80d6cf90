"""What a file of bars is like, in counts that a change of it would alter; nothing is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from mqd.core.bar import Floats, Ints
from mqd.core.clock import NS_PER_MINUTE, iso
from mqd.market_data.calendar import TradingCalendar, calendar_for

Quality = dict[str, int | float | str]


def of_bars(table: Any, calendars: dict[str, str], daily: bool) -> dict[str, Quality]:
    """Return the quality of each symbol of an Arrow table of bars.

    ``calendars`` maps a symbol to its calendar; "*" stands for the rest; a symbol without one is
    not held against a calendar. Counts: ``rows``, ``duplicates``, ``unsorted``, ``not_finite``,
    ``not_positive`` (prices), ``high_low_breaks``, ``zero_volume``, ``outside`` (rows in no
    session) and ``missing`` (sessions or minutes between the first and last row that have none).
    """
    symbols = table.column("symbol").to_numpy(zero_copy_only=False)
    result = {}
    for symbol in dict.fromkeys(symbols.tolist()):
        part = table.filter(symbols == symbol)
        found = _counts(part)
        calendar = calendars.get(symbol, calendars.get("*"))
        if calendar is not None:
            found |= _against(calendar, stamps(part), daily)
        result[str(symbol)] = found
    return result


def of_actions(table: Any) -> dict[str, Quality]:
    """Return, for each price file, how many splits and dividends of which sum it is given."""
    result: dict[str, Quality] = {}
    for row in table.to_pylist():
        found = result.setdefault(row["applies_to"], {"splits": 0, "dividends": 0, "amount": 0.0})
        found["splits" if row["kind"] == "split" else "dividends"] += 1  # type: ignore[operator]
        if row["kind"] == "dividend":
            found["amount"] = round(float(found["amount"]) + row["amount"], 4)
    return result


def stamps(table: Any) -> Ints:
    """Return the timestamps of a table as int64 ns UTC."""
    import pyarrow as pa

    column = table.column("timestamp").cast(pa.timestamp("ns", tz="UTC"))
    return np.asarray(column.cast(pa.int64()).to_numpy())


def _counts(table: Any) -> Quality:
    ts = stamps(table)
    numbers: dict[str, Floats] = {
        name: table.column(name).to_numpy().astype(np.float64)
        for name in ("open", "high", "low", "close", "adj_close", "volume", "price", "size")
        if name in table.column_names
    }
    prices = [column for name, column in numbers.items() if name not in ("volume", "size")]
    found: Quality = {
        "rows": len(ts),
        "first": iso(int(ts[0])),
        "last": iso(int(ts[-1])),
        "duplicates": int(len(ts) - len(np.unique(ts))),
        "unsorted": int((ts[1:] < ts[:-1]).sum()),
        "not_finite": int(sum((~np.isfinite(column)).sum() for column in numbers.values())),
        "not_positive": int(sum((column <= 0).sum() for column in prices)),
    }
    if "high" in numbers:
        body = np.stack([numbers["open"], numbers["close"]])
        broken = (numbers["high"] < body.max(axis=0)) | (numbers["low"] > body.min(axis=0))
        found["high_low_breaks"] = int((broken | (numbers["high"] < numbers["low"])).sum())
    if "volume" in numbers:
        found["zero_volume"] = int((numbers["volume"] == 0).sum())
    return found


def _against(name: str, ts: Ints, daily: bool) -> Quality:
    calendar = calendar_for(name, int(ts.min()), int(ts.max()))
    row = calendar.daily_index(ts) if daily else calendar.index_at(ts)
    return {"outside": int((row < 0).sum()), "missing": _missing(calendar, ts[row >= 0], daily)}


def _missing(calendar: TradingCalendar, ts: Ints, daily: bool) -> int:
    row = calendar.daily_index(ts) if daily else calendar.index_at(ts)
    if daily:
        return int(row[-1] - row[0] + 1) - len(np.unique(row))
    at = calendar.bucket_numbers(ts, row, NS_PER_MINUTE)
    traded = np.unique(row)
    return int(calendar.bucket_counts(NS_PER_MINUTE)[traded].sum()) - len(np.unique(at))
