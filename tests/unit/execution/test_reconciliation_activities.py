"""Reconciliation with the venue's FILL activities, over several comparisons."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.execution.reconciliation import (
    Announced,
    Books,
    FillActivity,
    PositionReconciliation,
    WorkingOrder,
)
from tests.unit.execution.broker_double import ScriptedBroker, account, order, position


def books(lots=None, working=None, filled=None, cash=1_000_000, equity=1_000_000):
    lots = lots or {}
    value = {symbol: held * 100 for symbol, held in lots.items()}
    return Books(lots, value, cash, equity, working or {}, filled or {})


def fill(name, lots, mine="", cum=-1, symbol="AAPL"):
    return FillActivity(name, symbol, lots, mine, cum)


class Venue(ScriptedBroker):
    """A broker whose positions a test changes."""

    def hold(self, **lots):
        self._positions = {symbol: position(symbol, held) for symbol, held in lots.items()}


def kinds(found):
    return [(item.kind.value, item.symbol, item.activities) for item in found.breaks]


def test_a_missed_fill_names_the_activity_that_confirms_it():
    venue = Venue([position("AAPL", 15)], [order("o1", 10)])
    check = PositionReconciliation(venue)
    mine = books({"AAPL": 10}, {"o1": WorkingOrder("AAPL", 10)}, {"o1": 0})
    found = check.compare(mine, [fill("f1", 3, "o1", 3), fill("f2", 2, "o1", 5)])
    assert kinds(found) == [("missed_fill", "AAPL", ("f1", "f2"))]
    assert "f1, f2" in found.breaks[0].what
    assert found.frozen_symbols == ("AAPL",)
    assert venue.sent == []


def test_only_what_is_not_booked_yet_was_missed():
    """5 of the order are booked, the activities tell of 8: 3 are missing."""
    venue = Venue([position("AAPL", 8)], [order("o1", 10)])
    mine = books({"AAPL": 5}, {"o1": WorkingOrder("AAPL", 5)}, {"o1": 5})
    found = PositionReconciliation(venue).compare(mine, [fill("f2", 3, "o1", 8)])
    assert kinds(found) == [("missed_fill", "AAPL", ("f2",))]


def test_without_an_activity_it_is_only_a_guess():
    venue = Venue([position("AAPL", 12)], [order("o1", 10)])
    mine = books({"AAPL": 10}, {"o1": WorkingOrder("AAPL", 10)})
    assert kinds(PositionReconciliation(venue).compare(mine)) == [("missed_fill", "AAPL", ())]


def test_a_confirmed_missed_fill_of_any_size_freezes_and_a_guessed_one_halts():
    """500 lots at 100 quanta are 5 % of equity; a confirmed fill has only to be booked."""
    for activities, halts in (([fill("f1", 500, "o1", 500)], False), ([], True)):
        venue = Venue([position("AAPL", 500)], [order("o1", 900)])
        mine = books({}, {"o1": WorkingOrder("AAPL", 900)})
        assert PositionReconciliation(venue).compare(mine, activities).halt is halts


def test_a_trade_by_hand_is_named():
    venue = Venue([position("AAPL", 10), position("IBM", 7)])
    check = PositionReconciliation(venue)
    found = check.compare(books({"AAPL": 10}), [fill("h1", 7, symbol="IBM")])
    assert kinds(found) == [("manual_trade", "IBM", ("h1",))]
    assert "not ours" in found.breaks[0].what


def test_a_trade_by_hand_beside_a_missed_fill():
    venue = Venue([position("AAPL", 6)])
    mine = books({"AAPL": 10}, filled={"o1": 0})
    found = PositionReconciliation(venue).compare(mine, [fill("h1", -7), fill("f1", 3, "o1", 3)])
    assert kinds(found) == [("manual_trade", "AAPL", ("f1", "h1"))]


def test_a_round_trip_by_hand_is_named_though_positions_agree():
    venue = Venue([position("AAPL", 10)])
    check = PositionReconciliation(venue)
    found = check.compare(books({"AAPL": 10}), [fill("h1", 5), fill("h2", -5)])
    assert kinds(found) == [("manual_trade", "AAPL", ("h1", "h2"))]
    assert found.frozen_symbols == ("AAPL",)
    assert not found.halt
    again = check.compare(books({"AAPL": 10}))
    assert again == (True, (), (), False)


def test_an_empty_answer_is_believed_where_a_trade_by_hand_closed_it():
    found = PositionReconciliation(Venue()).compare(books({"AAPL": 5}), [fill("h1", -5)])
    assert kinds(found) == [("manual_trade", "AAPL", ("h1",))]
    found = PositionReconciliation(Venue()).compare(books({"AAPL": 5}), [fill("h1", -4)])
    assert kinds(found) == [("missing_positions", "AAPL", ())]
    assert found.halt


def test_positions_that_lag_behind_a_fill_on_its_way_are_timing():
    venue = Venue([position("AAPL", 10)], [order("o1", 10)])
    mine = books({"AAPL": 10}, {"o1": WorkingOrder("AAPL", 6, 4)}, {"o1": 0})
    found = PositionReconciliation(venue).compare(mine, [fill("f1", 4, "o1", 4)])
    assert kinds(found) == [("timing", "AAPL", ())]
    assert found.frozen_symbols == ()


def test_a_renamed_symbol_is_one_position_not_two_differences():
    venue = Venue([position("META", 9), position("IBM", 4)])
    found = PositionReconciliation(venue).compare(books({"FB": 9, "IBM": 4}))
    assert [item[:2] for item in kinds(found)] == [("renamed", "FB"), ("renamed", "META")]
    assert found.breaks[0].what == "FB seems to be called META now"
    assert found.frozen_symbols == ("FB", "META")


@pytest.mark.parametrize(
    ("ours", "theirs", "renames", "kinds_found"),
    [
        ({"A": 9, "B": 9}, {"X": 9}, {}, ["position"] * 3),
        ({"A": 9, "B": 9}, {"X": 9}, {"B": "X"}, ["position", "renamed", "renamed"]),
        ({"A": 9}, {"X": 9, "Y": 9}, {}, ["position"] * 3),
        ({"A": 9}, {"X": 9, "Y": 9}, {"A": "Y"}, ["renamed", "position", "renamed"]),
        ({"A": 9}, {"X": 9}, {"A": "Z"}, ["position"] * 2),
        ({"A": 9}, {"X": -9}, {}, ["position"] * 2),
        ({"A": 9}, {"X": 8}, {"A": "X"}, ["position"] * 2),
    ],
)
def test_a_rename_is_announced_or_the_only_one_possible(ours, theirs, renames, kinds_found):
    venue = Venue([position(symbol, lots) for symbol, lots in theirs.items()])
    found = PositionReconciliation(venue).compare(books(ours), announced=Announced(renames))
    assert [item.kind.value for item in found.breaks] == kinds_found


def test_an_announced_split_explains_what_is_no_whole_multiple():
    venue = Venue([position("AAPL", 15)])
    announced = Announced(splits={"AAPL": Fraction(3, 2)})
    found = PositionReconciliation(venue).compare(books({"AAPL": 10}), announced=announced)
    assert kinds(found) == [("split", "AAPL", ())]
    assert "3/2 for 1 was announced" in found.breaks[0].what


# --- over several comparisons ---


def test_a_symbol_stays_frozen_until_it_is_clean():
    """A difference freezes; executions on their way then explain it but do not thaw it."""
    venue = Venue([position("AAPL", 13)], [order("o1", 10)])
    check = PositionReconciliation(venue)
    working = {"o1": WorkingOrder("AAPL", 10)}
    assert check.compare(books({"AAPL": 10}, working)).frozen_symbols == ("AAPL",)
    waiting = {"o1": WorkingOrder("AAPL", 7, 3)}
    found = check.compare(books({"AAPL": 10}, waiting))
    assert [item[0] for item in kinds(found)] == ["timing"]
    assert found.frozen_symbols == ("AAPL",)
    assert check.frozen_symbols == {"AAPL"}
    found = check.compare(books({"AAPL": 13}, {"o1": WorkingOrder("AAPL", 7)}))
    assert found == (True, (), (), False)
    assert check.frozen_symbols == frozenset()


def test_the_same_symbol_twice_in_a_row_halts():
    venue = Venue([position("AAPL", 11)])
    check = PositionReconciliation(venue)
    assert [check.compare(books({"AAPL": 10})).halt for _ in range(2)] == [False, True]


def test_two_symbols_in_turn_and_a_clean_one_between_do_not():
    venue = Venue([position("AAPL", 11), position("IBM", 5)])
    check = PositionReconciliation(venue)
    assert not check.compare(books({"AAPL": 10, "IBM": 5})).halt
    assert not check.compare(books({"AAPL": 11, "IBM": 4})).halt
    assert check.compare(books({"AAPL": 11, "IBM": 5})).ok
    assert not check.compare(books({"AAPL": 11, "IBM": 4})).halt


def test_a_missing_order_or_cash_twice_does_not_halt():
    venue = Venue(account_answer=account(cash=1_000_001))
    check = PositionReconciliation(venue)
    mine = books(working={"o1": WorkingOrder("AAPL", 10)})
    for _ in range(3):
        found = check.compare(mine)
        assert [item[0] for item in kinds(found)] == ["missing_order", "cash"]
        assert not found.halt


def test_a_fill_that_is_never_booked_is_kept_and_halts():
    """Positions agree, yet the activities tell of a fill that the log does not hold."""
    venue = Venue([position("AAPL", 10)])
    check = PositionReconciliation(venue)
    mine = books({"AAPL": 10}, filled={"o1": 7})
    assert not check.compare(mine, [fill("f1", 3, "o1", 10)]).halt
    found = check.compare(mine)
    assert kinds(found) == [("missed_fill", "AAPL", ("f1",))]
    assert found.halt
    assert check.compare(books({"AAPL": 10}, filled={"o1": 10})).ok


def test_an_activity_that_comes_twice_counts_once():
    venue = Venue([position("AAPL", 17)])
    check = PositionReconciliation(venue)
    assert kinds(check.compare(books({"AAPL": 10}), [fill("h1", 7)])) == [
        ("manual_trade", "AAPL", ("h1",))
    ]
    assert kinds(check.compare(books({"AAPL": 10}), [fill("h1", 7)])) == [
        ("manual_trade", "AAPL", ("h1",))
    ]


SYMBOLS = st.sampled_from(["A", "B"])
FILLS = st.lists(
    st.tuples(SYMBOLS, st.integers(-5, 5).filter(bool), st.booleans(), st.booleans()), max_size=8
)


@settings(max_examples=150, deadline=None)
@given(FILLS, st.permutations(range(8)))
def test_every_fill_that_the_log_lacks_is_named_by_its_activity_whatever_the_order(fills, order_):
    """Each fill is ours or not and, if ours, booked or not; the venue holds the sum of all."""
    held, theirs, filled, activities = {}, {}, {}, []
    for number, (symbol, lots, mine, booked) in enumerate(fills):
        name = f"o{number}" if mine else ""
        theirs[symbol] = theirs.get(symbol, 100) + lots
        held.setdefault(symbol, 100)
        if mine:
            filled[name] = abs(lots) if booked else 0
            held[symbol] += lots if booked else 0
        activities.append(fill(f"a{number}", lots, name, abs(lots) if mine else -1, symbol))
    venue = Venue([position(symbol, lots) for symbol, lots in theirs.items()])
    shuffled = [activities[i] for i in order_ if i < len(activities)]
    found = PositionReconciliation(venue).compare(books(held, filled=filled), shuffled)
    lacking = {
        f"a{number}" for number, (_, _, mine, booked) in enumerate(fills) if not (mine and booked)
    }
    assert {name for item in found.breaks for name in item.activities} == lacking
    assert {item.symbol for item in found.breaks} == {
        one.symbol for one in activities if one.activity_id in lacking
    }
    assert venue.sent == []
