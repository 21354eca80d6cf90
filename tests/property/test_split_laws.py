"""Laws of the splitters on unevenly spaced stamps, and other libraries as oracles."""

import math

import numpy as np
import pandas as pd
import purgedcv
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV as SkfolioCombinatorial

from mqd.errors import UsageError
from mqd.splits import CombinatorialPurged, PurgedKFold, WalkForward


@st.composite
def intervals(draw, least=6, most=40):
    """Starts that ascend with holes and repeats, and labels of any length."""
    n = draw(st.integers(least, most))
    steps = draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 30]), min_size=n, max_size=n))
    lengths = draw(st.lists(st.sampled_from([0, 0, 1, 2, 3, 8]), min_size=n, max_size=n))
    starts = np.cumsum(steps)
    return starts, starts + np.array(lengths)


def all_splits(cv):
    """The splits, or None when purging leaves one of them nothing."""
    try:
        return list(cv.split())
    except UsageError as error:
        if "no row left" not in str(error):
            raise
        return None


def kept_by_the_definition(starts, ends, candidates, test, embargo):
    """Row by row and pair by pair, as the source states it (snippet 7.1 with closed intervals)."""
    return [
        i
        for i in candidates
        if not any(starts[i] <= ends[j] + embargo and starts[j] <= ends[i] for j in test)
    ]


@settings(max_examples=120)
@given(intervals(), st.integers(2, 5), st.sampled_from([0, 1, 3, 40]))
def test_kfold_tests_each_row_once_and_keeps_what_the_definition_keeps(labels, k, embargo):
    starts, ends = labels
    splits = all_splits(PurgedKFold(k, starts, ends, embargo=f"{embargo}ns"))
    assume(splits is not None)
    assert np.concatenate([test for _, test in splits]).tolist() == list(range(len(starts)))
    sizes = [len(test) for _, test in splits]
    assert max(sizes) - min(sizes) <= 1
    for train, test in splits:
        others = [i for i in range(len(starts)) if i not in set(test.tolist())]
        assert train.tolist() == kept_by_the_definition(starts, ends, others, test, embargo)


@settings(max_examples=80)
@given(intervals(), st.integers(2, 5), st.data(), st.sampled_from([0, 1, 3, 40]))
def test_combinations_test_each_row_as_often_and_no_training_label_meets_a_tested_one(
    labels, n, data, embargo
):
    starts, ends = labels
    k = data.draw(st.integers(1, n - 1))
    cv = CombinatorialPurged(n, k, starts, ends, embargo=f"{embargo}ns")
    splits = all_splits(cv)
    assume(splits is not None)
    tested = np.bincount(np.concatenate([test for _, test in splits]), minlength=len(starts))
    assert (tested == math.comb(n - 1, k - 1)).all()
    assert len(splits) == cv.get_n_splits() == math.comb(n, k)
    for train, test in splits:
        assert not set(train) & set(test)
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        later = starts[train][:, None] > ends[test][None, :] + embargo
        earlier = ends[train][:, None] < starts[test][None, :]
        assert (later | earlier).all()
        others = [i for i in range(len(starts)) if i not in set(test.tolist())]
        assert train.tolist() == kept_by_the_definition(starts, ends, others, test, embargo)


@settings(max_examples=120)
@given(
    intervals(least=4), st.integers(1, 9), st.integers(1, 6), st.integers(0, 3),
    st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["bars", "sessions"]),
)  # fmt: skip
def test_windows_train_on_the_past_and_test_each_stretch_once(
    labels, train, test, gap, anchored, short_last, purged, unit
):
    starts, ends = labels
    words = {"anchored": anchored, "gap": gap, "short_last": short_last, "unit": unit}
    sessions = starts // 2 if unit == "sessions" else np.arange(len(starts))
    if unit == "sessions":
        words["sessions"] = sessions
    if purged:
        words |= {"label_start": starts, "label_end": ends}
    cv = WalkForward(train, test, **words)
    try:
        splits = list(cv.split(starts))
    except UsageError as error:
        if "no row left" not in str(error) and "No window fits" not in str(error):
            raise
        return
    assert len(splits) == cv.get_n_splits(starts)
    tested = np.concatenate([rows for _, rows in splits])
    assert (np.diff(tested) == 1).all()
    every = list(dict.fromkeys(sessions.tolist()))
    for number, (rows, test_rows) in enumerate(splits):
        used = every[train + gap + number * test :][:test]
        assert list(dict.fromkeys(sessions[test_rows].tolist())) == used
        first = 0 if anchored else number * test
        known = every[first : train + number * test]
        candidates = [i for i in range(len(starts)) if sessions[i] in set(known)]
        if purged:
            candidates = kept_by_the_definition(starts, ends, candidates, test_rows, 0)
        assert rows.tolist() == candidates
        assert rows[-1] < test_rows[0]
    left = len(every) - train - gap - test * (len(splits) - 1)
    assert 1 <= left <= test if short_last else test <= left < 2 * test


@settings(max_examples=60)
@given(intervals(least=12), st.integers(2, 5), st.data(), st.sampled_from([0, 2, 5]))
def test_purgedcv_keeps_the_same_rows_where_no_two_labels_touch_at_one_instant(
    labels, n, data, embargo
):
    """purgedcv's intervals are half-open; doubled and with an odd end they never just touch."""
    starts, ends = labels[0] * 2, labels[1] * 2 + 1
    k = data.draw(st.integers(1, n - 1))
    ours = all_splits(CombinatorialPurged(n, k, starts, ends, embargo=f"{2 * embargo}ns"))
    assume(ours is not None)
    theirs = purgedcv.CombinatorialPurgedCV(
        n, k, prediction_times=pd.to_datetime(starts), evaluation_times=pd.to_datetime(ends),
        embargo=pd.Timedelta(2 * embargo, "ns"),
    )  # fmt: skip
    rows = np.zeros((len(starts), 1))
    for (train, test), (their_train, their_test) in zip(ours, theirs.split(rows), strict=True):
        assert train.tolist() == their_train.tolist()
        assert test.tolist() == their_test.tolist()


def test_purgedcv_trains_on_a_label_that_ends_where_a_tested_one_begins():
    """Half-open against closed: the shared instant has one price, and both labels know it."""
    starts, ends = np.arange(6) * 10, np.arange(1, 7) * 10
    theirs = purgedcv.PurgedKFold(
        3, prediction_times=pd.to_datetime(starts), evaluation_times=pd.to_datetime(ends)
    )
    kept = [train.tolist() for train, _ in theirs.split(np.zeros((6, 1)))]
    assert kept[1] == [0, 1, 4, 5]
    assert [t.tolist() for t, _ in PurgedKFold(3, starts, ends).split()][1] == [0, 5]


@pytest.mark.parametrize(("n", "k"), [(4, 2), (6, 2), (6, 3), (5, 4)])
def test_paths_are_those_of_skfolio_and_purgedcv(n, k):
    rows = np.arange(6 * n)
    ours = CombinatorialPurged(n, k, rows, rows)
    theirs = SkfolioCombinatorial(n_folds=n, n_test_folds=k)
    assert ours.get_n_splits() == theirs.n_splits
    assert ours.n_paths == theirs.n_test_paths
    assert ours.paths().T.tolist() == theirs.recombined_paths.tolist()
    values = [number * 1000.0 + test for number, (_, test) in enumerate(ours.split())]
    other = purgedcv.CombinatorialPurgedCV(
        n, k, prediction_times=pd.to_datetime(rows), evaluation_times=pd.to_datetime(rows)
    )
    assert ours.stitch(values).tolist() == other.reconstruct_paths(values).tolist()


@pytest.mark.parametrize("size", [0, 1, 4])
def test_labels_of_one_length_on_even_stamps_purge_as_skfolio_s_rows_do(size):
    """A label over ``size`` bars, its end not included, overlaps ``size`` rows on each side."""
    starts = np.arange(60) * 10
    ends = starts + 10 * size + 1
    ours = CombinatorialPurged(6, 2, starts, ends)
    theirs = SkfolioCombinatorial(n_folds=6, n_test_folds=2, purged_size=size)
    for (train, test), (rows, blocks) in zip(
        ours.split(), theirs.split(np.zeros((60, 1))), strict=True
    ):
        assert train.tolist() == rows.tolist()
        assert test.tolist() == np.concatenate(blocks).tolist()


def test_a_purge_by_row_count_leaks_where_labels_vary_in_length():
    """The measurement of libraries.md 1.4, again: labels of 1 to 39 bars, six groups by two."""
    n = 600
    lengths = 1 + (np.arange(n) * 7919) % 39
    starts = np.arange(n) * 10
    ends = starts + lengths * 10

    def leaks(splits):
        return sum(
            int(((starts[a][:, None] <= ends[b]) & (starts[b] <= ends[a][:, None])).any(1).sum())
            for a, b in splits
        )

    counted = {}
    for size in (0, 5, 20, 40):
        theirs = SkfolioCombinatorial(n_folds=6, n_test_folds=2, purged_size=size)
        counted[size] = leaks((a, np.concatenate(b)) for a, b in theirs.split(np.zeros((n, 1))))
    assert counted[0] > counted[5] > counted[20] > counted[40] == 0
    ours = list(CombinatorialPurged(6, 2, starts, ends).split())
    assert leaks(ours) == 0
    forty = SkfolioCombinatorial(n_folds=6, n_test_folds=2, purged_size=40)
    for (train, _), (rows, _) in zip(ours, forty.split(np.zeros((n, 1))), strict=True):
        assert set(rows) < set(train)


def test_an_embargo_past_the_last_instant_that_int64_holds_does_not_wrap():
    starts = np.array([0, 1, 2, 2**63 - 3, 2**63 - 2, 2**63 - 1], dtype=np.int64)
    found = [t.tolist() for t, _ in PurgedKFold(3, starts, starts, embargo="400D").split()]
    assert found == [[3, 4, 5], [0, 1], [0, 1, 2, 3]]
