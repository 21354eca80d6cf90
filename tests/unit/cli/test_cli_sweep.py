"""`mqd sweep` from end to end: its document, its words, kill -9 and Ctrl-C, and the exit codes."""

import resource
import signal
import subprocess
import sys
import time

import pandas as pd
import pandas.testing as pt
import pytest

import mqd
from mqd.cli import main as cli
from mqd.cli.sweep import grid_from_text
from mqd.errors import ParameterOutOfRange, UnknownParameter, UsageError
from mqd.strategy.library.sma_cross import SmaCross
from tests.unit.cli.test_cli import DATA, SHORT, strict_json
from tests.unit.sweeps.sweep_support import Cross

KEYS = {
    "strategy", "combinations", "bar_evaluations_per_s", "seconds", "peak_mb", "best",
    "deflated_sharpe", "pbo", "trials", "table",
}  # fmt: skip
GRID = ["--grid", "fast=5:20:5", "--grid", "slow=10:20:10", "--where", "fast<slow"]
WORDS = ["sweep", "sma_cross", *SHORT, *GRID, "--engine", "event"]


def run(words, capsys, code=0):
    assert cli.main([str(word) for word in words]) == code
    return capsys.readouterr()


@pytest.fixture(scope="module")
def library():
    """The same sweep by the library."""
    bars = mqd.load_bars(DATA, symbols=["IBM"], start=SHORT[5], end=SHORT[7])
    grid = {"fast": range(5, 21, 5), "slow": [10, 20]}
    return mqd.sweep(SmaCross, bars, grid, where="fast<slow", engine="event")


def test_json_is_one_document_with_the_promised_keys(capsys, library):
    document = strict_json(run([*WORDS, "--json"], capsys).out)
    assert set(document) == KEYS
    assert document["strategy"] == "SmaCross"
    assert document["combinations"] == document["trials"] == 4
    best = library.best()
    for name in ("fast", "slow", "sharpe", "final_equity", "n_fills"):
        assert document["best"][name] == best[name]
    assert document["deflated_sharpe"] == library.deflated_sharpe()
    assert document["pbo"] == library.pbo().pbo
    assert [row["sharpe"] for row in document["table"]] == library.best(n=4)["sharpe"].tolist()


def test_a_person_gets_the_best_rows_and_the_luck(capsys, tmp_path):
    printed = run([*WORDS, "--report", tmp_path / "x.html"], capsys).out
    assert printed.startswith("SmaCross over fast, slow: 4 combinations, 4 rows, event engine")
    for word in ("Deflated Sharpe: 0.", "PBO: 0.", "Trials: 4", f"Report: {tmp_path}"):
        assert word in printed
    assert (tmp_path / "x.html").exists()


def test_two_symbols_have_a_pbo_each(capsys):
    words = ["IBM,MSFT" if word == "IBM" else word for word in WORDS]
    printed = run(words, capsys).out
    for word in ("PBO IBM: 0.", "PBO MSFT: 0.", "Trials: 8"):
        assert word in printed


COMMANDS = [["sweep"], ["walk-forward", "--train", 50, "--test", 20]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("dsk", "--workers 'dsk' is no number of threads, nor dask, nor the address of a Dask"),
        ("dsk", "scheduler, such as tcp://10.0.0.5:8786. Did you mean 'dask'?"),
        ("2.5", "--workers '2.5' is no number of threads"),
        ("0", "--workers 0: name at least one thread."),
        ("tcp://127.0.0.1:9", "No Dask scheduler answers at tcp://127.0.0.1:9"),
        ("dask", "DASK_SCHEDULER_ADDRESS"),
    ],
)  # fmt: skip
def test_workers_that_are_none_end_with_a_sentence(command, workers, said, capsys, monkeypatch):
    monkeypatch.setattr("mqd.sweeps.pools.WAIT_S", 1)
    words = [*command, "sma_cross", *SHORT, "--grid", "fast=5,10", "--workers", workers]
    printed = run(words, capsys, 2)
    assert printed.out == ""
    assert said in printed.err


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_grid_the_option_is_named(command, capsys):
    printed = run([*command, "sma_cross", *SHORT], capsys, 2)
    assert "No --grid: name parameters and their values, such as --grid fast=5:60." in printed.err


def test_a_report_without_a_folder_is_refused_before_the_sweep(capsys, tmp_path):
    path = tmp_path / "absent" / "x.html"
    printed = run([*WORDS, "--report", path, "--out", tmp_path / "x.parquet"], capsys, 2)
    assert f"--report {path}: its folder does not exist" in printed.err
    assert not list(tmp_path.iterdir())


def test_the_file_holds_all_rows_and_is_resumed(capsys, tmp_path, library):
    path = tmp_path / "x.parquet"
    document = strict_json(run([*WORDS, "--json", "--out", path], capsys).out)
    assert document["table"] == str(path)
    kept = pd.read_parquet(path)
    assert list(kept["sharpe"]) == list(library.table["sharpe"])
    printed = run([*WORDS, "--out", path], capsys, 2)
    assert f"it exists. Name a new file, or say --resume {path}" in printed.err
    again = strict_json(run([*WORDS, "--json", "--resume", path], capsys).out)
    assert again["best"] == document["best"]
    assert again["bar_evaluations_per_s"] == 0.0
    other = run([*WORDS, "--resume", path, "--cash", "7"], capsys, 2)
    assert "cash: 100000 there, 7 here" in other.err


def test_two_commands_do_not_write_one_file(capsys, tmp_path):
    from mqd.sweeps.parts import Layout
    from mqd.sweeps.store import FileStore

    path = tmp_path / "x.parquet"
    held = FileStore(path, Layout((), ((),)), {})
    printed = run([*WORDS, "--resume", path], capsys, 3)
    assert f"Another sweep writes {path}" in printed.err
    held.finish(whole=False)


def test_words_reach_the_library(capsys, monkeypatch, tmp_path):
    seen = {}

    def sweep(kind, bars, grid, **words):
        seen.update(words, grid=grid, symbols_read=bars.symbols)
        raise UsageError("enough")

    monkeypatch.setattr(mqd, "sweep", sweep)
    words = [
        "--pooled", "--search", "random", "--n", "7", "--memory-mb", "99", "--workers", "3",
        "--study", tmp_path, "--metric", "calmar", "--seed", "4", "--cash", "5", "--set", "fast=9",
        "--grid", "slow=20:90", "--fee-bps", "2",
    ]  # fmt: skip
    run(["sweep", "sma_cross", *SHORT, *words], capsys, 2)
    expected = {
        "symbols": "pooled", "search": "random", "n": 7, "memory_mb": 99, "workers": 3,
        "study": tmp_path, "metric": "calmar", "seed": 4, "cash": 5.0, "resume": None,
        "where": None, "grid": {"slow": (20, 90), "fast": 9}, "costs": mqd.Costs(fee_bps=2),
        "symbols_read": ("IBM",), "engine": "auto",
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == expected


TEXTS = {
    "to the end": ({"fast": "5:8"}, {"fast": range(5, 9)}),
    "steps": ({"slow": "20:250:5"}, {"slow": range(20, 251, 5)}),
    "steps that miss the end": ({"slow": "20:29:5"}, {"slow": range(20, 30, 5)}),
    "list": ({"fast": "1,2,3"}, {"fast": [1, 2, 3]}),
    "spaces": ({"fast": "1, 2"}, {"fast": [1, 2]}),
    "one": ({"fast": "4"}, {"fast": [4]}),
    "decimals": ({"band": "0.1:0.5:0.1"}, {"band": [0.1, 0.2, 0.3, 0.4, 0.5]}),
    "fine": ({"band": "0:0.07:0.035"}, {"band": [0.0, 0.035, 0.07]}),
    "texts": ({"mode": "mean,last"}, {"mode": ["mean", "last"]}),
    "switch": ({"short": "yes,no"}, {"short": [True, False]}),
}


@pytest.mark.parametrize(("texts", "expected"), TEXTS.values(), ids=TEXTS)
def test_ranges_and_lists_are_read(texts, expected):
    found = grid_from_text(Cross, texts, ranges=False)
    assert {name: list(values) for name, values in found.items()} == {
        name: list(values) for name, values in expected.items()
    }


def test_a_pair_is_a_range_of_a_search():
    texts = {"fast": "5:8", "band": "0.1:0.5", "slow": "20:40:10"}
    found = grid_from_text(Cross, texts, ranges=True)
    assert found == {"fast": (5, 8), "band": (0.1, 0.5), "slow": range(20, 41, 10)}


WRONG_TEXTS = {
    "unknown": ({"fasst": "1"}, UnknownParameter, "Did you mean 'fast'?"),
    "no number": ({"fast": "a:b"}, UsageError, "in numbers"),
    "too many": ({"fast": "1:2:3:4"}, UsageError, "in numbers"),
    "not finite": ({"fast": "1:inf"}, UsageError, "in numbers"),
    "open": ({"fast": "1:"}, UsageError, "in numbers"),
    "upside down": ({"fast": "9:5"}, UsageError, "9 is above 5"),
    "halves": ({"fast": "1:5:0.5"}, UsageError, "whole numbers"),
    "no step": ({"band": "0:1"}, UsageError, "add a step"),
    "step of nothing": ({"fast": "1:5:0"}, UsageError, "above 0"),
    "far too fine": ({"band": "0:1:1e-9"}, UsageError, "1,000,000,001 values"),
    "wrong value": ({"fast": "1,x"}, ParameterOutOfRange, "fast = 'x'"),
    "beyond": ({"fast": "1,41"}, ParameterOutOfRange, "fast = 41"),
}


@pytest.mark.parametrize(("texts", "error", "says"), WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_wrong_ranges_are_refused(texts, error, says):
    with pytest.raises(error) as caught:
        grid_from_text(Cross, texts, ranges=False)
    assert says in str(caught.value)


WRONG = {
    "no grid": ([], "No --grid: name parameters"),
    "trillion": (["--grid", "fast=1:1000000", "--grid", "slow=1:1000000"], "fast = "),
    "no equals": (["--grid", "fast"], "is not name=value, such as --grid fast=5:60"),
    "twice": (["--grid", "fast=5", "--grid", "fast=6"], "names 'fast' twice"),
    "grid and set": (["--grid", "fast=5", "--set", "fast=6"], "named by --grid and by --set"),
    "nothing left": (["--grid", "fast=9", "--where", "fast<5"], "leaves none"),
    "code": (["--grid", "fast=9", "--where", "exit()"], "is not allowed"),
    "no n": (["--grid", "fast=5:9", "--search", "random"], "needs n"),
    "both files": (["--out", "a.parquet", "--resume", "b.parquet"], "name one of them"),
    "metric": (["--grid", "fast=9", "--metric", "x"], "no metric 'x'"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG)
def test_wrong_words_end_with_a_sentence_and_2(words, says, capsys):
    printed = run(["sweep", "sma_cross", *SHORT, *words], capsys, 2)
    assert says in printed.err
    assert printed.out == ""


LONG = [
    "sweep", "sma_cross", "--data", DATA, "--symbols", "IBM", "--start", "2010-01-04",
    "--grid", "fast=5:14", "--grid", "slow=20:34:2", "--where", "fast<slow", "--engine", "event",
]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The rows of a sweep that nothing stopped."""
    path = tmp_path_factory.mktemp("sweep") / "whole.parquet"
    assert cli.main([*LONG, "--out", str(path)]) == 0
    return pd.read_parquet(path)


def stopped(path, with_signal, tmp_path):
    """Start a sweep, send it a signal when two parts are there, and return how it ended."""
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        # A shell's background job ignores Ctrl-C, and so would the processes that it starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [sys.executable, "-m", "mqd", *LONG, "--resume", str(path)], stdout=out, stderr=err
        )
        parts = path.with_name(f"{path.name}.parts")
        deadline = time.monotonic() + 60
        while len(list(parts.glob("part-*.parquet"))) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "err").read_text()
            time.sleep(0.01)
        process.send_signal(with_signal)
        code = process.wait(30)
    return code, (tmp_path / "out").read_text(), (tmp_path / "err").read_text()


@pytest.mark.slow
def test_kill_9_in_the_middle_then_resume_gives_the_same_table(tmp_path, uninterrupted, capsys):
    path = tmp_path / "x.parquet"
    code, _, _ = stopped(path, signal.SIGKILL, tmp_path)
    assert code == -signal.SIGKILL
    assert not path.exists()
    kept = len(list(path.with_name("x.parquet.parts").glob("part-*.parquet")))
    assert 2 <= kept < 6
    run([*LONG, "--resume", path], capsys)
    pt.assert_frame_equal(pd.read_parquet(path), uninterrupted)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["err", "out", "x.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize(("room", "kept"), [(4_000, "None are kept"), (40_000, "80 combinations")])
def test_a_full_disk_ends_with_a_sentence_and_keeps_the_rest(
    room, kept, tmp_path, uninterrupted, capsys
):
    """Files cannot grow beyond ``room`` bytes: no part fits, or the parts do and the whole not."""
    path = tmp_path / "x.parquet"
    done = subprocess.run(
        [sys.executable, "-m", "mqd", *LONG, "--resume", str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "results could not be written (" in done.stderr
    assert kept in done.stderr
    assert "Traceback" not in done.stderr
    run([*LONG, "--resume", path], capsys)
    pt.assert_frame_equal(pd.read_parquet(path), uninterrupted)


@pytest.mark.slow
def test_ctrl_c_tells_what_is_kept_and_exits_130(tmp_path, uninterrupted, capsys):
    path = tmp_path / "x.parquet"
    code, out, _ = stopped(path, signal.SIGINT, tmp_path)
    assert code == 130
    assert "Stopped by Ctrl-C: the first " in out
    assert "the same call with resume= goes on from there" in out
    run([*LONG, "--resume", path], capsys)
    pt.assert_frame_equal(pd.read_parquet(path), uninterrupted)
