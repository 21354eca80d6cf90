"""Portfolio history over REST: the account's worth over time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.core.money import INT64_MAX
from mqd.venue import query as read
from mqd.venue.activity import KNOWN, OTHERS
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import unprocessable
from mqd.venue.text import day_of
from mqd.venue.words import PROFIT_RATE

_WIDTHS = {
    "1Min": NS_PER_MINUTE, "5Min": 5 * NS_PER_MINUTE, "15Min": 15 * NS_PER_MINUTE,
    "1H": 60 * NS_PER_MINUTE, "1D": NS_PER_DAY,
}  # fmt: skip
_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}


def get_history(book: AccountBook, request: Request) -> Answer:
    """GET /v2/account/portfolio/history: at most two of period, start and end."""
    query = request.query
    read.one_of(query, "intraday_reporting", ("market_hours", "extended_hours", "continuous"))
    resets = read.one_of(query, "pnl_reset", ("per_day", "no_reset")) == "per_day"
    width = read.one_of(query, "timeframe", ("1D", "1Min", "5Min", "15Min", "1H"))
    first, last = _span(book, query)
    before = [worth for at, worth in book.equity if at < first]
    base = before[-1] if before else book.cash_start
    points = [(at, worth) for at, worth in book.equity if first <= at <= last]
    thin = _thinned(points, _WIDTHS[width])
    bases = [base] * len(thin)
    if resets and width != "1D":
        bases = _day_bases(book, thin)
    shown = _history(thin, bases, width, first)
    return Answer(
        200, {**shown, "base_value": float(base), "cashflow": _cashflow(book, query, thin)}
    )


def _span(book: AccountBook, query: Mapping[str, str]) -> tuple[int, int]:
    if all(query.get(name) for name in ("period", "start", "end")):
        raise unprocessable("only two of start, end and period can be specified")
    start = read.instant(query, "start")
    end = read.instant(query, "end") or read.instant(query, "date_end")
    length = _length(query.get("period") or "1M")
    if start is not None and end is None and query.get("period"):
        return start, start + length
    last = book.scene.now_ns if end is None else end
    return (last - length if start is None else start), last


def _length(period: str) -> int:
    number, unit = period[:-1], period[-1]
    known = number.isascii() and number.isdigit() and len(number) < 5
    if not known or not int(number) or unit not in _DAYS:
        raise unprocessable(f"invalid period: {period}")
    return min(int(number) * _DAYS[unit] * NS_PER_DAY, INT64_MAX)


def _thinned(points: list[tuple[int, Decimal]], width: int) -> list[tuple[int, Decimal]]:
    """Return the last point of each stretch of ``width``."""
    last = {(at - 1) // width: (at, worth) for at, worth in points}
    return list(last.values())


def _history(
    points: list[tuple[int, Decimal]], bases: list[Decimal], width: str, first: int
) -> dict[str, Any]:
    gains = [worth - base for (_, worth), base in zip(points, bases, strict=True)]
    return {
        "timestamp": [at // NS_PER_S for at, _ in points],
        "equity": [float(worth) for _, worth in points],
        "profit_loss": [float(gain) for gain in gains],
        PROFIT_RATE: [float(gain / base) for gain, base in zip(gains, bases, strict=True)],
        "base_value_asof": day_of(max(first, 0)),
        "timeframe": width,
    }


def _day_bases(book: AccountBook, points: list[tuple[int, Decimal]]) -> list[Decimal]:
    """Return for each point what the account was worth when its day began."""
    ends: dict[str, Decimal] = {}
    for at, worth in book.equity:
        ends[day_of(at - 1)] = worth
    days = sorted(ends)
    before = dict(zip(days, [book.cash_start, *(ends[day] for day in days)], strict=False))
    return [before[day_of(at - 1)] for at, _ in points]


def _cashflow(
    book: AccountBook, query: Mapping[str, str], points: list[tuple[int, Decimal]]
) -> dict[str, list[float]]:
    """Return the cash that came or went up to each point since the one before, by type."""
    asked = query.get("cashflow_types") or "NONE"
    if asked == "NONE":
        return {}
    types = OTHERS if asked == "ALL" else frozenset(read.words(query, "cashflow_types"))
    unknown = sorted(types - KNOWN)
    if unknown:
        raise unprocessable(f"invalid activity type: {unknown[0]}")
    stamps = [at for at, _ in points]
    found: dict[str, list[float]] = {}
    for one in book.activities:
        place = bisect_left(stamps, _instant(one)) if one["activity_type"] in types else -1
        if 0 <= place < len(stamps) and "net_amount" in one:
            row = found.setdefault(one["activity_type"], [0.0] * len(stamps))
            row[place] += float(one["net_amount"])
    return found


def _instant(entry: dict[str, Any]) -> int:
    return read.instant_ns(entry.get("transaction_time") or entry["created_at"])
