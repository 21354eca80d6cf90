"""Bars made by hand: daily, flat within the day, on real sessions of the exchange."""

import numpy as np
import pandas as pd

import mqd
from mqd.market_data.calendar import calendar_for, day_date


def daily(closes, opens=None, symbol="AAA", highs=None, lows=None):
    """Return daily bars from 2015-01-02 on; open, high and low follow from open and close."""
    closes = np.asarray(closes, dtype=float)
    opens = closes if opens is None else np.asarray(opens, dtype=float)
    first = pd.Timestamp("2015-01-02", tz="UTC").value
    last = first + 2 * len(closes) * 86_400_000_000_000
    calendar = calendar_for("XNYS", first, last)
    days = calendar.sessions[calendar.sessions >= first // 86_400_000_000_000][: len(closes)]
    frame = pd.DataFrame({
        "symbol": symbol, "session": [day_date(int(day)) for day in days], "open": opens,
        "high": np.maximum(opens, closes) if highs is None else highs,
        "low": np.minimum(opens, closes) if lows is None else lows,
        "close": closes, "volume": 1e7,
    })  # fmt: skip
    return mqd.Bars.from_pandas(frame)


def walk(n=300, seed=5):
    """Return daily bars of a random walk."""
    steps = np.random.default_rng(seed).normal(0.0, 0.01, n)
    return daily(np.round(100.0 * np.exp(np.cumsum(steps)), 2))
