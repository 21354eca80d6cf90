"""Market data over REST: bars, quotes, trades, latest, snapshots and corporate actions.

What is answered is what is known at the venue's time. Pages run over the symbols, then over
time; a symbol without data is absent. Every feed shows the same data; "sip" is refused for the
last 15 minutes on the free plan, as Alpaca does.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import numpy as np

from mqd.core.bar import ActionKind, CorporateAction, Ints
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.market_data.bars import Bars
from mqd.venue.answer import Answer
from mqd.venue.errors import Refused
from mqd.venue.market_tape import (
    PARTS,
    MarketTape,
    Timeframe,
    bar_of,
    quote_of,
    timeframe_of,
    trade_of,
)
from mqd.venue.text import day_of, local, stamp, uuid_of

FEEDS: Final = frozenset({"sip", "iex", "boats", "otc", "delayed_sip", "overnight"})
ADJUSTMENTS: Final = frozenset({"raw", "split", "dividend", "spin-off", "all"})
RECENT_NS: Final = 15 * NS_PER_MINUTE
LIMIT, LIMIT_MOST = 1000, 10_000
ACTIONS_LIMIT: Final = 100
MINUTE, DAY = Timeframe(NS_PER_MINUTE), Timeframe(NS_PER_DAY)
Row = dict[str, Any]


class _Series(NamedTuple):
    """One symbol's items: their stamps in ns, ascending, and how to write the i-th."""

    t: Ints
    write: Callable[[int], Row]


class MarketData:
    """The data API over some bars; ``plan`` is "free" or "paid"."""

    def __init__(self, bars: Bars, plan: str = "paid") -> None:
        self.tape = MarketTape(bars)
        self.plan = plan
        self._bars = bars

    def handle(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        """Answer a GET below /v2/stocks or /v1/corporate-actions at the venue's time.

        Errors are answers: 400 with a message, 403 for recent SIP data, 404 for other paths.
        """
        routes = {
            "/v2/stocks/bars": self._bar_pages,
            "/v2/stocks/quotes": self._quote_pages,
            "/v2/stocks/trades": self._trade_pages,
            "/v2/stocks/bars/latest": self._latest_bars,
            "/v2/stocks/quotes/latest": self._latest_quotes,
            "/v2/stocks/trades/latest": self._latest_trades,
            "/v2/stocks/snapshots": self._snapshots,
            "/v1/corporate-actions": self._actions,
        }
        if path not in routes:
            return Answer(404, {"message": "endpoint not found."})
        try:
            return Answer(200, routes[path](query, now_ns))
        except Refused as refused:
            return Answer(refused.status, refused.body())

    def prints_of(self, rows: Sequence[int]) -> list[Row]:
        """Return the socket's quotes and trades of a step, by time, then symbol; ``t`` int ns.

        ``rows`` is each symbol's row in the step, -1 where it has no bar. They go out when the
        step closes, before its bars: until then nobody may know its high and low.
        """
        present = list(self._present(rows))
        return [
            one
            for part in range(PARTS)
            for symbol, row in present
            for one in self._prints(symbol, row, part)
        ]

    def days_of(self, rows: Sequence[int], now_ns: int) -> list[Row]:
        """Return the day bars so far of the symbols that traded in a step; ``t`` int ns.

        None where the venue's own bars are daily: those go out as they are.
        """
        if self.tape.daily:
            return []
        found = []
        for symbol, _ in self._present(rows):
            columns = self.tape.bars_of(symbol, DAY, "raw", now_ns)
            found.append({"T": "d", "S": symbol, **bar_of(columns, len(columns.t) - 1)})
        return found

    def _present(self, rows: Sequence[int]) -> Iterator[tuple[str, int]]:
        return ((s, row) for s, row in zip(self._bars.symbols, rows, strict=True) if row >= 0)

    def _prints(self, symbol: str, row: int, part: int) -> list[Row]:
        """Return the quote and the trade of one part of a bar; nothing where it did not trade."""
        prints = self.tape.prints(symbol)
        place = int(np.searchsorted(prints.row, row)) + part
        if place >= len(prints.row) or prints.row[place] != row:
            return []
        quote = quote_of(prints, place, float(self._bars[symbol].tick))
        return [
            {"T": "q", "S": symbol, **quote},
            {"T": "t", "S": symbol, **trade_of(prints, place)},
        ]

    def _bar_pages(self, query: Mapping[str, str], now_ns: int) -> Row:
        timeframe = timeframe_of(_needed(query, "timeframe"))
        adjustment = query.get("adjustment", "raw")
        for one in adjustment.split(","):
            if one not in ADJUSTMENTS:
                raise Refused(400, 0, f"invalid adjustment: {one}")

        def series(symbol: str) -> _Series:
            columns = self.tape.bars_of(symbol, timeframe, adjustment, now_ns)
            return _Series(columns.t, lambda i: bar_of(columns, i))

        return self._page("bars", query, now_ns, series)

    def _trade_pages(self, query: Mapping[str, str], now_ns: int) -> Row:
        return self._page("trades", query, now_ns, lambda symbol: self._trades(symbol, now_ns))

    def _quote_pages(self, query: Mapping[str, str], now_ns: int) -> Row:
        return self._page("quotes", query, now_ns, lambda symbol: self._quotes(symbol, now_ns))

    def _trades(self, symbol: str, now_ns: int) -> _Series:
        prints = self.tape.prints(symbol)
        known = self._known(prints.t, now_ns)
        return _Series(prints.t[:known], lambda i: trade_of(prints, i))

    def _last_trade(self, symbol: str, now_ns: int) -> Row | None:
        """Return the newest trade that was not cancelled."""
        trades = self._trades(symbol, now_ns)
        for i in range(len(trades.t) - 1, -1, -1):
            row = trades.write(i)
            if row.get("u") != "canceled":
                return _stamped([row])[0]
        return None

    def _quotes(self, symbol: str, now_ns: int) -> _Series:
        prints, tick = self.tape.quoted(symbol), float(self._bars[symbol].tick)
        known = self._known(prints.t, now_ns)
        return _Series(prints.t[:known], lambda i: quote_of(prints, i, tick))

    @staticmethod
    def _known(t: Ints, now_ns: int) -> int:
        """Return how many prints lie before now: the next bar's open is not told at this close."""
        return int(np.searchsorted(t, now_ns, side="left"))

    def _page(
        self, key: str, query: Mapping[str, str], now_ns: int, series: Callable[[str], _Series]
    ) -> Row:
        """Return one page over symbols, then time."""
        symbols, limit = self._symbols(query), _limit(query, LIMIT, LIMIT_MOST)
        first_ns, last_ns = _window(query, now_ns)
        self._check_feed(query, last_ns, now_ns)
        down = _choice(query, "sort", "asc", ("asc", "desc")) == "desc"
        after_symbol, after_ns = _token(query.get("page_token"))
        found: dict[str, list[Row]] = {}
        left, token = limit, None
        for symbol in sorted(set(symbols)):
            if symbol not in self._bars or symbol < after_symbol:
                continue
            one = series(symbol)
            low = int(np.searchsorted(one.t, first_ns, side="left"))
            high = int(np.searchsorted(one.t, last_ns, side="right"))
            if symbol == after_symbol:
                if down:
                    high = min(high, int(np.searchsorted(one.t, after_ns, side="left")))
                else:
                    low = max(low, int(np.searchsorted(one.t, after_ns, side="right")))
            places = range(high - 1, low - 1, -1) if down else range(low, high)
            if places and not left:
                token = _write_token(*_last(found))
                break
            taken = places[:left]
            if taken:
                found[symbol] = [one.write(i) for i in taken]
                left -= len(taken)
            if len(taken) < len(places):
                token = _write_token(symbol, found[symbol][-1]["t"])
                break
        return {key: {s: _stamped(rows) for s, rows in found.items()}, "next_page_token": token}

    def _latest_bars(self, query: Mapping[str, str], now_ns: int) -> Row:
        return {"bars": dict(self._latest(query, now_ns, lambda s: self._bar(s, MINUTE, now_ns)))}

    def _latest_trades(self, query: Mapping[str, str], now_ns: int) -> Row:
        last = self._latest(query, now_ns, lambda s: self._last_trade(s, now_ns))
        return {"trades": dict(last)}

    def _latest_quotes(self, query: Mapping[str, str], now_ns: int) -> Row:
        last = self._latest(query, now_ns, lambda s: _newest(self._quotes(s, now_ns)))
        return {"quotes": dict(last)}

    def _latest(
        self, query: Mapping[str, str], now_ns: int, newest: Callable[[str], Row | None]
    ) -> Iterator[tuple[str, Row]]:
        symbols = self._symbols(query)
        self._check_feed(query, now_ns, now_ns)
        for symbol in sorted(set(symbols)):
            row = newest(symbol) if symbol in self._bars else None
            if row is not None:
                yield symbol, row

    def _bar(self, symbol: str, timeframe: Timeframe, now_ns: int, back: int = 0) -> Row | None:
        """Return the newest bar of a time frame, or the one ``back`` bars before it."""
        if timeframe.width_ns < self._bars.timeframe_ns:
            timeframe = Timeframe(self._bars.timeframe_ns)
        columns = self.tape.bars_of(symbol, timeframe, "raw", now_ns)
        row = len(columns.t) - 1 - back
        return _stamped([bar_of(columns, row)])[0] if row >= 0 else None

    def _snapshots(self, query: Mapping[str, str], now_ns: int) -> Row:
        return dict(self._latest(query, now_ns, lambda s: self._snapshot(s, now_ns)))

    def _snapshot(self, symbol: str, now_ns: int) -> Row | None:
        members = {
            "latestTrade": self._last_trade(symbol, now_ns),
            "latestQuote": _newest(self._quotes(symbol, now_ns)),
            "minuteBar": None if self.tape.daily else self._bar(symbol, MINUTE, now_ns),
            "dailyBar": self._bar(symbol, DAY, now_ns),
            "prevDailyBar": self._bar(symbol, DAY, now_ns, 1),
        }
        return {name: row for name, row in members.items() if row is not None} or None

    def _actions(self, query: Mapping[str, str], now_ns: int) -> Row:
        """Return the splits and dividends whose ex-date has come, by process date."""
        limit = _limit(query, ACTIONS_LIMIT, LIMIT)
        today = day_of(now_ns)
        first, last = query.get("start", today)[:10], query.get("end", today)[:10]
        types = set(query["types"].split(",")) if query.get("types") else None
        wanted = set(query["symbols"].split(",")) if query.get("symbols") else set(self._bars)
        ids = set(query["ids"].split(",")) if query.get("ids") else None
        rows = [
            (kind, row)
            for symbol in sorted(wanted & set(self._bars))
            for action in self._bars[symbol].actions
            for kind, row in [_action(action)]
            if action.ts_ex <= now_ns and first <= row["ex_date"] <= last
            if (types is None or kind.removesuffix("s") in types)
            if (ids is None or row["id"] in ids)
        ]
        rows.sort(key=lambda one: (one[1]["process_date"], one[1]["id"]))
        if _choice(query, "sort", "asc", ("asc", "desc")) == "desc":
            rows.reverse()
        start = _token(query.get("page_token"))[1]
        found: dict[str, list[Row]] = {}
        for kind, row in rows[start : start + limit]:
            found.setdefault(kind, []).append(row)
        more = len(rows) > start + limit
        token = _write_token("", start + limit) if more else None
        return {"corporate_actions": found, "next_page_token": token}

    def _symbols(self, query: Mapping[str, str]) -> list[str]:
        symbols = _needed(query, "symbols").split(",")
        for symbol in symbols:
            if not re.fullmatch(r"[A-Z0-9./-]{1,20}", symbol):
                raise Refused(400, 0, f"invalid symbol: {symbol}")
        if query.get("currency", "USD") != "USD":
            raise Refused(400, 0, f"unsupported currency: {query['currency']}")
        return symbols

    def _check_feed(self, query: Mapping[str, str], last_ns: int, now_ns: int) -> None:
        feed = query.get("feed", "iex" if self.plan == "free" else "sip")
        if feed not in FEEDS:
            raise Refused(400, 0, f"invalid feed: {feed}")
        if feed == "sip" and self.plan == "free" and last_ns > now_ns - RECENT_NS:
            raise Refused(403, 0, "subscription does not permit querying recent SIP data")


def _needed(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise Refused(400, 0, f"{name} is required")
    return query[name]


def _choice(query: Mapping[str, str], name: str, default: str, known: tuple[str, ...]) -> str:
    value = query.get(name, default)
    if value not in known:
        raise Refused(400, 0, f"invalid {name}: {value}")
    return value


def _limit(query: Mapping[str, str], default: int, most: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(400, 0, f"invalid limit: {text}; it must be between 1 and {most}")
    return int(text)


def _window(query: Mapping[str, str], now_ns: int) -> tuple[int, int]:
    """Return start and end, both inclusive; by default from New York's midnight until now."""
    midnight = local(now_ns).replace(hour=0, minute=0, second=0, microsecond=0)
    first_ns, last_ns = int(midnight.timestamp()) * NS_PER_S, now_ns
    if query.get("start"):
        first_ns = instant_of("start", query["start"])
    if query.get("end"):
        last_ns = instant_of("end", query["end"])
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", query["end"]):
            last_ns += NS_PER_DAY - 1
    if last_ns < first_ns and query.get("end"):
        raise Refused(400, 0, "end should not be before start")
    return first_ns, last_ns


def instant_of(name: str, text: str) -> int:
    """Return a query's RFC 3339 instant or date as ns UTC; raise 400 for anything else."""
    match = re.fullmatch(r"(.+?)(\.\d{1,9})?(Z|[+ -]\d{2}:\d{2})", text)
    wrong = Refused(400, 0, f"Invalid format for parameter {name}: {text}")
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return (date.fromisoformat(text) - date(1970, 1, 1)).days * NS_PER_DAY
        if match is None:
            raise wrong
        when = datetime.fromisoformat(match[1] + match[3].replace(" ", "+"))
    except ValueError as error:
        raise wrong from error
    digits = (match[2] or ".0")[1:].ljust(9, "0")
    return int(when.astimezone(UTC).timestamp()) * NS_PER_S + int(digits)


def _token(text: str | None) -> tuple[str, int]:
    """Return the symbol and the stamp after which a page begins."""
    if not text:
        return "", 0
    try:
        symbol, _, number = base64.urlsafe_b64decode(text.encode()).decode().partition("|")
        return symbol, int(number)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise Refused(400, 0, "invalid page_token") from error


def _write_token(symbol: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{symbol}|{number}".encode()).decode()


def _last(found: dict[str, list[Row]]) -> tuple[str, int]:
    symbol = next(reversed(found))
    return symbol, found[symbol][-1]["t"]


def _newest(series: _Series) -> Row | None:
    if not len(series.t):
        return None
    return _stamped([series.write(len(series.t) - 1)])[0]


def _stamped(rows: list[Row]) -> list[Row]:
    """Return rows with their instants as text."""
    return [{**row, "t": stamp(row["t"])} for row in rows]


def _action(action: CorporateAction) -> tuple[str, Row]:
    """Return the kind of a corporate action as Alpaca calls it, and its row."""
    day = day_of(action.ts_ex)
    row: Row = {
        "id": uuid_of("action", action.symbol, day, action.kind),
        "symbol": action.symbol, "cusip": uuid_of("cusip", action.symbol)[:9].upper(),
        "ex_date": day, "process_date": day,
    }  # fmt: skip
    if action.kind is ActionKind.DIVIDEND:
        more = {"rate": float(action.amount), "special": False, "foreign": False}
        return "cash_dividends", {**row, **more, "record_date": day, "payable_date": day}
    rates = {"new_rate": action.numerator, "old_rate": action.denominator}
    if action.numerator > action.denominator:
        return "forward_splits", {**row, **rates}
    cusip = row.pop("cusip")
    return "reverse_splits", {**row, "old_cusip": cusip, "new_cusip": cusip[::-1], **rates}
