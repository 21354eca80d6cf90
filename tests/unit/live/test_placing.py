"""One bar placed in plain numbers is the bar that arrays place: stamps, prices, volume, means."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY
from mqd.errors import DataError
from mqd.execution.tape import capacity_lots
from mqd.live.mean_volumes import MeanVolumes
from mqd.live.placing import Placing, located
from mqd.live.plan import LiveBar
from mqd.market_data.calendar import calendar_for
from mqd.market_data.loading import on_grid
from mqd.market_data.sessions import session_volumes
from tests.unit.live.session_world import DAY0, MINUTE, OPEN, SYMBOLS, growing, plan

TOKYO = calendar_for("XTKS", DAY0, DAY0 + 5 * NS_PER_DAY)  # a market with a break at noon


def bar(ts_open=OPEN, px=10.0, volume=100.0):
    return LiveBar("AAA", ts_open, px, px, px, px, volume)


@given(st.integers(0, 5 * 1440), st.sampled_from([1, 5, 60]))
@settings(deadline=None, max_examples=150)
def test_a_bar_lies_where_arrays_find_it(minute, width):
    placing = Placing(TOKYO, plan(width_ns=width * MINUTE))
    stamp = DAY0 + minute * MINUTE
    stamps = np.array([stamp], dtype=np.int64)
    row, opens, closes = located(TOKYO, width * MINUTE, stamps)
    if row[0] < 0:
        with pytest.raises(DataError, match="lies in no session"):
            placing.placed(bar(stamp))
        return
    one = placing.placed(bar(stamp))
    assert (one.session, one.ts_open, one.ts_close) == (row[0], opens[0], closes[0])
    wanted = TOKYO.minutes_from_open(closes, row)[0], TOKYO.minutes_to_close(closes, row)[0]
    assert placing.minutes(one) == wanted
    start = TOKYO.buckets(stamps, row, width * MINUTE)[0][0]
    if start == stamp:
        assert placing.checked(bar(stamp)) == one
    else:
        with pytest.raises(DataError, match="begins inside"):
            placing.checked(bar(stamp))


@given(
    st.floats(1e-3, 1e9), st.sampled_from(["0.01", "0.0001", "0.25", "3", "0.00000001"]),
    st.floats(0, 1e15), st.sampled_from(["1", "0.001", "0.3"]), st.sampled_from([0.1, 0.29, 1.0]),
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_prices_and_shares_of_volume_are_those_of_arrays(px, tick, volume, lot, frac):
    made = replace(
        plan(), ticks=dict.fromkeys(SYMBOLS, Decimal(tick)),
        lots=dict.fromkeys(SYMBOLS, Decimal(lot)), participation_frac=frac,
    )  # fmt: skip
    placing = Placing(growing().calendar, made)
    wanted = on_grid(np.array([px]), Decimal(tick))
    told = bar(px=px, volume=volume)
    if wanted[0] <= 0 or px > 2**53 * float(tick):
        with pytest.raises(DataError, match="is no bar"):
            placing.placed(told)
        return
    assert placing.placed(told).prices == tuple(wanted.tolist()) * 4
    assert placing.ticks("AAA", float(wanted[0])) == np.rint(wanted / float(Decimal(tick)))[0]
    shares = capacity_lots(np.array([volume]), frac, Decimal(lot))
    assert placing.capacity_lots(told) == shares[0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"symbol": "ZZZ"}, "no symbol of this run"), ({"ts_open": OPEN - MINUTE}, "no session"),
        ({"close": float("nan")}, "is no bar"), ({"high": float("inf")}, "is no bar"),
        ({"low": 0.0}, "is no bar"), ({"volume": -1.0}, "is no bar"), ({"volume": 1e19}, "no bar"),
        ({"high": 9.0}, "is no bar"), ({"low": 10.5, "high": 11.0}, "lies above"),
    ],
)  # fmt: skip
def test_what_is_no_bar_is_refused(changes, why):
    market = growing()
    with pytest.raises(DataError, match=why):
        market.check(bar()._replace(**changes))
    market.announce(OPEN + MINUTE)
    with pytest.raises(DataError, match=why):
        market.take([bar()._replace(**changes)], ends_session=False)
    assert market.n_rows["AAA"] == 0


def test_a_market_without_volume_fills_whatever_is_asked():
    silent = Placing(growing().calendar, replace(plan(), knows_volume=False))
    assert silent.capacity_lots(bar(volume=0.0)) == 2**62


@given(
    st.sets(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 2, 200, 388, 389])), min_size=1),
    st.lists(st.booleans(), min_size=18, max_size=18),
)
@settings(deadline=None, max_examples=60)
def test_means_held_over_a_session_are_those_worked_out_anew(places, asked):
    market, volumes = growing(), []
    means = MeanVolumes(market.known)
    for place, (day, minute) in enumerate(sorted(places)):
        opened = int(market.calendar.opens[day]) + minute * MINUTE
        market.enter(market.announce(opened + MINUTE))
        volumes.append(1000.0 * (place + 1))
        market.take([bar(opened, volume=volumes[-1])], ends_session=minute == 389)
        if asked[place]:
            row = market.n_rows["AAA"] - 1
            wanted = session_volumes(market.known("AAA")).tolist()
            assert [means.at("AAA", at) for at in range(row + 1)] == wanted
    assert market.known("AAA").volume.tolist() == volumes
