"""`mqd backtest --stress`: the table after the result, and the rows in the document."""

from mqd.cli import main as cli
from tests.unit.cli.test_cli import SHORT, strict_json

WORDS = ["backtest", "sma_cross", *SHORT, "--set", "fast=5", "--set", "slow=20"]


def test_the_table_follows_the_result(capsys):
    assert cli.main([*WORDS, "--stress"]) == 0
    result, table = capsys.readouterr().out.split("\n\n")
    assert "log_sha256: " in result
    assert table.startswith("SmaCross(fast=5, slow=20) under stress\nScenario ")
    assert "costs x5" in table
    assert "bear market: does not apply. IBM fell" in table


def test_json_has_the_rows_only_when_asked(capsys):
    assert cli.main([*WORDS, "--stress", "--json", "--fee-bps", "3"]) == 0
    document = strict_json(capsys.readouterr().out)
    rows = {row["scenario"]: row for row in document["stress"]}
    assert rows["as loaded"]["fees_usd"] == document["metrics"]["fees_usd"]
    assert rows["costs x5"]["fees_usd"] > 4 * document["metrics"]["fees_usd"]
    assert rows["bear market"]["total_return_frac"] is None
    assert cli.main([*WORDS, "--json"]) == 0
    assert "stress" not in strict_json(capsys.readouterr().out)
