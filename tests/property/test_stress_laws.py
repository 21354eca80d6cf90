"""Laws of stress: every scenario is valid bars, the same again, and leaves its input alone."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mqd.market_data import shocks
from mqd.scenarios import scenarios
from tests.property.test_market_data_laws import frames, load

PRICES = ("open", "high", "low", "close")


def assert_valid(bars):
    """Assert what loading asks of bars: on the tick, above zero, in order, read-only."""
    for one in bars.values():
        ticks = {name: getattr(one, name) / float(one.tick) for name in PRICES}
        for name, column in ticks.items():
            np.testing.assert_allclose(column, np.rint(column), rtol=1e-9, err_msg=name)
            assert (column > 0.5).all()
            assert not getattr(one, name).flags.writeable
        assert (one.low <= np.minimum(one.open, one.close)).all()
        assert (one.high >= np.maximum(one.open, one.close)).all()
        assert (one.volume >= 0).all()
        assert not one.volume.flags.writeable


@given(frames())
@settings(max_examples=40)
def test_every_scenario_is_valid_deterministic_and_leaves_its_input(case):
    bars, untouched = load(case), load(case).to_pandas()
    listed, again = scenarios(bars), scenarios(load(case))
    assert [one.name for one in listed] == [one.name for one in again]
    for one, other in zip(listed, again, strict=True):
        if one.bars is None:
            assert other.bars is None
            continue
        assert one.bars.sha256 == other.bars.sha256
        assert_valid(one.bars)
        if one.name.startswith("bear market"):
            continue
        for symbol in bars.symbols:
            assert one.bars[symbol].ts_close.tolist() == bars[symbol].ts_close.tolist()
    assert bars.to_pandas().equals(untouched)


@given(frames())
@settings(max_examples=40)
def test_a_cut_is_a_piece_of_the_data_that_ends_at_the_trough(case):
    bars = load(case)
    path = shocks.equal_weight(bars)
    for fall in shocks.falls(path.value):
        piece = shocks.cut(bars, path, fall, n_warm_up=5)
        assert piece.last == path.ts_close[fall.trough]
        for symbol, one in piece.items():
            whole = bars[symbol]
            start = int(np.searchsorted(whole.ts_close, path.ts_close[max(fall.peak - 5, 0)]))
            end = int(np.searchsorted(whole.ts_close, piece.last, side="right"))
            assert one.close.tolist() == whole.close[start:end].tolist()


@given(st.lists(st.floats(1.0, 100.0), min_size=1, max_size=40), st.floats(0.05, 0.9))
@settings(max_examples=150)
def test_falls_are_the_deepest_pairs_and_never_overlap(values, frac_min):
    value = np.array(values)
    found = shocks.falls(value, frac_min, n_max=100)
    deepest = min(float((value[i:] / value[i]).min()) - 1 for i in range(len(value)))
    if deepest <= -frac_min:
        assert found[0].frac == deepest
    spans = sorted((fall.peak, fall.trough) for fall in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert [fall.frac for fall in found] == sorted(fall.frac for fall in found)
    for fall in found:
        assert value[fall.trough] / value[fall.peak] - 1 == fall.frac
        assert fall.frac <= -frac_min + 1e-8
        between = value[fall.peak : fall.trough + 1]
        assert between.max() == value[fall.peak]
        assert between.min() == value[fall.trough]


@given(frames(least=3))
@settings(max_examples=40)
def test_wider_gaps_leave_every_return_but_the_gaps(case):
    bars = load(case)
    wider = shocks.magnified_gaps(bars, -1)
    for symbol, one in (wider or {}).items():
        plain = bars[symbol]
        ample = plain.close.min() > 1.0 and one.close.min() > 1.0
        if ample:
            growth, was = one.close / one.open, plain.close / plain.open
            np.testing.assert_allclose(growth, was, rtol=2e-4)
        first = np.flatnonzero(np.diff(plain.session)) + 1
        gap = np.log(one.open[first] / one.close[first - 1])
        was = np.log(plain.open[first] / plain.close[first - 1])
        if ample:
            fallen = was < 0
            np.testing.assert_allclose(gap, np.where(fallen, 2 * was, was), atol=4e-4)


@given(frames(least=2))
@settings(max_examples=40)
def test_doubled_volatility_keeps_the_ends_and_doubles_the_distance_from_the_mean(case):
    bars = load(case)
    for symbol, one in shocks.doubled_volatility(bars).items():
        plain = bars[symbol]
        for end in (0, -1):
            assert abs(one.close[end] - plain.close[end]) < 1.5 * float(plain.tick)
        returns, was = np.diff(np.log(one.close)), np.diff(np.log(plain.close))
        free = np.minimum(one.close[1:], one.close[:-1]) > 1.0
        mean = was.mean()
        np.testing.assert_allclose((returns - mean)[free], 2 * (was - mean)[free], atol=4e-4)
