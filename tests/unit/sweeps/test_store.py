"""The store of a sweep: what is kept survives any stop, and belongs to one sweep alone."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mqd.errors import UsageError
from mqd.sweeps import store as stores
from mqd.sweeps.errors import SweepFileDiffers, SweepFileTaken, SweepWriteFailed
from mqd.sweeps.evaluate import COUNTS, METRICS, Outcome
from mqd.sweeps.parts import Layout, Part, Span
from mqd.sweeps.store import FileStore, MemoryStore

LAYOUT = Layout(("train", "test"), (("AAA", "BBB"), ("BBB",)))
WHO = {"strategy": "Cross", "cash": "100"}


def part(dataset, first, n, failing=False):
    """Return a part whose numbers follow from where it is."""
    n_units = len(LAYOUT.symbols[dataset])
    x = np.arange(first, first + n)
    rows = np.repeat(x, n_units) * 10.0 + np.tile(np.arange(n_units), n) + dataset / 4
    columns = {
        name: (rows.astype(np.int64) if name in COUNTS else rows / 3 + place)
        for place, name in enumerate(METRICS)
    }
    columns["calmar"][0] = np.nan
    failed = ("why, and “how”",) + ("",) * (n * n_units - 1) if failing else ("",) * (n * n_units)
    moments = np.arange(n * n_units * 80, dtype=np.float64).reshape(-1, 16, 5) / 7 + first
    parameters = {"fast": x, "band": x / 8, "short": x % 2 == 0, "mode": np.array(["a"] * n)}
    return Part(dataset, first, parameters, Outcome(columns, moments, failed))


PARTS = [part(0, 0, 3), part(1, 0, 3), part(0, 3, 2, failing=True), part(1, 3, 2)]


def flat(store):
    """Return all that a store holds, as one list of arrays a dataset."""
    found = []
    for dataset in (0, 1):
        kept = list(store.parts(dataset, moments=True))
        outcome = [one.outcome for one in kept]
        columns = {n: np.concatenate([o.columns[n] for o in outcome]) for n in METRICS}
        names = kept[0].parameters if kept else {}
        parameters = {n: np.concatenate([one.parameters[n] for one in kept]) for n in names}
        moments = np.concatenate([o.moments for o in outcome])
        found.append((columns, parameters, moments, sum((o.failed for o in outcome), ())))
    return found


def assert_same(found, expected):
    """Assert that two stores' contents are equal to the bit."""
    for (columns, parameters, moments, failed), other in zip(found, expected, strict=True):
        for mine, theirs in ((columns, other[0]), (parameters, other[1])):
            assert list(mine) == list(theirs)
            for name in mine:
                assert mine[name].dtype.kind == theirs[name].dtype.kind
                np.testing.assert_array_equal(mine[name], theirs[name])
        np.testing.assert_array_equal(moments, other[2])
        assert failed == other[3]


def filled(store):
    """Put all parts into a store."""
    for one in PARTS:
        store.add(one)
    return store


@pytest.fixture
def expected():
    """What any store must give back."""
    return flat(filled(MemoryStore(LAYOUT, 1)))


@pytest.mark.parametrize("memory_mb", [1, 0.003, 0])
def test_memory_gives_back_what_it_took_also_when_it_spills(memory_mb, expected):
    store = filled(MemoryStore(LAYOUT, memory_mb))
    assert_same(flat(store), expected)
    assert [store.done(0), store.done(1)] == [5, 5]
    plain = list(store.parts(0, moments=False))
    assert [one.outcome.columns["sharpe"].size for one in plain] == [6, 4]


def test_a_spilled_store_cleans_up_after_itself():
    store = filled(MemoryStore(LAYOUT, 0))
    folder = store._folder
    assert len(list(folder.iterdir())) == 4
    del store
    assert not folder.exists()


def test_a_file_gives_back_what_it_took(tmp_path, expected):
    path = tmp_path / "x.parquet"
    store = filled(FileStore(path, LAYOUT, WHO))
    assert_same(flat(store), expected)
    assert not path.exists()
    store.finish(whole=True)
    assert_same(flat(store), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]
    again = FileStore(path, LAYOUT, WHO)
    assert again.is_whole
    assert again.done(0) == again.done(1) == 5
    assert_same(flat(again), expected)


def test_the_file_reads_as_a_table(tmp_path):
    filled(FileStore(tmp_path / "x.parquet", LAYOUT, WHO)).finish(whole=True)
    frame = pd.read_parquet(tmp_path / "x.parquet")
    assert list(frame)[:6] == ["fast", "band", "short", "mode", "dataset", "symbol"]
    assert list(frame["dataset"]) == ["train"] * 10 + ["test"] * 5
    assert list(frame["symbol"][:4]) == ["AAA", "BBB", "AAA", "BBB"]
    assert len(frame["moments"][0]) == 80
    assert frame["failed"][6] == "why, and “how”"
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 2


def test_what_was_stopped_goes_on_with_other_chunks(tmp_path, expected):
    path = tmp_path / "x.parquet"
    store = FileStore(path, LAYOUT, WHO)
    for one in PARTS[:3]:
        store.add(one)
    store.finish(whole=False)
    again = FileStore(path, LAYOUT, WHO)
    assert not again.is_whole
    assert [again.done(0), again.done(1)] == [5, 3]
    again.add(part(1, 3, 1))
    tail = PARTS[3].tail(1)
    assert tail.span == Span(1, 4, 1)
    again.add(tail)
    found = flat(again)
    found[1][0]["calmar"][3] = expected[1][0]["calmar"][3]  # each part's first is NaN here
    assert_same(found, expected)


@pytest.mark.parametrize("whole", [True, False])
def test_another_sweep_is_refused_and_nothing_is_touched(tmp_path, whole):
    path = tmp_path / "x.parquet"
    filled(FileStore(path, LAYOUT, WHO)).finish(whole=whole)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(SweepFileDiffers) as caught:
        FileStore(path, LAYOUT, {"strategy": "Cross", "cash": "200", "seed": "1"})
    assert caught.value.differences == ["cash: 100 there, 200 here", "seed: absent there, 1 here"]
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    FileStore(path, LAYOUT, WHO).finish(whole=False)


def test_two_sweeps_do_not_write_one_file(tmp_path):
    path = tmp_path / "x.parquet"
    first = FileStore(path, LAYOUT, WHO)
    with pytest.raises(SweepFileTaken) as caught:
        FileStore(path, LAYOUT, WHO)
    assert caught.value.exit_code == 3
    assert f"Another sweep writes {path}." in str(caught.value)
    filled(first).finish(whole=True)
    assert FileStore(path, LAYOUT, WHO).is_whole


def test_a_lock_on_a_folder_that_is_gone_is_taken_again(tmp_path, monkeypatch):
    """The other sweep ended, and removed the folder, between our opening and locking."""
    path = tmp_path / "x.parquet"
    real = stores.lock_folder
    removed = []

    def late(folder):
        fd = real(folder)
        if not removed:
            removed.append(folder)
            (folder / "lock").unlink()
            folder.rmdir()
        return fd

    monkeypatch.setattr(stores, "lock_folder", late)
    store = FileStore(path, LAYOUT, WHO)
    with pytest.raises(SweepFileTaken):
        FileStore(path, LAYOUT, WHO)
    filled(store).finish(whole=True)
    assert path.exists()


NOT_OURS = {
    "no parquet": ("x.csv", None, "kept in a .parquet file"),
    "another table": ("x.parquet", "table", "no sweep's file"),
    "no parquet inside": ("x.parquet", "text", "no sweep's file"),
    "no folder": ("file/x.parquet", "file", "cannot be made"),
}


@pytest.mark.parametrize(("name", "what", "says"), NOT_OURS.values(), ids=NOT_OURS)
def test_what_is_no_sweeps_file_is_refused(tmp_path, name, what, says):
    path = tmp_path / name
    if what == "table":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    elif what == "text":
        path.write_text("hello")
    elif what == "file":
        (tmp_path / "file").write_text("hello")
    with pytest.raises(UsageError) as caught:
        FileStore(path, LAYOUT, WHO)
    assert says in str(caught.value)


class Failing:
    """Lets ``n`` calls of a function of ``os`` through, then raises; counts all calls."""

    def __init__(self, monkeypatch, name, n, error):
        self._real, self._n, self._error = getattr(os, name), n, error
        self.calls = 0
        monkeypatch.setattr(stores.os, name, self)

    def __call__(self, *args):
        self.calls += 1
        if self.calls > self._n:
            raise self._error
        return self._real(*args)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_keeps_what_is_done(tmp_path, monkeypatch, name, expected):
    path = tmp_path / "x.parquet"
    store = FileStore(path, LAYOUT, WHO)
    store.add(PARTS[0])
    store.add(PARTS[1])
    with monkeypatch.context() as patch:
        Failing(patch, name, 0, FULL)
        with pytest.raises(SweepWriteFailed) as caught:
            store.add(PARTS[2])
    assert "No space left on device" in str(caught.value)
    assert caught.value.n_kept == 6
    assert "6 combinations are kept" in str(caught.value)
    assert caught.value.exit_code == 1
    assert not list(tmp_path.rglob("*.tmp"))
    again = FileStore(path, LAYOUT, WHO)
    assert [again.done(0), again.done(1)] == [3, 3]
    again.add(PARTS[2])
    again.add(PARTS[3])
    again.finish(whole=True)
    assert_same(flat(again), expected)


def test_a_disk_that_is_full_at_the_end_counts_what_all_datasets_keep(tmp_path, monkeypatch):
    def full(*_):
        raise FULL

    store = FileStore(tmp_path / "x.parquet", LAYOUT, WHO)
    for one in PARTS[:3]:
        store.add(one)
    monkeypatch.setattr(stores.parts_of, "merge", full)
    with pytest.raises(SweepWriteFailed, match="8 combinations are kept"):
        store.finish(whole=True)


def test_a_disk_that_takes_little_at_a_time(tmp_path, monkeypatch, expected):
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "write", lambda fd, data: real(fd, bytes(data)[:1_000]))
        store = filled(FileStore(tmp_path / "x.parquet", LAYOUT, WHO))
    assert_same(flat(store), expected)


def test_a_full_temporary_folder_says_what_to_do(monkeypatch):
    def full(self, data):
        raise FULL

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(SweepWriteFailed, match="None are kept: free the disk, or name a file"):
        MemoryStore(LAYOUT, 0).add(PARTS[0])


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs any more."""


def killed_after(monkeypatch, n):
    """Stop the store after ``n`` system calls that change something."""
    real = {name: getattr(os, name) for name in ("write", "fsync", "open")}
    left = [n]

    def stop(name):
        def call(*args, **words):
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            if name == "write" and left[0] == 0:
                real["write"](args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Killed
            return real[name](*args, **words)

        return call

    for name in real:
        monkeypatch.setattr(stores.os, name, stop(name))
    return left


def test_killed_at_any_call_the_sweep_goes_on_to_the_same_file(tmp_path, monkeypatch, expected):
    for n in range(200):
        path = tmp_path / f"{n}.parquet"
        with monkeypatch.context() as patch:
            left = killed_after(patch, n)
            store = None
            try:
                store = FileStore(path, LAYOUT, WHO)
                filled(store).finish(whole=True)
            except Killed:
                pass
            over = left[0] > 0
        if store is not None:
            store._release()  # the system frees the lock of a process that died
        again = FileStore(path, LAYOUT, WHO)
        for one in PARTS:
            if again.done(one.dataset) <= one.first:
                assert again.done(one.dataset) == one.first
                again.add(one)
        again.finish(whole=True)
        assert_same(flat(again), expected)
        assert not path.with_name(f"{n}.parquet.parts").exists()
        if over:
            break
    assert 20 < n < 199


def test_a_part_that_the_disk_lost_is_computed_again(tmp_path):
    path = tmp_path / "x.parquet"
    store = filled(FileStore(path, LAYOUT, WHO))
    store.finish(whole=False)
    lost = path.with_name("x.parquet.parts") / PARTS[2].span.file_name
    lost.write_bytes(lost.read_bytes()[:-100])
    again = FileStore(path, LAYOUT, WHO)
    assert [again.done(0), again.done(1)] == [3, 5]
    again.finish(whole=False)
    lost.with_name(PARTS[1].span.file_name).unlink()
    again = FileStore(path, LAYOUT, WHO)
    assert [again.done(0), again.done(1)] == [3, 0]


def test_the_identity_is_kept_beside_the_parts(tmp_path):
    FileStore(tmp_path / "x.parquet", LAYOUT, WHO)
    kept = json.loads((tmp_path / "x.parquet.parts" / "identity.json").read_text())
    assert kept == WHO
