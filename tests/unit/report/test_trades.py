"""Round trips: the hand-worked table, splits, strategies kept apart, and the law of equity."""

import csv
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.errors import UsageError
from mqd.report.trades import TRADE_COLUMNS, SplitApplied, open_trades, trades

TABLE = Path(__file__).parents[2] / "tables" / "trades.csv"
DAY = 86_400_000_000_000
CLOSES = np.arange(1, 40, dtype=np.int64) * DAY
COLUMNS = [
    "execution_id", "order_id", "strategy", "symbol", "side", "qty", "px", "fee_usd", "ts_fill",
    "ts_known", "reason",
]  # fmt: skip


def fills_frame(rows: list[dict]) -> pd.DataFrame:
    """``bar`` n closes at ``CLOSES[n]``; the fill happened at its open, an hour after n - 1."""
    full = [
        {
            "execution_id": f"x{i}", "order_id": f"o{i}", "strategy": row.get("strategy", "s"),
            "symbol": row["symbol"], "side": row["side"], "qty": float(row["qty"]),
            "px": float(row["px"]), "fee_usd": float(row["fee_usd"]),
            "ts_fill": CLOSES[int(row["bar"])] - DAY + 3_600_000_000_000,
            "ts_known": CLOSES[int(row["bar"])], "reason": row.get("reason", "target"),
        }
        for i, row in enumerate(rows)
    ]  # fmt: skip
    frame = pd.DataFrame(full, columns=COLUMNS)
    for column in ("ts_fill", "ts_known"):
        frame[column] = pd.to_datetime(frame[column].astype("int64"), unit="ns", utc=True)
    return frame


def _cases() -> dict[str, list[dict]]:
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    return {name: list(group) for name, group in groupby(rows, key=lambda row: row["case"])}


CASES = _cases()


@pytest.mark.parametrize("name", CASES)
def test_hand_worked_table(name: str) -> None:
    fills = [row for row in CASES[name] if row["kind"] == "fill"]
    expected = [row for row in CASES[name] if row["kind"] == "trade"]
    got = trades(fills_frame(fills), {"A": CLOSES, "B": CLOSES})
    assert list(got.columns) == list(TRADE_COLUMNS)
    assert len(got) == len(expected)
    for row, want in zip(got.to_dict("records"), expected, strict=True):
        assert (row["symbol"], row["direction"]) == (want["symbol"], want["direction"])
        assert row["exit_reason"] == want["reason"]
        assert row["bars_held"] == int(want["bars_held"])
        assert row["fees_usd"] == pytest.approx(float(want["fee_usd"]), abs=1e-12)
        for column in ("qty", "entry_px", "exit_px", "pnl_usd", "return_frac"):
            assert row[column] == pytest.approx(float(want[column]), abs=1e-9), column


def test_stamps_are_those_of_the_fills() -> None:
    fills = fills_frame([row for row in CASES["long"] if row["kind"] == "fill"])
    got = trades(fills, {"A": CLOSES}).iloc[0]
    assert (got["entry_ts"], got["exit_ts"]) == (fills["ts_fill"][0], fills["ts_fill"][1])
    assert str(got["entry_ts"].tz) == "UTC"


def test_no_fills_make_an_empty_frame_with_types() -> None:
    got = trades(fills_frame([]), {})
    assert list(got.columns) == list(TRADE_COLUMNS)
    assert got["pnl_usd"].dtype == np.float64
    assert str(got["exit_ts"].dtype) == "datetime64[ns, UTC]"
    assert len(open_trades(fills_frame([]))) == 0


def test_strategies_on_one_symbol_keep_their_own_trips() -> None:
    common = {"symbol": "A", "fee_usd": 0}
    fills = fills_frame(
        [
            {**common, "strategy": "up", "side": "buy", "qty": 10, "px": 10, "bar": 0},
            {**common, "strategy": "down", "side": "sell", "qty": 10, "px": 10, "bar": 0},
            {**common, "strategy": "up", "side": "sell", "qty": 10, "px": 13, "bar": 1},
        ]
    )
    got = trades(fills, {"A": CLOSES})
    assert got[["strategy", "pnl_usd"]].values.tolist() == [["up", 30.0]]
    left = open_trades(fills)
    assert left[["strategy", "qty", "cash_usd"]].values.tolist() == [["down", -10.0, 100.0]]


def test_a_split_scales_the_open_trip() -> None:
    # 100 at 50, then 3 for 2 with one share of 150 lost to rounding and paid 33; 149 sold at 35
    fills = fills_frame(
        [
            {"symbol": "A", "side": "buy", "qty": 100, "px": 50, "fee_usd": 1, "bar": 0},
            {"symbol": "A", "side": "sell", "qty": 149, "px": 35, "fee_usd": 1, "bar": 4},
        ]
    )
    split = SplitApplied(int(CLOSES[2]), "A", 1.49, 33.0)
    got = trades(fills, {"A": CLOSES}, [split, split._replace(symbol="B")])
    assert len(got) == 1
    row = got.iloc[0]
    assert row["pnl_usd"] == pytest.approx(149 * 35 + 33 - 5000 - 2)
    assert row["entry_px"] == pytest.approx(5000 / 149)
    assert row["qty"] == pytest.approx(149)
    assert len(open_trades(fills, [split])) == 0


def test_a_split_of_the_day_precedes_that_day_s_fills() -> None:
    fills = fills_frame(
        [
            {"symbol": "A", "side": "buy", "qty": 10, "px": 50, "fee_usd": 0, "bar": 0},
            {"symbol": "A", "side": "sell", "qty": 20, "px": 25, "fee_usd": 0, "bar": 2},
        ]
    )
    got = trades(fills, {"A": CLOSES}, [SplitApplied(int(CLOSES[2]), "A", 2.0)])
    assert got["pnl_usd"].tolist() == [0.0]


def test_an_unknown_side_is_refused() -> None:
    fills = fills_frame([{"symbol": "A", "side": "BUY", "qty": 1, "px": 1, "fee_usd": 0, "bar": 0}])
    with pytest.raises(UsageError, match="'BUY' is neither"):
        trades(fills, {"A": CLOSES})


one_fill = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(["s", "t"]),
        "symbol": st.sampled_from(["A", "B"]),
        "side": st.sampled_from(["buy", "sell"]),
        "qty": st.integers(1, 400).map(lambda lots: lots / 1000),
        "px": st.integers(1, 5000).map(lambda ticks: ticks / 100),
        "fee_usd": st.integers(0, 500).map(lambda cents: cents / 100),
    }
)


@settings(deadline=None, max_examples=80)
@given(st.lists(one_fill, max_size=30), st.integers(1, 5000))
def test_closed_and_open_trips_sum_to_the_change_of_equity(
    rows: list[dict], mark_ticks: int
) -> None:
    mark = mark_ticks / 100
    fills = fills_frame([{**row, "bar": i} for i, row in enumerate(rows)])
    closed = trades(fills, {"A": CLOSES, "B": CLOSES})
    left = open_trades(fills)

    sign = {"buy": 1, "sell": -1}
    lots = sum(sign[row["side"]] * round(row["qty"] * 1000) for row in rows)
    cash = -sum(sign[row["side"]] * row["qty"] * row["px"] + row["fee_usd"] for row in rows)
    change = cash + lots / 1000 * mark

    marked = (left["cash_usd"] + left["qty"] * mark).sum()
    assert closed["pnl_usd"].sum() + marked == pytest.approx(change, abs=1e-8)
    paid = closed["fees_usd"].sum() + left["fees_usd"].sum()
    assert paid == pytest.approx(sum(row["fee_usd"] for row in rows), abs=1e-9)
    assert (left["qty"] != 0).all()
    nets: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["strategy"], row["symbol"])
        nets[key] = nets.get(key, 0) + sign[row["side"]] * round(row["qty"] * 1000)
    assert {key for key, net in nets.items() if net} == set(
        zip(left["strategy"], left["symbol"], strict=True)
    )
