"""`mqd backtest` and `mqd replay` from end to end on committed bars."""

import shutil
import sqlite3
from decimal import Decimal

import pytest

import mqd
from mqd.cli import main as cli
from mqd.cli.words import AccountWords, CostWords, FillWords, settings_of, sizer_of
from mqd.strategy.library.sma_cross import SmaCross
from mqd.sweeps.evaluate import COUNTS
from tests.unit.cli.test_cli import SHORT, strict_json

KEYS = {"strategy", "parameters", "data", "engine", "metrics", "log_sha256", "run"}
WORDS = ["backtest", "sma_cross", *SHORT, "--set", "fast=5", "--set", "slow=20"]


def run(words, capsys):
    assert cli.main(words) == 0
    return capsys.readouterr()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder that the command made."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert cli.main([*WORDS, "--out", str(folder), "--no-report"]) == 0
    return folder


def test_json_is_one_document_with_the_promised_keys(capsys):
    printed = run([*WORDS, "--json"], capsys)
    document = strict_json(printed.out)
    assert set(document) == KEYS
    assert document["strategy"] == "SmaCross"
    assert document["parameters"] == {"fast": 5, "slow": 20}
    assert document["engine"] == "event"
    assert document["run"] is None
    assert len(document["log_sha256"]) == 64
    assert document["metrics"]["n_fills"] > 0
    whole = {name for name, value in document["metrics"].items() if isinstance(value, int)}
    assert whole == COUNTS


def test_the_command_is_the_library(capsys):
    document = strict_json(run([*WORDS, "--json", "--fee-bps", "3"], capsys).out)
    bars = mqd.load_bars(SHORT[1], symbols=["IBM"], start=SHORT[5], end=SHORT[7])
    result = mqd.backtest(SmaCross(fast=5, slow=20), bars, costs=mqd.Costs(fee_bps=3.0))
    assert document["log_sha256"] == result.log_sha256
    assert document["metrics"]["final_equity"] == result.metrics["final_equity"]


def test_words_reach_the_library():
    settings = settings_of(
        CostWords(slippage_bps=2),
        FillWords(participation_frac=0.5, touch_fills=True, latency_ns=3),
        AccountWords(cash=5, sizer="quantity=3", account="cash", rebalance_band_frac=0.1),
        "event",
        4,
    )
    assert settings["costs"] == mqd.Costs(slippage_bps=2)
    assert settings["fills"] == mqd.FillModel(
        participation_frac=0.5, touch_fills=True, latency_ns=3
    )
    assert settings["sizer"] == mqd.FixedQuantity(Decimal(3))
    assert (settings["cash"], settings["account"], settings["seed"]) == (5, "cash", 4)
    assert settings["rebalance_band_frac"] == 0.1
    plain = settings_of(CostWords(), FillWords(), AccountWords(), "auto", 0)
    assert plain["costs"] is None
    assert plain["limits"] is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fraction", mqd.FractionOfEquity),
        ("quantity=10", mqd.FixedQuantity),
        ("notional=5000", mqd.FixedNotional),
        ("volatility=0.2", mqd.VolatilityTarget),
        ("kelly", mqd.Kelly),
    ],
)
def test_every_sizer_has_a_word(text, kind):
    assert isinstance(sizer_of(text), kind)


def test_the_table_tells_where_the_record_is(finished, capsys):
    printed = run(WORDS, capsys).out
    assert printed.startswith("SmaCross(fast=5, slow=20), event engine\n")
    assert "log_sha256: " in printed
    assert (finished / "log").is_dir()
    assert not (finished / "report.html").exists()


def test_orders_that_were_refused_are_told_beside_the_table(tmp_path, capsys):
    limits = tmp_path / "limits.toml"
    limits.write_text("[account]\nnotional_usd_max = 1.0\n", encoding="utf-8")
    folder = tmp_path / "run"
    told = run([*WORDS, "--limits", str(limits), "--out", str(folder), "--no-report"], capsys).err
    lines = (folder / "mqd.jsonl").read_text(encoding="utf-8").splitlines()
    refused = [line for line in lines if '"order_denied"' in line]
    assert len(refused) > 3
    assert told.startswith(f"{len(refused)} orders were refused; the first: ")
    assert str(folder / "mqd.jsonl") in told
    assert "refused" not in run(WORDS, capsys).err


def test_a_rule_that_does_not_compile_says_so_and_why(tmp_path, capsys):
    path = tmp_path / "own.py"
    path.write_text(
        "import mqd\n"
        "class Plain(mqd.Strategy):\n"
        "    def decide(self, now, position):\n"
        "        return float(sorted({1: now.close})[0] > 2)\n",
        encoding="utf-8",
    )
    told = run(["backtest", f"{path}:Plain", *SHORT], capsys).err
    assert told.startswith("Plain runs as plain Python: ")


def test_a_run_folder_comes_with_its_report(tmp_path, capsys):
    folder = tmp_path / "run"
    document = strict_json(run([*WORDS, "--out", str(folder), "--json"], capsys).out)
    assert document["run"] == str(folder)
    assert document["report"] == str(folder / "report.html")
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")[:1000]


def test_a_run_folder_that_exists_is_refused_and_left_alone(finished, capsys):
    before = sorted(path.stat().st_mtime_ns for path in finished.rglob("*"))
    assert cli.main([*WORDS, "--out", str(finished)]) == 2
    assert "exists" in capsys.readouterr().err
    assert sorted(path.stat().st_mtime_ns for path in finished.rglob("*")) == before


def test_replay_finds_the_store_equal(finished, capsys):
    document = strict_json(run(["replay", str(finished), "--json"], capsys).out)
    assert document["equal"] is True
    assert document["differences"] == []
    assert document["records"] > 10
    again = strict_json(run([*WORDS, "--json"], capsys).out)
    assert document["log_sha256"] == again["log_sha256"]
    assert "are equal" in run(["replay", str(finished)], capsys).out


def test_replay_finds_a_changed_store_different(finished, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    with sqlite3.connect(copy / "store.sqlite") as store:
        store.execute("UPDATE positions SET qty = '12345'")
    store.close()
    assert cli.main(["replay", str(copy), "--json"]) == 1
    document = strict_json(capsys.readouterr().out)
    assert document["equal"] is False
    assert any("positions IBM" in line for line in document["differences"])


def test_replay_refuses_a_log_damaged_in_its_middle(finished, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    log = next((copy / "log").glob("*.ndjson"))
    lines = log.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"seq":5', b'"seq":6')
    log.write_bytes(b"".join(lines))
    assert cli.main(["replay", str(copy)]) == 1
    assert "line 5" in capsys.readouterr().err
