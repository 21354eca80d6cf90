"""The money functions compile, say the same compiled, and no step of theirs leaves 64 bits."""

import types
from functools import cache

import numba
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd import accounting
from mqd.core.money import BPS_UNITS, INT64_MAX
from mqd.execution import costs, matching, protective, venue_account

FUNCTIONS = (
    accounting.mul_div, accounting.rate_ceil, accounting.apply_fill, costs.worsened,
    costs.fill_fee, costs.borrow_charge, costs.affordable_lots, matching.limit_at_open,
    matching.limit_within, matching.stop_at_open, matching.stop_within,
    matching.stop_limit_on_trigger_bar, matching.trail_level, venue_account.split_position,
)  # fmt: skip


class Checked(int):
    """An int that ends the test when a result leaves 64 bits."""


def _guard(name):
    plain = getattr(int, name)

    def step(*arguments):
        result = plain(*arguments)
        if type(result) is int:
            assert -INT64_MAX - 1 <= result <= INT64_MAX, f"{name}{arguments} = {result}"
            return Checked(result)
        return result

    return step


for _name in ("add", "sub", "mul", "floordiv", "mod", "rshift", "lshift"):
    for _side in ("", "r"):
        setattr(Checked, f"__{_side}{_name}__", _guard(f"__{_side}{_name}__"))
for _name in ("__neg__", "__pos__", "__abs__"):
    setattr(Checked, _name, _guard(_name))


def checked(function, *arguments):
    """Return what a function says of integers that may not leave 64 bits."""
    return function(*(a if isinstance(a, bool) else Checked(a) for a in arguments))


@cache
def compiled():
    """Return each function compiled as written, its helpers with it."""
    done = {}
    for function in FUNCTIONS:
        scope = {**function.__globals__, **done}
        copy = types.FunctionType(function.__code__, scope, function.__name__)
        done[function.__name__] = numba.njit(copy)
    return done


def agree(function, *arguments):
    """Hold that plain, checked and compiled integers say the same."""
    plain = function(*arguments)
    assert checked(function, *arguments) == plain
    assert compiled()[function.__name__](*arguments) == plain


def test_a_step_out_of_64_bits_is_seen():
    with pytest.raises(AssertionError, match="__mul__"):
        checked(lambda a, b: a * b // b, INT64_MAX, 2)


MONEY = st.one_of(st.integers(0, INT64_MAX // 100), st.integers(0, 10**6))
RATE = st.one_of(st.integers(0, BPS_UNITS - 1), st.sampled_from([0, 1, BPS_UNITS - 1]))
TICKS = st.one_of(st.integers(1, 10**15), st.integers(1, 300))
SIDE = st.sampled_from([1, -1])
FEW = settings(max_examples=80)


@FEW
@given(a=st.integers(0, INT64_MAX), c=st.integers(1, 2**47 - 1), data=st.data())
def test_mul_div(a, c, data):
    agree(accounting.mul_div, a, data.draw(st.integers(0, c)), c)


@FEW
@given(amount=st.integers(0, INT64_MAX), rate=st.integers(0, BPS_UNITS))
def test_rate_ceil(amount, rate):
    agree(accounting.rate_ceil, amount, rate)


@FEW
@given(
    lots=st.integers(-(2**47) + 1, 2**47 - 1),
    change=st.integers(-(2**47) + 1, 2**47 - 1),
    data=st.data(),
)
def test_apply_fill(lots, change, data):
    most = INT64_MAX // 100
    entry = data.draw(st.integers(0, most // max(abs(lots), 1)))
    px = data.draw(st.integers(0, most // max(abs(lots), abs(change), abs(lots + change), 1)))
    agree(accounting.apply_fill, lots, lots * entry, change, px)


@FEW
@given(ticks=TICKS, side=SIDE, rate=RATE)
def test_worsened(ticks, side, rate):
    agree(costs.worsened, ticks, side, rate)


@FEW
@given(notional=MONEY, lots=st.integers(0, 10**12), rate=RATE, data=st.data())
def test_fill_fee(notional, lots, rate, data):
    most = INT64_MAX // 100 // max(lots, 1) * 10**6  # a fee a lot that the run can hold
    agree(costs.fill_fee, notional, lots, rate, data.draw(st.integers(0, min(most, 2**62))))


@FEW
@given(value=MONEY, rate=RATE, days=st.integers(0, 10))
def test_borrow_charge(value, rate, days):
    agree(costs.borrow_charge, value, rate, days)


@FEW
@given(room=MONEY, lot=st.integers(1, 10**14), rate=RATE, fee=st.integers(0, 10**16))
def test_affordable_lots(room, lot, rate, fee):
    if room // lot < 10**12:  # more lots than that trade nowhere
        agree(costs.affordable_lots, room, lot, rate, fee)


@FEW
@given(
    lots=st.integers(1, 10**9),
    px=st.integers(1, 10**6),
    side=SIDE,
    ratio=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    now=st.integers(1, 10**12),
)
def test_split_position(lots, px, side, ratio, now):
    agree(venue_account.split_position, side * lots, side * lots * px, *ratio, now)


BARS = st.lists(st.one_of(st.integers(1, 10**15), st.integers(1, 12)), min_size=4, max_size=4)


@st.composite
def bars(draw):
    """Draw open, high, low and close."""
    low, *between, high = sorted(draw(BARS))
    first, last = draw(st.permutations(between))
    return first, high, low, last


@FEW
@given(bar=bars(), side=SIDE, level=TICKS, second=TICKS, touch=st.booleans(), at_open=st.booleans())
def test_matching_and_its_prices(bar, side, level, second, touch, at_open):
    open_, high, low, close = bar
    agree(matching.limit_at_open, side, open_, level, touch)
    agree(matching.limit_within, side, open_, high, low, level, touch)
    agree(matching.stop_at_open, side, open_, level)
    agree(matching.stop_within, side, open_, high, low, level)
    agree(matching.stop_limit_on_trigger_bar, side, open_, high, low, close, second, at_open, touch)
    agree(matching.trail_level, side, level, second, 0)
    agree(matching.trail_level, side, level, second, open_)
    limits = (
        matching.limit_at_open(side, open_, level, touch),
        matching.limit_within(side, open_, high, low, level, touch),
        matching.stop_limit_on_trigger_bar(side, open_, high, low, close, level, at_open, touch),
    )
    stops = (
        matching.stop_at_open(side, open_, level),
        matching.stop_within(side, open_, high, low, level),
    )
    for price in filter(None, limits + stops):
        assert low <= price <= high
    assert all((level - price) * side >= 0 for price in filter(None, limits))
    assert all((price - level) * side >= 0 for price in filter(None, stops))


@FEW
@given(
    avg=st.floats(1, 1e12),
    frac=st.floats(0, 0.999),
    away=SIDE,
)
def test_protective_levels(avg, frac, away):
    ticks = protective.protective_ticks(avg, frac, away, away)
    fast = numba_protective()(avg, frac, away, away)
    assert ticks == fast
    level = avg * (1 + away * frac)
    assert ticks >= 1
    if ticks > 1:
        assert 0 <= (ticks - level) * away + 1e-3 < 1.001


@cache
def numba_protective():
    return numba.njit(protective.protective_ticks)


@pytest.mark.parametrize(
    ("avg", "frac", "direction", "ticks"),
    [
        (1_000_000.0, 0.05, -1, 950_000),
        (1_000_000.0, 0.05, 1, 1_050_000),
        (10_001.0, 0.05, -1, 9_500),  # 9500.95 down
        (10_001.0, 0.05, 1, 10_502),  # 10501.05 up
        (100.5, 0.1, -1, 90),  # 90.45 down
        (100.5, 0.1, 1, 111),  # 110.55 up
        (1.0, 0.999, -1, 1),  # never below a tick
    ],
)
def test_protective_levels_by_hand(avg, frac, direction, ticks):
    assert protective.protective_ticks(avg, frac, direction, direction) == ticks


@FEW
@given(lots=st.integers(1, 10**14), per_share=st.integers(1, 10**6 - 1), rate=RATE)
def test_the_fee_of_fine_lots_stays_in_64_bits(lots, per_share, rate):
    """Many lots of a small notional, a fraction of a quantum each."""
    agree(costs.fill_fee, lots, lots, rate, per_share)
    assert costs.fill_fee(0, lots, 0, per_share) == -(-lots * per_share // 10**6)
