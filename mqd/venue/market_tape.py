"""The market data of the venue as columns: bars in any time frame, trades and quotes.

Trades and quotes are made from the bars, always in the same way, so that they contradict
nothing. A bar that traded gives four trades, at its start and after each quarter of it: open,
low, high, close when it rose or stood still, open, high, low, close when it fell. Each has a
quarter of the volume; whole volumes of four or more are split into whole parts, the last one
takes the rest. So aggregating the trades of a bar gives the bar again. Each trade comes with a
quote one basis point below and above it, rounded outward to the tick, a quarter of the size on
each side in round lots, at least one.

Longer bars follow the clock of New York as Alpaca's do (an hour bar starts at the full hour).
They hold what has closed so far: the last one may still be growing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from mqd.core.bar import ActionKind, Floats, Ints, SymbolBars
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import TradingCalendar
from mqd.venue.errors import Refused

PARTS: Final = 4
SPREAD_FRAC: Final = 1e-4
EXCHANGE: Final = "V"
TAPE: Final = "A"
ROUND_LOT: Final = 100
UNITS: Final = {
    "min": NS_PER_MINUTE, "t": NS_PER_MINUTE, "hour": 60 * NS_PER_MINUTE, "h": 60 * NS_PER_MINUTE,
    "day": NS_PER_DAY, "d": NS_PER_DAY,
}  # fmt: skip
LONG: Final = {"week": "W", "w": "W", "month": "M", "m": "M"}
MOST: Final = {"min": 59, "t": 59, "hour": 23, "h": 23, "day": 1, "d": 1, "week": 1, "w": 1}
UPDATES: Final = ("", "corrected", "canceled")
MONTHS: Final = (1, 2, 3, 4, 6, 12)


class Columns(NamedTuple):
    """Bars of one symbol: ``t`` start stamps, ``end`` when each is known, OHLCV, n and vw."""

    t: Ints
    end: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    n: Floats
    vw: Floats

    def part(self, first: int, last: int) -> Columns:
        """Return the rows from ``first`` up to ``last``, which is left out."""
        return Columns._make(column[first:last] for column in self)

    def then(self, later: Columns) -> Columns:
        """Return these rows and later ones."""
        return Columns._make(np.concatenate(pair) for pair in zip(self, later, strict=True))


class Prints(NamedTuple):
    """Trades of one symbol in order: when, price, size, and the row of the bar they rebuild.

    ``id`` is their number; ``update`` 0, or the place in ``UPDATES`` of what became of them.
    """

    t: Ints
    px: Floats
    size: Floats
    row: Ints
    id: Ints
    update: Ints


class Timeframe(NamedTuple):
    """A time frame: a width in ns, or a calendar unit: "W", or "M" of so many months."""

    width_ns: int
    unit: str = ""
    months: int = 1


def timeframe_of(text: str) -> Timeframe:
    """Return Alpaca's "1Min", "5Min", "1Hour", "1Day", "1Week", "3Month"; else raise 400."""
    match = re.fullmatch(r"(\d{1,2})([A-Za-z]+)", text)
    count, unit = (int(match[1]), match[2].lower()) if match else (0, "")
    months = match is not None and match[2] in {"M", "Month"}
    if months and count in MONTHS:
        return Timeframe(0, "M", count)
    if not months and unit in MOST and 1 <= count <= MOST[unit]:
        return Timeframe(0, "W") if unit in LONG else Timeframe(count * UNITS[unit])
    raise Refused(400, 0, f"invalid timeframe: {text}")


class MarketTape:
    """All symbols' bars, trades and quotes; nothing of it is known before its time."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.calendar = bars.trading_calendar
        self.daily = bars.timeframe_ns >= NS_PER_DAY
        self._base: dict[str, Columns] = {}
        self._prints: dict[str, Prints] = {}
        self._quoted: dict[str, Prints] = {}
        self._frames: dict[tuple[str, Timeframe], Columns] = {}

    def base(self, symbol: str) -> Columns:
        """Return a symbol's bars as loaded; daily ones are stamped at New York's midnight."""
        if symbol not in self._base:
            self._base[symbol] = _columns(self.bars[symbol], self.calendar, self.daily)
        return self._base[symbol]

    def newest(self, symbol: str, now_ns: int) -> int:
        """Return the row of a symbol's newest bar that has closed, -1 before its first."""
        return int(np.searchsorted(self.base(symbol).end, now_ns, side="right")) - 1

    def revise(self, symbol: str, row: int, **values: float) -> None:
        """Change a bar by late trades: every later answer shows the new values.

        The trades that the venue shows stay as they are.
        """
        self.prints(symbol)
        base = self.base(symbol)
        changed = {name: getattr(base, name).copy() for name in values}
        for name, value in values.items():
            changed[name][row] = value
        self._base[symbol] = base._replace(**changed)
        self._frames = {key: one for key, one in self._frames.items() if key[0] != symbol}

    def prints(self, symbol: str) -> Prints:
        """Return a symbol's trades, as corrected so far."""
        if symbol not in self._prints:
            one = self.bars[symbol]
            self._prints[symbol] = _prints(one.ts_open, one.ts_close, self.base(symbol))
        return self._prints[symbol]

    def quoted(self, symbol: str) -> Prints:
        """Return a symbol's trades as they first were: quotes are never corrected."""
        return self._quoted.get(symbol) or self.prints(symbol)

    def amend(self, symbol: str, place: int, px: float, size: float) -> int:
        """Correct a trade, or cancel it with a size of 0; return the number it has now.

        Its bar is built anew from the trades that are left; one without any keeps its prices and
        has no volume.
        """
        old = self.prints(symbol)
        self._quoted.setdefault(symbol, old)
        new = Prints._make(column.copy() for column in old)
        new.update[place] = UPDATES.index("corrected" if size else "canceled")
        if size:
            new.px[place], new.size[place] = px, size
            new.id[place] = old.id.max() + 1
        self._prints[symbol] = new
        row = int(new.row[place])
        part = (new.row == row) & (new.update < UPDATES.index("canceled"))
        self.revise(symbol, row, **_rebuilt(new.px[part], new.size[part]))
        return int(new.id[place])

    def bars_of(self, symbol: str, timeframe: Timeframe, adjustment: str, now_ns: int) -> Columns:
        """Return a symbol's bars as known at ``now_ns``; a longer one may still be growing.

        Raises 400 for a time frame shorter than the bars that the venue has.
        """
        base = self.base(symbol)
        known = int(np.searchsorted(base.end, now_ns, side="right"))
        if timeframe.width_ns == self.bars.timeframe_ns:
            found = base.part(0, known)
        else:
            found = self._longer(symbol, timeframe, known)
        if adjustment == "raw" or not len(found.t):
            return found
        return _adjusted(found, self.bars[symbol], adjustment, now_ns)

    def _longer(self, symbol: str, timeframe: Timeframe, known: int) -> Columns:
        """Return the longer bars of the first ``known`` base bars."""
        width = timeframe.width_ns
        if width and (width < self.bars.timeframe_ns or width % self.bars.timeframe_ns):
            raise Refused(400, 0, f"this venue has bars of {self.bars.timeframe} and longer only")
        key = (symbol, timeframe)
        if key not in self._frames:
            starts = self._starts(symbol, timeframe)
            self._frames[key] = _grouped(self.base(symbol), starts)
        whole = self._frames[key]
        base = self.base(symbol)
        full = int(np.searchsorted(whole.end, base.end[known - 1], side="right")) if known else 0
        done = whole.part(0, full)
        first = int(np.searchsorted(base.end, whole.end[full - 1], side="right")) if full else 0
        if first >= known:
            return done
        starts = np.full(known - first, whole.t[full])
        return done.then(_grouped(base.part(first, known), starts))

    def _starts(self, symbol: str, timeframe: Timeframe) -> Ints:
        """Return, for each base bar, the stamp of the longer bar that it belongs to."""
        one, calendar = self.bars[symbol], self.calendar
        session = np.searchsorted(calendar.sessions, one.session)
        midnight = calendar.local_midnights[session]
        if 0 < timeframe.width_ns < NS_PER_DAY:
            return np.asarray(
                midnight + (one.ts_open - midnight) // timeframe.width_ns * timeframe.width_ns
            )
        if timeframe.width_ns == NS_PER_DAY:
            return midnight
        days = calendar.sessions[session].astype("datetime64[D]")
        if timeframe.unit == "W":
            first = calendar.sessions[session] - (calendar.sessions[session] + 3) % 7
        else:
            month = days.astype("datetime64[M]").astype(np.int64)
            month = month // timeframe.months * timeframe.months
            first = month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return np.array([_midnight_ns(int(day), calendar.zone) for day in first], dtype=np.int64)


@lru_cache(maxsize=4096)
def _midnight_ns(day: int, zone: str) -> int:
    import pandas as pd

    when = pd.Timestamp(day * NS_PER_DAY).tz_localize(zone, nonexistent="shift_forward")
    return int(when.as_unit("ns").value)


def _columns(one: SymbolBars, calendar: TradingCalendar, daily: bool) -> Columns:
    t = one.ts_open
    if daily:
        t = calendar.local_midnights[np.searchsorted(calendar.sessions, one.session)]
    traded = one.volume > 0
    n = np.where(traded, float(PARTS), 0.0) if one.trade_count is None else one.trade_count
    if one.vwap is None:
        px = _path(one.open, one.high, one.low, one.close)
        size = _sizes(one.volume)
        volume = np.where(traded, one.volume, 1.0)
        vw = np.where(traded, (px * size).sum(axis=1) / volume, one.close)
    else:
        vw = one.vwap
    return Columns(
        t, one.ts_close, one.open, one.high, one.low, one.close, one.volume,
        np.asarray(n, np.float64), _rounded(vw),
    )  # fmt: skip


def _path(first: Floats, high: Floats, low: Floats, last: Floats) -> Floats:
    """Return the four prices of each bar in the order in which they trade."""
    rose = last >= first
    return np.stack([first, np.where(rose, low, high), np.where(rose, high, low), last], axis=1)


def _rounded(values: Floats) -> Floats:
    return np.asarray(np.round(values, 6), np.float64)


def _sizes(volume: Floats) -> Floats:
    whole = (volume == np.floor(volume)) & (volume >= PARTS)
    part = np.where(whole, np.floor(volume / PARTS), volume / PARTS)
    return np.stack([part, part, part, volume - 3 * part], axis=1)


def _prints(ts_open: Ints, ts_close: Ints, base: Columns) -> Prints:
    px = _path(base.open, base.high, base.low, base.close)
    t = ts_open[:, None] + (ts_close - ts_open)[:, None] // PARTS * np.arange(PARTS)
    rows = np.repeat(np.arange(len(ts_open)), PARTS)
    traded = base.volume[rows] > 0
    t, size = t.ravel()[traded], _sizes(base.volume).ravel()[traded]
    return Prints(
        t, px.ravel()[traded], size, rows[traded], np.arange(1, len(t) + 1),
        np.zeros(len(t), np.int64),
    )  # fmt: skip


def _rebuilt(px: Floats, size: Floats) -> dict[str, float]:
    """Return the values of a bar of these trades, in order."""
    if not len(px):
        return {"volume": 0.0, "n": 0.0}
    volume = float(size.sum())
    return {
        "open": float(px[0]), "high": float(px.max()), "low": float(px.min()),
        "close": float(px[-1]), "volume": volume, "n": float(len(px)),
        "vw": round(float((px * size).sum()) / volume, 6),
    }  # fmt: skip


def _grouped(base: Columns, starts: Ints) -> Columns:
    """Group consecutive bars with one start into one bar."""
    first: Ints = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
    last = np.concatenate([first[1:], [len(starts)]]) - 1
    volume = np.add.reduceat(base.volume, first)
    value = np.add.reduceat(base.vw * base.volume, first)
    vw = np.where(volume > 0, value / np.where(volume > 0, volume, 1.0), base.vw[last])
    return Columns(
        starts[first], base.end[last], base.open[first], np.maximum.reduceat(base.high, first),
        np.minimum.reduceat(base.low, first), base.close[last], volume,
        np.add.reduceat(base.n, first), _rounded(vw),
    )  # fmt: skip


def _adjusted(found: Columns, one: SymbolBars, adjustment: str, now_ns: int) -> Columns:
    """Divide prices before an action that is known by its step; multiply volumes by splits."""
    prices, volumes = np.ones(len(found.t)), np.ones(len(found.t))
    for action in one.actions:
        before = found.end <= action.ts_ex
        if action.ts_ex > now_ns or not before.any():
            continue
        if action.kind is ActionKind.SPLIT and adjustment in {"split", "all"}:
            ratio = action.numerator / action.denominator
            prices[before] *= ratio
            volumes[before] *= ratio
        elif action.kind is ActionKind.DIVIDEND and adjustment in {"dividend", "all"}:
            row = int(np.searchsorted(one.ts_close, action.ts_ex, side="right")) - 1
            prices[before] /= 1.0 - float(action.amount) / float(one.close[row])
    return found._replace(
        open=_rounded(found.open / prices), high=_rounded(found.high / prices),
        low=_rounded(found.low / prices), close=_rounded(found.close / prices),
        volume=_rounded(found.volume * volumes), vw=_rounded(found.vw / prices),
    )  # fmt: skip


def bar_of(columns: Columns, row: int) -> dict[str, Any]:
    """Return a bar as Alpaca writes it, ``t`` in int ns."""
    return {
        "t": int(columns.t[row]), "o": _number(columns.open[row]), "h": _number(columns.high[row]),
        "l": _number(columns.low[row]), "c": _number(columns.close[row]),
        "v": _number(columns.volume[row]), "n": int(columns.n[row]),
        "vw": _number(columns.vw[row]),
    }  # fmt: skip


def trade_of(prints: Prints, place: int) -> dict[str, Any]:
    """Return a trade as Alpaca writes it, ``t`` in int ns."""
    update = UPDATES[prints.update[place]]
    return {
        "t": int(prints.t[place]), "x": EXCHANGE, "p": _number(prints.px[place]),
        "s": _number(prints.size[place]), "c": ["@"], "i": int(prints.id[place]), "z": TAPE,
        **({"u": update} if update else {}),
    }  # fmt: skip


def quote_of(prints: Prints, place: int, tick: float) -> dict[str, Any]:
    """Return the quote that goes with a trade, ``t`` in int ns; sizes are round lots."""
    px = float(prints.px[place])
    steps = 1.0 / tick
    bid = np.floor(px * (1.0 - SPREAD_FRAC) * steps) / steps
    ask = np.ceil(px * (1.0 + SPREAD_FRAC) * steps) / steps
    lots = max(1, int(prints.size[place] // ROUND_LOT))
    return {
        "t": int(prints.t[place]), "ax": EXCHANGE, "ap": _number(round(float(ask), 6)),
        "as": lots, "bx": EXCHANGE, "bp": _number(round(float(bid), 6)), "bs": lots,
        "c": ["R"], "z": "A",
    }  # fmt: skip


def _number(value: Any) -> int | float:
    """Return a number as JSON writes it shortest: whole ones without a fraction."""
    number = float(value)
    return int(number) if number.is_integer() else number
