"""Falls against a hand-worked table and by brute force; each shock by hand on a few bars."""

import csv
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mqd.errors import EmptyBars
from mqd.market_data import shocks
from mqd.market_data.bars import Bars, load_bars

ROOT = Path(__file__).parents[3]
DAILY = ROOT / "datasets" / "us_equity_daily_raw.parquet"
DAYS = ["2021-03-01", "2021-03-02", "2021-03-03", "2021-03-04", "2021-03-05", "2021-03-08"]
PRICES = ["open", "high", "low", "close"]


def bear_markets():
    with (ROOT / "tests" / "tables" / "bear_markets.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def day_of(session):
    return str(np.datetime64(int(session), "D"))


def daily(rows, symbol="AAA", days=DAYS, **words):
    """Bars of New York days from rows of open, high, low, close; volume 1,000."""
    frame = pd.DataFrame(rows, columns=PRICES, dtype=float)
    stamps = pd.to_datetime(days[: len(rows)]).tz_localize("America/New_York")
    frame = frame.assign(symbol=symbol, volume=1000.0, timestamp=stamps)
    return Bars.from_pandas(frame, **{"tick": "0.01", "timeframe": "1day"} | words)


def closes(values, **words):
    return daily([[value] * 4 for value in values], **words)


@pytest.fixture(scope="module")
def five():
    """All five symbols of the daily file, split-adjusted."""
    return load_bars(DAILY)


@pytest.mark.parametrize(
    "case", bear_markets(), ids=lambda case: f"{case['symbol']} {case['peak']}"
)
@pytest.mark.parametrize("adjust", ["split", "none"])
def test_bear_markets_worked_out_by_hand_from_the_file(case, adjust):
    raw = pd.read_parquet(DAILY)
    raw = raw[raw.symbol == case["symbol"]]
    raw = raw.set_index(raw.session.astype(str))
    assert raw.close[case["peak"]] == float(case["peak_close"])
    assert raw.close[case["trough"]] == float(case["trough_close"])
    bars = load_bars(DAILY, symbols=[case["symbol"]], adjust=adjust)
    path = shocks.equal_weight(bars)
    fall = shocks.falls(path.value)[int(case["place"])]
    assert day_of(path.session[fall.peak]) == case["peak"]
    assert day_of(path.session[fall.trough]) == case["trough"]
    kept_frac = float(case["trough_close"]) * int(case["split_ratio"]) / float(case["peak_close"])
    assert kept_frac - 1 == pytest.approx(float(case["fall_frac"]), rel=1e-9)
    assert fall.frac == pytest.approx(float(case["fall_frac"]), rel=2e-5)
    one = shocks.cut(bars, path, fall)[case["symbol"]]
    assert day_of(one.session[-1]) == case["trough"]
    assert day_of(one.session[int(case["warm_up_bars"])]) == case["peak"]


def test_the_equal_weight_of_five_stocks_fell_in_2000_and_in_2007(five):
    path = shocks.equal_weight(five)
    found = shocks.falls(path.value)
    spans = [(day_of(path.session[f.peak]), day_of(path.session[f.trough])) for f in found]
    assert spans[:2] == [("2000-03-24", "2002-10-09"), ("2007-11-06", "2008-11-20")]
    wide = five.to_pandas().pivot_table(index="ts_close", columns="symbol", values="close")
    expected = (wide / wide.shift()).mean(axis=1).fillna(1.0).cumprod()
    np.testing.assert_allclose(path.value, expected.to_numpy(), rtol=1e-9)
    cut = shocks.cut(five, path, found[1])
    assert {day_of(cut[symbol].session[-1]) for symbol in cut.symbols} == {"2008-11-20"}
    assert cut.symbols == ("AAPL", "GOOG", "IBM", "MSFT")


@pytest.mark.parametrize("symbol", ["IBM", "AAPL"])
def test_no_pair_of_closes_falls_further_than_the_first_fall(five, symbol):
    value = five[symbol].close
    deepest = min(float(value[i:].min() / value[i]) - 1 for i in range(len(value)))
    assert shocks.falls(value)[0].frac == deepest


def test_falls_by_hand():
    value = np.array([90.0, 100, 100, 70, 95, 60, 60, 80, 63, 64])
    assert [tuple(fall) for fall in shocks.falls(value)] == [
        (pytest.approx(-0.4), 2, 5), (pytest.approx(63 / 80 - 1), 7, 8),
    ]  # fmt: skip
    assert shocks.falls(np.array([100.0, 80.0]))[0][1:] == (0, 1), "a fifth is enough"
    assert shocks.falls(np.array([100.0, 80.1])) == []
    many = np.array([100.0, 70, 100, 60, 100, 79, 100, 50, 100, 40, 100, 75])
    assert [round(fall.frac, 9) for fall in shocks.falls(many)] == [-0.6, -0.5, -0.4, -0.3, -0.25]


def test_a_split_is_no_fall_and_no_gap():
    split = pd.DataFrame([{"symbol": "AAA", "ex_date": DAYS[2], "kind": "split", "ratio": 2}])
    bars = closes([50, 51, 25.5, 26, 26, 26], actions=split)
    assert shocks.falls(shocks.equal_weight(bars).value) == []
    assert shocks.magnified_gaps(bars, -1) is None
    risen = shocks.magnified_gaps(bars, 1)["AAA"]
    assert risen.close.tolist() == [
        50, round(51 * 1.02, 2), round(25.5 * 1.02, 2), *[round(26 * 1.02 * 26 / 25.5, 2)] * 3,
    ]  # fmt: skip


def test_largest_gaps_widen_and_all_later_prices_follow():
    rows = [[10, 11, 9, 10], [8, 9, 7, 8], [8, 8, 8, 8], [6, 8, 6, 8], [9, 9, 9, 9]]
    one = shocks.magnified_gaps(daily(rows), -1, n_gaps=1)["AAA"]
    assert one.close.tolist() == [10, 8, 8, 6, 6.75], "the gap of 6 / 8 is the largest, once more"
    assert one.open.tolist() == [10, 8, 8, 4.5, 6.75]
    both = shocks.magnified_gaps(daily(rows), -1)["AAA"]
    assert both.open.tolist() == [10, 6.4, 6.4, 3.6, 5.4], "8 / 10 as well"
    up = shocks.magnified_gaps(daily(rows), 1)["AAA"]
    assert up.open.tolist() == [10, 8, 8, 6, 10.12], "9 x 9 / 8 = 10.125, half to even"


def test_gaps_inside_a_session_are_none():
    stamps = pd.to_datetime(["2021-03-01T14:30Z", "2021-03-01T14:31Z", "2021-03-02T14:30Z"])
    frame = pd.DataFrame(
        {"symbol": "AAA", "timestamp": stamps, "open": [10.0, 5, 4], "high": [10.0, 5, 4],
         "low": [10.0, 5, 4], "close": [10.0, 5, 4], "volume": 1.0}
    )  # fmt: skip
    bars = Bars.from_pandas(frame, timeframe="1min", tick="0.01")
    assert shocks.magnified_gaps(bars, -1)["AAA"].close.tolist() == [10, 5, 3.2]


def test_volatility_doubles_around_the_line_from_first_to_last_close():
    rows = [[10, 12, 8, 10], [20, 40, 10, 20], [40, 50, 32, 40]]
    one = shocks.doubled_volatility(daily(rows))["AAA"]
    # The line of logs runs 10, 20, 40: the closes lie on it and stay; ratios to the open square.
    assert one.close.tolist() == [10, 20, 40]
    assert one.open.tolist() == [10, 20, 40]
    assert one.high.tolist() == [14.4, 80, 62.5]
    assert one.low.tolist() == [6.4, 5, 25.6]
    bent = shocks.doubled_volatility(daily([[10] * 4, [10, 30, 10, 30], [40] * 4]))["AAA"]
    assert bent.close.tolist() == [10, 45, 40], "30 lies 1.5 above the line, then 1.5 squared"
    assert bent.open.tolist() == [10, 5, 40], "the bar's own 3 is 9"


def test_dividends_follow_the_prices():
    paid = pd.DataFrame([{"symbol": "AAA", "ex_date": DAYS[1], "kind": "dividend", "amount": 0.4}])
    bars = closes([10, 8, 8], actions=paid)
    (action,) = shocks.magnified_gaps(bars, -1)["AAA"].actions
    assert action.amount == Decimal("0.32"), "the open of 8 became 6.4"
    assert bars["AAA"].actions[0].amount == Decimal("0.4")


def test_prices_never_reach_zero_and_stay_in_order():
    one = shocks.doubled_volatility(daily([[9, 9, 9, 9], [9, 9, 0.01, 0.01], [9, 9, 9, 9]]))["AAA"]
    assert one.close.tolist() == [9, 0.01, 9]
    assert one.open[1] >= one.low[1] == 0.01


def test_drought_takes_nine_tenths_of_the_volume():
    bars = closes([10, 11])
    assert shocks.drought(bars)["AAA"].volume.tolist() == [100, 100]
    assert shocks.drought(bars)["AAA"].close.tolist() == [10, 11]


def test_the_crash_is_one_low_at_the_high_of_the_later_half():
    bars = closes([99, 50, 40, 60, 55, 70])
    path = shocks.equal_weight(bars)
    step = shocks.crash_step(path)
    assert day_of(path.session[step]) == DAYS[3], "the last bar is left out"
    one = shocks.flash_crash(bars, int(path.ts_close[step]))["AAA"]
    assert one.low.tolist() == [99, 50, 40, 51, 55, 70]
    assert one.close.tolist() == bars["AAA"].close.tolist()
    alone = shocks.equal_weight(closes([10]))
    assert shocks.crash_step(alone) == 0


def test_a_low_that_is_deeper_already_stays():
    bars = daily([[10, 10, 5, 10]])
    assert shocks.flash_crash(bars, int(bars["AAA"].ts_close[0]))["AAA"].low.tolist() == [5]


def test_no_symbols_are_refused():
    with pytest.raises(EmptyBars, match="under stress"):
        shocks.equal_weight(Bars({}, "XNYS", 1))
