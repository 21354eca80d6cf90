"""Cuts and poisons leave the past as it was and change the future, within the laws of bars."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mqd
from mqd.checks.bars_file import read_bars, write_bars
from mqd.checks.cuts import cuts_of, decision_cuts, levelled, poisoned, until
from mqd.checks.lookahead import ROUNDING_FRAC, first_difference
from mqd.strategy.causality import CUT_BARS_MIN, cut_points
from mqd.strategy.feature_columns import compute_features
from tests.unit.checks.made_bars import walk
from tests.zoo.data import bars as zoo_bars

COLUMNS = ("open", "high", "low", "close", "volume")


class Flag(mqd.Strategy):
    def features(self, bars):
        return {"flag": (np.arange(len(bars)) == 150).astype(float)}

    def decide(self, now, position):
        return now.flag


BARS = walk(200)["AAA"]
FEATURES = compute_features(Flag(), BARS)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_cuts_are_ascending_long_enough_and_hold_those_of_every_run(seed, n_cuts):
    ends = cuts_of(BARS, FEATURES, n_cuts, seed)
    assert list(ends) == sorted(set(ends))
    assert ends[0] >= CUT_BARS_MIN
    assert ends[-1] == len(BARS) - 1
    assert set(cut_points(len(BARS), 2)) <= set(ends)
    assert cuts_of(BARS, FEATURES, n_cuts, seed) == ends


def test_cuts_stand_where_a_peek_would_show():
    ends = set(cuts_of(BARS, FEATURES, 1, 0))
    moves = np.diff(BARS.close) / BARS.close[1:]
    late = CUT_BARS_MIN - 1
    assert late + int(np.argmax(moves[late:])) + 1 in ends  # the best bar is the first cut off
    assert late + int(np.argmin(moves[late:])) + 1 in ends
    assert 151 in ends  # just after the flag's only bar


@settings(max_examples=25)
@given(st.integers(CUT_BARS_MIN, 199), st.integers(0, 99))
def test_a_poison_changes_the_future_alone_and_keeps_the_laws_of_bars(end, seed):
    for how, other in poisoned(BARS, end, seed).items():
        assert len(other) == len(BARS)
        assert np.array_equal(other.ts_close, BARS.ts_close)
        for name in COLUMNS:
            ours, theirs = getattr(BARS, name), getattr(other, name)
            assert np.array_equal(ours[:end], theirs[:end])
            assert not theirs.flags.writeable
        assert (other.low <= np.minimum(other.open, other.close)).all()
        assert (other.high >= np.maximum(other.open, other.close)).all()
        factor = {"times 8": 8.0, "divided by 8": 0.125, "shuffled": 1.0}[how]
        assert sorted(other.close[end:]) == sorted(BARS.close[end:] * factor)


def test_a_level_is_exact_for_a_split_of_two():
    other = levelled(BARS, 2.0)
    assert np.array_equal(other.close, BARS.close + BARS.close)
    assert np.array_equal(other.volume * 2.0, BARS.volume)


def test_bars_until_an_instant_know_the_calendar_and_nothing_later():
    bars = zoo_bars("several")
    cut = int(bars["IBM"].ts_close[300])
    part = until(bars, cut)
    assert all(int(part[symbol].ts_close[-1]) <= cut for symbol in part)
    assert sum(len(part[symbol]) for symbol in part) == len(bars) * 301
    assert part.trading_calendar is bars.trading_calendar


@pytest.mark.parametrize("name", ["daily", "minute", "several"])
def test_decisions_are_cut_where_the_session_ends_alike(name):
    bars = zoo_bars(name)
    one = max((bars[symbol] for symbol in bars), key=len)
    for cut in decision_cuts(bars, 3, 5):
        row = int(np.searchsorted(one.ts_close, cut))
        assert row >= CUT_BARS_MIN - 1
        assert row < len(one) - 1
        assert one.minutes_to_close[row] <= 0 or one.session[row] == one.session[row + 1]


def test_bars_come_back_from_files_with_every_bit(tmp_path):
    bars = zoo_bars("split")
    write_bars(bars, tmp_path)
    again = read_bars(tmp_path)
    assert again.sha256 == bars.sha256
    assert again["AAPL"].shown_splits == bars["AAPL"].shown_splits == ((1109601000000000000, 2.0),)
    assert np.array_equal(again["AAPL"].minutes_to_close, bars["AAPL"].minutes_to_close)
    assert again.gaps == bars.gaps


@pytest.mark.parametrize(
    ("ours", "theirs", "row", "is_leak"),
    [
        ([1.0, np.nan, 0.0], [1.0, np.nan, -0.0], -1, False),
        ([1.0, 2.0, 3.0], [1.0, 2.0, np.nan], 2, True),
        ([1.0, np.inf], [1.0, -np.inf], 1, True),
        ([1.0, 2.0], [1.0, 2.0 + 4e-16], 1, False),
        ([1.0, 2.0, 3.0], [1.0 + 3e-16, 2.0, 3.0 + 1e-9], 2, True),
    ],
)
def test_a_difference_is_a_leak_or_rounding(ours, theirs, row, is_leak):
    found, frac = first_difference(np.array(ours), np.array(theirs))
    assert found == row
    assert (frac > ROUNDING_FRAC) == is_leak
