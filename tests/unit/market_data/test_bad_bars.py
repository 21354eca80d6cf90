"""Every kind of bad market data: refused with file, row, value and the way out, or dropped."""

import numpy as np
import pandas as pd
import pytest

from mqd.errors import (
    BadRows,
    DataError,
    EmptyBars,
    MissingColumn,
    MissingZone,
    UnknownSymbol,
    UsageError,
)
from mqd.market_data.bars import Bars, load_bars

OPENS = [f"2022-05-{day}T13:30:00Z" for day in (23, 24, 25, 26, 27)]
FIELDS = ["open", "high", "low", "close", "volume"]


def good():
    return pd.DataFrame(
        {"symbol": "AAA", "timestamp": pd.to_datetime(OPENS, utc=True), "open": 10.0,
         "high": 11.0, "low": 9.0, "close": 10.5, "volume": 100.0}
    )  # fmt: skip


BAD_VALUES = [
    ("close", np.nan, "close is finite", "close = nan"),
    ("volume", np.inf, "volume is finite", "volume = inf"),
    ("low", -np.inf, "low is finite", "low = -inf"),
    ("low", 0.0, "low is above zero", "low = 0.0"),
    ("open", -10.0, "open is above zero", "open = -10.0"),
    ("volume", -1.0, "volume is not negative", "volume = -1.0"),
    ("high", 8.0, "high is not below low", "high = 8.0, low = 9.0"),
    ("high", 9.5, "high is not below open", "high = 9.5, open = 10.0"),
    ("high", 10.25, "high is not below close", "high = 10.25, close = 10.5"),
    ("low", 10.25, "low is not above open", "low = 10.25, open = 10.0"),
    ("close", 8.5, "low is not above close", "low = 9.0, close = 8.5"),
]


@pytest.mark.parametrize(("field", "value", "rule", "shown"), BAD_VALUES)
def test_a_bad_value_names_file_row_value_and_fix(tmp_path, field, value, rule, shown):
    data = good()
    data.loc[2, field] = value
    data.to_parquet(tmp_path / "bad.parquet")
    data.to_csv(tmp_path / "bad.csv", index=False)
    for file, place in (("bad.parquet", "row 2"), ("bad.csv", "line 4")):
        with pytest.raises(BadRows) as refused:
            load_bars(tmp_path / file)
        text = str(refused.value)
        assert f"{file}: 1 row(s) break the rule '{rule}'" in text
        assert f"{place}: AAA 2022-05-25T13:30:00Z, {shown}" in text
        assert "on_bad='drop'" in text
        assert str(tmp_path) not in text


@pytest.mark.parametrize(("field", "value", "rule", "shown"), BAD_VALUES)
def test_a_bad_row_can_be_dropped_and_is_listed(field, value, rule, shown):
    data = good()
    data.loc[2, field] = value
    bars = Bars.from_pandas(data, on_bad="drop")
    assert len(bars["AAA"]) == 4
    assert bars.dropped == (f"row 2: AAA 2022-05-25T13:30:00Z, {shown}: dropped, breaks '{rule}'",)
    assert bars.gaps["AAA"] == 1


def test_the_row_number_is_that_of_the_file_when_symbols_are_chosen(tmp_path):
    bad = good().assign(symbol="BBB")
    bad.loc[3, "close"] = -1.0
    mixed = pd.concat([good(), bad]).sort_values(["timestamp", "symbol"])
    mixed.to_parquet(tmp_path / "mixed.parquet", index=False)
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    for file, place in (("mixed.parquet", "row 7:"), ("mixed.csv", "line 9:")):
        with pytest.raises(BadRows, match=place):
            load_bars(tmp_path / file, ["BBB"])
        with pytest.raises(BadRows, match=place):
            load_bars(tmp_path / file)


def test_a_duplicate_is_refused_or_the_later_one_dropped():
    data = pd.concat([good(), good().iloc[[1]].assign(close=10.75)], ignore_index=True)
    with pytest.raises(BadRows, match=r"one bar a stamp'(.|\n)*row 5: AAA 2022-05-24"):
        Bars.from_pandas(data)
    assert Bars.from_pandas(data, on_bad="drop") == Bars.from_pandas(good())


def test_unsorted_rows_are_refused_or_dropped():
    data = good().iloc[[0, 2, 1, 3, 4]].reset_index(drop=True)
    with pytest.raises(BadRows, match=r"stamps ascend(.|\n)*row 2: AAA 2022-05-24"):
        Bars.from_pandas(data)
    assert len(Bars.from_pandas(data, on_bad="drop")["AAA"]) == 4


def test_symbols_may_interleave():
    data = pd.concat([good(), good().assign(symbol="BBB")])
    by_time = data.sort_values(["timestamp", "symbol"])
    assert Bars.from_pandas(by_time) == Bars.from_pandas(data)


@pytest.mark.parametrize(
    ("stamp", "why"),
    [("2022-05-30T13:30:00Z", "memorial day"), ("2022-05-28T13:30:00Z", "saturday"),
     ("2022-05-31T15:00:00Z", "no open")],
)  # fmt: skip
def test_a_daily_bar_outside_its_session_is_refused(stamp, why):
    data = good()
    data.loc[4, "timestamp"] = pd.Timestamp(stamp)
    with pytest.raises(BadRows, match=f"XNYS'(.|\n)*row 4: AAA {stamp}(.|\n)*calendar=") as refused:
        Bars.from_pandas(data)
    assert refused.value.n_bad == 1, why
    assert len(Bars.from_pandas(data, on_bad="drop")["AAA"]) == 4


@pytest.mark.parametrize(
    ("calendar", "first", "bad"),
    [
        ("XNYS", "2022-05-19T13:30Z", "2022-05-19T20:00:00Z"),
        ("XNYS", "2022-05-19T13:30Z", "2022-05-19T13:29:00Z"),
        ("XNYS", "2020-11-27T14:30Z", "2020-11-27T18:00:00Z"),
        ("XHKG", "2022-05-19T01:30Z", "2022-05-19T04:00:00Z"),
        ("XHKG", "2022-05-19T01:30Z", "2022-05-19T04:59:00Z"),
    ],
)
def test_a_minute_outside_its_session_is_refused(calendar, first, bad):
    stamps = [*pd.date_range(first, periods=4, freq="1min", tz="UTC"), pd.Timestamp(bad)]
    data = good().assign(timestamp=sorted(stamps))
    with pytest.raises(BadRows, match=f"a bar is inside a session of {calendar}(.|\n)*{bad}"):
        Bars.from_pandas(data, calendar=calendar)


def test_a_time_frame_longer_than_the_data_is_refused():
    stamps = pd.date_range("2022-05-19T13:30Z", periods=5, freq="1min")
    with pytest.raises(BadRows, match="begins when the one before has ended"):
        Bars.from_pandas(good().assign(timestamp=stamps), timeframe="5min")
    twice = ["2022-05-19T00:00-04:00", "2022-05-19T13:30Z", *OPENS[:3]]
    data = good().assign(timestamp=pd.to_datetime(twice, utc=True, format="ISO8601"))
    with pytest.raises(BadRows, match="begins when the one before has ended"):
        Bars.from_pandas(data, timeframe="1day")


@pytest.mark.parametrize("stamp", ["2022-05-23 13:30:00", "2022-05-23T13:30", "2022-05-23"])
def test_a_csv_without_a_zone_is_refused(tmp_path, stamp):
    path = tmp_path / "naive.csv"
    good().assign(timestamp=[stamp, *OPENS[1:]]).to_csv(path, index=False)
    with pytest.raises(MissingZone, match=f"naive.csv: .*'timestamp' has no time zone.*{stamp}"):
        load_bars(path, on_bad="drop")


def test_a_frame_without_a_zone_is_refused(tmp_path):
    naive = good()
    naive["timestamp"] = naive.timestamp.dt.tz_localize(None)
    with pytest.raises(MissingZone, match="tz_localize"):
        Bars.from_pandas(naive)
    naive.to_parquet(tmp_path / "naive.parquet")
    with pytest.raises(MissingZone, match=r"naive.parquet"):
        load_bars(tmp_path / "naive.parquet")


@pytest.mark.parametrize("column", ["symbol", "timestamp", "open", "close", "volume"])
def test_a_missing_column_is_named_with_what_is_there(tmp_path, column):
    path = tmp_path / "short.csv"
    good().drop(columns=column).to_csv(path, index=False)
    with pytest.raises(MissingColumn, match=f"short.csv: no column '{column}'.*The file has:"):
        load_bars(path)


def test_a_misspelt_column_is_suggested():
    with pytest.raises(MissingColumn, match=r"no column 'close'. Did you mean 'closes'"):
        Bars.from_pandas(good().rename(columns={"close": "closes"}))


def test_an_unknown_symbol_is_suggested(tmp_path):
    good().to_parquet(tmp_path / "x.parquet")
    good().to_csv(tmp_path / "x.csv", index=False)
    for file in ("x.parquet", "x.csv"):
        with pytest.raises(UnknownSymbol, match=f"{file} has no symbol 'AAB'.*'AAA'"):
            load_bars(tmp_path / file, ["AAB"])
    with pytest.raises(UsageError, match="pass a list"):
        load_bars(tmp_path / "x.parquet", "AAA")


def test_empty_bars_say_why(tmp_path):
    good().iloc[:0].to_parquet(tmp_path / "x.parquet")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "head.csv").write_text("symbol,timestamp,open,high,low,close,volume\n")
    for file in ("x.parquet", "nothing.csv", "head.csv"):
        with pytest.raises(EmptyBars, match=f"{file}: no bars"):
            load_bars(tmp_path / file)
    with pytest.raises(EmptyBars, match="between start and end"):
        Bars.from_pandas(good(), start="2023-01-01")
    late = good().assign(symbol="BBB")[1:]
    late["timestamp"] += pd.Timedelta(days=7)
    both = pd.concat([good(), late])
    assert Bars.from_pandas(both, end="2022-05-27").symbols == ("AAA",)
    with pytest.raises(EmptyBars, match="BBB has none between start and end"):
        Bars.from_pandas(both, symbols=["AAA", "BBB"], end="2022-05-27")
    with pytest.raises(EmptyBars, match="every row was dropped"):
        Bars.from_pandas(good().assign(close=-1.0), on_bad="drop")
    with pytest.raises(EmptyBars, match="no symbol was asked for"):
        Bars.from_pandas(good(), symbols=[])


def test_a_word_where_a_number_belongs_is_refused(tmp_path):
    data = good().astype({"close": object})
    data.loc[1, "close"] = "ten"
    data.to_csv(tmp_path / "word.csv", index=False)
    with pytest.raises(BadRows, match=r"close is a number(.|\n)*line 3: close = 'ten'"):
        load_bars(tmp_path / "word.csv")


def test_a_time_that_is_none_is_refused(tmp_path):
    good().assign(timestamp=[*OPENS[:4], "2022-05-27T99:30-0400"]).to_csv(
        tmp_path / "t.csv", index=False
    )
    with pytest.raises(BadRows, match=r"timestamps are ISO 8601(.|\n)*2024-01-02T09:30:00-05:00"):
        load_bars(tmp_path / "t.csv")
    empty = good()
    empty.loc[1, "timestamp"] = pd.NaT
    with pytest.raises(BadRows, match="row 1: no timestamp"):
        Bars.from_pandas(empty)
    with pytest.raises(BadRows, match="row 1: no symbol"):
        Bars.from_pandas(good().assign(symbol=["AAA", None, "AAA", "AAA", "AAA"]))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"x.parquet: it cannot be read"):
        load_bars(tmp_path / "x.parquet")
    (tmp_path / "x.xlsx").write_text("hello")
    with pytest.raises(UsageError, match=r"x.xlsx: write .parquet or .csv"):
        load_bars(tmp_path / "x.xlsx")
    with pytest.raises(UsageError, match="no data file"):
        load_bars(tmp_path / "absent.parquet")


@pytest.mark.parametrize(
    ("word", "value", "nearest"),
    [("adjust", "splits", "split"), ("dividends", "yaho", "yahoo"), ("on_bad", "droop", "drop")],
)
def test_a_misspelt_choice_is_suggested(word, value, nearest):
    with pytest.raises(UsageError, match=f"{word} = '{value}'. Did you mean '{nearest}'"):
        Bars.from_pandas(good(), **{word: value})


def test_an_unknown_time_frame_is_refused():
    for text in ("soon", "0min", "2day", "min"):
        with pytest.raises(UsageError, match="is none of"):
            Bars.from_pandas(good(), timeframe=text)


def test_more_bad_rows_than_are_shown_are_counted():
    with pytest.raises(BadRows) as refused:
        Bars.from_pandas(pd.concat([good().assign(symbol=s, close=-1.0) for s in "AB"]))
    assert refused.value.n_bad == 10
    assert len(refused.value.rows) == 5
