"""Sweeps on workers: the table of a local sweep, to the bit, whatever dies on the way."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from urllib.parse import urlparse

import dask
import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from joblib._parallel_backends import ThreadingBackend

import mqd
from mqd.cli import main as cli
from mqd.errors import DataError, MqdError, NotCompilable, UnknownParameter, UsageError
from mqd.sweeps import worker
from mqd.sweeps.bars_file import BarsFile
from mqd.sweeps.errors import SweepWriteFailed, WorkersLost
from mqd.sweeps.evaluate import Job
from mqd.sweeps.pools import pool_of
from mqd.sweeps.settings import sweep_settings
from mqd.sweeps.sweep import Plan
from mqd.sweeps.worker import Parcel, Raised, compute
from mqd.sweeps.workers import STRIKES_MAX, OnWorkers, answers, surveyed
from tests.unit.cli.test_cli import SHORT, strict_json
from tests.unit.sweeps.counted_link import CountedLink
from tests.unit.sweeps.sweep_support import Cross, Marked, small_bars, walk

pytestmark = pytest.mark.filterwarnings("default")  # distributed warns of what the tests do to it

GRID = {"fast": range(2, 8), "slow": [10, 15, 20]}
EVENT = {"engine": "event", "progress": False}


def same(one, other):
    """Assert that two sweeps are equal to the bit, in the same order."""
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    np.testing.assert_array_equal(one.moments, other.moments)


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread on this machine."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


@pytest.fixture
def client(cluster):
    """A client of both workers, those that a test killed restarted."""
    with Client(cluster) as opened:
        opened.wait_for_workers(2, timeout=60)
        yield opened


@pytest.fixture(scope="module")
def bars():
    """Two symbols of 60 days."""
    return small_bars()


@pytest.fixture(scope="module")
def local(bars):
    """The sweep of this process."""
    return mqd.sweep(Cross, bars, GRID, **EVENT)


def mortal(flags):
    """Return ``Cross`` that kills its process once for each flag file, and the same unharmed.

    The class is local to a function: it travels by value, as one of a notebook does.
    """

    class Mortal(Cross):
        def features(self, bars):
            if self.fast == 5:
                for flag in sorted(Path(flags).glob("*")):
                    flag.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
            return Cross.features(self, bars)

    return Mortal


# --- Dask -------------------------------------------------------------------------------------


def test_two_dask_workers_give_the_table_of_a_local_sweep(client, bars, local):
    same(mqd.sweep(Cross, bars, GRID, workers=client, **EVENT), local)


def test_the_open_client_and_the_address_of_a_scheduler_name_the_cluster(client, bars, local):
    same(mqd.sweep(Cross, bars, GRID, workers="dask", **EVENT), local)
    same(mqd.sweep(Cross, bars, GRID, workers=client.scheduler.address, **EVENT), local)


def test_without_an_open_client_dask_is_the_scheduler_of_its_own_setting(cluster, bars, local):
    with dask.config.set({"scheduler-address": cluster.scheduler_address}):
        same(mqd.sweep(Cross, bars, GRID, workers="dask", **EVENT), local)


@pytest.mark.parametrize("word", ["", "dask"])
def test_the_command_sweeps_on_a_cluster(cluster, capsys, word):
    words = [
        "sweep", "sma_cross", *SHORT, "--grid", "fast=5:20:5", "--grid", "slow=10:20:10",
        "--where", "fast<slow", "--engine", "event", "--json", "--workers",
    ]  # fmt: skip
    documents = []
    for workers in ("1", word or cluster.scheduler_address):
        with dask.config.set({"scheduler-address": cluster.scheduler_address}):
            assert cli.main([*words, workers]) == 0
        documents.append(strict_json(capsys.readouterr().out))
    for document in documents:
        for name in ("seconds", "bar_evaluations_per_s", "peak_mb"):
            del document[name]
    assert documents[0] == documents[1]
    assert documents[0]["combinations"] == 4


def test_the_command_walks_forward_on_a_cluster(cluster, capsys):
    words = [
        "walk-forward", "sma_cross", *SHORT, "--grid", "fast=5,10", "--set", "slow=20",
        "--train", "100", "--test", "60", "--engine", "event", "--json", "--workers",
    ]  # fmt: skip
    printed = []
    for workers in ("1", cluster.scheduler_address):
        assert cli.main([*words, workers]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_the_compiled_loop_runs_on_workers_with_several_datasets_pooled(client):
    data = {"one": small_bars(seed=3), "two": small_bars(("CCC",), n=50, seed=9)}
    words = {"symbols": "pooled", "engine": "compiled", "progress": False, "where": "fast < slow"}
    there = mqd.sweep(Cross, data, GRID, workers=client, **words)
    assert there.engine == "compiled"
    same(there, mqd.sweep(Cross, data, GRID, **words))


def test_a_search_that_learns_asks_the_same_questions(client, bars):
    pytest.importorskip("optuna")
    words = {"search": "optuna", "n": 24, "seed": 4, **EVENT}
    there = mqd.sweep(Cross, bars, {"fast": (2, 9), "slow": (10, 30)}, workers=client, **words)
    same(there, mqd.sweep(Cross, bars, {"fast": (2, 9), "slow": (10, 30)}, **words))


@pytest.mark.parametrize("n_killed", [1, 2])
def test_a_killed_worker_costs_no_row_and_doubles_none(client, bars, tmp_path, n_killed):
    flags = tmp_path / "flags"
    flags.mkdir()
    for number in range(n_killed):
        (flags / f"{number}").touch()
    before = set(client.run(os.getpid).values())
    there = mqd.sweep(mortal(flags), bars, GRID, workers=client, **EVENT)
    assert not any(flags.iterdir())
    client.wait_for_workers(2, timeout=60)
    gone = before - set(client.run(os.getpid).values())
    assert 1 <= len(gone) <= n_killed  # one that came after the first may be the second to die
    same(there, mqd.sweep(mortal(flags), bars, GRID, **EVENT))


def test_workers_that_die_of_every_try_end_the_sweep_with_a_sentence(client, bars, tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}").touch()
    forgiving = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures)
    _allow(client, 0)
    try:
        with pytest.raises(WorkersLost, match="lost 3 times without an answer; 1 calls are left"):
            mqd.sweep(mortal(tmp_path), bars, {"fast": [5], "slow": [10]}, workers=client, **EVENT)
    finally:
        _allow(client, forgiving)
    assert len(list(tmp_path.iterdir())) == 40 - STRIKES_MAX


def _allow(client, n):
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", n))


def test_bars_are_sent_once_and_a_second_chunk_sends_little(cluster, monkeypatch):
    data = small_bars(("AAA",), n=60)
    wide = mqd.Bars.from_pandas(minutes(5_000), symbols=["AAA"], calendar="24/7")
    host = urlparse(cluster.scheduler_address)
    monkeypatch.setattr(Plan, "chunk", property(lambda _: 8))
    grid = {"fast": range(2, 10), "slow": [10, 20, 30]}
    with CountedLink(host.hostname, host.port) as link, Client(link.address) as client:
        client.wait_for_workers(2, timeout=60)
        mqd.sweep(Cross, data, grid, workers=client, **EVENT)
        small = link.sent
        seen = []
        monkeypatch.setattr(
            "mqd.sweeps.sweep.Progress.reached", lambda *_: seen.append(link.sent - small)
        )
        mqd.sweep(Cross, wide, grid, workers=client, **EVENT)
    column_bytes = sum(getattr(wide["AAA"], n).nbytes for n in ("ts_open", "open", "close"))
    per_block = np.diff(sorted(set(seen)))
    assert seen[0] > column_bytes  # the bars have passed before the first answer
    assert per_block.max() < 20_000


def minutes(n):
    """Return a frame of minute bars that never stop."""
    open_ns = pd.date_range("2024-01-01", periods=n, freq="min", tz="UTC")
    close = np.round(100 + np.sin(np.arange(n) / 50), 2)
    prices = {"open": close, "high": close + 0.5, "low": close - 0.5, "close": close}
    return pd.DataFrame({"symbol": "AAA", "timestamp": open_ns, **prices, "volume": 1e6})


# --- datasets that workers read -------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Three files of one symbol each."""
    out = {}
    for place, symbol in enumerate(["AAA", "BBB", "CCC"]):
        path = tmp_path / f"{symbol}.parquet"
        walk(symbol, place).to_parquet(path)
        out[symbol] = path
    return out


def test_paths_are_read_by_workers_and_give_what_loaded_bars_give(client, files, monkeypatch):
    loaded = {name: mqd.load_bars(path) for name, path in files.items()}
    expected = mqd.sweep(Cross, loaded, GRID, **EVENT)
    same(mqd.sweep(Cross, {k: str(v) for k, v in files.items()}, GRID, **EVENT), expected)
    with monkeypatch.context() as patched:
        patched.setattr("mqd.sweeps.sweep.load_bars", _never)
        patched.setattr("mqd.sweeps.bars_file.load_bars", _never)
        there = mqd.sweep(Cross, files, GRID, workers=client, **EVENT)
        same(there, expected)
    assert there.result(20, engine="event").metrics["sharpe"] == there.table["sharpe"][20]
    assert there.bars(20).symbols == ("BBB",)


def _never(*_):
    raise AssertionError("the client reads no bars")


def test_a_file_that_is_missing_or_changed_is_told(client, files, tmp_path):
    with pytest.raises(UsageError, match=r"no data file '.*none\.parquet'"):
        mqd.sweep(Cross, {"x": tmp_path / "none.parquet"}, GRID, workers=client, **EVENT)
    (found,) = surveyed(pool_of(client), {"AAA": files["AAA"]}).values()
    assert found == BarsFile(files["AAA"], ("AAA",), 60, mqd.load_bars(files["AAA"]).sha256)
    job = Job(Cross, found._replace(sha256="0"), None, "apart", ())
    raised = compute(Parcel("changed", job), {})
    assert isinstance(raised, Raised)
    assert isinstance(raised.error, DataError)
    assert "changed while it was swept" in str(raised.error)


# --- resume and Ctrl-C ----------------------------------------------------------------------------


def test_a_sweep_stopped_on_workers_goes_on_here(client, bars, local, tmp_path, monkeypatch):
    file = tmp_path / "x.parquet"
    monkeypatch.setattr(Plan, "chunk", property(lambda _: 6))
    with monkeypatch.context() as patched:
        _interrupt_after(patched, 4)
        stopped = mqd.sweep(Cross, bars, GRID, workers=client, resume=file, **EVENT)
    assert not stopped.is_whole
    assert 0 < stopped.n_combinations < 18
    pd.testing.assert_frame_equal(
        stopped.table, local.table.head(len(stopped.table)), check_exact=True
    )
    same(mqd.sweep(Cross, bars, GRID, resume=file, **EVENT), local)


def _interrupt_after(patched, n_parts):
    added = []

    def reached(*_):
        added.append(0)
        if len(added) == n_parts:
            raise KeyboardInterrupt

    patched.setattr("mqd.sweeps.sweep.Progress.reached", reached)


def test_ctrl_c_takes_back_what_was_asked_of_the_cluster(client, bars, monkeypatch):
    monkeypatch.setattr(Plan, "chunk", property(lambda _: 18))
    _interrupt_after(monkeypatch, 1)
    mqd.sweep(Cross, bars, GRID, workers=client, **EVENT)
    assert not client.futures


# --- joblib's backends ----------------------------------------------------------------------------


def test_processes_of_this_machine_give_the_same_and_one_may_die(bars, tmp_path):
    (tmp_path / "once").touch()
    there = mqd.sweep(mortal(tmp_path), bars, GRID, workers="loky", **EVENT)
    assert not any(tmp_path.iterdir())
    same(there, mqd.sweep(mortal(tmp_path), bars, GRID, **EVENT))


class Plainest(ThreadingBackend):
    """A backend of somebody else's, which cannot hand results out one by one."""

    supports_return_generator = False
    calls = 0

    def submit(self, func, callback=None):
        type(self).calls += 1
        return super().submit(func, callback)


def test_any_registered_backend_serves(bars, local, monkeypatch):
    monkeypatch.setitem(joblib.parallel.BACKENDS, "plainest", Plainest)
    same(mqd.sweep(Cross, bars, GRID, workers="plainest", **EVENT), local)
    assert Plainest.calls >= 4


def test_ray_is_registered_with_joblib_and_keeps_the_bars(bars, local, monkeypatch):
    """Ray is not installed here: its two calls and its backend are stood in for."""
    store, asked = [], []
    ray = types.ModuleType("ray")
    ray.put = lambda value: store.append(value) or len(store) - 1
    ray.get = lambda reference: asked.append(threading.get_ident()) or store[reference]
    seam = types.ModuleType("ray.util.joblib")
    seam.register_ray = lambda: joblib.register_parallel_backend("ray", Plainest)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, "ray.util.joblib", seam)
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    same(mqd.sweep(Cross, bars, GRID, workers="ray", **EVENT), local)
    assert len(store) == 1
    assert len(asked) == len(set(asked))  # each worker fetched it once


# --- a class of a notebook ------------------------------------------------------------------------

NOTEBOOK = """
import mqd
from tests.unit.sweeps.sweep_support import small_bars

class Here(mqd.Strategy):
    level: float = 0.5

    def decide(self, now, position):
        return self.level

words = dict(engine="event", progress=False)
grid = {"level": [0.25, 0.5, 1.0]}
here = mqd.sweep(Here, small_bars(), grid, **words)
there = mqd.sweep(Here, small_bars(), grid, workers=ADDRESS, **words)
assert there.table.equals(here.table)
print(here.table["final_equity"].nunique())
"""


def test_a_strategy_of_main_travels(client):
    text = NOTEBOOK.replace("ADDRESS", repr(client.scheduler.address))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2


# --- what is missing is asked for again -----------------------------------------------------------


class Flaky:
    """A pool that is lost after each answer, gives some twice, and may die for good."""

    n = 2

    def __init__(self, n_good):
        self.n_good = n_good
        self.asked = []

    def sent(self, parcel):
        return parcel

    def run(self, function, calls):
        self.asked.append(list(calls))
        for number, arguments in calls.items():
            if not self.n_good:
                break
            self.n_good -= 1
            yield number, function(*arguments)
            yield number, function(*arguments)
            break
        raise OSError("the line went dead")

    def close(self):
        pass


def test_answers_come_once_each_however_often_the_pool_is_lost():
    forgotten = []
    pool = Flaky(n_good=5)
    calls = dict(enumerate("abcde"))
    found = list(answers(pool, str.upper, calls, lambda c: (c,), lambda: forgotten.append(1)))
    assert found == list(enumerate("ABCDE"))
    assert pool.asked == [list(range(n, 5)) for n in range(5)]
    assert len(forgotten) == 5


def test_a_pool_that_brings_nothing_is_given_up_and_progress_forgives():
    pool = Flaky(n_good=2)
    with pytest.raises(WorkersLost, match=r"2 calls are left \(OSError: the line went dead\)"):
        list(answers(pool, str.upper, dict(enumerate("abcd")), lambda c: (c,), list))
    assert len(pool.asked) == 2 + STRIKES_MAX


class Backwards:
    """A pool that answers the last call first."""

    n = 2

    def sent(self, parcel):
        return parcel

    def run(self, function, calls):
        for number in reversed(calls):
            yield number, function(*calls[number])

    def close(self):
        pass


def test_slices_that_end_in_any_order_are_handed_on_in_order(bars, monkeypatch):
    monkeypatch.setattr("mqd.sweeps.worker.evaluator", Marked)
    settings = sweep_settings(engine="event", workers=1)
    job = Job(Cross, bars, settings, "apart", ("fast", "slow"))
    columns = {"fast": np.arange(20), "slow": np.arange(20) + 30}
    expected = Marked(job)(columns).columns["sharpe"]
    runner = OnWorkers(Backwards(), [job, job])
    for whole in (False, True):
        pieces = list(runner.pieces({0: columns, 1: columns}, whole=whole))
        assert len(pieces) == (2 if whole else 2 * runner.slices)
        for place in (0, 1):
            own = [piece.outcome.columns["sharpe"] for piece in pieces if piece.place == place]
            np.testing.assert_array_equal(np.concatenate(own), expected)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        NotCompilable("Odd", "decide", 3, "it calls print"),
        SweepWriteFailed("x.parquet", 3, OSError(28, "No space left on device")),
        UnknownParameter("Cross", "fats", ["fast", "slow"]),
    ],
)
def test_an_error_travels_as_it_is(error):
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found).keys() == vars(error).keys()
    assert isinstance(found, MqdError)


def test_what_fails_on_a_worker_is_raised_here(client, bars):
    there = {"workers": client, **EVENT}
    with pytest.raises(Exception, match="cash") as found:
        mqd.sweep(Cross, bars, GRID, cash=-1, **there)
    with pytest.raises(type(found.value)) as here:
        mqd.sweep(Cross, bars, GRID, cash=-1, **EVENT)
    assert str(found.value) == str(here.value)


def laid_out(handle, columns):
    """Meet what a handle stands for, as a sweep's chunk would."""

    class Stands:
        engine = "event"
        notes = ()

        def __call__(self, _columns):
            raise handle

    worker._KEPT.evaluators["x"] = Stands()
    return compute(Parcel("x", None), {"fast": columns})


@pytest.mark.parametrize(
    ("met", "kind", "said"),
    [
        (ZeroDivisionError("by nothing"), ZeroDivisionError, "by nothing"),
        (joblib.externals.loky.process_executor.TerminatedWorkerError("of theirs"), MqdError,
         "TerminatedWorkerError: of theirs"),
        (WorkersLost(3, 2, OSError()), WorkersLost, "The workers were lost 2 times"),
        (ValueError(threading.Lock()), MqdError, "ValueError: <unlocked"),
        (SystemExit(3), MqdError, "SystemExit: 3"),
    ],
)  # fmt: skip
def test_what_the_work_raises_is_no_lost_worker(met, kind, said):
    pool, asked = Backwards(), []

    def ask(function, calls):
        asked.append(list(calls))
        for number, found in Backwards.run(pool, function, calls):
            yield number, pickle.loads(pickle.dumps(found))

    pool.run = ask
    with pytest.raises(kind) as found:
        list(answers(pool, laid_out, {0: met}, lambda one: (one, np.arange(2)), list))
    assert str(found.value).startswith(said)
    assert asked == [[0]]


def test_a_strategy_that_cannot_be_sent_is_refused_at_once(client, bars):
    lock = threading.Lock()

    class Locked(Cross):
        def features(self, bars):
            with lock:
                return Cross.features(self, bars)

    said = "Locked cannot be sent to workers: .*lock.*sweep with threads: workers=None"
    with pytest.raises(UsageError, match=said):
        mqd.sweep(Locked, bars, GRID, workers=client, **EVENT)


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("lokky", "joblib has no such backend. Did you mean 'loky'?"),
        ("ray", "pip install ray"),
        (2.5, "a number of threads, a Dask Client"),
        ("tcp://127.0.0.1:9", "No Dask scheduler answers at tcp://127.0.0.1:9"),
        ("dask", "open one"),
        (0, "must be a number of threads"),
    ],
)
def test_workers_that_are_none_are_refused(bars, workers, said, monkeypatch):
    monkeypatch.setattr("mqd.sweeps.pools.WAIT_S", 1)
    with pytest.raises(UsageError) as refused:
        mqd.sweep(Cross, bars, GRID, workers=workers, **EVENT)
    assert said in str(refused.value)


def test_a_cluster_without_workers_is_refused(monkeypatch, bars):
    monkeypatch.setattr("mqd.sweeps.pools.WAIT_S", 0.2)
    with (
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address=":0", silence_logs=50
        ) as empty,
        Client(empty) as client,
        pytest.raises(UsageError, match="has no worker: start some"),
    ):
        mqd.sweep(Cross, bars, GRID, workers=client, **EVENT)
