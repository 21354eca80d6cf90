"""What is the same for every account over REST: assets, calendar, clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date
from typing import Any

from mqd.market_data.calendar import day_number
from mqd.venue import query as read
from mqd.venue.answer import Answer, Request
from mqd.venue.book import AccountBook
from mqd.venue.errors import not_found, unprocessable
from mqd.venue.scene import Scene
from mqd.venue.text import day_text, local, local_stamp


def get_clock(book: AccountBook, _: Request) -> Answer:
    """GET /v2/clock, on New York's clock."""
    scene = book.scene
    return Answer(
        200,
        {
            "timestamp": local_stamp(scene.now_ns), "is_open": scene.is_open,
            "next_open": local_stamp(scene.next_open_ns),
            "next_close": local_stamp(scene.next_close_ns),
        },
    )  # fmt: skip


def get_calendar(book: AccountBook, request: Request) -> Answer:
    """GET /v2/calendar: the sessions from ``start`` to ``end``, both included.

    With ``date_type`` SETTLEMENT those are the days on which a session's trades settle.
    """
    query, market = request.query, book.scene.market
    by = read.one_of(query, "date_type", ("TRADING", "SETTLEMENT"))
    days: Sequence[int] = market.session_days
    if by == "SETTLEMENT":
        days = [day_number(date.fromisoformat(book.scene.settles(at)))
                for at in market.session_opens]  # fmt: skip
    start, end = read.day(query, "start"), read.day(query, "end")
    first = 0 if start is None else bisect_left(days, start)
    last = len(days) if end is None else bisect_right(days, end)
    return Answer(200, [session_json(book.scene, row) for row in range(first, last)])


def session_json(scene: Scene, row: int) -> dict[str, Any]:
    """Return one session on New York's clock."""
    market = scene.market
    opens, closes = local(market.session_opens[row]), local(market.session_closes[row])
    return {
        "date": day_text(market.session_days[row]),
        "open": f"{opens:%H:%M}",
        "close": f"{closes:%H:%M}",
        "session_open": "0400",
        "session_close": "2000",
        "settlement_date": scene.settles(market.session_opens[row]),
    }


def get_assets(book: AccountBook, request: Request) -> Answer:
    """GET /v2/assets."""
    query, scene = request.query, book.scene
    status = query.get("status") or "active"
    classes = read.words(query, "asset_class")
    exchanges = read.words(query, "exchange")
    wanted = set(read.words(query, "attributes"))
    if status not in ("active", "inactive", "all"):
        raise unprocessable(f"invalid status: {status}")
    assets = [scene.asset(symbol) for symbol in scene.bars.symbols]
    return Answer(200, [
        one for one in assets
        if status != "inactive" and (not classes or one["class"] in classes)
        and (not exchanges or one["exchange"] in exchanges)
        and wanted <= set(one["attributes"])
    ])  # fmt: skip


def get_asset(book: AccountBook, request: Request) -> Answer:
    """GET /v2/assets/{symbol or id}."""
    symbol = book.scene.symbol_of(request.argument)
    if symbol is None:
        raise not_found(f"asset not found for {request.argument}")
    return Answer(200, book.scene.asset(symbol))
