"""A market that grows: history taken at once equals bars taken one step after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.clock import NS_PER_DAY
from mqd.errors import DataError
from mqd.live.plan import live_bar
from mqd.market_data.bars import Bars
from mqd.market_data.feed import ReplayFeed
from tests.unit.live.session_world import DAY0, MINUTE, OPEN, SYMBOLS, growing

COLUMNS = ("_closes", "_days", "_ends", "_gaps", "_rows_after", "_known_rows", "present_rows")


def bars_of(minutes, day_ns=NS_PER_DAY):
    """Return bars of two symbols; ``minutes`` are (session, minute, which symbols)."""
    import pandas as pd

    rows = []
    for place, (session, minute, which) in enumerate(minutes):
        for symbol in which:
            px = 10.0 + place / 100
            stamp = pd.Timestamp(OPEN + session * day_ns + minute * MINUTE, tz="UTC")
            rows.append((stamp, symbol, px, px + 0.05, px - 0.03, px + 0.01, 100.0 * place))
    names = ["timestamp", "symbol", "open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(rows, columns=names)
    return Bars.from_pandas(frame, "XNYS", timeframe="1min", tick="0.01", lot="1")


def one_by_one(bars):
    """Return a market that took the bars step by step."""
    market = growing()
    steps = ReplayFeed(bars).steps()
    closes = set(market.calendar.closes.tolist())
    for ts_close, rows in zip(steps.ts_close.tolist(), steps.rows.tolist(), strict=True):
        step = market.announce(ts_close)
        pairs = zip(bars.symbols, rows, strict=True)
        there = [live_bar(bars[symbol], row) for symbol, row in pairs if row >= 0]
        market.take(there, ends_session=ts_close in closes)
        market.enter(step)
    return market


def assert_equal(one, other):
    for name in COLUMNS:
        assert list(getattr(one, name)) == list(getattr(other, name)), name
    assert (one.n_rows, one.n_steps, one.taken_ns) == (other.n_rows, other.n_steps, other.taken_ns)
    assert one._session_first == other._session_first
    for symbol in one.symbols:
        for name, column in one._columns[symbol].items():
            n = one.n_rows[symbol]
            assert np.array_equal(column[:n], other._columns[symbol][name][:n], equal_nan=True), (
                name
            )


@given(
    st.sets(st.tuples(st.integers(0, 1), st.integers(0, 389)), min_size=1, max_size=30),
    st.data(),
)
@settings(deadline=None, max_examples=40)
def test_history_at_once_equals_history_step_by_step(places, data):
    which = st.sampled_from((SYMBOLS[:1], SYMBOLS[1:], SYMBOLS))
    minutes = [(day, minute, data.draw(which)) for day, minute in sorted(places)]
    bars = bars_of(minutes)
    at_once = growing()
    at_once.preload(bars)
    assert_equal(at_once, one_by_one(bars))


def test_the_last_minute_of_a_session_ends_it():
    market = growing()
    market.preload(bars_of([(0, 388, SYMBOLS), (0, 389, SYMBOLS), (1, 0, SYMBOLS)]))
    assert market.ends_session == [False, True, False]
    assert market.days_to_next == [1, 1, 3]  # the 20th of May 2022 is a Friday


def test_more_history_than_room_is_taken():
    minutes = [(day, minute, SYMBOLS) for day in (0, 1) for minute in range(390)]
    minutes += [(day, minute, SYMBOLS) for day in (4, 5, 6) for minute in range(390)]
    bars = bars_of(minutes)
    market = growing(days=9)
    market.preload(bars)
    assert market.n_rows == dict.fromkeys(SYMBOLS, 5 * 390)
    assert market.known("BBB").close.tolist() == bars["BBB"].close.tolist()


def test_history_comes_first_and_fits_the_calendar():
    market = growing()
    bars = bars_of([(0, 1, SYMBOLS)])
    market.preload(bars)
    with pytest.raises(DataError, match="before the first step"):
        market.preload(bars)
    with pytest.raises(DataError, match="does not fit"):
        growing(width_ns=5 * MINUTE).preload(bars)


def test_a_bar_after_history_goes_on_where_it_ended():
    market = growing()
    market.preload(bars_of([(0, 0, SYMBOLS), (0, 1, SYMBOLS[:1])]))
    step = market.announce(DAY0 + (OPEN - DAY0) + 3 * MINUTE)
    market.begin(step)
    assert list(market.present_rows) == [2, 1]
    assert market.has_closed("AAA", OPEN + 2 * MINUTE)
    assert not market.has_closed("BBB", OPEN + 2 * MINUTE)
