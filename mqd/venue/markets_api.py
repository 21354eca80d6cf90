"""The newer clock and calendar (/v3): by market, with extended hours, every instant with a zone."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from typing import Any, Final

from mqd.core.clock import NS_PER_S
from mqd.venue import query as read
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import Refused
from mqd.venue.hours import hours_of, phase_of
from mqd.venue.query import instant_ns
from mqd.venue.scene import Scene
from mqd.venue.text import NEW_YORK, day_of, day_text, local_stamp, stamp

BAD_PARAMETER: Final = 40010000
WEEK: Final = 7
_NYSE = {"mic": "XNYS", "acronym": "NYSE", "name": "New York Stock Exchange"}
_NASDAQ = {"mic": "XNAS", "acronym": "NASDAQ", "name": "Nasdaq"}
_IEX = {"mic": "IEXG", "acronym": "IEX", "name": "Investors Exchange"}
MARKETS: Final = {
    "NYSE": _NYSE, "XNYS": _NYSE, "NASDAQ": _NASDAQ, "XNAS": _NASDAQ, "IEX": _IEX,
}  # fmt: skip


def get_clock(book: AccountBook, request: Request) -> Answer:
    """GET /v3/clock: of each market its phase now, or at ``time``, and until when it lasts."""
    query, scene = request.query, book.scene
    now_ns = _instant(query.get("time") or "", scene.now_ns)
    names = read.words(query, "markets") or (() if scene.crypto else ("NYSE",))
    return Answer(200, {"clocks": [_clock(scene, name, now_ns) for name in names]})


def get_calendar(book: AccountBook, request: Request) -> Answer:
    """GET /v3/calendar/{market}: sessions from ``start`` (today) to ``end`` (a week later)."""
    query, scene = request.query, book.scene
    market = _market(scene, request.argument)
    zone = query.get("timezone") or ""
    if zone not in ("", "UTC", "America/New_York"):
        raise _bad(f"invalid timezone: {zone}")
    try:
        first = read.day(query, "start")
        last = read.day(query, "end")
    except Refused as refused:
        raise _bad(refused.message) from refused
    if first is None:
        first = read.day({"start": day_of(scene.now_ns)}, "start") or 0
    last = first + WEEK if last is None else last
    if last < first:
        raise _bad("end must not be before start")
    days = scene.market.session_days
    rows = range(bisect_left(days, first), bisect_right(days, last))
    sessions = [_session(scene, row, utc=zone == "UTC") for row in rows]
    return Answer(200, {"market": market, "calendar": sessions})


def _clock(scene: Scene, name: str, now_ns: int) -> dict[str, Any]:
    market, phase = _market(scene, name), phase_of(scene, now_ns)
    opens, closes = scene.market.session_opens, scene.market.session_closes
    today = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(NEW_YORK).date().isoformat()
    row = bisect_left(scene.market.session_days, read.day({"day": today}, "day") or 0)
    days = scene.market.session_days
    return {
        "market": market,
        "timestamp": local_stamp(now_ns),
        "is_market_day": row < len(days) and day_text(days[row]) == today,
        "next_market_open": local_stamp(opens[min(bisect_right(opens, now_ns), len(opens) - 1)]),
        "next_market_close": local_stamp(
            closes[min(bisect_right(closes, now_ns), len(closes) - 1)]
        ),
        "phase": phase[0],
        "phase_until": local_stamp(phase[1]),
    }


def _session(scene: Scene, row: int, *, utc: bool) -> dict[str, Any]:
    hours = hours_of(scene, row)
    pre, opens, closes, post = (stamp(at) if utc else local_stamp(at) for at in hours)
    return {
        "date": day_text(scene.market.session_days[row]),
        "pre_start": pre, "pre_end": opens, "core_start": opens, "core_end": closes,
        "post_start": closes, "post_end": post, "settlement_date": scene.settles(hours.open_ns),
    }  # fmt: skip


def _market(scene: Scene, name: str) -> dict[str, str]:
    found = None if scene.crypto else MARKETS.get(name)
    if found is None:
        known = "none" if scene.crypto else ", ".join(MARKETS)
        raise _bad(f"invalid market: {name} (this venue has {known})")
    return {**found, "timezone": "America/New_York"}


def _instant(text: str, default_ns: int) -> int:
    if not text:
        return default_ns
    try:
        return instant_ns(text)
    except (ValueError, OverflowError) as error:
        raise _bad(f"invalid time: {text}") from error


def _bad(why: str) -> Refused:
    return Refused(400, BAD_PARAMETER, why)
