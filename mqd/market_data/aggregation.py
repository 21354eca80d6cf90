"""Longer bars out of shorter ones, along the sessions of the exchange.

Buckets start at the session's open and again after the lunch break; half days end early; the
last bucket of each part may be short. A bucket without a bar gives no bar. A bucket's
``ts_close`` is its own end, not that of its last bar: nobody knows earlier that it is complete.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.core.clock import NS_PER_DAY
from mqd.errors import UsageError
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import TradingCalendar
from mqd.market_data.loading import frozen, timeframe_ns


def aggregate(bars: Bars, timeframe: str) -> Bars:
    """Return ``bars`` in a longer time frame ("5min", "15min", "60min", "1day").

    Open of the first bar, highest high, lowest low, close of the last, sum of the volumes and
    trade counts; vwap weighted by volume. Raises ``UsageError`` unless the time frame is a
    multiple of the bars' own ("1day" is one of every intraday frame).
    """
    width = timeframe_ns(timeframe)
    if width <= bars.timeframe_ns or width % bars.timeframe_ns:
        raise UsageError(
            f"Bars of {bars.timeframe} cannot be aggregated to {timeframe!r}:"
            " name a longer time frame that is a multiple of theirs."
        )
    calendar = bars.trading_calendar
    longer = {symbol: _aggregate(one, calendar, width) for symbol, one in bars.items()}
    gaps = {s: calendar.missing_bars(b.ts_open, b.session, width) for s, b in longer.items()}
    return replace(bars, by_symbol=longer, timeframe_ns=width, gaps=gaps)


def _aggregate(bars: SymbolBars, calendar: TradingCalendar, width: int) -> SymbolBars:
    row = np.searchsorted(calendar.sessions, bars.session)
    if width >= NS_PER_DAY:
        start, end = calendar.opens[row], calendar.closes[row]
    else:
        start, end = calendar.buckets(bars.ts_open, row, width)
    first: Ints = np.flatnonzero(np.concatenate([[True], start[1:] != start[:-1]]))
    last = np.concatenate([first[1:], [len(bars)]]) - 1
    row, ts_close = row[first], end[first]
    volume = np.add.reduceat(bars.volume, first)
    trades = bars.trade_count
    return replace(
        bars,
        ts_open=frozen(start[first]),
        ts_close=frozen(ts_close),
        open=frozen(bars.open[first]),
        high=frozen(np.maximum.reduceat(bars.high, first)),
        low=frozen(np.minimum.reduceat(bars.low, first)),
        close=frozen(bars.close[last]),
        volume=frozen(volume),
        session=frozen(bars.session[first]),
        session_index=frozen(bars.session_index[first]),
        minutes_from_open=frozen(calendar.minutes_from_open(ts_close, row)),
        minutes_to_close=frozen(calendar.minutes_to_close(ts_close, row)),
        vwap=None if bars.vwap is None else frozen(_vwap(bars.vwap, bars.volume, first, last)),
        trade_count=None if trades is None else frozen(np.add.reduceat(trades, first)),
    )


def _vwap(vwap: Floats, volume: Floats, first: Ints, last: Ints) -> Floats:
    """Return the volume-weighted mean a bucket; the last bar's value where nothing traded."""
    traded = np.add.reduceat(volume, first)
    value = np.add.reduceat(vwap * volume, first)
    return np.where(traded > 0, value / np.where(traded > 0, traded, 1.0), vwap[last])
