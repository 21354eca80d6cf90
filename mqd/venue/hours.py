"""The hours of an American market on New York's clock: sessions, order windows, ends of orders.

Source: Alpaca's pages on order types and on extended hours. OPG orders are refused from two
minutes before an open until 19:00, CLS orders from ten minutes before a close until 19:00. A GTC
order ends 90 days after the day it came, at 16:15. An order for extended hours ends at 20:00.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple

from mqd.core.clock import NS_PER_MINUTE, NS_PER_S
from mqd.core.order import TimeInForce
from mqd.market_data.calendar import day_date
from mqd.venue.scene import Scene
from mqd.venue.text import NEW_YORK, local

PRE: Final = time(4)
POST_END: Final = time(20)
EVENING: Final = time(19)
GTC_END: Final = time(16, 15)
GTC_DAYS: Final = 90
OPG_LAST_NS: Final = 2 * NS_PER_MINUTE
CLS_LAST_NS: Final = 10 * NS_PER_MINUTE


class Hours(NamedTuple):
    """One session's instants, ns UTC: extended hours begin, open, close, extended hours end."""

    pre_ns: int
    open_ns: int
    close_ns: int
    post_ns: int


def hours_of(scene: Scene, row: int) -> Hours:
    """Return the hours of a session of the calendar."""
    market = scene.market
    day = datetime.combine(day_date(market.session_days[row]), PRE, NEW_YORK)
    return Hours(
        _ns(day), market.session_opens[row], market.session_closes[row],
        _ns(datetime.combine(day.date(), POST_END, NEW_YORK)),
    )  # fmt: skip


def phase_of(scene: Scene, now_ns: int) -> tuple[str, int]:
    """Return the market's phase (closed, pre, core, post) and when it ends.

    Behind the last session of the calendar the end is the last one known.
    """
    row = bisect_right(scene.market.session_opens, now_ns)
    for place in range(max(row - 1, 0), len(scene.market.session_opens)):
        hours = hours_of(scene, place)
        if now_ns < hours.pre_ns:
            return "closed", hours.pre_ns
        for phase, end_ns in zip(("pre", "core", "post"), hours[1:], strict=True):
            if now_ns < end_ns:
                return phase, end_ns
    return "closed", scene.market.session_closes[-1]


def window_refusal(scene: Scene, tif: TimeInForce, now_ns: int) -> str:
    """Return why an OPG or CLS order comes at the wrong time, "" when it does not."""
    if tif not in (TimeInForce.OPG, TimeInForce.CLS):
        return ""
    row = _session_today(scene, now_ns)
    if row < 0:
        return ""
    hours = hours_of(scene, row)
    opg = tif is TimeInForce.OPG
    from_ns = hours.open_ns - OPG_LAST_NS if opg else hours.close_ns - CLS_LAST_NS
    until_ns = _ns(datetime.combine(local(now_ns).date(), EVENING, NEW_YORK))
    if not from_ns <= now_ns < until_ns:
        return ""
    since = f"{local(from_ns):%H:%M}"
    return f"{tif} orders are rejected from {since} until 19:00 (New York)"


def extended_end_ns(scene: Scene, now_ns: int) -> int:
    """Return when an order for the day's extended hours ends: the next 20:00 of a session."""
    row = max(bisect_right(scene.market.session_opens, now_ns) - 1, 0)
    for place in range(row, len(scene.market.session_opens)):
        end_ns = hours_of(scene, place).post_ns
        if now_ns < end_ns:
            return end_ns
    return _ns(datetime.combine(local(now_ns).date() + timedelta(days=1), POST_END, NEW_YORK))


def gtc_end_ns(now_ns: int) -> int:
    """Return when an order until cancelled ends that comes now."""
    day = local(now_ns).date() + timedelta(days=GTC_DAYS)
    return _ns(datetime.combine(day, GTC_END, NEW_YORK))


def _session_today(scene: Scene, now_ns: int) -> int:
    """Return the session of New York's date, -1 on a day without one."""
    today = local(now_ns).date()
    days = scene.market.session_days
    row = bisect_right(scene.market.session_opens, now_ns)
    for place in (row - 1, row):
        if 0 <= place < len(days) and day_date(days[place]) == today:
            return place
    return -1


def _ns(when: datetime) -> int:
    return int(when.timestamp()) * NS_PER_S
