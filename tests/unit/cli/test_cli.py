"""The `mqd` command: words in, one sentence or one document out, and the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.cli import main as cli
from mqd.cli import output
from mqd.errors import StateFolderTaken, UsageError

DATA = "datasets/us_equity_daily_raw.parquet"
SHORT = ["--data", DATA, "--symbols", "IBM", "--start", "2010-01-04", "--end", "2010-12-31"]


def strict_json(text):
    """Parse JSON as the standard has it: no NaN, no Infinity, one document."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_help_names_every_command_and_imports_nothing_slow():
    code = (
        "import sys; from mqd.cli.main import main; assert main(['--help']) == 0;"
        "print(sorted({'cyclopts', 'numpy', 'pandas', 'numba', 'rich'} & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"  {name}" in printed for name in cli.COMMANDS)
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name, capsys):
    assert cli.main([*name.split(), "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Usage: mqd {name}")
    assert "--json" in printed


WRONG = {
    "no such command": (["backtset"], 2, "Did you mean 'backtest'?"),
    "no such option": (["backtest", "sma_cross", *SHORT, "--foo"], 2, "--foo"),
    "no strategy": (["backtest"], 2, "mqd backtest --help"),
    "no data": (["backtest", "sma_cross"], 2, "--data"),
    "strategy": (["backtest", "sma_crossx", *SHORT], 2, "Did you mean 'sma_cross'?"),
    "parameter": (["backtest", "sma_cross", *SHORT, "--set", "fasst=5"], 2, "Did you mean 'fast'?"),
    "range": (["backtest", "sma_cross", *SHORT, "--set", "fast=100000"], 2, "fast = 100000"),
    "no value": (["backtest", "sma_cross", *SHORT, "--set", "fast"], 2, "--set fast=20"),
    "file": (["backtest", "sma_cross", "--data", "none.parquet"], 2, "none.parquet"),
    "symbol": (["backtest", "sma_cross", "--data", DATA, "--symbols", "IBX"], 2, "'IBM'"),
    "sizer": (["backtest", "sma_cross", *SHORT, "--sizer", "quantty=3"], 2, "'quantity'"),
    "size": (["backtest", "sma_cross", *SHORT, "--sizer", "quantity=x"], 2, "'x'"),
    "engine": (["backtest", "sma_cross", *SHORT, "--engine", "slow"], 2, "engine"),
    "fee": (["backtest", "sma_cross", *SHORT, "--fee-bps", "-1"], 2, "fee_bps"),
    "report without a folder": (["backtest", "sma_cross", *SHORT, "--report"], 2, "--out"),
    "limits": (["backtest", "sma_cross", *SHORT, "--limits", "none.toml"], 2, "none.toml"),
    "no bars": (["backtest", "sma_cross", *SHORT[:-1], "2010-01-03"], 1, "no bars"),
    "run": (["replay", "no/such/run"], 2, "no/such/run"),
    "no log": (["replay", "datasets"], 2, "has no log"),
    "dataset": (["data", "verify", "us_equity"], 2, "us_equity_daily_raw"),
    "data command": (["data", "verfy"], 2, "verify"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_give_one_sentence_and_the_code(case, capsys):
    words, code, expected = WRONG[case]
    assert cli.main(words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mqd: ")
    assert "Traceback" not in printed.err
    assert expected in printed.err


def test_errors_carry_their_exit_code():
    assert cli.explain(UsageError("no")) == ("no", 2)
    assert cli.explain(StateFolderTaken("runs/x"))[1] == 3
    sentence, code = cli.explain(OSError(13, "Permission denied", "runs/x"))
    assert (sentence, code) == ("runs/x: Permission denied.", 1)
    sentence, code = cli.explain(KeyError("x"))
    assert code == 1
    assert "fault of mqd" in sentence
    assert "MQD_TRACEBACK=1" in sentence


def test_notes_of_an_error_are_told():
    error = UsageError("first")
    error.add_note("second")
    assert cli.explain(error)[0] == "first\nsecond"


def test_the_traceback_is_there_for_who_asks(monkeypatch):
    monkeypatch.setenv("MQD_TRACEBACK", "1")
    with pytest.raises(UsageError):
        cli.main(["backtset"])


def test_python_m_mqd_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mqd", "backtset"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Did you mean 'backtest'?" in done.stderr


def test_a_closed_pipe_is_no_error():
    command = f'"{sys.executable}" -m mqd data list | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() == "0"


STUCK = """
import time
from mqd import Strategy

class Stuck(Strategy):
    def features(self, bars):
        print("running", flush=True)
        time.sleep(30)
        return {}
    def decide(self, now, position):
        return 0.0
"""


def test_ctrl_c_ends_with_a_sentence_and_130(tmp_path):
    (tmp_path / "stuck.py").write_text(STUCK)
    command = [sys.executable, "-m", "mqd", "backtest", f"{tmp_path}/stuck.py:Stuck", *SHORT]
    # A shell's background job ignores Ctrl-C, and so would the processes that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "running\n"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("mqd: Stopped by Ctrl-C")
    assert "Traceback" not in err
    assert (tmp_path / "run" / "log").is_dir()


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals()
)  # fmt: skip


@given(st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_whatever_a_result_holds_becomes_valid_json(value):
    text = json.dumps(output.plain({"value": value}), allow_nan=False)
    assert set(strict_json(text)) == {"value"}


def test_values_keep_their_meaning_in_json():
    assert output.plain(float("nan")) is None
    assert output.plain(np.float64("inf")) is None
    assert output.plain(np.int64(3)) == 3
    assert output.plain(np.bool_(True)) is True
    assert output.plain(Decimal("1.10")) == "1.10"
    assert output.plain(Path("runs/x")) == "runs/x"
    assert output.plain({1: (2.5, "x")}) == {"1": [2.5, "x"]}
