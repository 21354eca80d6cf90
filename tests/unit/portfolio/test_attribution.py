"""Fills, cash and splits of one account, split by hand among its strategies."""

from fractions import Fraction

import pytest

from mqd.errors import UsageError
from mqd.portfolio.attribution import Attribution, Change, apportion


def parts(shares) -> list[tuple[str, int, int, bool]]:
    return [(share.strategy, share.lots, share.fee, share.crossed) for share in shares]


@pytest.mark.parametrize(
    ("total", "weights", "wanted"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (10, [1, 2, 3], [2, 3, 5]),  # 1.67, 3.33, 5: the larger fraction
        (1, [0, 5, 5], [0, 1, 0]),
        (7, [3, 0, 4], [3, 0, 4]),
        (0, [0, 0], [0, 0]),
        (-5, [1, 1], [-2, -3]),  # floors -3, -3; the unit left goes to the first
        (80, [100, -60], [200, -120]),  # a dividend of 2 on a net long of 40
        (-80, [60, -100], [120, -200]),
    ],
)
def test_apportion_by_hand(total, weights, wanted):
    assert apportion(total, weights) == wanted


def test_nothing_is_split_over_no_weight():
    with pytest.raises(UsageError, match="sum to zero"):
        apportion(5, [1, -1])


def test_a_fill_of_one_strategy_is_its_own():
    books = Attribution(["a", "b"])
    (share,) = books.fill(7, "o1", "b", "S", 10, 100, 3)
    assert (share.strategy, share.lots, share.fee, share.crossed) == ("b", 10, 3, False)
    assert (share.lots_after, share.cost_after, share.realized) == (10, 1000, 0)
    (share,) = books.fill(8, "o2", "b", "S", -4, 150, 1)
    assert (share.lots_after, share.cost_after, share.realized) == (6, 600, 200)
    assert books.changes == [
        Change(7, "b", "S", 0, 3, 0, 10, 1000),
        Change(8, "b", "S", 200, 4, 0, 6, 600),
    ]
    assert books.lots("a", "S") == 0


def test_opposite_parties_cross_first_at_the_fill_price_without_a_fee():
    books = Attribution(["a", "b"])
    books.open("o", (("a", 500), ("b", -200)))
    first = books.fill(1, "o", "a+b", "S", 100, 50, 9)
    assert parts(first) == [("a", 200, 0, True), ("b", -200, 0, True), ("a", 100, 9, False)]
    assert {share.lot_quanta for share in first} == {50}
    assert books.unfilled("o") == (("a", 200),)
    assert parts(books.fill(2, "o", "a+b", "S", 200, 60, 5)) == [("a", 200, 5, False)]
    assert books.close("o") == ()
    assert books.books["a"].cost == {"S": 200 * 50 + 100 * 50 + 200 * 60}
    assert books.books["b"].cost == {"S": -200 * 50}
    assert (books.books["a"].fees, books.books["b"].fees) == (14, 0)


def test_partial_fills_follow_what_is_still_open():
    books = Attribution(["a", "b", "c"])
    books.open("o", (("a", -600), ("b", -300), ("c", 100)))
    # the 100 of c: 66.7 from a, 33.3 from b; the market's 160: of 533 and 267 open
    assert parts(books.fill(1, "o", "", "S", -160, 10, 8)) == [
        ("a", -67, 0, True),
        ("b", -33, 0, True),
        ("c", 100, 0, True),
        ("a", -107, 5, False),
        ("b", -53, 3, False),
    ]
    assert books.close("o") == (("a", -426), ("b", -214))
    assert books.unfilled("o") == ()


def test_lots_beyond_the_order_are_not_lost():
    books = Attribution(["a", "b"])
    books.open("o", (("b", -50), ("a", 150)))
    shares = books.fill(1, "o", "", "S", 130, 10, 0)
    assert parts(shares)[-1] == ("a", 130, 0, False)
    assert books.lots("a", "S") + books.lots("b", "S") == 130
    assert parts(books.fill(2, "o", "", "S", 1, 10, 2)) == [("a", 1, 2, False)]


def test_a_cross_needs_no_market():
    books = Attribution(["a", "b"])
    shares = books.cross(3, "S", (("a", 500), ("b", -500)), 70)
    assert parts(shares) == [("a", 500, 0, True), ("b", -500, 0, True)]
    assert books.books["a"].pnl({"S": 80}) == 5000
    assert books.books["b"].pnl({"S": 80}) == -5000
    with pytest.raises(UsageError, match="sum to zero"):
        books.cross(3, "S", (("a", 500), ("b", -400)), 70)


def test_cash_follows_its_cause():
    books = Attribution(["a", "b", "c"])
    books.fill(1, "o1", "a", "S", 100, 10, 0)
    books.fill(1, "o2", "b", "S", -60, 10, 0)
    books.cash(2, "dividends", "S", 80)
    books.cash(2, "borrow", "S", -7)
    books.cash(2, "fees", "S", -16)
    books.cash(2, "deposits", "", 10**6)
    assert [book.income for book in books.books.values()] == [200, -120 - 7, 0]
    assert [book.fees for book in books.books.values()] == [10, 6, 0]
    with pytest.raises(UsageError, match="No cash account 'gifts'"):
        books.cash(2, "gifts", "S", 1)


def test_fees_of_the_day_follow_what_was_traded_since():
    books = Attribution(["a", "b"])
    books.fill(1, "o1", "a", "S", 100, 10, 0)
    books.cash(2, "fees", "S", -5)
    books.fill(3, "o2", "b", "S", 10, 10, 0)
    books.cash(4, "fees", "S", -5)
    assert [book.fees for book in books.books.values()] == [5, 5]


def test_fees_of_no_symbol_follow_what_was_traded_in_all_of_them():
    books = Attribution(["a", "b"])
    books.fill(1, "o1", "a", "S", 30, 10, 0)
    books.fill(1, "o2", "a", "T", -20, 10, 0)
    books.fill(1, "o3", "b", "T", 150, 10, 0)
    books.cash(2, "fees", "", -8)
    assert [book.fees for book in books.books.values()] == [2, 6]
    books.fill(3, "o4", "b", "S", 1, 10, 0)
    books.cash(4, "fees", "", -3)
    assert [book.fees for book in books.books.values()] == [2, 9]


def test_a_split_gives_the_fraction_to_the_largest_and_its_cash():
    books = Attribution(["a", "b"])
    books.fill(1, "o1", "a", "S", 105, 10, 0)
    books.fill(1, "o2", "b", "S", 27, 10, 0)
    # one for ten: 10.5 and 2.7 are 13.2 together: the account keeps 13 and 0.2 x 100 in cash
    books.split(2, "S", Fraction(1, 10), 13, 20)
    a, b = books.books["a"], books.books["b"]
    assert (a.lots["S"], b.lots["S"]) == (10, 3)
    assert (a.cost["S"], b.cost["S"]) == (1000, 270)
    # of 50 given up by a, 20 in cash is shared by what was rounded (0.5 and 0.3)
    assert (a.realized, b.realized) == (-50 + 13, 7)
    assert a.realized + b.realized - a.cost["S"] - b.cost["S"] == 20 - 1320


def test_a_split_of_positions_that_cancel_out():
    books = Attribution(["a", "b"])
    books.cross(1, "S", (("a", 5), ("b", -5)), 100)
    books.split(2, "S", Fraction(3, 1), 0, 0)
    assert (books.lots("a", "S"), books.lots("b", "S")) == (15, -15)
    assert books.books["a"].cost["S"] == 500
