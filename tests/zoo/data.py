"""The bars of the zoo: real files of datasets/, cut to about 1,500 bars."""

from functools import cache
from pathlib import Path

import mqd

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


@cache
def bars(name: str) -> mqd.Bars:
    """Return "daily" (one share), "minute", "several" shares, and
    "raw" and "split": a share with a split within, unadjusted and adjusted."""
    daily = DATASETS / "us_equity_daily_raw.parquet"
    match name:
        case "daily":
            return mqd.load_bars(daily, ["AAPL"], start="2005-01-03", end="2010-12-31")
        case "raw":
            return mqd.load_bars(
                daily, ["AAPL"], start="2001-01-02", end="2006-12-29", adjust="none"
            )
        case "split":
            return mqd.load_bars(daily, ["AAPL"], start="2001-01-02", end="2006-12-29")
        case "minute":
            return mqd.load_bars(DATASETS / "equity_minute.parquet", ["SPY"])
        case "several":
            return mqd.load_bars(daily, start="2006-01-03", end="2008-12-31")
    raise KeyError(name)
