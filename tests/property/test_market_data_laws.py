"""Laws of market data: nothing is lost in a round trip or an aggregation, no bad row passes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.errors import BadRows
from mqd.market_data.aggregation import aggregate
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import calendar_of_years
from mqd.market_data.feed import ReplayFeed

MINUTE = 60_000_000_000
DAYS = {"XNYS": "2020-11-25", "XHKG": "2020-12-23", "XLON": "2020-12-23", "24/7": "2020-11-27"}


def session_minutes(name):
    """All minutes of four sessions around a half day of an exchange."""
    calendar = calendar_of_years(name, 2020, 2021)
    day = np.datetime64(DAYS[name]).astype("datetime64[D]").astype(int)
    first = int(np.searchsorted(calendar.sessions, day))
    parts = [
        np.arange(start, end, MINUTE)
        for i in range(first, first + 4)
        for start, end in (
            (calendar.opens[i], calendar.break_starts[i]),
            (calendar.break_ends[i], calendar.closes[i]),
        )
    ]
    return np.concatenate(parts)


MINUTES = {name: session_minutes(name) for name in DAYS}


@st.composite
def frames(draw, least=1):
    """A frame of minute bars of one or two symbols, with gaps, on the tick grid."""
    calendar = draw(st.sampled_from(sorted(DAYS)))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = []
    for symbol in draw(st.sampled_from([("AAA",), ("BBB", "AAA")])):
        count = draw(st.integers(least, 60))
        rows = np.sort(dice.choice(len(MINUTES[calendar]), size=count, replace=False))
        ticks = np.sort(dice.integers(1, 2_000_000, size=(count, 4)), axis=1)
        order = np.where(dice.random(count) < 0.5, 1, 2)
        body = np.take_along_axis(ticks, np.stack([order, 3 - order], axis=1), axis=1) / 10_000
        parts.append(
            pd.DataFrame(
                {"symbol": symbol, "timestamp": pd.to_datetime(MINUTES[calendar][rows], utc=True),
                 "open": body[:, 0], "high": ticks[:, 3] / 10_000, "low": ticks[:, 0] / 10_000,
                 "close": body[:, 1], "volume": dice.integers(0, 1000, size=count) * 1.0}
            )
        )  # fmt: skip
    return calendar, pd.concat(parts, ignore_index=True)


def load(case, **words):
    calendar, frame = case
    return Bars.from_pandas(
        frame, calendar=calendar, timeframe="1min", tick="0.0001", lot="1", **words
    )


@given(frames())
@settings(max_examples=60)
def test_a_round_trip_through_pandas_loses_nothing(case):
    bars = load(case)
    again = load((case[0], bars.to_pandas()))
    assert again == bars
    for symbol, one in bars.items():
        mine = case[1][case[1].symbol == symbol]
        np.testing.assert_array_equal(one.close, mine.close)
        np.testing.assert_array_equal(again[symbol].minutes_from_open, one.minutes_from_open)
        np.testing.assert_array_equal(one.ticks("high") / 10_000, mine.high)


@given(frames(), st.sampled_from(["5min", "15min", "60min", "1day"]))
@settings(max_examples=80)
def test_aggregation_keeps_volume_and_extremes_and_ends(case, timeframe):
    bars = load(case)
    longer = aggregate(bars, timeframe)
    for symbol, base in bars.items():
        one = longer[symbol]
        assert one.volume.sum() == base.volume.sum()
        assert one.high.max() == base.high.max()
        assert one.low.min() == base.low.min()
        assert (one.open[0], one.close[-1]) == (base.open[0], base.close[-1])
        assert (one.ts_close[:-1] <= one.ts_open[1:]).all()
        for i in range(len(one)):
            inside = (base.ts_open >= one.ts_open[i]) & (base.ts_open < one.ts_close[i])
            rows = np.flatnonzero(inside)
            assert len(rows)
            assert (base.ts_close[rows] <= one.ts_close[i]).all()
            assert (base.session[rows] == one.session[i]).all()
            assert tuple(one.bar(i))[3:] == (
                base.open[rows[0]], base.high[rows].max(), base.low[rows].min(),
                base.close[rows[-1]], base.volume[rows].sum(),
            )  # fmt: skip
        lengths = one.ts_close - one.ts_open
        assert (lengths <= longer.timeframe_ns).all()


def spoil(frame, row, how):
    """Return the frame with one row spoilt."""
    frame = frame.copy()
    match how:
        case "nan" | "inf":
            frame.loc[row, "close"] = float(how)
        case "zero":
            frame.loc[row, "low"] = 0.0
        case "negative volume":
            frame.loc[row, "volume"] = -1.0
        case "high below low":
            frame.loc[row, "high"] = frame.loc[row, "low"] / 2
        case "low above close":
            frame.loc[row, "low"] = frame.loc[row, "high"] * 2
        case "duplicate":
            frame = pd.concat([frame, frame.iloc[[row]]], ignore_index=True)
        case _:
            rows = [row, *(i for i in range(len(frame)) if i != row)]
            frame = frame.iloc[rows if row else rows[::-1]].reset_index(drop=True)
    return frame


SPOILS = ["nan", "inf", "zero", "negative volume", "high below low", "low above close",
          "duplicate", "unsorted"]  # fmt: skip


@given(frames(least=2), st.data())
@settings(max_examples=80)
def test_no_planted_bad_row_passes(case, data):
    calendar, frame = case
    how = data.draw(st.sampled_from(SPOILS))
    first = frame[frame.symbol == frame.symbol.iloc[0]]
    row = data.draw(st.integers(0, len(first) - 1))
    bad = spoil(first, row, how)
    with pytest.raises(BadRows):
        load((calendar, bad))
    kept = load((calendar, bad), on_bad="drop") if len(first) > len(SPOILS) else None
    if kept is not None and how != "unsorted":
        clean = first if how == "duplicate" else first.drop(index=row)
        assert kept == load((calendar, clean.reset_index(drop=True)))
        assert len(kept.dropped) == 1


@given(frames())
@settings(max_examples=40)
def test_a_replay_is_ordered_complete_and_equal_to_its_steps(case):
    bars = load(case)
    feed = ReplayFeed(bars, ("5min", "60min"))
    told = list(feed.events())
    keys = [bar.ts_close for _, bar in told]
    assert keys == sorted(keys)
    base = [bar for frame, bar in told if frame == "1min"]
    assert len(base) == bars.n_bars
    steps = feed.steps()
    assert (np.diff(steps.ts_close) > 0).all()
    assert (steps.rows >= 0).sum() == bars.n_bars
    walked = [
        bars[bars.symbols[column]].bar(row)
        for rows in steps.rows.tolist()
        for column, row in enumerate(rows)
        if row >= 0
    ]
    assert walked == base


@given(frames())
@settings(max_examples=40)
def test_a_part_of_bars_is_what_loading_the_part_gives(case):
    bars = load(case)
    one = next(iter(bars.values()))
    edge = int(one.ts_open[len(one) // 2])
    part = bars.between(edge)
    assert part == load(case, start=edge)
    for symbol, mine in part.items():
        np.testing.assert_array_equal(
            mine.session_index, load(case, start=edge)[symbol].session_index
        )
    assert dict(part.gaps) == dict(load(case, start=edge).gaps)
