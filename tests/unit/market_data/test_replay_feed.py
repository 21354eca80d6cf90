"""The total order of a replay: many symbols, many time frames, and the table of steps."""

from pathlib import Path

import numpy as np
import pandas as pd

from mqd.market_data.aggregation import aggregate
from mqd.market_data.bars import Bars, load_bars
from mqd.market_data.feed import ReplayFeed

DATA = Path(__file__).parents[3] / "datasets"
MINUTE = 60_000_000_000


def ns(text):
    return pd.Timestamp(text).as_unit("ns").value


def bars_of(stamps_by_symbol):
    frames = [
        pd.DataFrame(
            {"symbol": symbol, "timestamp": pd.to_datetime(stamps), "open": 1.0, "high": 1.0,
             "low": 1.0, "close": 1.0, "volume": 1.0}
        )
        for symbol, stamps in stamps_by_symbol.items()
    ]  # fmt: skip
    return Bars.from_pandas(pd.concat(frames), timeframe="1min")


THREE = {
    "ZZZ": ["2022-05-19T13:30Z", "2022-05-19T13:32Z"],
    "AAA": ["2022-05-19T13:30Z", "2022-05-19T13:31Z", "2022-05-19T13:32Z"],
}


def test_ties_follow_the_order_of_the_symbols():
    stamps = THREE | {"MMM": ["2022-05-19T13:31Z"]}
    told = [(bar.symbol, bar.ts_close) for bar in ReplayFeed(bars_of(stamps))]
    assert told == [
        ("ZZZ", ns("2022-05-19T13:31Z")), ("AAA", ns("2022-05-19T13:31Z")),
        ("AAA", ns("2022-05-19T13:32Z")), ("MMM", ns("2022-05-19T13:32Z")),
        ("ZZZ", ns("2022-05-19T13:33Z")), ("AAA", ns("2022-05-19T13:33Z")),
    ]  # fmt: skip


def test_a_longer_bar_comes_after_the_base_bars_of_its_close():
    stamps = [f"2022-05-19T13:{minute}Z" for minute in range(30, 36)]
    bars = bars_of({"AAA": stamps, "BBB": stamps[:4]})
    told = [(frame, bar.symbol, bar.ts_close) for frame, bar in
            ReplayFeed(bars, ("1day", "5min")).events()]  # fmt: skip
    at_35 = ns("2022-05-19T13:35Z")
    assert [(frame, symbol) for frame, symbol, ts in told if ts == at_35] == [
        ("1min", "AAA"), ("5min", "AAA"), ("5min", "BBB"),
    ]  # fmt: skip
    assert told[-3:] == [
        ("5min", "AAA", ns("2022-05-19T13:40Z")),
        ("1day", "AAA", ns("2022-05-19T20:00Z")),
        ("1day", "BBB", ns("2022-05-19T20:00Z")),
    ]


def test_every_bar_is_told_once_and_never_early():
    bars = load_bars(DATA / "equity_minute.parquet", ["MSFT", "SPY"])
    feed = ReplayFeed(bars, ("60min", "1day"))
    told = list(feed.events())
    closes = [bar.ts_close for _, bar in told]
    assert closes == sorted(closes)
    for frame, source in (("1min", bars), ("60min", aggregate(bars, "60min"))):
        for symbol, one in source.items():
            mine = [bar for name, bar in told if name == frame and bar.symbol == symbol]
            assert mine == [one.bar(i) for i in range(len(one))]
    assert list(feed) == [bar for _, bar in told]
    assert list(feed) == list(feed)


def test_steps_are_the_base_bars_of_one_close():
    bars = load_bars(DATA / "us_equity_daily_raw.parquet", ["FB", "IBM"], start="2012-05-17")
    steps = ReplayFeed(bars).steps()
    assert steps.rows.shape == (len(bars["IBM"]), 2)
    assert steps.rows[:3].tolist() == [[-1, 0], [0, 1], [1, 2]]
    assert (np.diff(steps.ts_close) > 0).all()


def test_steps_tell_the_same_story_as_the_feed():
    stamps = THREE | {"MMM": ["2022-05-19T13:31Z", "2022-05-19T13:59Z"]}
    bars = bars_of(stamps)
    feed = ReplayFeed(bars)
    steps = feed.steps()
    told = [
        bars[bars.symbols[column]].bar(row)
        for rows in steps.rows.tolist()
        for column, row in enumerate(rows)
        if row >= 0
    ]
    assert told == list(feed)
    assert steps.rows.tolist() == [[0, 0, -1], [-1, 1, 0], [1, 2, -1], [-1, -1, 1]]
