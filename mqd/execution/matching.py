"""Matching an order against a bar: pure functions on integer ticks, pessimistic.

| order | fills when | at |
|---|---|---|
| market | the bar has volume | its open, worsened by slippage |
| limit | low < limit (buy), high > limit (sell); a touch only with ``touch_fills`` | the better of open and limit |
| stop | high >= stop (buy), low <= stop (sell) | the worse of open and stop, worsened by slippage |
| stop limit | stop rule, then limit rule from the next bar on; on the trigger bar only if the close is through the limit | as limit; on the trigger bar the worst price traded up to the limit |
| trailing stop | level from earlier bars' extremes only (at first the entry price), then the stop rule | as stop |
| on open, on close | the session's first open, last close | that price, worsened |

Every function returns a price in ticks before slippage, or ``NO_FILL``. ``side`` is +1 for a
buy and -1 for a sell. A stop in a protective pair is asked before its target.
"""  # noqa: E501

from __future__ import annotations

NO_FILL = 0


def limit_at_open(side: int, open_: int, limit: int, touch_fills: bool) -> int:
    """Return the open when it is through the limit (or at it, with ``touch_fills``)."""
    through = (limit - open_) * side
    if through > 0 or (touch_fills and through == 0):
        return open_
    return NO_FILL


def limit_within(side: int, open_: int, high: int, low: int, limit: int, touch_fills: bool) -> int:
    """Return the better of open and limit when the bar trades through the limit."""
    best = low if side > 0 else high
    through = (limit - best) * side
    if through > 0 or (touch_fills and through == 0):
        return open_ if (limit - open_) * side > 0 else limit
    return NO_FILL


def stop_at_open(side: int, open_: int, stop: int) -> int:
    """Return the open when it has gapped to or beyond the stop."""
    return open_ if (open_ - stop) * side >= 0 else NO_FILL


def stop_within(side: int, open_: int, high: int, low: int, stop: int) -> int:
    """Return the worse of open and stop when the bar reaches the stop.

    The open counts for an order that came too late to fill at it: a protective stop placed at
    the open does not get a price that the market has already left.
    """
    worst = high if side > 0 else low
    if (worst - stop) * side < 0:
        return NO_FILL
    return open_ if (open_ - stop) * side > 0 else stop


def stop_limit_on_trigger_bar(
    side: int,
    open_: int,
    high: int,
    low: int,
    close: int,
    limit: int,
    at_open: bool,
    touch_fills: bool,
) -> int:
    """Return a stop limit's price on the bar that triggered it, if the close confirms.

    The path inside the bar is unknown: only a close through the limit proves that the limit
    traded after the trigger. ``at_open``: the open itself was the trigger. Else the price is the
    limit, or the bar's worst price when that stays inside the limit.
    """
    if limit_at_open(side, close, limit, touch_fills) == NO_FILL:
        return NO_FILL
    if at_open and (limit - open_) * side > 0:
        return open_
    worst = high if side > 0 else low
    return limit if (worst - limit) * side >= 0 else worst


def trail_level(side: int, extreme: int, trail_ticks: int, floor_ticks: int) -> int:
    """Return a trailing stop's level: ``trail_ticks`` behind the extreme, or the tighter floor.

    ``side`` is the stop order's: a sell stop (-1) trails below the highest high. ``floor_ticks``
    is a fixed stop working beside it, 0 for none.
    """
    level = extreme + side * trail_ticks
    if floor_ticks == 0:
        return level
    return max(level, floor_ticks) if side < 0 else min(level, floor_ticks)
