"""``mqd check``: exit code 0 when ok and 1 on a finding, one JSON document, shared options."""

import json
from pathlib import Path

import pytest

from mqd.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
DATA = ["--data", str(ROOT / "datasets" / "us_equity_daily_raw.parquet"), "--symbols", "AAPL"]
SPAN = ["--start", "2006-01-03", "--end", "2007-12-31"]
LEAK = f"{ROOT / 'tests' / 'zoo' / 'leaks.py'}:ZScoreOverAll"


def test_a_clean_strategy_exits_with_0_and_notes_in_json(capsys):
    code = main(["check", "donchian_breakout", *DATA, *SPAN, "--set", "entry=30", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert set(document) == {"ok", "findings"}
    assert document["ok"] is True
    (warm,) = [one for one in document["findings"] if one["kind"] == "warm-up"]
    assert warm["value"] == 31.0  # 30 earlier bars and its own
    assert {one["severity"] for one in document["findings"]} == {"note"}


def test_a_leak_exits_with_1_and_names_feature_and_bar(capsys):
    code = main(["check", LEAK, *DATA, *SPAN])
    out = capsys.readouterr().out
    assert code == 1
    assert out.startswith("ZScoreOverAll() on AAPL (502 bars of 1day): NOT ok\n  ! lookahead: ")
    assert "feature 'signal' of AAPL at the bar closing 2006-01-03T21:00:00Z is " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "sma_cros", *DATA], "Did you mean 'sma_cross'"),
        (["check", "sma_cross", *DATA, "--set", "fast"], "--set"),
        (["check", "sma_cross", *DATA, *SPAN, "--cuts", "0"], "n_cuts = 0"),
    ],
)
def test_wrong_words_exit_with_2(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err
