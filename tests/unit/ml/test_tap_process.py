"""A shadow in its own process: the run beside it is the same, whatever the models do."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import mqd
from mqd.cli.main import main
from mqd.cli.models import ModelWords, ShadowWords, shadow_beside
from mqd.core.bar import bar_row
from mqd.errors import ModelRefused, UsageError
from mqd.ml import FeatureEngineer, FixedHorizon, InferenceEngine, ModelRegistry
from mqd.ml.evaluation.dataset import make_dataset
from mqd.ml.inference.predictor import ModelPredictor, model_predictors
from mqd.ml.shadow.asked import lost_bars
from mqd.ml.shadow.records import Prediction, read_records
from mqd.ml.shadow.replay import against
from mqd.ml.shadow.tap import ShadowTap
from mqd.strategy.library.model_signal import ModelSignal
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.predictors import predicting

pytestmark = pytest.mark.slow

DATA = "datasets/us_equity_daily_raw.parquet"
STRATEGY = SmaCross(fast=5, slow=20)


@pytest.fixture(scope="module")
def bars():
    return mqd.load_bars(DATA, symbols=["AAPL", "IBM"], start="2008-01-02", end="2009-12-31")


@pytest.fixture(scope="module")
def registry(bars, tmp_path_factory):
    """A registry with a champion "linear", whose predecessor is retired."""
    found = ModelRegistry(tmp_path_factory.mktemp("models") / "registry")
    engineer, label = FeatureEngineer(("rsi(14)", "log_return(1)", "range_frac")), FixedHorizon(1)
    data = make_dataset(bars, engineer, label)
    for c in (0.01, 100.0):
        model = LogisticRegression(C=c).fit(data.X, data.y)
        version = found.save(
            model, name="linear", features=engineer, label=label, training=data.training,
            threshold=0.5, note=f"C = {c}", metrics={"reference": data.reference()},
        )  # fmt: skip
        found.move(version.reference, "candidate", "test")
        found.move(version.reference, "champion", "test")
    return found


@pytest.fixture(scope="module")
def alone(bars):
    return mqd.backtest(STRATEGY, bars, engine="event").log_sha256


def test_attached_detached_and_killed_the_log_is_the_same(bars, registry, alone, tmp_path):
    tap = ShadowTap(tmp_path / "shadow", registry.folder, ["linear"])
    attached = mqd.backtest(STRATEGY, bars, engine="event", listener=tap).log_sha256
    told = tap.close()
    assert attached == alone
    assert (told["failure"], told["lost"]) == ("", 0)
    n_rows = sum(len(bars[symbol]) for symbol in bars.symbols)
    assert told["bars"] == n_rows
    said = [one for one in read_records(tmp_path / "shadow") if isinstance(one, Prediction)]
    assert len(said) == n_rows - told["warming"]
    skew, came = against(tmp_path / "shadow", registry, bars)
    assert skew.equal, skew.verdict
    assert skew.n == len(said)
    assert came.equal, came.verdict
    assert 0 < came.n < skew.n
    revised = mqd.load_bars(DATA, symbols=["AAPL", "IBM"], start="2008-01-02", end="2009-12-31",
                            adjust="split+dividend")  # fmt: skip
    skew, _ = against(tmp_path / "shadow", registry, revised)
    assert not skew.equal
    assert "IBM" in skew.verdict
    skew, _ = against(tmp_path / "shadow", registry, bars.between("2009-01-02", None))
    assert skew.summary()["without_bar"] > 400
    assert skew.late == ("AAPL", "IBM")
    assert "give an earlier start" in skew.verdict
    whole = mqd.load_bars(DATA, symbols=["IBM"], end="2009-12-31")  # begins years before
    skew, came = against(tmp_path / "shadow", registry, whole)
    assert skew.without_bars == came.without_bars == ("AAPL",)
    assert skew.found.equal
    assert came.found.equal

    killed = ShadowTap(tmp_path / "killed", registry.folder, ["linear"])
    os.kill(killed._process.pid, signal.SIGKILL)
    assert mqd.backtest(STRATEGY, bars, engine="event", listener=killed).log_sha256 == alone
    told = killed.close()
    assert told["failure"]
    assert n_rows - 200 < told["lost"] <= n_rows  # but for what lay in the pipe


def test_a_shadow_that_does_not_come_up_says_why(registry, tmp_path):
    with pytest.raises(ModelRefused, match="linnear"):
        ShadowTap(tmp_path, registry.folder, ["linnear"])


def test_a_champion_trades_the_same_in_both_engines_and_twice(bars, registry):
    with model_predictors(registry, ["linear"], champions_only=True) as found:
        (reference,) = found
        with predicting(reference, found[reference]):
            strategy = ModelSignal(model=reference, enter_at=0.502, exit_below=0.5)
            event = mqd.backtest(strategy, bars, engine="event")
            compiled = mqd.backtest(strategy, bars, engine="compiled")
            again = mqd.backtest(strategy, bars, engine="event")
            report = mqd.check(strategy, bars, n_cuts=2)
    assert event.metrics["n_fills"] > 4
    assert event.metrics["final_equity"] == compiled.metrics["final_equity"]
    assert event.log_sha256 == again.log_sha256
    assert report.ok


def test_scores_of_a_growing_history_are_those_of_the_whole(bars, registry):
    ibm = bars["IBM"]
    with InferenceEngine(registry, deadline_s=60.0) as engine:
        version = registry.champion("linear")
        whole = ModelPredictor(engine, version).scores(ibm)
        growing = ModelPredictor(engine, version)
        for n in (20, 21, 22, 300, 100, len(ibm)):
            part = bars.between(None, mqd.core.clock.iso(int(ibm.ts_close[n - 1])))["IBM"]
            assert growing.scores(part).tobytes() == whole[:n].tobytes()
    assert np.isfinite(whole[14:]).all()


def test_a_version_that_is_no_champion_does_not_trade(registry):
    retired = next(one for one in registry.versions("linear") if one.stage == "retired")
    with (
        pytest.raises(ModelRefused, match="it is retired"),
        model_predictors(registry, [retired.reference], champions_only=True),
    ):
        pass


def test_a_champion_that_is_retired_while_it_trades_falls_silent(bars, registry, tmp_path):
    copy = shutil.copytree(registry.folder, tmp_path / "copy")
    copy.chmod(0o700)
    mine, ibm = ModelRegistry(copy), bars["IBM"]
    before = bars.between(None, mqd.core.clock.iso(int(ibm.ts_close[299])))["IBM"]
    with model_predictors(mine, ["linear"], champions_only=True, trades=True) as found:
        ((reference, predictor),) = found.items()
        known = predictor.scores(before)
        mine.move(reference, "retired", "it loses money")
        later = predictor.scores(ibm)
    assert later[:300].tobytes() == known.tobytes()
    assert np.isnan(later[300:]).all()
    assert np.isfinite(known[14:]).all()


def test_the_commands_say_what_the_shadow_said(bars, registry, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ["--data", f"{mqd.__path__[0]}/../{DATA}", "--symbols", "IBM", "--start", "2008-01-02",
            "--end", "2009-12-31"]  # fmt: skip
    first, second = (one.reference for one in registry.versions("linear"))
    words = ["--models", str(registry.folder), "--model", first, "--model", second]
    assert main(["shadow", "replay", "watched", *data, *words]) == 0
    assert main(["shadow", "status", "watched", *words[:2]]) == 0
    told = capsys.readouterr().out
    assert "linear@" in told
    assert "drift of the last predictions" in told
    assert "rsi_14" in told
    assert main(["shadow", "status", "watched", "--json", *words[:2]]) == 0
    (first_told, _) = json.loads(capsys.readouterr().out)["models"]
    moved = {one["column"]: one["psi"] for one in first_told["drift"]}
    assert set(moved) == {"rsi_14", "log_return_1", "range_frac"}
    assert max(moved.values()) < 0.3  # of the very bars that it was trained on, one of two symbols
    assert main(["shadow", "compare", "watched", first, second]) == 0
    assert "linear@" in capsys.readouterr().out
    assert main(["shadow", "replay", "watched", *data, "--models", str(registry.folder)]) == 0
    assert "equal to the bit" in capsys.readouterr().out
    assert main(["shadow", "status", "watched", "--models", str(tmp_path)]) == 0
    assert "No drift is told of linear" in capsys.readouterr().err
    assert main(["shadow", "replay", "watched", *data, *words]) == 2
    assert "watched holds the log of a shadow" in capsys.readouterr().err
    assert main(["shadow", "compare", "watched", first, first]) == 2
    assert main(["shadow", "compare", "watched", first, "nobody"]) == 2
    assert "No model 'nobody'" in capsys.readouterr().err
    assert main(["shadow", "status", "elsewhere"]) == 2
    assert main(["shadow", "status", "."]) == 2
    assert main(["shadow", "replay", "other", *data, "--score-from", "soon", *words]) == 2
    assert "no day" in capsys.readouterr().err


def test_a_backtest_with_a_shadow_prints_the_same_hash(registry, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["backtest", "sma_cross", "--data", f"{mqd.__path__[0]}/../{DATA}", "--symbols", "IBM",
             "--start", "2009-01-02", "--end", "2009-12-31", "--set", "fast=5", "--set", "slow=20",
             "--no-report"]  # fmt: skip
    assert main([*words, "--out", "bare"]) == 0
    bare = capsys.readouterr().out
    assert main([*words, "--out", "watched", "--shadow", "linear", "--models",
                 str(registry.folder)]) == 0  # fmt: skip
    watched = capsys.readouterr()
    hashes = [text.split("log_sha256: ")[1].split()[0] for text in (bare, watched.out)]
    assert hashes[0] == hashes[1]
    assert "252 bars heard, 0 lost" in watched.err
    assert main([*words, "--out", "watched", "--shadow", "linear"]) == 2
    assert main([*words, "--shadow", "linear"]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_desk_that_trades_starts_without_a_shadow_whose_log_is_damaged(
    registry, tmp_path, capsys
):
    words, models = ShadowWords(("linear",)), ModelWords(registry.folder)
    (tmp_path / "predictions.ndjson").write_text("no record\n")
    with shadow_beside(words, models, tmp_path, must_start=False) as listener:
        assert listener is None
    assert "The desk goes on without it" in capsys.readouterr().err
    with (
        pytest.raises(ModelRefused, match="no record of a shadow"),
        shadow_beside(words, models, tmp_path),
    ):
        pass
    with (
        pytest.raises(UsageError, match="Did you mean 'linear'"),
        shadow_beside(ShadowWords(("linnear",)), models, tmp_path, must_start=False),
    ):
        pass


def test_a_shadow_holds_no_key(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("APCA_API_SECRET_KEY", "canary-of-the-shadow")
    tap = ShadowTap(tmp_path, registry.folder, ["linear"])
    try:
        family = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(tap._process.pid)], capture_output=True, text=True
        ).stdout.split()
        for pid in (str(tap._process.pid), *family):
            assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        tap.close()


def test_a_shadow_that_hangs_is_ended_and_a_slow_one_is_waited_for(registry, tmp_path, monkeypatch):
    monkeypatch.setattr("mqd.ml.shadow.tap.END_S", 4.0)
    ibm = mqd.load_bars(DATA, symbols=["IBM"])["IBM"]
    rows = [bar_row(ibm, at) for at in range(3000)]
    hung = ShadowTap(tmp_path / "hung", registry.folder, ["linear"])
    os.kill(hung._process.pid, signal.SIGSTOP)
    slow = ShadowTap(tmp_path / "slow", registry.folder, ["linear"])
    for row in rows:
        hung.on_bar(row, past=False)
        slow.on_bar(row, past=False)
    assert "it hung" in hung.close()["failure"]
    told = slow.close()
    assert (told["failure"], told["bars"]) == ("", 3000)


def test_rows_that_are_lost_are_told_to_the_shadow(registry, tmp_path, monkeypatch):
    ibm = mqd.load_bars(DATA, symbols=["IBM"], end="2002-12-31")
    rows = [bar_row(ibm["IBM"], at) for at in range(len(ibm["IBM"]))]
    tap = ShadowTap(tmp_path / "shadow", registry.folder, ["linear"])
    for row in rows[:50]:
        tap.on_bar(row, past=False)
    monkeypatch.setattr("mqd.ml.shadow.tap.QUEUE_MAX", 0)
    for row in rows[50:60]:
        tap.on_bar(row, past=False)
    monkeypatch.undo()
    for row in rows[60:]:
        tap.on_bar(row, past=False)
    monkeypatch.setattr("mqd.ml.shadow.tap.QUEUE_MAX", 0)
    for row in rows[-3:]:  # the end is lost: no bar follows that could tell of it
        tap.on_bar(row._replace(ts_close=row.ts_close + 1), past=False)
    monkeypatch.undo()
    told = tap.close()
    assert (told["lost"], told["gaps"], told["bars"]) == (13, 2, len(rows) - 10)
    for one in against(tmp_path / "shadow", registry, ibm):
        assert one.equal, one.verdict  # from the gap on, as from a start
    assert lost_bars(tmp_path / "shadow") == 13


def test_a_full_queue_takes_no_row_before_it_is_half_empty(monkeypatch):
    """Else each row that finds a place begins features anew: a gap a row."""
    monkeypatch.setattr("mqd.ml.shadow.tap.QUEUE_MAX", 10)
    row = bar_row(mqd.load_bars(DATA, symbols=["IBM"])["IBM"], 0)
    tap = ShadowTap.__new__(ShadowTap)  # its queue alone, without a process that empties it
    tap._rows, tap._changed, tap.failure = deque(), threading.Condition(), ""
    tap.n_lost, tap._n_gap, tap._is_full = 0, 0, False
    for _ in range(12):
        tap.on_bar(row, past=False)
    assert (len(tap._rows), tap._n_gap) == (10, 2)
    for n_left, n_taken in ((9, 0), (5, 0), (4, 2)):  # a gap, then the row
        while len(tap._rows) > n_left:
            tap._rows.popleft()
        tap.on_bar(row, past=False)
        assert len(tap._rows) == n_left + n_taken
    assert tap._rows[-2] == "[4]"
    assert (tap.n_lost, tap._n_gap) == (4, 0)
