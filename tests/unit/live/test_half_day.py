"""A half day in real time: the last bar ends at one o'clock in New York, and Monday comes next."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.live.builder import plan_scales
from mqd.live.market import GrowingMarket
from mqd.live.plan import MarketPlan
from mqd.live.steps import next_close, session_ends
from tests.unit.live.session_world import World


def instant(text):
    """Return ``2022-11-25T18:00`` (UTC) in ns."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS_PER_S


CLOSE = instant("2022-11-25T18:00")  # the day after Thanksgiving
MONDAY = instant("2022-11-28T14:30")


def market_of(width_ns=NS_PER_MINUTE):
    plan = MarketPlan(
        symbols=("AAA", "BBB"), calendar="XNYS", timeframe_ns=width_ns,
        ticks=dict.fromkeys(("AAA", "BBB"), Decimal("0.01")),
        lots=dict.fromkeys(("AAA", "BBB"), Decimal(1)), first_ns=instant("2022-11-25T14:30"),
        last_ns=instant("2022-11-30T00:00"), sessions_per_year=252.0,
    )  # fmt: skip
    return GrowingMarket(plan, plan_scales(plan))


@pytest.mark.parametrize(
    ("width_ns", "last", "first"),
    [
        (NS_PER_MINUTE, "2022-11-25T17:59", "2022-11-28T14:31"),
        (60 * NS_PER_MINUTE, "2022-11-25T17:30", "2022-11-28T15:30"),
        (NS_PER_DAY, "2022-11-23T21:00", "2022-11-28T21:00"),
    ],
)
def test_the_last_step_ends_with_the_half_day(width_ns, last, first):
    calendar = market_of().calendar
    assert next_close(calendar, width_ns, instant(last)) == CLOSE
    assert next_close(calendar, width_ns, CLOSE) == instant(first)
    assert session_ends(calendar, CLOSE)
    assert not session_ends(calendar, instant("2022-11-25T17:59"))


def test_a_session_decides_at_one_o_clock_and_waits_for_monday():
    world = World(MONDAY + 3 * NS_PER_MINUTE, start_ns=CLOSE - 150 * NS_PER_S, market=market_of())
    ends = []

    def tell(minute_ns):
        bars = [
            {"T": "b", "S": symbol, "t": minute_ns, "v": 100} | dict.fromkeys("ohlc", 10.0)
            for symbol in ("AAA", "BBB")
        ]
        at_ns = minute_ns + NS_PER_MINUTE + NS_PER_S // 2
        world.events.append((at_ns, lambda: world.arrivals.put(bars)))

    for minute in (CLOSE - 2 * NS_PER_MINUTE, CLOSE - NS_PER_MINUTE, MONDAY):
        tell(minute)
    bad = {"T": "b", "S": "AAA", "t": CLOSE, "v": 1} | dict.fromkeys("ohlc", 10.0)
    world.events.append((CLOSE + 90 * NS_PER_S, lambda: world.arrivals.put([bad])))
    taken = world.desk.end
    world.desk.end = lambda step: (ends.append(world.broker.ends_session), taken(step))
    world.run()
    assert world.desk.decided == [CLOSE - NS_PER_MINUTE, CLOSE, MONDAY + NS_PER_MINUTE]
    assert ends == [False, True, False]
    assert world.arrivals.bad == 1  # a bar after the half day's close is none of a session
