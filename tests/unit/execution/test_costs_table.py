"""Slippage, fees, borrow and the dated regulatory table, worked by hand in Decimal."""

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.money import INT64_MAX, Scale, rate_units
from mqd.core.order import Side
from mqd.errors import UsageError
from mqd.execution.costs import (
    Costs,
    RegulatoryDay,
    affordable_lots,
    borrow_charge,
    fill_fee,
    per_lot_parts,
    worsened,
)

TABLE = Path(__file__).parents[2] / "tables" / "costs.csv"
QUANTUM = Decimal("1e-8")
SCALE = Scale.of(Decimal("0.01"), Decimal(1), QUANTUM)
with TABLE.open(encoding="utf-8") as lines:
    CASES = list(csv.DictReader(lines))


def quanta(usd):
    exact = Decimal(usd) / QUANTUM
    assert exact == int(exact)
    return int(exact)


def slipped(ticks, side, bps):
    return worsened(int(ticks), Side[side.upper()], rate_units(Decimal(bps)))


def charged(lots, _, px, bps, per_share):
    notional = quanta(Decimal(lots) * Decimal(px))
    parts = per_lot_parts(Decimal(per_share), SCALE)
    return fill_fee(notional, int(lots), rate_units(Decimal(bps)), parts) * QUANTUM


def borrowed(value, bps, days):
    return borrow_charge(quanta(value), rate_units(Decimal(bps)), int(days)) * QUANTUM


def regulated(day, *fills):
    book = RegulatoryDay(QUANTUM)
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    for side, lots, px in zip(*[iter(fills)] * 3, strict=True):
        notional = quanta(Decimal(lots) * Decimal(px))
        book.add(number, Side[side.upper()], int(lots), notional, SCALE)
    assert book.pending
    charge = book.charge()
    assert not book.pending
    assert book.charge() == 0
    return charge * QUANTUM


WORK = {"worsened": slipped, "fee": charged, "borrow": borrowed, "regulatory": regulated}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['what']}: {case['case']}")
def test_costs_table(case):
    assert WORK[case["what"]](*case["arguments"].split()) == Decimal(case["answer"])


def test_a_fee_of_fractions_is_the_fee_of_the_shares():
    fine = Scale.of(Decimal("0.01"), Decimal("0.001"), QUANTUM)
    book = RegulatoryDay(QUANTUM)
    book.add(20549, Side.SELL, 1_000_000, quanta("100000"), fine)  # 2026-04-06, 1000 shares
    assert book.charge() * QUANTUM == Decimal("2.27")


@given(
    room=st.integers(0, INT64_MAX // 100),
    lot_quanta=st.integers(1, 10**14),
    fee_rate=st.integers(0, 10**8 - 1),
    fee_per_lot=st.integers(0, 10**16),
)
def test_affordable_lots_are_paid_and_one_more_is_not(room, lot_quanta, fee_rate, fee_per_lot):
    lots = affordable_lots(room, lot_quanta, fee_rate, fee_per_lot)

    def price(n):
        fee = fill_fee(n * lot_quanta, n, fee_rate, fee_per_lot) if n else 0
        return n * lot_quanta + fee

    assert lots >= 0
    assert price(lots) <= room
    assert price(lots + 1) > room


@given(
    value=st.integers(0, INT64_MAX // 100),
    rate=st.integers(0, 10**8 - 1),
    days=st.integers(0, 10),
)
def test_borrow_is_the_exact_charge_rounded_up(value, rate, days):
    exact = Decimal(value) * rate * days
    charge = borrow_charge(value, rate, days)
    assert (charge - 1) * 360 * 10**8 < exact <= charge * 360 * 10**8


@given(ticks=st.integers(1, 10**15), side=st.sampled_from([1, -1]), rate=st.integers(0, 10**8 - 1))
def test_slippage_is_against_us_by_less_than_a_tick_more(ticks, side, rate):
    worse = worsened(ticks, side, rate)
    assert worse >= 1
    moved = (worse - ticks) * side
    exact = Decimal(ticks) * rate / 10**8
    assert moved >= 0
    if worse > 1:
        assert exact <= moved < exact + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"fee_bps": -1},
        {"fee_per_share": float("nan")},
        {"slippage_bps": float("inf")},
        {"slippage_bps": 10_000},
        {"borrow_bps_per_year": 10_000},
    ],
)
def test_impossible_costs_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Costs(**wrong)


def test_the_default_is_alpacas():
    default = Costs.alpaca()
    assert (default.slippage_bps, default.borrow_bps_per_year, default.regulatory) == (1, 50, True)
    assert not default.is_free
    assert Costs().is_free
