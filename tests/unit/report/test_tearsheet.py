"""The tear sheet as text: complete, escaped, self-contained, the same twice."""

import dataclasses
import re
from html import escape
from pathlib import Path

import pytest

from mqd.errors import UsageError
from mqd.report import tearsheet
from mqd.report.tables import format_metric
from tests.unit.report.made_up import NASTY, report_data


@pytest.fixture(scope="module")
def page() -> str:
    return tearsheet.html(report_data())


def _ours(page: str) -> str:
    """The page without plotly.js, which holds addresses that it never calls by itself."""
    return "".join(part for part in re.split(r"(<script>.*?</script>)", page, flags=re.DOTALL)
                   if len(part) < 2_000_000)  # fmt: skip


def test_every_section_is_there(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Equity and drawdown", "Monthly returns", "Trades on price", "Exposure and rolling Sharpe",
        "Costs", "Strategies", "Assumptions", "Closed trades",
    ]  # fmt: skip
    assert set(re.findall(r'id="(chart-[a-z0-9-]+)"', page)) == {
        "chart-equity", "chart-price-0", "chart-price-1", "chart-exposure", "chart-rolling-sharpe",
        "chart-costs", "chart-trade-returns",
    }  # fmt: skip


def test_numbers_are_those_of_the_run(page: str) -> None:
    data = report_data()
    for name, value in data.metrics.items():
        assert f"<td>{escape(format_metric(name, value))}</td>" in page
    assert "<td>1,234</td>" in page
    rows = page.split("<h2>Closed trades</h2>")[1].count("<tr>") - 1
    assert rows == min(200, len(data.trades))


def test_hostile_words_stay_words(page: str) -> None:
    assert NASTY not in page
    assert "<script>alert" not in page
    assert page.count(escape(NASTY)) >= 5


def test_nothing_is_fetched(page: str) -> None:
    ours = _ours(page)
    assert len(ours) < len(page) - 3_000_000
    assert "<link" not in ours.replace('<link rel="icon" href="data:,">', "")
    assert not re.search(r'(?:src|href)\s*=\s*"(?!data:)', ours)
    assert "@import" not in ours
    assert page.count("<script src") == 0


def test_same_run_same_bytes(page: str) -> None:
    assert tearsheet.html(report_data()) == page


def test_a_run_without_trades_or_costs_says_so() -> None:
    data = report_data(40)
    empty = dataclasses.replace(
        data, fills=data.fills.iloc[:0], trades=data.trades.iloc[:0], costs={}, assumptions=[],
        per_strategy=None, identity={},
    )  # fmt: skip
    page = tearsheet.html(empty)
    assert "No round trip was closed." in page
    assert "<h2>Strategies</h2>" not in page


def test_at_most_six_symbols_are_drawn() -> None:
    names = tuple("ABCDEFGH")
    page = tearsheet.html(report_data(40, names))
    assert len(set(re.findall(r'id="(chart-price-\d)"', page))) == 6
    assert "2 more are not drawn" in page


def test_write_replaces_whole_files_only(tmp_path: Path) -> None:
    data = report_data(40)
    target = tmp_path / "report.html"
    target.write_text("old")
    assert tearsheet.write(data, str(target)) == target
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(UsageError, match="cannot be written"):
        tearsheet.write(data, tmp_path / "missing" / "report.html")
