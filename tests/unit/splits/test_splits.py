"""Splitters: hand-worked splits, scikit-learn's protocol, other libraries, and wrong words."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mqd.errors import UsageError
from mqd.splits import CombinatorialPurged, PurgedKFold, WalkForward, fixed_horizon

TABLE = Path("tests/tables/splits.csv")
DAY = 86_400_000_000_000


def cases():
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return {row["case"]: row for row in csv.DictReader(lines)}


def rows_of(text):
    ends = [part.split("-") for part in text.split()]
    return [row for end in ends for row in range(int(end[0]), int(end[-1]) + 1)]


def made(row):
    words = dict(pair.split("=") for pair in row["words"].split())
    starts = np.array(row["starts"].split(), dtype=np.int64)
    ends = np.array(row["ends"].split(), dtype=np.int64)
    if row["scheme"] == "forward":
        flags = {k: k in words for k in ("anchored", "short_last")}
        labels = {"label_start": starts, "label_end": ends} if len(ends) else {"times": starts}
        gap = int(words.get("gap", 0))
        return WalkForward(int(words["train"]), int(words["test"]), gap=gap, **flags, **labels)
    more = {}
    if "embargo" in words:
        more["embargo"] = f"{words['embargo']}ns"
    if "frac" in words:
        more["embargo_frac"] = float(words["frac"])
    if row["scheme"] == "kfold":
        return PurgedKFold(int(words["n"]), starts, ends, **more)
    return CombinatorialPurged(int(words["n"]), int(words["k"]), starts, ends, **more)


@pytest.mark.parametrize("case", cases())
def test_splits_are_those_worked_by_hand(case):
    row = cases()[case]
    splitter = made(row)
    expected = [[rows_of(side) for side in one.split("/")] for one in row["splits"].split(";")]
    found = [[train.tolist(), test.tolist()] for train, test in splitter.split()]
    assert found == expected
    assert splitter.get_n_splits() == len(expected)


def test_sessions_and_days_are_counted_not_rows():
    sessions = ["mon", "mon", "mon", "tue", "wed", "wed"]
    ranks = np.array(["mon", "tue", "wed"])
    numbers = [int(np.flatnonzero(ranks == name)[0]) for name in sessions]
    found = list(WalkForward(1, 1, unit="sessions", sessions=numbers).split())
    assert [(a.tolist(), b.tolist()) for a, b in found] == [([0, 1, 2], [3]), ([3], [4, 5])]
    times = pd.to_datetime(
        ["2024-01-05 10:00", "2024-01-05 11:00", "2024-01-08 09:00", "2024-01-09 23:59"]
    )
    cv = WalkForward(3, 2, unit="days", times=times)
    assert [(a.tolist(), b.tolist()) for a, b in cv.split()] == [([0, 1], [2, 3])]
    frame = pd.DataFrame({"x": range(4)}, index=times)
    again = list(WalkForward(3, 2, unit="days").split(frame))
    assert [(a.tolist(), b.tolist()) for a, b in again] == [([0, 1], [2, 3])]


def test_days_without_a_row_are_passed_over_when_tested():
    times = np.array([0, 1, 2, 3, 9, 10]) * DAY
    found = list(WalkForward(3, 2, unit="days", times=times, anchored=True).split())
    expected = [([0, 1, 2], [3]), ([0, 1, 2, 3], [4, 5])]
    assert [(a.tolist(), b.tolist()) for a, b in found] == expected


def test_times_may_be_what_pandas_and_numpy_hold():
    index = pd.date_range("2024-01-02", periods=12, freq="D", tz="UTC")
    ns = index.as_unit("ns").asi8
    expected = [t.tolist() for t, _ in PurgedKFold(3, ns, ns + 2 * DAY, embargo="1D").split()]
    ends = index + pd.Timedelta("2D")
    naive = index.tz_localize(None)
    for start, end in [
        (index, ends),
        (pd.Series(index), pd.Series(ends)),
        (index.tz_convert("America/New_York"), ends),
        (naive.to_numpy(), (naive + pd.Timedelta("2D")).to_numpy().astype("M8[us]")),
        (list(naive.to_pydatetime()), list((naive + pd.Timedelta("2D")).to_pydatetime())),
        (ns, ends),
    ]:
        found = [t.tolist() for t, _ in PurgedKFold(3, start, end, embargo="1D").split()]
        assert found == expected


def test_fixed_horizons_end_at_a_later_bar_or_after_a_span():
    times = np.array([0, 1, 5, 6, 20])
    labels = fixed_horizon(times, bars=2)
    assert labels.label_start.tolist() == [0, 1, 5]
    assert labels.label_end.tolist() == [5, 6, 20]
    assert fixed_horizon(times, span="3ns").label_end.tolist() == [3, 4, 8, 9, 23]


@pytest.mark.parametrize(("n", "k"), [(3, 1), (4, 2), (6, 2), (6, 3), (5, 4)])
def test_paths_use_every_split_of_every_group_once(n, k):
    starts = np.arange(4 * n) * 10
    cv = CombinatorialPurged(n, k, starts, starts)
    choices = list(itertools.combinations(range(n), k))
    paths = cv.paths()
    assert paths.shape == (cv.n_paths, n)
    for group in range(n):
        assert sorted(paths[:, group]) == [i for i, c in enumerate(choices) if group in c]
    rows = cv.stitch([100.0 * number + test for number, (_, test) in enumerate(cv.split())])
    assert rows.shape == (cv.n_paths, 4 * n)
    assert (rows % 100 == np.arange(4 * n)).all()
    assert (rows[:, ::4] // 100 == paths).all()


def test_the_book_s_six_groups_by_two_make_fifteen_splits_and_five_paths():
    """Lopez de Prado 2018, figures 12.1 and 12.2."""
    starts = np.arange(24) * 10
    cv = CombinatorialPurged(6, 2, starts, starts)
    assert (cv.get_n_splits(), cv.n_paths) == (15, 5)
    book = {"G1": "1 2 3 4 5", "G2": "1 6 7 8 9", "G3": "2 6 10 11 12", "G4": "3 7 10 13 14",
            "G5": "4 8 11 13 15", "G6": "5 9 12 14 15"}  # fmt: skip
    assert [[int(n) - 1 for n in text.split()] for text in book.values()] == cv.paths().T.tolist()


def refused(call, *words):
    with pytest.raises(UsageError) as caught:
        call()
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence
    return sentence


S = np.arange(6) * 10
S2 = pd.to_datetime(["2024-01-02", "2024-01-03"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: PurgedKFold(3, S, S[:-1]), ["label_start has 6", "label_end has 5"]),
        (lambda: PurgedKFold(3, S[::-1], S[::-1]), ["label_start", "row 1", "Sort"]),
        (lambda: PurgedKFold(3, S, S - 1), ["label_end lies before", "6 rows", "row 0"]),
        (lambda: PurgedKFold(3, S, None), ["go together"]),
        (lambda: PurgedKFold(1, S, S), ["n_splits = 1", "at least 2"]),
        (lambda: PurgedKFold(7, S, S), ["6 rows", "7 blocks"]),
        (lambda: PurgedKFold(2.0, S, S), ["n_splits = 2.0"]),
        (lambda: PurgedKFold(3, S, S, embargo=5), ["embargo = 5", "never a number of rows"]),
        (lambda: PurgedKFold(3, S, S, embargo="5"), ["'5'", "never a number of rows"]),
        (lambda: PurgedKFold(3, S, S, embargo="soon"), ["'soon'", "5D"]),
        (lambda: PurgedKFold(3, S, S, embargo="NaT"), ["NaT"]),
        (lambda: PurgedKFold(3, S, S, embargo="-1D"), ["negative"]),
        (lambda: PurgedKFold(3, S, S, embargo="1D", embargo_frac=0.1), ["not both"]),
        (lambda: PurgedKFold(3, S, S, embargo_frac=1.5), ["[0, 1)"]),
        (lambda: PurgedKFold(3, S, S, embargo_frac=float("nan")), ["[0, 1)"]),
        (lambda: PurgedKFold(3, S * 1.0, S), ["label_start", "float64"]),
        (lambda: PurgedKFold(3, [], []), ["label_start", "0 values"]),
        (
            lambda: PurgedKFold(2, pd.to_datetime(["2024-01-02", None]), [1, 2]),
            ["label_start is NaT in 1 rows", "row 1"],
        ),
        (
            lambda: PurgedKFold(2, S2, S2.tz_localize("UTC")),
            ["time zone"],
        ),
        (lambda: PurgedKFold(2, ["morning", "noon"], [1, 2]), ["label_start", "instants"]),
        (lambda: CombinatorialPurged(3, 3, S, S), ["n_test_groups = 3", "none to train"]),
        (lambda: CombinatorialPurged(3, 0, S, S), ["n_test_groups = 0"]),
        (lambda: CombinatorialPurged(3, 1, S, S).stitch([S]), ["1 arrays", "3 splits"]),
        (lambda: CombinatorialPurged(3, 1, S, S).stitch([S] * 3), ["tests 2 rows", "(6,)"]),
        (lambda: list(PurgedKFold(3, S, S + 100).split()), ["Split 0", "no row left"]),
        (lambda: list(PurgedKFold(3, S, S).split(np.zeros((5, 1)))), ["5 rows", "6 rows"]),
        (lambda: WalkForward(0, 1), ["train = 0"]),
        (lambda: WalkForward(1, 1, gap=-1), ["gap = -1"]),
        (lambda: WalkForward(1, 1, unit="day"), ["Did you mean 'days'"]),
        (lambda: WalkForward(1, 1, unit="sessions"), ["sessions="]),
        (lambda: WalkForward(1, 1, unit="sessions", sessions=[1, 0]), ["ascend"]),
        (lambda: WalkForward(1, 1, times=S, label_start=S[1:], label_end=S[1:]), ["times has 6"]),
        (lambda: list(WalkForward(5, 2).split(S)), ["No window fits", "bars"]),
        (lambda: list(WalkForward(2, 1).split()), ["pass X"]),
        (lambda: WalkForward(2, 1).get_n_splits(), ["pass X"]),
        (lambda: list(WalkForward(2, 1, unit="days").split(S)), ["DatetimeIndex"]),
        (
            lambda: list(WalkForward(2, 2, label_start=S, label_end=S + 100).split()),
            ["Split 0", "no row left"],
        ),
        (lambda: fixed_horizon(S), ["bars= or span="]),
        (lambda: fixed_horizon(S, bars=6), ["no label", "6 rows"]),
        (lambda: fixed_horizon(S + (2**63 - 100), span="1D"), ["2262"]),
    ],
)  # fmt: skip
def test_wrong_words_are_a_sentence(call, words):
    assert refused(call, *words).endswith((".", "?"))


def test_scikit_learn_takes_them_and_mqd_does_not_need_it():
    import subprocess
    import sys

    code = (
        "import sys, mqd.splits; print(sorted({'sklearn', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    from sklearn.base import clone
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score

    stamps = pd.date_range("2024-01-02", periods=60, freq="D")
    labels = fixed_horizon(stamps, bars=3)
    frame = pd.DataFrame({"x": np.arange(57.0)}, index=stamps[:57])
    y = pd.Series(np.sin(np.arange(57.0)), index=frame.index)
    kfold = PurgedKFold(5, *labels, embargo="2D")
    scores = cross_val_score(Ridge(), frame, y, cv=kfold)
    by_hand = [
        Ridge().fit(frame.iloc[a], y.iloc[a]).score(frame.iloc[b], y.iloc[b])
        for a, b in kfold.split()
    ]
    assert scores.tolist() == by_hand
    cv = CombinatorialPurged(5, 2, *labels)
    assert len(cross_val_score(DummyRegressor(), frame, y, cv=cv)) == 10
    forward = WalkForward(20, 10, label_start=labels.label_start, label_end=labels.label_end)
    assert len(cross_val_score(DummyRegressor(), frame, y, cv=forward)) == 3
    search = clone(GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=kfold)).fit(frame, y)
    assert search.n_splits_ == 5
    assert len(cross_val_predict(Ridge(), frame, y, cv=PurgedKFold(4, *labels))) == 57
