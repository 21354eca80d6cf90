"""Sizes against hand-worked cases, exact fractions, other libraries and compiled code."""

import csv
import itertools
import math
import statistics
import struct
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mqd.core.money import Scale
from mqd.errors import UsageError
from mqd.portfolio import sizing
from mqd.portfolio.sizing import (
    FixedNotional,
    FixedQuantity,
    FractionOfEquity,
    Kelly,
    SlotView,
    VolatilityTarget,
    position_weight,
    round_weight,
    target_lots,
    whole_short,
    whole_step,
)

SIZERS = {kind.__name__: kind for kind in (FractionOfEquity, FixedQuantity, FixedNotional)}
SIZES = Path(__file__).parents[2] / "tables" / "portfolio_sizes.csv"
CASES = list(csv.DictReader(SIZES.read_text(encoding="utf-8").splitlines()))

compiled_round_weight = numba.njit(round_weight)
compiled_target_lots = numba.njit(target_lots)

weights = st.floats(-1.0, 1.0)
steps = st.integers(-(10**6), 10**6)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def equity_scale(lot: str = "1") -> Scale:
    return Scale.of(Decimal("0.01"), Decimal(lot), Decimal("1e-8"))


@pytest.mark.parametrize("row", CASES, ids=[row["case"] for row in CASES])
def test_size_table(row):
    name, _, argument = row["sizer"].removesuffix(")").partition("(")
    sizer = SIZERS[name](*([Decimal(argument.strip("'"))] if argument else []))
    scale = equity_scale(row["lot"])
    ticks = int(Decimal(row["px"]) / scale.tick)
    slot = SlotView(
        float(int(row["equity"]) * 10**8),
        float(Fraction(row["share"])),
        float(ticks * scale.tick_lot_quanta),
        sizer.size(scale),
    )
    assert sizer.lots(float(row["weight"]), slot) == int(row["lots"])


# ---- weights -------------------------------------------------------------------------------


@given(weights)
@example(-0.0)
@example(5e-7)
@example(1.5e-6)
@example(2.5e-6)
@settings(deadline=None, max_examples=300)
def test_rounded_weights_have_the_same_bits_compiled(weight):
    assert bits(round_weight(weight)) == bits(compiled_round_weight(weight))


@given(weights)
@settings(deadline=None, max_examples=200)
def test_rounding_a_weight_twice_changes_nothing(weight):
    once = round_weight(weight)
    assert bits(round_weight(once)) == bits(once)
    assert abs(once - weight) <= 0.5e-6 * (1 + 1e-9)


@given(steps)
@settings(deadline=None, max_examples=200)
def test_a_decimal_weight_is_the_literal(step):
    assert round_weight(step / 1e6 + 1e-10) == float(f"{step}e-6")


@pytest.mark.parametrize("units", ["0.5", "1.5", "2.5", "-0.5", "-1.5", "250000.5", "250001.5"])
def test_half_a_step_goes_to_the_even_one(units):
    even = Decimal(units).to_integral_value(ROUND_HALF_EVEN)
    weight = float(units) / 1e6
    assert weight * 1e6 == float(units)
    assert round_weight(weight) == float(even) / 1e6
    assert bits(round_weight(-0.0)) == bits(0.0)


# ---- lots ----------------------------------------------------------------------------------

shares = st.one_of(
    st.builds(Fraction, st.just(1), st.integers(1, 200)),
    st.builds(Fraction, st.integers(1, 100), st.just(100)),
)


@given(steps, shares, st.integers(1, 10**15), st.integers(1, 10**13))
@example(290_000, Fraction(1), 10**13, 10**10)
@example(10**6, Fraction(1, 49), 49 * 10**11, 10**10)
@settings(deadline=None, max_examples=500)
def test_lots_are_the_exact_quotient_toward_zero(step, share, equity, px):
    lots = target_lots(step / 1e6, float(share), float(equity), float(px))
    exact = Fraction(step, 10**6) * share * equity / px
    away = abs(exact - round(exact)) / max(abs(exact), 1)
    if away == 0 or away > Fraction(1, 2**49):
        assert lots == math.trunc(exact)
    assert abs(lots) <= abs(exact) * (1 + Fraction(1, 2**49))


@given(weights, st.floats(0.0, 1.0), st.floats(-1e6, 1e16), st.floats(1.0, 1e13))
@settings(deadline=None, max_examples=300)
def test_lots_are_the_same_compiled(weight, share, equity, px):
    lots = target_lots(weight, share, equity, px)
    if abs(lots) < 2**62:
        assert compiled_target_lots(weight, share, equity, px) == lots


@pytest.mark.parametrize("equity", [0.0, -1.0, math.nan, -math.inf])
def test_a_lost_account_is_not_turned_round(equity):
    assert target_lots(1.0, 1.0, equity, 100.0) == 0
    assert target_lots(-1.0, 1.0, equity, 100.0) == 0


@pytest.mark.parametrize("px", [0.0, -5.0, math.nan])
def test_without_a_price_nothing_is_sized(px):
    assert target_lots(1.0, 1.0, 1e13, px) == 0


@pytest.mark.parametrize(
    ("lot", "step"), [("1", 1), ("100", 1), ("0.001", 1000), ("0.000001", 10**6), ("0.3", 10)]
)
def test_lots_of_a_whole_share(lot, step):
    assert whole_step(equity_scale(lot)) == step


@given(st.integers(-(10**9), 10**9), st.sampled_from([1, 10, 1000]))
@settings(deadline=None, max_examples=100)
def test_only_shorts_are_cut_to_whole_shares(lots, step):
    cut = whole_short(lots, step)
    if lots >= 0:
        assert cut == lots
    else:
        assert cut % step == 0
        assert lots <= cut < lots + step


# ---- sizers that read closes ---------------------------------------------------------------

PATHS = st.lists(st.floats(-0.1, 0.1), min_size=20, max_size=20)


def path(returns) -> np.ndarray:
    return np.cumprod([100.0, *(1.0 + r for r in returns)])


def slot_of(closes, year=252.0) -> SlotView:
    return SlotView(1e13, 0.5, 1e10, 0.0, lambda n: closes[-n:], year)


@given(PATHS)
@settings(deadline=None, max_examples=60)
def test_volatility_target_against_numpy(returns):
    closes = path(returns)
    realized = np.std(np.diff(closes) / closes[:-1], ddof=1) * math.sqrt(252)
    share, equity, px = VolatilityTarget(0.15).base(1.0, slot_of(closes))
    wanted = 0.5 * min(1.0, 0.15 / realized) if realized else 0.5
    assert share == pytest.approx(wanted, rel=1e-9)
    assert (equity, px) == (1e13, 1e10)


@given(PATHS, st.sampled_from([1.0, -1.0]))
@settings(deadline=None, max_examples=60)
def test_kelly_against_the_statistics_module(returns, weight):
    closes = path(returns)
    realized = [float(b / a - 1) for a, b in itertools.pairwise(closes)]
    edge = weight * statistics.fmean(realized)
    variance = statistics.variance(realized)
    share, _, _ = Kelly(0.5, 20).base(weight, slot_of(closes))
    if abs(edge) < 1e-12:
        return
    bet = max(0.0, min(1.0, 0.5 * edge / variance)) if variance > 1e-20 else float(edge > 0)
    assert share == pytest.approx(0.5 * bet, rel=1e-6, abs=1e-9)


def test_volatility_target_by_hand():
    # returns +1 %, -1 %: mean 0, variance 2e-4, a year of 200 bars: volatility 0.2
    closes = (100.0, 101.0, 99.99)
    sizer = VolatilityTarget(volatility_frac=0.1, lookback_bars=2)
    assert sizer.closes_needed == 3
    assert sizer.base(1.0, slot_of(closes, 200.0))[0] == pytest.approx(0.25, rel=1e-12)
    assert sizer.lots(1.0, slot_of(closes, 200.0)) in (249, 250)
    assert sizer.lots(-1.0, slot_of(closes, 50.0)) in (-500, -499)


def test_leverage_is_capped():
    closes = (100.0, 101.0, 99.99)
    calm = VolatilityTarget(volatility_frac=10.0, lookback_bars=2, leverage_max=1.5)
    assert calm.base(1.0, slot_of(closes))[0] == 0.75
    still = slot_of((100.0, 100.0, 100.0))
    assert VolatilityTarget(lookback_bars=2).lots(1.0, still) == 500


def test_kelly_by_hand():
    # returns 0.3 and -0.1: mean 0.1, variance 0.08: the whole bet is 1.25, a fifth of it 0.25
    closes = (100.0, 130.0, 117.0)
    assert Kelly(0.2, 2).base(1.0, slot_of(closes))[0] == pytest.approx(0.125, rel=1e-12)
    assert Kelly(1.0, 2).lots(1.0, slot_of(closes)) == 500
    assert Kelly(1.0, 2).lots(-1.0, slot_of(closes)) == 0


def test_what_reads_closes_compiles_to_the_same_bits():
    compiled = numba.njit(sizing.mean_variance)
    scales = numba.njit(sizing.volatility_scale), numba.njit(sizing.kelly_scale)
    rng = np.random.default_rng(7)
    for _ in range(50):
        closes = path(rng.normal(0.0, 0.02, 20))
        mean, variance = sizing.mean_variance(closes.tolist())
        assert compiled(closes) == (mean, variance)
        plain = sizing.volatility_scale(variance, 252.0, 0.1, 1.0)
        assert bits(scales[0](variance, 252.0, 0.1, 1.0)) == bits(plain)
        plain = sizing.kelly_scale(mean, variance, 0.5, 1.0)
        assert bits(scales[1](mean, variance, 0.5, 1.0)) == bits(plain)


# ---- sizers as values ----------------------------------------------------------------------


def test_sizers_are_values():
    every = [FractionOfEquity(), FixedQuantity(10), FixedNotional(5e3), VolatilityTarget(), Kelly()]
    assert len(set(every)) == 5
    assert FixedQuantity(10) == FixedQuantity(Decimal(10))
    assert repr(FixedQuantity(10)) == "FixedQuantity(qty=10)"
    assert FixedQuantity("0.1").size(equity_scale("0.001")) == 100.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: FixedQuantity(0),
        lambda: FixedQuantity("ten"),
        lambda: FixedNotional(-1),
        lambda: FixedNotional(float("nan")),
        lambda: VolatilityTarget(volatility_frac=0.0),
        lambda: VolatilityTarget(leverage_max=math.inf),
        lambda: VolatilityTarget(lookback_bars=1),
        lambda: Kelly(fraction=1.5),
        lambda: Kelly(cap=0.0),
        lambda: Kelly(lookback_bars=2.5),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make):
    with pytest.raises(UsageError, match="but it must be"):
        make()


def test_position_weight_is_the_share_of_the_base():
    assert position_weight(500, (0.5, 1e13, 1e10)) == 1.0
    assert position_weight(-250, (0.5, 1e13, 1e10)) == -0.5
    assert position_weight(0, (0.5, 0.0, 1e10)) == 0.0
    assert position_weight(-1, (0.5, -1.0, 1e10)) == -math.inf
