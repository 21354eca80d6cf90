"""Splits and dividends: factors against the files' own adjusted closes and a table by hand."""

import csv
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mqd.core.bar import ActionKind
from mqd.errors import BadRows, MissingColumn
from mqd.market_data import corporate_actions as ca
from mqd.market_data.bars import Bars, load_bars

DATA = Path(__file__).parents[3] / "datasets"
RAW = DATA / "us_equity_daily_raw.parquet"
TABLE = Path(__file__).parents[2] / "tables" / "adjusted_closes.csv"


def ns(text):
    return pd.Timestamp(text).as_unit("ns").value


def hand_table():
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def hand_frames(in_prices=False):
    rows = hand_table()
    closes = np.array([float(row["close"]) for row in rows])
    days = [row["session"] for row in rows]
    frame = pd.DataFrame(
        {"symbol": "AAA", "timestamp": pd.to_datetime([f"{day}T14:30Z" for day in days]),
         "open": closes, "high": closes, "low": closes, "close": closes, "volume": 1000.0}
    )  # fmt: skip
    actions = [
        {"symbol": "AAA", "ex_date": row["session"], "kind": kind, "ratio": row["split"] or None,
         "amount": row["dividend"] or None, "already_in_prices": in_prices and kind == "split"}
        for row in rows
        for kind in ("dividend", "split")
        if row[kind]
    ]  # fmt: skip
    return frame, pd.DataFrame(actions)


@pytest.mark.parametrize("convention", ["yahoo", "wiki"])
def test_total_return_closes_by_hand(convention):
    frame, actions = hand_frames()
    bars = Bars.from_pandas(
        frame, actions=actions, adjust="split+dividend", dividends=convention, tick="1e-12"
    )
    expected = [float(row[convention]) for row in hand_table()]
    np.testing.assert_allclose(bars["AAA"].close, expected, rtol=1e-12)
    assert bars["AAA"].actions == ()
    assert bars["AAA"].volume.tolist() == [4000.0, 4000.0, 4000.0, 4000.0, 2000.0, 1000.0]


def test_split_adjusted_closes_volumes_and_dividends_by_hand():
    frame, actions = hand_frames()
    bars = Bars.from_pandas(frame, actions=actions, adjust="split")["AAA"]
    assert bars.close.tolist() == [float(row["split_adjusted"]) for row in hand_table()]
    assert bars.volume.tolist() == [4000.0, 4000.0, 4000.0, 4000.0, 2000.0, 1000.0]
    expected = [
        (ns(f"{row['session']}T14:30Z"), ActionKind.DIVIDEND, Decimal(amount))
        for row in hand_table()
        if (amount := row["dividend_on_split_basis"])
    ]
    assert [(a.ts_ex, a.kind, a.amount) for a in bars.actions] == expected


def test_unadjusted_bars_carry_the_actions_as_they_happened():
    frame, actions = hand_frames()
    bars = Bars.from_pandas(frame, actions=actions, adjust="none")["AAA"]
    assert bars.close.tolist() == [float(row["close"]) for row in hand_table()]
    assert [(a.kind, a.numerator, a.denominator, a.amount) for a in bars.actions] == [
        (ActionKind.DIVIDEND, 1, 1, Decimal("1.00")),
        (ActionKind.SPLIT, 2, 1, Decimal(0)),
        (ActionKind.SPLIT, 2, 1, Decimal(0)),
        (ActionKind.DIVIDEND, 1, 1, Decimal("0.30")),
    ]


def test_splits_that_the_prices_contain_are_not_applied_again():
    frame, actions = hand_frames(in_prices=True)
    for adjust in ("none", "split"):
        bars = Bars.from_pandas(frame, actions=actions, adjust=adjust)["AAA"]
        assert bars.close.tolist() == frame.close.tolist()
        assert [a.amount for a in bars.actions] == [Decimal("1.00"), Decimal("0.30")]


def test_only_actions_known_at_the_last_bar_are_used():
    frame, actions = hand_frames()
    before = Bars.from_pandas(frame, actions=actions, adjust="split", end="2021-03-04")["AAA"]
    assert before.close.tolist() == [50, 50, 48, 60]
    assert [a.amount for a in before.actions] == [Decimal("1.00")]
    on_the_day = Bars.from_pandas(frame, actions=actions, adjust="split", end="2021-03-05")["AAA"]
    assert on_the_day.close.tolist() == [25, 25, 24, 30, 30]
    later = Bars.from_pandas(frame, actions=actions, adjust="none", start="2021-03-05")["AAA"]
    assert len(later.actions) == 3


def test_minute_bars_are_adjusted_up_to_the_open_of_the_ex_date():
    stamps = ["2021-03-05T20:58Z", "2021-03-05T20:59Z", "2021-03-08T14:30Z", "2021-03-08T14:31Z"]
    closes = np.array([60.0, 60.0, 31.0, 30.0])
    frame = pd.DataFrame(
        {"symbol": "AAA", "timestamp": pd.to_datetime(stamps), "open": closes, "high": closes,
         "low": closes, "close": closes, "volume": 10.0}
    )  # fmt: skip
    actions = pd.DataFrame(
        {"symbol": "AAA", "ex_date": ["2021-03-08"] * 2, "kind": ["split", "dividend"],
         "ratio": [2.0, None], "amount": [None, 0.3]}
    )  # fmt: skip
    split = Bars.from_pandas(frame, actions=actions, adjust="split")["AAA"]
    assert split.close.tolist() == [30, 30, 31, 30]
    wiki = Bars.from_pandas(frame, actions=actions, adjust="split+dividend", dividends="wiki")
    # the ex-date's close is that of its last minute: 30 / (1 + 0.3 / 30)
    assert wiki["AAA"].close.tolist() == [29.703, 29.703, 31, 30]


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_rebuilt_adjusted_close_equals_the_files(symbol):
    table = pq.read_table(RAW, filters=[("symbol", "==", symbol)])
    close, adjusted = (table.column(name).to_numpy() for name in ("close", "adj_close"))
    bars = load_bars(RAW, [symbol], adjust="split+dividend", dividends="wiki", tick="0.0000000001")
    ratio = bars[symbol].close / adjusted
    # The file's factors go on after its last bar: one constant, and nothing else, is left.
    np.testing.assert_allclose(ratio / ratio[-1], 1.0, rtol=1e-6)
    assert bars[symbol].close[-1] == close[-1]


def test_the_two_conventions_differ():
    one, other = (
        load_bars(RAW, ["IBM"], adjust="split+dividend", dividends=convention)["IBM"].close[0]
        for convention in ("yahoo", "wiki")
    )
    assert 1e-5 < abs(one / other - 1) < 1e-2


def test_reverse_splits_and_odd_ratios_are_exact_fractions():
    records = [
        {"symbol": "AAA", "ex_date": "2014-03-27", "kind": "split", "ratio": 2.002},
        {"symbol": "AAA", "ex_date": "2014-04-01", "kind": "split", "ratio": 0.1},
    ]
    ratios = [a.ratio.as_integer_ratio() for a in ca.from_records(records, "x")]
    assert ratios == [(1001, 500), (1, 10)]
    session = np.array([a.ex_day for a in ca.from_records(records, "x")])
    divisors = ca.split_divisors(np.array([0, *session]), ca.from_records(records, "x"))
    np.testing.assert_allclose(divisors, [0.2002, 0.1, 1.0], rtol=1e-15)


def test_a_dividend_divided_by_an_odd_split_stays_short():
    frame, _ = hand_frames()
    actions = pd.DataFrame(
        {"symbol": "AAA", "ex_date": ["2021-03-02", "2021-03-05"], "kind": ["dividend", "split"],
         "ratio": [None, 3.0], "amount": [1.0, None]}
    )  # fmt: skip
    bars = Bars.from_pandas(frame, actions=actions, adjust="split")["AAA"]
    assert bars.actions[0].amount == Decimal("0.3333333333")


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "merger"}, {"kind": "split", "ratio": 0}, {"kind": "split", "ratio": None},
     {"kind": "dividend", "amount": float("nan")}, {"kind": "dividend", "amount": -1}],
)  # fmt: skip
def test_a_wrong_action_is_refused(wrong):
    with pytest.raises(BadRows, match=r"actions.*row 0: AAA 2021-03-05|row 0: AAA 2021-03-05"):
        ca.from_records([{"symbol": "AAA", "ex_date": "2021-03-05"} | wrong], "actions")
    with pytest.raises(MissingColumn, match="ex_date"):
        ca.from_records([{"symbol": "AAA", "kind": "split"}], "actions")
