"""What loaded bars hold: stamps, sessions, scales, order, windows, identity."""

import copy
import pickle
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mqd.errors import EmptyBars, UnknownSymbol, UsageError
from mqd.market_data.bars import Bars, load_bars

DATA = Path(__file__).parents[3] / "datasets"
RAW = DATA / "us_equity_daily_raw.parquet"
MINUTES = DATA / "equity_minute.parquet"


def ns(text):
    return pd.Timestamp(text).as_unit("ns").value


def frame(stamps, closes=None, symbol="AAA", volume=100.0):
    closes = np.asarray([10.0] * len(stamps) if closes is None else closes, dtype=float)
    return pd.DataFrame(
        {"symbol": symbol, "timestamp": pd.to_datetime(stamps, utc=True), "open": closes,
         "high": closes, "low": closes, "close": closes, "volume": volume}
    )  # fmt: skip


def test_daily_bars_run_from_the_session_open_to_its_close():
    bars = load_bars(RAW, ["IBM"], start="2012-11-21", end="2012-11-27")["IBM"]
    # Thursday 22 November 2012 was Thanksgiving, Friday 23 a half day.
    assert bars.ts_open.tolist() == [
        ns(f"2012-11-{day}T14:30Z") for day in (21, 23, 26, 27)
    ]  # fmt: skip
    closes = ["21T21:00Z", "23T18:00Z", "26T21:00Z", "27T21:00Z"]
    assert bars.ts_close.tolist() == [ns(f"2012-11-{at}") for at in closes]
    assert bars.session.astype("datetime64[D]").astype(str).tolist() == [
        f"2012-11-{day}" for day in (21, 23, 26, 27)
    ]
    assert bars.session_index.tolist() == [0, 1, 2, 3]
    assert bars.minutes_from_open.tolist() == [390, 210, 390, 390]
    assert bars.minutes_to_close.tolist() == [0, 0, 0, 0]


def test_values_are_those_of_the_file():
    bars = load_bars(RAW, ["AAPL"], adjust="none")["AAPL"]
    assert len(bars) == 3270
    first = bars.bar(0)
    assert first[3:] == (118.56, 132.06, 118.5, 130.31, 9_616_100.0)
    assert (bars.tick, bars.lot) == (Decimal("0.0001"), Decimal(1))


def test_minute_bars_close_a_minute_later_and_the_last_before_lunch_at_lunch():
    bars = load_bars(MINUTES, ["9988.HK"], calendar="XHKG", start="2022-05-19", end="2022-05-19")
    one = bars["9988.HK"]
    assert len(one) == 330
    assert (one.ts_close - one.ts_open == 60_000_000_000).all()
    assert one.ts_close[149] == ns("2022-05-19T04:00Z")
    assert one.ts_open[150] == ns("2022-05-19T05:00Z")
    assert one.minutes_from_open[149:152].tolist() == [150, 151, 152]
    assert one.minutes_to_close[[149, 150, 329]].tolist() == [180, 179, 0]
    assert bars.timeframe == "1min"
    assert bars.bars_per_session == 330


def test_a_long_bar_is_clipped_to_the_close():
    stamps = ["2020-11-27T14:30Z", "2020-11-27T15:30Z", "2020-11-27T16:30Z", "2020-11-27T17:30Z"]
    bars = Bars.from_pandas(frame(stamps))
    assert bars.timeframe == "60min"
    assert bars["AAA"].ts_close[-1] == ns("2020-11-27T18:00Z")


def test_symbols_come_as_asked_and_only_those():
    assert load_bars(RAW, ["MSFT", "AAPL"]).symbols == ("MSFT", "AAPL")
    assert load_bars(RAW).symbols == ("AAPL", "FB", "GOOG", "IBM", "MSFT")


def test_rows_of_other_symbols_are_not_validated(tmp_path):
    stamps = ["2022-05-19T13:30Z", "2022-05-20T13:30Z"]
    both = pd.concat([frame(stamps), frame(stamps, [5.0, -5.0], "BAD")])
    for name in ("x.parquet", "x.csv"):
        path = tmp_path / name
        both.to_parquet(path) if name.endswith("parquet") else both.to_csv(path, index=False)
        assert len(load_bars(path, ["AAA"])["AAA"]) == 2


def test_one_bar_is_legal():
    bars = Bars.from_pandas(frame(["2022-05-19T13:30Z"]))
    assert bars.timeframe == "1day"
    assert len(bars["AAA"]) == 1
    minute = Bars.from_pandas(frame(["2022-05-19T13:31Z"]))
    assert minute.timeframe == "1min"
    named = Bars.from_pandas(frame(["2022-05-19T13:30Z"]), timeframe="5min")
    assert named["AAA"].ts_close[0] == ns("2022-05-19T13:35Z")


def test_session_index_counts_from_the_earliest_symbol():
    bars = load_bars(RAW, ["AAPL", "FB"], start="2012-05-16", end="2012-05-22")
    assert bars["AAPL"].session_index.tolist() == [0, 1, 2, 3, 4]
    assert bars["FB"].session_index.tolist() == [2, 3, 4]  # first traded on Friday 18 May 2012
    assert bars.select(["FB"])["FB"].session_index.tolist() == [0, 1, 2]
    assert bars.between("2012-05-17")["FB"].session_index.tolist() == [1, 2, 3]


def test_gaps_are_counted_and_not_filled():
    days = Bars.from_pandas(frame(["2022-05-26T13:30Z", "2022-05-27T13:30Z", "2022-06-02T13:30Z"]))
    assert dict(days.gaps) == {"AAA": 2}  # 31 May and 1 June; 30 May was a holiday
    assert len(days["AAA"]) == 3
    stamps = ["2022-05-19T13:30Z", "2022-05-19T13:31Z", "2022-05-19T19:59Z", "2022-05-20T13:32Z"]
    minutes = Bars.from_pandas(frame(stamps))
    assert dict(minutes.gaps) == {"AAA": 387 + 2}
    assert dict(load_bars(MINUTES, ["9988.HK"], calendar="XHKG").gaps) == {"9988.HK": 0}


def test_window_of_dates_is_whole_sessions_and_of_instants_whole_bars():
    bars = load_bars(MINUTES, ["MSFT"], start="2022-05-20", end="2022-05-23")
    assert len(bars["MSFT"]) == 2 * 390
    part = bars.between("2022-05-20T10:00:00-04:00", ns("2022-05-20T14:05:30Z"))
    assert part["MSFT"].ts_open[[0, -1]].tolist() == [
        ns("2022-05-20T14:00Z"), ns("2022-05-20T14:04Z"),
    ]  # fmt: skip
    assert bars.between(pd.Timestamp("2022-05-23").date()) == bars.between("2022-05-23")
    with pytest.raises(UsageError, match="a time but no zone"):
        bars.between("2022-05-20T10:00")
    with pytest.raises(UsageError, match="neither a date nor an instant"):
        bars.between("yesterday-ish")
    with pytest.raises(EmptyBars):
        bars.between("2023-01-01")


def test_between_equals_loading_the_window():
    whole = load_bars(MINUTES, ["MSFT"])
    assert whole.between("2022-05-24", "2022-05-25") == load_bars(
        MINUTES, ["MSFT"], start="2022-05-24", end="2022-05-25"
    )


def test_prices_lie_on_the_tick_as_the_nearest_float():
    stamps = ["2022-05-19T13:30Z", "2022-05-20T13:30Z", "2022-05-23T13:30Z"]
    tenths = Bars.from_pandas(frame(stamps, [100.1000001, 100.25, 100.35]), tick="0.1")["AAA"]
    assert tenths.close.tolist() == [100.1, 100.2, 100.4]  # halves to even
    quarters = Bars.from_pandas(frame(stamps, [100.1, 100.2, 100.375]), tick="0.25")["AAA"]
    assert quarters.close.tolist() == [100.0, 100.25, 100.5]
    assert quarters.ticks("close").tolist() == [400, 401, 402]
    by_symbol = Bars.from_pandas(frame(stamps), tick={"AAA": "0.01"}, lot={"AAA": "0.000001"})
    assert (by_symbol["AAA"].tick, by_symbol["AAA"].lot) == (Decimal("0.01"), Decimal("0.000001"))
    with pytest.raises(UsageError, match="open of AAA 10 becomes 0 at tick 100"):
        Bars.from_pandas(frame(stamps, [10.0, 200.0, 300.0]), tick="100")
    with pytest.raises(UsageError, match=r"open of AAA 1.0541 becomes 1.05 at tick 0.01. Pass a"):
        Bars.from_pandas(frame(stamps, [1.05, 1.0541, 1.05]), calendar="24/7", timeframe="1min")
    for wrong in ("0", "-1", "fine", "NaN"):
        with pytest.raises(UsageError, match="tick"):
            Bars.from_pandas(frame(stamps), tick=wrong)


def test_crypto_defaults():
    bars = load_bars(DATA / "crypto_minute.parquet", calendar="24/7")
    one = bars["BTC-USD"]
    assert (one.tick, one.lot) == (Decimal("0.01"), Decimal("0.00000001"))
    assert (bars.bars_per_session, bars.n_bars) == (1440, 20_160)
    assert one.session_index[[0, 1439, 1440]].tolist() == [0, 0, 1]
    assert one.close[0] == 62830.33
    assert bars.gaps["BTC-USD"] == 0


def test_nobody_can_write_to_bars():
    bars = load_bars(RAW, ["IBM"])
    for one in (bars, pickle.loads(pickle.dumps(bars)), copy.deepcopy(bars)):
        with pytest.raises(ValueError, match="read-only"):
            one["IBM"].close[0] = 1.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            one["IBM"].close.flags.writeable = True
        with pytest.raises(TypeError):
            one["IBM"] = None


def test_identity_names_the_data_and_not_their_place(tmp_path):
    bars = load_bars(RAW, ["IBM", "AAPL"])
    copied = tmp_path / "copy.parquet"
    bars.to_pandas().to_parquet(copied)
    raw = load_bars(copied)
    assert raw.sha256 == Bars.from_pandas(bars.to_pandas()).sha256
    assert pickle.loads(pickle.dumps(bars)) == bars
    assert hash(pickle.loads(pickle.dumps(bars))) == hash(bars)
    assert str(tmp_path) not in raw.source
    different = [
        load_bars(RAW, ["AAPL", "IBM"]),
        load_bars(RAW, ["IBM", "AAPL"], tick="0.01"),
        load_bars(RAW, ["IBM", "AAPL"], lot="0.000001"),
        load_bars(RAW, ["IBM", "AAPL"], adjust="none"),
        load_bars(RAW, ["IBM", "AAPL"], feed="sip"),
        load_bars(RAW, ["IBM", "AAPL"], end="2013-02-28"),
    ]
    assert len({bars.sha256, raw.sha256, *(one.sha256 for one in different)}) == 8


def test_csv_and_parquet_hold_the_same_bars(tmp_path):
    bars = load_bars(MINUTES, ["MSFT"], end="2022-05-19")
    data = bars.to_pandas()
    data.to_parquet(tmp_path / "a.parquet")
    data.to_csv(tmp_path / "a.csv", index=False)
    data.assign(timestamp=data.timestamp.dt.tz_convert("Asia/Tokyo")).to_csv(
        tmp_path / "b.csv.gz", index=False
    )
    assert load_bars(tmp_path / "a.parquet") == bars
    assert load_bars(tmp_path / "a.csv") == bars
    assert Bars.from_csv(tmp_path / "b.csv.gz") == bars
    assert Bars.from_parquet(tmp_path / "a.parquet", symbols=["MSFT"]) == bars


def test_frames_indexed_by_time_and_by_symbol_and_time():
    bars = load_bars(MINUTES, ["MSFT"], end="2022-05-19")
    data = bars.to_pandas()
    assert Bars.from_pandas(data.set_index("timestamp")) == bars
    assert Bars.from_pandas(data.set_index(["symbol", "timestamp"])) == bars
    assert Bars.from_pandas(data.set_index("timestamp").rename_axis(None)) == bars


class Streams:
    """Speaks the Arrow stream protocol and nothing else, as a polars frame does."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def test_arrow_streams_such_as_polars_frames():
    bars = load_bars(MINUTES, ["MSFT"], end="2022-05-19")
    stream = Streams(pa.Table.from_pandas(bars.to_pandas(), preserve_index=False))
    assert Bars.from_polars(stream) == bars


def test_dates_instead_of_stamps_make_daily_bars(tmp_path):
    path = tmp_path / "days.csv"
    path.write_text(
        "symbol,session,open,high,low,close,volume\nAAA,2022-03-11,1,2,1,2,5\n"
        "AAA,2022-03-14,2,3,2,3,5\n"
    )
    bars = load_bars(path)["AAA"]
    assert bars.ts_open.tolist() == [ns("2022-03-11T14:30Z"), ns("2022-03-14T13:30Z")]


def test_daily_stamps_at_midnight_become_the_open():
    midnights = ["2022-03-11T00:00-05:00", "2022-03-14T00:00-04:00", "2022-03-15T00:00-04:00"]
    bars = Bars.from_pandas(frame(midnights))["AAA"]
    assert bars.ts_open.tolist()[1] == ns("2022-03-14T13:30Z")


def test_known_optional_columns_are_kept_and_absent_ones_are_none():
    stamps = ["2022-05-19T13:30Z", "2022-05-20T13:30Z"]
    known = frame(stamps).assign(vwap=10.0, trade_count=7)
    bars = Bars.from_pandas(pd.concat([known, frame(stamps, symbol="BBB")]))
    assert bars["AAA"].trade_count.tolist() == [7, 7]
    assert bars["AAA"].vwap.tolist() == [10, 10]
    assert bars["BBB"].vwap is None


def test_files_with_closes_only_say_so():
    stamps = ["2022-05-19T13:30Z", "2022-05-20T13:30Z"]
    bars = Bars.from_pandas(frame(stamps)[["symbol", "timestamp", "close"]])
    assert bars.close_only
    assert "closes only" in repr(bars)
    assert bars["AAA"].high.tolist() == [10, 10]
    assert bars["AAA"].volume.tolist() == [0, 0]
    assert not Bars.from_pandas(frame(stamps)).close_only


def test_it_shows_itself():
    bars = load_bars(RAW, ["AAPL", "IBM"])
    text = repr(bars)
    assert "6,540 bars of 1day, 2 symbol(s), calendar XNYS, adjust 'split'" in text
    assert "2000-03-01T14:30:00Z to 2013-03-01T21:00:00Z from us_equity_daily_raw.parquet" in text
    assert "<td>AAPL</td><td>3,270</td>" in bars._repr_html_()
    many = frame(["2022-05-19T13:30Z"] * 15, symbol=[f"S{i:02}" for i in range(15)])
    assert "... and 5 more" in repr(Bars.from_pandas(many))


def test_unknown_symbol_is_named_with_the_nearest():
    bars = load_bars(RAW, ["AAPL"])
    with pytest.raises(UnknownSymbol, match=r"has no symbol 'APPL'. Did you mean 'AAPL'"):
        bars["APPL"]
    assert "APPL" not in bars
    assert list(bars) == ["AAPL"]


@pytest.mark.parametrize("symbols", [[], [5]])
def test_a_list_that_names_no_symbol_is_refused(symbols):
    with pytest.raises(UsageError, match="pass a list of names, or None for all"):
        load_bars(RAW, symbols)
