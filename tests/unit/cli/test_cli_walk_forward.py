"""`mqd walk-forward`: the same words as the library, one document or one table."""

import json

import pytest

import mqd
from mqd.cli import main as cli
from mqd.strategy.library.sma_cross import SmaCross
from mqd.sweeps.evaluate import COUNTS

DATA = "datasets/us_equity_daily_raw.parquet"
SPAN = ["--data", DATA, "--symbols", "IBM", "--start", "2009-01-02", "--end", "2010-12-31"]
GRID = ["--grid", "fast=5,10", "--grid", "slow=20:60:40"]
CUT = ["--train", "252", "--test", "120"]


def test_the_command_does_what_the_library_does(capsys):
    words = [*SPAN, *GRID, *CUT, "--gap", "3", "--where", "fast<slow", "--fee-bps", "2", "--json"]
    assert cli.main(["walk-forward", "sma_cross", *words]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    bars = mqd.load_bars(DATA, symbols=["IBM"], start="2009-01-02", end="2010-12-31")
    found = mqd.walk_forward(
        SmaCross, bars, {"fast": [5, 10], "slow": [20, 60]}, train=252, test=120, gap=3,
        costs=mqd.Costs(fee_bps=2),
    )  # fmt: skip
    assert document["metrics"]["final_equity"] == found.metrics.final_equity
    assert [row["slow"] for row in document["windows"]] == found.windows["slow"].tolist()
    whole = {name for name, value in document["metrics"].items() if isinstance(value, int)}
    assert whole == COUNTS
    assert document["efficiency"] == pytest.approx(found.efficiency)
    assert document["trials"] == 8
    assert "not traded" in printed.err


def test_without_json_a_table_is_printed(capsys):
    words = [*SPAN, *CUT, "--set", "fast=5", "--set", "slow=20", "--anchored", "--unit", "sessions"]
    assert cli.main(["walk-forward", "sma_cross", *words, "--metric", "total_return_frac"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("SmaCross, 2 windows, WalkForward(train=252, test=120")
    assert "anchored=True" in printed
    assert "Efficiency (Total return out of sample / in sample)" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*SPAN, *GRID, "--test", "120"], "--train"),
        ([*SPAN, *GRID, "--train", "252", "--test", "0"], "test = 0"),
        ([*SPAN, *GRID, "--train", "900", "--test", "120"], "No window fits"),
        ([*SPAN, *GRID, *CUT, "--set", "fast=5"], "keep one"),
        ([*SPAN, *GRID, *CUT, "--metric", "sharp"], "Did you mean 'sharpe'"),
        ([*SPAN, *CUT, "--grid", "fasst=5"], "Did you mean 'fast'"),
        ([*SPAN, *GRID, *CUT, "--unit", "weeks"], "unit"),
    ],
)
def test_wrong_words_give_one_sentence_and_the_code(words, expected, capsys):
    assert cli.main(["walk-forward", "sma_cross", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("mqd: ")
    assert expected in printed.err
