"""Longer bars along sessions: stamps by a table, values by hand."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mqd.errors import UsageError
from mqd.market_data.aggregation import aggregate
from mqd.market_data.bars import Bars, load_bars

ROOT = Path(__file__).parents[3]
MINUTES = ROOT / "datasets" / "equity_minute.parquet"
MINUTE = 60_000_000_000


def ns(text):
    return pd.Timestamp(text).as_unit("ns").value


def cases():
    with (ROOT / "tests" / "tables" / "buckets.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def minute_frame(stamps, values):
    columns = ["open", "high", "low", "close", "volume"]
    frame = pd.DataFrame(values, columns=columns, dtype=float)
    return frame.assign(symbol="AAA", timestamp=pd.to_datetime(stamps, utc=True))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_bucket_of_one_minute(case):
    frame = minute_frame([case["minute"]], [[1, 1, 1, 1, 1]])
    bars = Bars.from_pandas(frame, calendar=case["calendar"], timeframe="1min")
    one = aggregate(bars, case["timeframe"])["AAA"]
    assert one.ts_open.tolist() == [ns(case["bucket_open"])]
    assert one.ts_close.tolist() == [ns(case["bucket_close"])]


def test_values_by_hand():
    stamps = ["2020-11-27T17:25Z", "2020-11-27T17:29Z", "2020-11-27T17:31Z", "2020-11-30T14:30Z"]
    values = [[10, 12, 9, 11, 5], [11, 13, 10, 12, 7], [12, 12, 8, 9, 1], [9, 9.5, 9, 9.25, 4]]
    bars = Bars.from_pandas(minute_frame(stamps, values), timeframe="1min")
    hours = aggregate(bars, "60min")["AAA"]
    assert [tuple(hours.bar(i))[3:] for i in range(3)] == [
        (10, 13, 9, 12, 12), (12, 12, 8, 9, 1), (9, 9.5, 9, 9.25, 4),
    ]  # fmt: skip
    assert hours.ts_open.tolist() == [
        ns("2020-11-27T16:30Z"), ns("2020-11-27T17:30Z"), ns("2020-11-30T14:30Z"),
    ]  # fmt: skip
    assert hours.minutes_from_open.tolist() == [180, 210, 60]
    assert hours.minutes_to_close.tolist() == [30, 0, 330]
    assert hours.session_index.tolist() == [0, 0, 1]
    days = aggregate(bars, "1day")["AAA"]
    assert [tuple(days.bar(i))[3:] for i in range(2)] == [(10, 13, 8, 9, 13), (9, 9.5, 9, 9.25, 4)]
    assert days.ts_close.tolist() == [ns("2020-11-27T18:00Z"), ns("2020-11-30T21:00Z")]


def test_vwap_is_weighted_and_trades_are_added():
    frame = minute_frame(
        ["2022-05-19T13:30Z", "2022-05-19T13:31Z", "2022-05-19T13:36Z"],
        [[10, 10, 10, 10, 1], [20, 20, 20, 20, 3], [30, 30, 30, 30, 0]],
    ).assign(vwap=[10.0, 20.0, 30.0], trade_count=[2.0, 5.0, 0.0])
    five = aggregate(Bars.from_pandas(frame), "5min")["AAA"]
    assert five.vwap.tolist() == [17.5, 30.0]  # (10 x 1 + 20 x 3) / 4; nothing traded: the last
    assert five.trade_count.tolist() == [7, 0]


def test_a_week_of_hong_kong_hours():
    bars = load_bars(MINUTES, ["9988.HK"], calendar="XHKG", start="2022-05-23", end="2022-05-27")
    hours = aggregate(bars, "60min")
    assert hours.n_bars == 5 * 6
    assert hours.timeframe == "60min"
    assert hours.bars_per_session == 6
    length = (hours["9988.HK"].ts_close - hours["9988.HK"].ts_open) // MINUTE
    assert length.tolist() == [60, 60, 30, 60, 60, 60] * 5
    assert hours.gaps["9988.HK"] == 0


def test_days_equal_the_minutes_grouped_by_pandas():
    bars = load_bars(MINUTES, ["MSFT"])
    days = aggregate(bars, "1day")["MSFT"]
    frame = bars.to_pandas()
    by_day = frame.groupby(frame.timestamp.dt.tz_convert("America/New_York").dt.date)
    for name, how in (("open", "first"), ("high", "max"), ("low", "min"), ("close", "last"),
                      ("volume", "sum")):  # fmt: skip
        np.testing.assert_array_equal(getattr(days, name), getattr(by_day[name], how)())


def test_quarters_can_be_aggregated_on_to_hours():
    bars = load_bars(MINUTES, ["9988.HK"], calendar="XHKG")
    assert aggregate(aggregate(bars, "15min"), "60min") == aggregate(bars, "60min")


@pytest.mark.parametrize("timeframe", ["1min", "30s", "90s"])
def test_frames_that_are_not_longer_multiples_are_refused(timeframe):
    bars = load_bars(MINUTES, ["SPY"])
    with pytest.raises(UsageError, match="cannot be aggregated"):
        aggregate(bars, timeframe)
    with pytest.raises(UsageError, match="Bars of 1day cannot"):
        aggregate(aggregate(bars, "1day"), "1day")
