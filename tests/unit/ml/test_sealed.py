"""The hold-out: shut until it is opened, and each look is written down, whoever looks."""

import fcntl
import json
import subprocess
import sys
import threading

import pandas as pd
import pytest

import mqd
from mqd.errors import LogDamaged, UsageError
from mqd.ml import FeatureEngineer, FixedHorizon, SealedHoldout, make_dataset
from mqd.ml.errors import HoldoutSealed
from mqd.ml.evaluation.sealed import FILE

SEAL = "2012-06-01"


@pytest.fixture(scope="module")
def bars():
    return mqd.load_bars(
        "datasets/us_equity_daily_raw.parquet", symbols=["IBM"], start="2012-01-03"
    )


def test_sealed_rows_are_not_handed_out(bars, tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    with pytest.raises(HoldoutSealed, match=r"\d+ rows close at or after the seal"):
        holdout.check(bars)
    cut = holdout.check(holdout.cut(bars))
    assert cut["IBM"].ts_close.max() < holdout.seal_ns
    assert len(cut["IBM"]) == int((bars["IBM"].ts_close < holdout.seal_ns).sum())
    frame = pd.DataFrame({"x": 1.0}, pd.DatetimeIndex(bars["IBM"].ts_close, tz="UTC"))
    assert len(holdout.cut(frame)) == len(cut["IBM"])
    with pytest.raises(HoldoutSealed):
        holdout.check(frame)


def test_loading_refuses_what_is_sealed_until_it_is_opened(tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    words = {"symbols": ["IBM"], "start": "2012-01-03", "holdout": holdout}
    path = "datasets/us_equity_daily_raw.parquet"
    with pytest.raises(HoldoutSealed, match="rows close at or after the seal"):
        mqd.load_bars(path, **words)
    with pytest.raises(HoldoutSealed, match="1 rows close"):
        mqd.load_bars(path, **words, end=SEAL)
    before = mqd.load_bars(path, **words, end="2012-05-31")
    assert before["IBM"].ts_close.max() < holdout.seal_ns
    holdout.open("the final test", "ann")
    assert mqd.load_bars(path, **words, end="2012-05-31") is not None  # nothing sealed: no look
    assert mqd.load_bars(path, **words)["IBM"].ts_close.max() > holdout.seal_ns
    with pytest.raises(HoldoutSealed, match="serves one look"):
        mqd.load_bars(path, **words)
    assert holdout.open("and again", "ann").n_looks == 2
    mqd.load_bars(path, **words)


def test_a_label_that_ends_behind_the_seal_has_looked(bars, tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    table = FixedHorizon(10).of(bars["IBM"])
    with pytest.raises(HoldoutSealed):
        holdout.check(table)
    kept = holdout.check(holdout.cut(table))
    assert (kept.t1 < holdout.seal_ns).all()
    assert len(kept.t0) == int((table.t0 < holdout.seal_ns).sum()) - 10


def test_bars_of_a_symbol_and_rows_to_train_on_are_cut_and_checked(bars, tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    data = make_dataset(bars, FeatureEngineer(["log_return(1)"]), FixedHorizon(10))
    ibm = bars["IBM"]
    n_before = int((ibm.ts_close < holdout.seal_ns).sum())
    for rows, n in ((ibm, n_before), (data, n_before - 10 - 1)):  # the first has no return
        with pytest.raises(HoldoutSealed):
            holdout.check(rows)
        assert len(holdout.check(holdout.cut(rows))) == n
    assert holdout.cut(data).t1.max() < holdout.seal_ns
    for rows in ([1, 2], {"a": 1}, "IBM", None):
        for look in (holdout.check, holdout.cut):
            with pytest.raises(UsageError, match="A hold-out takes bars, a Dataset"):
                look(rows)


def test_a_line_that_was_never_finished_is_put_aside(tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    holdout.open("one", "ann")
    with (tmp_path / FILE).open("ab") as log:
        log.write(b'{"kind":"open","n_lo')
    assert holdout.open("two", "bob").n_looks == 2
    assert [one.reason for one in SealedHoldout(tmp_path, SEAL).openings] == ["one", "two"]
    assert (tmp_path / "seal.torn-1").read_bytes() == b'{"kind":"open","n_lo'


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holdout = SealedHoldout("study", SEAL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert holdout.open("the final test", "ann").n_looks == 1
    assert list(tmp_path.rglob(FILE)) == [tmp_path / "study" / FILE]


def test_opening_is_written_down_and_counted(bars, tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    first = holdout.open("the final test", "ann")
    assert (first.n_looks, first.author) == (1, "ann")
    assert holdout.check(bars) is bars
    another = SealedHoldout(tmp_path, SEAL)
    with pytest.raises(HoldoutSealed):
        another.check(bars)
    assert another.open("once more", "bob").n_looks == 2
    assert [one.author for one in another.openings] == ["ann", "bob"]


def test_a_seal_does_not_move_and_wants_a_reason(tmp_path):
    SealedHoldout(tmp_path, SEAL)
    with pytest.raises(UsageError, match="a seal does not move"):
        SealedHoldout(tmp_path, "2013-01-01")
    with pytest.raises(UsageError, match="a reason and an author"):
        SealedHoldout(tmp_path, SEAL).open(" ", "ann")
    with pytest.raises(UsageError, match="write a date"):
        SealedHoldout(tmp_path / "other", "soon")
    with pytest.raises(UsageError, match="a time with a zone"):
        SealedHoldout(tmp_path, SEAL).cut(pd.DataFrame({"x": [1.0]}))


@pytest.mark.parametrize("spoil", [
    lambda lines: [lines[0], lines[2]],
    lambda lines: [lines[0], lines[1].replace("ann", "eve"), lines[2]],
    lambda lines: [lines[0].replace("seal_ns\":1", "seal_ns\":2"), *lines[1:]],
    lambda lines: [*lines[:2], lines[2][:20]],
], ids=["a line taken out", "a name changed", "the instant changed", "cut off"])  # fmt: skip
def test_a_seal_that_was_edited_is_refused(tmp_path, spoil):
    holdout = SealedHoldout(tmp_path, SEAL)
    holdout.open("one", "ann")
    holdout.open("two", "bob")
    file = tmp_path / FILE
    file.write_text("".join(f"{one}\n" for one in spoil(file.read_text().splitlines())))
    with pytest.raises(LogDamaged, match=FILE):
        SealedHoldout(tmp_path, SEAL)


def test_an_opening_waits_for_whoever_writes(tmp_path):
    holdout = SealedHoldout(tmp_path, SEAL)
    with (tmp_path / FILE).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waits = threading.Thread(target=holdout.open, args=("the final test", "ann"))
        waits.start()
        waits.join(0.3)
        before = (tmp_path / FILE).read_text().count("\n")
        assert (waits.is_alive(), before) == (True, 1)
    waits.join()
    assert len(holdout.openings) == 1


def test_two_processes_count_one_series(tmp_path):
    SealedHoldout(tmp_path, SEAL)
    code = (
        "import pathlib, sys; from mqd.ml import SealedHoldout\n"
        f"pathlib.Path({str(tmp_path)!r}, sys.argv[1]).touch()\n"
        f"while len([*pathlib.Path({str(tmp_path)!r}).glob('ready-*')]) < 2: pass\n"
        f"for _ in range(20): SealedHoldout({str(tmp_path)!r}, {SEAL!r}).open('r', 'p')"
    )
    ready = ("ready-1", "ready-2")  # they begin together
    both = [subprocess.Popen([sys.executable, "-c", code, one]) for one in ready]
    assert [one.wait() for one in both] == [0, 0]
    looks = [one.n_looks for one in SealedHoldout(tmp_path, SEAL).openings]
    assert looks == list(range(1, 41))
    hashes = [json.loads(line)["hash"] for line in (tmp_path / FILE).read_text().splitlines()]
    assert len(set(hashes)) == 41
