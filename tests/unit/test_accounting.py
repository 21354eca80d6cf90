"""Average cost by hand; double entry, exact division and 64 bits as laws."""

import csv
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.accounting import Ledger, apply_fill, mul_div, rate_ceil
from mqd.core.money import BPS_UNITS, INT64_MAX
from mqd.errors import MoneyError
from mqd.execution.venue_account import split_position

TABLE = Path(__file__).parents[1] / "tables" / "accounting.csv"
with TABLE.open(encoding="utf-8") as lines:
    CASES = list(csv.DictReader(lines))

DIVISORS = st.one_of(
    st.integers(1, 2**47 - 1), st.integers(2**31 - 2, 2**31 + 2), st.integers(2**47 - 9, 2**47 - 1)
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_accounting_table(case):
    ledger = Ledger()
    for text in case["fills"].split():
        lots, px = map(int, text.split("@"))
        ledger.book(ledger.fill_entry("A", lots, px, 0))
        assert ledger.imbalance() == 0
    got = ledger.lots.get("A", 0), ledger.cost.get("A", 0), -ledger.realized, ledger.cash
    assert got == tuple(int(case[word]) for word in ("lots", "cost", "realized", "cash"))


@given(a=st.integers(0, INT64_MAX), c=DIVISORS, data=st.data())
def test_mul_div_is_the_exact_floor(a, c, data):
    b = data.draw(st.integers(0, c))
    assert mul_div(a, b, c) == a * b // c


@pytest.mark.parametrize("c", [1, 2, 2**31 - 1, 2**31, 2**31 + 1, 2**47 - 1])
def test_mul_div_at_the_ends_of_its_domain(c):
    for a in (0, 1, c - 1, c, c + 1, INT64_MAX):
        for b in {0, 1, c // 2, c - 1, c}:
            assert mul_div(a, b, c) == a * b // c


@given(amount=st.integers(0, INT64_MAX), rate=st.integers(0, BPS_UNITS))
def test_rate_ceil_is_the_exact_ceiling(amount, rate):
    charged = rate_ceil(amount, rate)
    assert (charged - 1) * BPS_UNITS < amount * rate <= charged * BPS_UNITS


FILLS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B"]),
        st.integers(-(10**9), 10**9).filter(bool),
        st.integers(1, 10**7),
        st.integers(0, 10**6),
    ),
    max_size=12,
)
CASH = st.tuples(
    st.sampled_from(["deposits", "dividends", "fees", "borrow"]), st.integers(-(10**12), 10**12)
)


@given(fills=FILLS, cash=st.lists(CASH, max_size=4))
def test_books_balance_after_every_event(fills, cash):
    ledger = Ledger()
    paid = fees = 0
    for symbol, lots, px, fee in fills:
        entry = ledger.fill_entry(symbol, lots, px, fee)
        assert entry.cash + entry.cost_change + entry.fee - entry.realized == 0
        ledger.book(entry)
        paid -= lots * px + fee
        fees += fee
        assert ledger.imbalance() == 0
        assert set(ledger.lots) == set(ledger.cost)
        assert all(ledger.lots.values())
    for account, amount in cash:
        ledger.book_cash(account, amount)
        paid += amount
        assert ledger.imbalance() == 0
    assert ledger.cash == paid
    assert ledger.position_cost == sum(ledger.cost.values())
    assert ledger.fees == fees - sum(amount for account, amount in cash if account == "fees")


@given(fills=FILLS)
def test_a_flat_position_has_realised_all_that_it_traded(fills):
    lots = cost = realized = traded = 0
    for _, change, px, _ in fills:
        lots, cost, gain = apply_fill(lots, cost, change, px)
        realized += gain
        traded -= change * px
    if lots:
        lots, cost, gain = apply_fill(lots, cost, -lots, 77)
        traded = sum(-change * px for _, change, px, _ in fills)
        traded += 77 * sum(change for _, change, _, _ in fills)
        realized += gain
    assert (lots, cost) == (0, 0)
    assert realized == traded


@given(fills=FILLS)
def test_cost_keeps_the_sign_of_the_position(fills):
    lots = cost = 0
    for _, change, px, _ in fills:
        lots, cost, _ = apply_fill(lots, cost, change, px)
        assert lots * cost > 0 or (lots == 0 and cost == 0)


def test_an_entry_books_nothing_before_it_is_booked():
    ledger = Ledger()
    ledger.fill_entry("A", 10, 100, 1)
    assert ledger == Ledger()


def test_an_unknown_account_is_refused():
    with pytest.raises(MoneyError, match="bonus"):
        Ledger().book_cash("bonus", 1)


@settings(max_examples=200)
@given(
    lots=st.integers(-(10**9), 10**9).filter(bool),
    px=st.integers(1, 10**6),
    numerator=st.integers(1, 100),
    denominator=st.integers(1, 100),
    now=st.integers(1, 10**6),
)
def test_a_split_keeps_value_and_cost(lots, px, numerator, denominator, now):
    cost = lots * px
    after, kept, cash = split_position(lots, cost, numerator, denominator, now)
    exact = Fraction(abs(lots) * numerator, denominator)
    whole = int(exact)
    assert after * lots >= 0
    assert abs(after) == whole
    assert abs(cash) == int((exact - whole) * now)
    assert abs(kept) == int(Fraction(abs(cost)) * whole / exact)
    ledger = Ledger()
    ledger.book(ledger.fill_entry("A", lots, px, 0))
    realized = ledger.book_split("A", after, kept, cash)
    assert realized == cash - (cost - kept)
    assert ledger.imbalance() == 0
    if exact == whole:
        assert (kept, cash, realized) == (cost, 0, 0)
