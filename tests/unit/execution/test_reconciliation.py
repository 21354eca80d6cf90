"""Reconciliation: every difference is named, frozen or halted, and nothing is traded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.order import Side
from mqd.errors import UsageError
from mqd.execution.reconciliation import (
    Books,
    BreakKind,
    PositionReconciliation,
    WorkingOrder,
)
from tests.unit.execution.broker_double import ScriptedBroker, account, order, position


def books(lots=None, working=None, cash=1_000_000, equity=1_000_000, lot_quanta=100):
    lots = lots or {}
    value = {symbol: held * lot_quanta for symbol, held in lots.items()}
    return Books(lots, value, cash, equity, working or {})


def compare(mine, broker, **options):
    found = PositionReconciliation(broker, **options).compare(mine)
    assert broker.sent == []
    return found


def kinds(found):
    return [(item.kind.value, item.symbol) for item in found.breaks]


def test_books_that_agree():
    working = {"o1": WorkingOrder("AAPL", 10)}
    broker = ScriptedBroker([position("AAPL", 5), position("IBM", -3)], [order("o1", 10)])
    found = compare(books({"AAPL": 5, "IBM": -3, "FLAT": 0}, working), broker)
    assert found == (True, (), (), False)


def test_the_union_of_symbols_is_compared():
    broker = ScriptedBroker([position("ONLY_THEIRS", 2), position("BOTH", 1)])
    found = compare(books({"ONLY_OURS": 3, "BOTH": 1}), broker)
    assert kinds(found) == [("position", "ONLY_OURS"), ("position", "ONLY_THEIRS")]
    assert found.frozen_symbols == ("ONLY_OURS", "ONLY_THEIRS")
    assert not found.ok
    assert not found.halt


def test_missing_is_not_flat():
    found = compare(books({"AAPL": 5, "IBM": 2}), ScriptedBroker())
    assert kinds(found) == [("missing_positions", "AAPL"), ("missing_positions", "IBM")]
    assert "missing is not flat" in found.breaks[0].what
    assert found.halt


def test_an_empty_answer_is_not_explained_by_an_order_that_still_works():
    working = {"stop": WorkingOrder("AAPL", -5)}
    listed = ScriptedBroker(orders=[order("stop", 5, side=Side.SELL)])
    assert kinds(compare(books({"AAPL": 5}, working), listed)) == [("missing_positions", "AAPL")]


def test_an_empty_answer_is_explained_by_an_order_that_is_gone():
    working = {"stop": WorkingOrder("AAPL", -5)}
    found = compare(books({"AAPL": 5}, working), ScriptedBroker())
    assert kinds(found) == [("missed_fill", "AAPL"), ("missing_order", "AAPL")]
    assert found.frozen_symbols == ("AAPL",)
    assert not found.halt


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [(12, "missed_fill"), (15, "missed_fill"), (16, "position"), (9, "position"), (20, "split")],
)
def test_a_difference_is_a_missed_fill_only_within_what_is_open(theirs, kind):
    working = {"o1": WorkingOrder("AAPL", 5)}
    broker = ScriptedBroker([position("AAPL", theirs)], [order("o1", 5)])
    assert kinds(compare(books({"AAPL": 10}, working), broker)) == [(kind, "AAPL")]


def test_executions_that_are_due_are_timing_and_freeze_nothing():
    working = {"o1": WorkingOrder("AAPL", 6, signed_provisional=4)}
    broker = ScriptedBroker([position("AAPL", 4)], [order("o1", 10)])
    found = compare(books({}, working), broker)
    assert kinds(found) == [("timing", "AAPL")]
    assert (found.ok, found.frozen_symbols, found.halt) == (False, (), False)


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [(10, 40, "split"), (-40, -10, "split"), (10, -20, "position"), (10, 25, "position")],
)
def test_a_whole_multiple_may_be_a_split(ours, theirs, kind):
    broker = ScriptedBroker([position("AAPL", theirs)])
    assert kinds(compare(books({"AAPL": ours}), broker)) == [(kind, "AAPL")]


def test_orders_that_only_one_side_knows():
    working = {
        "mine": WorkingOrder("AAPL", 10),
        "unsure": WorkingOrder("AAPL", 10, confirmed=False),
    }
    broker = ScriptedBroker(orders=[order("theirs", 7, "IBM", Side.SELL)])
    found = compare(books({}, working), broker)
    assert kinds(found) == [("foreign_order", "IBM"), ("missing_order", "AAPL")]
    assert (found.breaks[0].theirs, found.breaks[0].what) == (-7, "theirs")
    assert (found.breaks[1].ours, found.breaks[1].what) == (10, "mine")
    assert found.frozen_symbols == ("AAPL", "IBM")


def test_cash_within_the_tolerance_is_no_break():
    broker = ScriptedBroker(account_answer=account(cash=999_950))
    assert compare(books(), broker, cash_tolerance_quanta=50).ok
    found = compare(books(), broker, cash_tolerance_quanta=49)
    assert kinds(found) == [("cash", "")]
    assert not found.halt
    with pytest.raises(UsageError, match="negative"):
        PositionReconciliation(broker, -1)


def test_books_may_allow_a_gap_of_their_own():
    broker = ScriptedBroker(account_answer=account(cash=999_950))
    own = books()._replace(cash_tolerance_quanta=50)
    assert compare(own, broker).ok
    assert not compare(own._replace(cash_tolerance_quanta=49), broker).ok


def test_more_than_three_unexplained_symbols_halt():
    names = ["A", "B", "C", "D"]
    theirs = [position("KEPT", 1), *(position(name, 1) for name in names)]
    three = compare(books({"KEPT": 1}), ScriptedBroker(theirs[:4]))
    assert len(three.breaks) == 3
    assert not three.halt
    assert compare(books({"KEPT": 1}), ScriptedBroker(theirs)).halt


@pytest.mark.parametrize(("lots", "halt"), [(100, False), (101, True)])
def test_more_than_one_hundredth_of_equity_unexplained_halts(lots, halt):
    """A lot is worth 100 quanta and equity 1,000,000: 100 lots are exactly 1 %."""
    kept = position("KEPT", 1)
    theirs = compare(books({"KEPT": 1}), ScriptedBroker([kept, position("X", lots)]))
    ours = compare(books({"KEPT": 1, "X": -lots}), ScriptedBroker([kept]))
    assert theirs.halt is ours.halt is halt


@pytest.mark.parametrize(("cash", "halt"), [(1_010_000, False), (1_010_001, True), (0, True)])
def test_unexplained_cash_halts_the_same(cash, halt):
    assert compare(books(), ScriptedBroker(account_answer=account(cash=cash))).halt is halt


@pytest.mark.parametrize(("cash", "halt"), [(970_000, False), (959_999, True)])
def test_cash_that_a_fill_on_its_way_accounts_for_does_not_halt(cash, halt):
    """300 lots at 100 quanta are due: 30,000 of the gap; 1 % of 1,000,000 may remain."""
    working = {"o1": WorkingOrder("AAPL", 300, signed_provisional=300)}
    broker = ScriptedBroker([position("AAPL", 300)], [order("o1", 300)], account(cash=cash))
    found = compare(books({}, working), broker)
    assert kinds(found) == [("timing", "AAPL"), ("cash", "")]
    assert found.halt is halt


def test_equity_that_is_not_positive_halts_even_when_all_agrees():
    found = compare(books(equity=0), ScriptedBroker())
    assert (found.ok, found.halt) == (True, True)
    assert compare(books(), ScriptedBroker(account_answer=account(equity=0))).halt


def test_a_difference_that_nobody_can_value_halts():
    mine = Books({"X": 1, "KEPT": 1}, {"KEPT": 100}, 1_000_000, 1_000_000, {})
    assert compare(mine, ScriptedBroker([position("KEPT", 1)])).halt


lots = st.dictionaries(st.sampled_from("ABCDEF"), st.integers(-50, 50), max_size=6)


@settings(max_examples=150)
@given(lots, lots, lots)
def test_there_is_a_break_for_each_differing_symbol_and_for_no_other(ours, theirs, leaves):
    working = {f"o{name}": WorkingOrder(name, held) for name, held in leaves.items() if held}
    listed = [
        order(name, abs(mine.signed_leaves), mine.symbol, Side(1 if mine.signed_leaves > 0 else -1))
        for name, mine in working.items()
    ]
    broker = ScriptedBroker([position(name, held) for name, held in theirs.items() if held], listed)
    found = compare(books(ours, working), broker)
    differing = {name for name in "ABCDEF" if ours.get(name, 0) != theirs.get(name, 0)}
    assert {item.symbol for item in found.breaks} == differing == set(found.frozen_symbols)
    assert found.ok == (not differing)
    assert not any(item.kind is BreakKind.TIMING for item in found.breaks)
