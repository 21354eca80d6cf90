"""Laws of netting and attribution: nothing is lost, nothing is traded twice."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.core.money import Scale
from mqd.core.signal import Signal
from mqd.portfolio.attribution import Attribution, apportion
from mqd.portfolio.manager import PortfolioManager
from mqd.portfolio.plan import net
from mqd.portfolio.sizing import FractionOfEquity

NAMES = ("a", "b", "c", "d")
lots = st.integers(-2000, 2000)
moves_of = st.lists(st.tuples(st.sampled_from(NAMES), lots), unique_by=lambda move: move[0]).map(
    lambda moves: tuple(move for move in moves if move[1])
)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_apportion_conserves_and_stays_within_one(total, weights):
    whole = sum(weights)
    if not whole:
        return
    shared = apportion(total, weights)
    assert sum(shared) == total
    for part, weight in zip(shared, weights, strict=True):
        assert abs(part - Fraction(total * weight, whole)) < 1


@given(moves_of, lots)
@settings(deadline=None, max_examples=300)
def test_netting_trades_the_difference_once(moves, account):
    total = sum(move[1] for move in moves)
    if not total:
        return
    orders = net("S", moves, account)
    assert sum(order.side * order.lots for order in orders) == total
    assert sum(order.lots for order in orders) == abs(total)
    assert abs(total) <= sum(abs(move[1]) for move in moves)
    by_name = dict.fromkeys((name for name, _ in moves), 0)
    held = account
    for order in orders:
        assert order.lots > 0
        assert sum(part for _, part in order.allocation) == order.side * order.lots
        for name, part in order.allocation:
            by_name[name] += part
        after = held + order.side * order.lots
        assert held * after >= 0  # no single order goes through zero
        assert order.reducing == (abs(after) < abs(held))
        held = after
    assert tuple(by_name.items()) == moves
    if len(orders) == 2:
        assert [order.reducing for order in orders] == [True, False]
        assert [order.after_reductions for order in orders] == [False, True]


fills = st.lists(
    st.tuples(
        moves_of,
        st.lists(st.integers(1, 10**7), min_size=1, max_size=3),
        st.fractions(0, 1),
        st.integers(0, 999),
        st.sampled_from(["", "dividends", "borrow", "fees", "split"]),
    ),
    max_size=8,
)


@dataclass
class Account:
    """All that an account knows without books: its cash, its position, what it paid and got."""

    cash: int = 0
    lots: int = 0
    fees: int = 0
    income: int = 0


def run(steps) -> tuple[Account, Attribution]:
    """Fill each netted order in as many parts as there are prices; book cash between."""
    account, books = Account(), Attribution(NAMES)
    for number, (moves, prices, filled, fee, cash) in enumerate(steps):
        total = sum(lots for _, lots in moves)
        if moves and not total:
            books.cross(number, "S", moves, prices[0])
        if total:
            fill(account, books, number, moves, prices, int(abs(total) * filled), fee)
        match cash:
            case "split" if account.lots:
                split(account, books, number)
            case "dividends" if account.lots:
                pay(account, books, number, cash, account.lots * 3 + 1)
            case "borrow" | "fees":
                pay(account, books, number, cash, -fee)
    return account, books


def fill(account, books, number, moves, prices, left, fee) -> None:
    sign = 1 if sum(lots for _, lots in moves) > 0 else -1
    books.open(f"o{number}", moves)
    for i, px in enumerate(prices):
        part = left if i == len(prices) - 1 else left // 2
        left -= part
        if part:
            account.cash -= sign * part * px + fee
            account.lots += sign * part
            account.fees += fee
            shares = books.fill(number, f"o{number}", "", "S", sign * part, px, fee)
            assert sum(share.lots for share in shares) == sign * part
            assert sum(share.fee for share in shares) == fee
    books.close(f"o{number}")


def pay(account: Account, books: Attribution, number: int, cause: str, amount: int) -> None:
    account.cash += amount
    if cause == "fees":
        account.fees -= amount
    else:
        account.income += amount
    books.cash(number, cause, "S", amount)


def split(account: Account, books: Attribution, number: int) -> None:
    """A one-for-three split: whole lots toward zero, 5 quanta in cash for a lost third."""
    after = abs(account.lots) // 3 * (1 if account.lots > 0 else -1)
    in_lieu = (account.lots - 3 * after) * 5
    account.cash += in_lieu
    account.lots = after
    books.split(number, "S", Fraction(1, 3), after, in_lieu)


@given(fills, st.integers(1, 10**7))
@settings(deadline=None, max_examples=200)
def test_the_books_of_the_strategies_sum_to_the_account(steps, px):
    account, books = run(steps)
    each = books.books.values()
    assert sum(book.lots.get("S", 0) for book in each) == account.lots
    assert sum(book.fees for book in each) == account.fees
    assert sum(book.income for book in each) == account.income
    kept = sum(book.realized - book.cost.get("S", 0) for book in each)
    assert kept == account.cash + account.fees - account.income
    assert sum(book.pnl({"S": px}) for book in each) == account.cash + account.lots * px


@given(fills)
@settings(deadline=None, max_examples=60)
def test_the_last_change_of_each_strategy_is_its_book(steps):
    _, books = run(steps)
    last = {change.strategy: change for change in books.changes}
    for name, change in last.items():
        book = books.books[name]
        assert (change.lots, change.cost) == (book.lots.get("S", 0), book.cost.get("S", 0))
        assert (change.realized, change.fees, change.income) == (
            book.realized,
            book.fees,
            book.income,
        )


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from("ST"), st.floats(-1.0, 1.0)),
        unique_by=lambda s: s[:2],
    ),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=100)
def test_a_plan_does_not_depend_on_the_order_of_its_signals(wanted, shuffle):
    scale = Scale.of(Decimal("0.01"), Decimal(1), Decimal("1e-8"))
    plans = []
    signals = [Signal(0, name, symbol, weight) for name, symbol, weight in wanted]
    for _ in range(2):
        desk = PortfolioManager(
            [(name, 0.25) for name in NAMES], "ST", FractionOfEquity(), {"S": scale, "T": scale}
        )
        desk.attribution.cross(0, "S", (("a", 300), ("b", -300)), 1)
        plan = desk.on_signals(signals, {"S": 10_000, "T": 3_333}, 10**13, {})
        plans.append((plan.orders, plan.crosses, set(plan.zero_sizes)))
        for order in plan.orders:
            assert sum(part for _, part in order.allocation) == order.side * order.lots
        shuffle.shuffle(signals)
    assert plans[0] == plans[1]
