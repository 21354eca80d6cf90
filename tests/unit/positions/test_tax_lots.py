from __future__ import annotations

import csv
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.accounting import apply_fill
from mqd.core.money import Scale
from mqd.core.order import Side
from mqd.errors import UsageError
from mqd.positions.tax_lots import TaxLots

SCALE = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-2"))
TABLE = Path(__file__).parents[2] / "tables" / "tax_lots.csv"
ROWS = list(csv.DictReader(TABLE.read_text().splitlines()))
CASES = {case: list(rows) for case, rows in groupby(ROWS, lambda row: row["case"])}
SIDES = {"buy": Side.BUY, "sell": Side.SELL}


@pytest.mark.parametrize("case", CASES)
def test_hand_worked_cases(case):
    book = TaxLots("X", SCALE)
    for row in CASES[case]:
        closed = book.apply_fill(
            int(row["ts"]), SIDES[row["side"]], int(row["lots"]), int(row["ticks"])
        )
        said = ";".join(
            f"{c.lots}@{c.entry_ticks}>{c.exit_ticks}={c.realized_quanta}" for c in closed
        )
        assert said == row["closed"], row["note"]
        assert all(c.exit_ns == int(row["ts"]) and c.entry_ns < c.exit_ns for c in closed)
        assert ";".join(f"{lot.lots}@{lot.ticks}" for lot in book.open_lots()) == row["open"]


FILLS = st.lists(
    st.tuples(st.sampled_from(list(Side)), st.integers(1, 500), st.integers(1, 10_000)),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(fills=FILLS)
def test_over_a_full_round_trip_fifo_and_average_cost_realise_the_same(fills):
    book = TaxLots("X", SCALE)
    lots = cost = average = fifo = cash = 0
    for ts_ns, (side, qty, ticks) in enumerate(fills):
        fifo += sum(c.realized_quanta for c in book.apply_fill(ts_ns, side, qty, ticks))
        lots, cost, gain = apply_fill(lots, cost, side * qty, ticks)
        average += gain
        cash -= side * qty * ticks
        assert book.lots == lots
        assert fifo == cash + book.cost_quanta, "cash out + what is held = what was realised"
        if lots == 0:
            assert fifo == average
            assert book.open_lots() == ()
        assert len({lot.lots > 0 for lot in book.open_lots()}) <= 1, "never long and short at once"


@settings(max_examples=100, deadline=None)
@given(fills=FILLS, numerator=st.integers(1, 20), denominator=st.integers(1, 20))
def test_a_split_keeps_the_cost_and_scales_the_sum(fills, numerator, denominator):
    book = TaxLots("X", SCALE)
    for ts_ns, (side, qty, ticks) in enumerate(fills):
        book.apply_fill(ts_ns, side, qty, ticks)
    lots, cost = book.lots, book.cost_quanta
    after = abs(lots) * numerator // denominator
    if after == 0 and cost:
        with pytest.raises(UsageError, match="no lot"):
            book.split(numerator, denominator)
        return
    book.split(numerator, denominator)
    assert abs(book.lots) == after
    assert book.cost_quanta == cost
    if after:
        side = Side.SELL if lots > 0 else Side.BUY
        gained = sum(c.realized_quanta for c in book.apply_fill(99, side, after, 777))
        assert gained == -side * after * 777 - cost, "realised to the quantum"


def test_a_four_for_one_split_by_hand():
    book = TaxLots("X", SCALE)
    book.apply_fill(1, Side.BUY, 10, 1_002)
    book.split(4, 1)
    (lot,) = book.open_lots()
    assert (lot.lots, lot.ticks, lot.opened_ns) == (40, 250, 1)  # 250.5 ticks, half-even
    (closed,) = book.apply_fill(2, Side.SELL, 40, 300)
    assert closed.realized_quanta == 40 * 300 - 10 * 1_002


def test_a_fraction_paid_in_cash_takes_its_cost_from_the_newest_lot():
    book = TaxLots("X", SCALE)
    book.apply_fill(1, Side.BUY, 3, 1_000)
    book.split(1, 2, cost_delta_quanta=-1_000)  # 1.5 lots: one stays, a half is paid out
    (lot,) = book.open_lots()
    assert (lot.lots, lot.ticks) == (1, 2_000)


@pytest.mark.parametrize("lots", [0, -1])
def test_fills_are_positive(lots):
    with pytest.raises(UsageError, match="positive"):
        TaxLots("X", SCALE).apply_fill(1, Side.BUY, lots, 100)
    with pytest.raises(UsageError, match="split of 0"):
        TaxLots("X", SCALE).split(0, 1)
