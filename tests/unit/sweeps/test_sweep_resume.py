"""Sweeps that stop, go on, and do not mix: Ctrl-C, resume, other sweeps, a full disk."""

import numpy as np
import pandas as pd
import pandas.testing as pt
import pytest

import mqd
import mqd.sweeps.optuna_search
from mqd.sweeps.errors import SweepFileDiffers, SweepFileTaken, SweepWriteFailed
from tests.unit.sweeps.sweep_support import LARGE, Cross, chunked, less, marked, small_bars


@pytest.fixture(scope="module")
def bars():
    """Two symbols of 60 days."""
    return small_bars()


@pytest.fixture
def reference(bars, monkeypatch):
    """The table and moments of an uninterrupted sweep in memory."""
    marked(monkeypatch)
    found = mqd.sweep(Cross, bars, LARGE, where=less)
    return found.table, found.moments


@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_keeps_what_is_done(bars, monkeypatch, tmp_path, reference, resume):
    marked(monkeypatch, stop_at=4)
    chunked(monkeypatch, 100)
    path = tmp_path / "x.parquet" if resume else None
    found = mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    assert not found.is_whole
    assert found.n_combinations == 300
    pt.assert_frame_equal(found.table, reference[0][:600])
    np.testing.assert_array_equal(found.moments, reference[1][:600])
    assert "Stopped by Ctrl-C: the first 300 combinations are kept" in found.notes[0]
    assert ("x.parquet.parts" in found.notes[0]) == resume
    assert found.trials == 600


def test_ctrl_c_before_anything_is_done_raises(bars, monkeypatch, tmp_path):
    marked(monkeypatch, stop_at=1)
    with pytest.raises(KeyboardInterrupt):
        mqd.sweep(Cross, bars, LARGE, resume=tmp_path / "x.parquet")
    marked(monkeypatch)
    assert mqd.sweep(Cross, bars, LARGE, resume=tmp_path / "x.parquet").is_whole


@pytest.mark.parametrize(("stop_at", "chunk"), [(2, 3_000), (5, 100), (9, 37)])
def test_a_resumed_sweep_has_the_same_table(bars, monkeypatch, tmp_path, reference, stop_at, chunk):
    path = tmp_path / "x.parquet"
    marked(monkeypatch, stop_at=stop_at)
    chunked(monkeypatch, chunk)
    first = mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    fresh = marked(monkeypatch)
    chunked(monkeypatch, 250)
    again = mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    assert again.is_whole
    assert sum(fresh.lengths) == again.n_combinations - first.n_combinations
    pt.assert_frame_equal(again.table, reference[0])
    np.testing.assert_array_equal(again.moments, reference[1])
    fresh.calls = 0
    read = mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    assert fresh.calls == 0
    pt.assert_frame_equal(read.table, reference[0])
    assert list(pd.read_parquet(path)["sharpe"]) == list(reference[0]["sharpe"])


def test_a_resumed_search_of_datasets_that_stopped_in_between(bars, monkeypatch, tmp_path):
    """The first dataset has a chunk more than the second."""
    parts = {"a": bars, "b": bars.select(["BBB"])}
    words = {"search": "random", "n": 50, "where": less}
    marked(monkeypatch)
    expected = mqd.sweep(Cross, parts, LARGE, **words)
    marked(monkeypatch, stop_at=6)
    chunked(monkeypatch, 10)
    path = tmp_path / "x.parquet"
    first = mqd.sweep(Cross, parts, LARGE, resume=path, **words)
    assert first.n_combinations == 20
    assert len(first.table) == 60
    marked(monkeypatch)
    again = mqd.sweep(Cross, parts, LARGE, resume=path, **words)
    pt.assert_frame_equal(again.table, expected.table)


@pytest.mark.parametrize("stop_at", [2, 3, 4])
def test_a_resumed_optuna_search_has_the_same_table(bars, monkeypatch, tmp_path, stop_at):
    parts = {"a": bars, "b": bars.select(["BBB"])}
    space = {"fast": (1, 40), "band": (0.0, 1.0)}
    words = {"search": "optuna", "n": 40, "metric": "total_return_frac"}
    marked(monkeypatch)
    expected = mqd.sweep(Cross, parts, space, **words)
    path = tmp_path / "x.parquet"
    marked(monkeypatch, stop_at=stop_at)
    try:
        mqd.sweep(Cross, parts, space, resume=path, **words)
    except KeyboardInterrupt:
        assert stop_at == 2
    marked(monkeypatch)
    again = mqd.sweep(Cross, parts, space, resume=path, **words)
    pt.assert_frame_equal(again.table, expected.table)
    assert (tmp_path / "x.optuna.journal").exists()


def test_optuna_hears_the_mean_over_symbols_and_that_low_may_be_good(bars, monkeypatch):
    marked(monkeypatch)
    told = []
    real = mqd.sweeps.optuna_search.OptunaSearch.tell
    monkeypatch.setattr(
        "mqd.sweeps.optuna_search.OptunaSearch.tell",
        lambda self, block, scores: (told.extend(scores), real(self, block, scores)),
    )
    for metric, sign in (("sharpe", 1), ("fees_usd", -1)):
        told.clear()
        words = {"search": "optuna", "n": 20, "metric": metric}
        found = mqd.sweep(Cross, bars, {"fast": (1, 40)}, **words)
        mean = found.table[metric].to_numpy().reshape(20, 2).mean(axis=1)
        np.testing.assert_allclose(told, sign * mean)


CHANGES = {
    "grid": ({"fast": range(1, 40), "slow": range(1, 101)}, {}, "grid of fast"),
    "where": (LARGE, {"where": "fast < slow"}, "where: "),
    "cash": (LARGE, {"cash": 1_000}, "cash: 100000 there, 1000 here"),
    "costs": (LARGE, {"costs": mqd.Costs()}, "costs: "),
    "symbols": (LARGE, {"symbols": "pooled"}, "symbols: apart there, pooled here"),
    "seed": (LARGE, {"seed": 1}, "seed: 0 there, 1 here"),
}


@pytest.mark.parametrize(("grid", "words", "says"), CHANGES.values(), ids=CHANGES)
def test_the_file_of_another_sweep_is_refused(bars, monkeypatch, tmp_path, grid, words, says):
    path = tmp_path / "x.parquet"
    marked(monkeypatch)
    mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    with pytest.raises(SweepFileDiffers) as caught:
        mqd.sweep(Cross, bars, grid, **{"where": less, "resume": path, **words})
    assert says in str(caught.value)
    assert len(caught.value.differences) == 1


def test_other_code_and_other_data_are_another_sweep(bars, monkeypatch, tmp_path):
    path = tmp_path / "x.parquet"
    marked(monkeypatch)
    mqd.sweep(Cross, bars, {"fast": [2]}, resume=path)
    Edited = type("Cross", (Cross,), {"decide": lambda self, now, position: 0.5})
    with pytest.raises(SweepFileDiffers, match="code: "):
        mqd.sweep(Edited, bars, {"fast": [2]}, resume=path)
    with pytest.raises(SweepFileDiffers, match="bars of data: AAA,BBB"):
        mqd.sweep(Cross, small_bars(seed=9), {"fast": [2]}, resume=path)


def test_a_second_sweep_into_the_same_file_is_refused(bars, monkeypatch, tmp_path):
    path = tmp_path / "x.parquet"
    fresh = marked(monkeypatch)
    real = fresh.__call__

    def inside(self, columns):
        with pytest.raises(SweepFileTaken):
            mqd.sweep(Cross, bars, {"fast": [2, 3]}, resume=path)
        return real(self, columns)

    fresh.__call__ = inside
    assert mqd.sweep(Cross, bars, {"fast": [2, 3]}, resume=path).is_whole


def test_an_error_lets_go_of_the_file(bars, monkeypatch, tmp_path):
    path = tmp_path / "x.parquet"
    fresh = marked(monkeypatch)
    chunked(monkeypatch, 100)
    real = fresh.__call__

    def full(self, columns):
        if fresh.calls == 3:
            raise SweepWriteFailed(str(path), 300, OSError(28, "No space left on device"))
        return real(self, columns)

    fresh.__call__ = full
    with pytest.raises(SweepWriteFailed, match="300 combinations are kept"):
        mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    fresh = marked(monkeypatch)
    again = mqd.sweep(Cross, bars, LARGE, where=less, resume=path)
    assert sum(fresh.lengths) == again.n_combinations - 300
