"""Numbers as text: units by name, dashes for NaN, nothing of a user taken as markup."""

import io
import math

import pytest
from rich.console import Console

from mqd.report.repr import sparkline, summary_html
from mqd.report.tables import format_metric, rich_table, text_table


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_return_frac", 0.1234, "12.34 %"),
        ("max_drawdown_frac", -0.4, "−40.00 %"),
        ("final_equity", 1234567.891, "1,234,567.89"),
        ("fees_usd", 0.0, "0.00"),
        ("sharpe", -0.5, "−0.50"),
        ("n_trades", 1200.0, "1,200"),
        ("ambiguous_bars", 3.0, "3"),
        ("turnover_frac", 12.5, "12.50 x"),
        ("profit_factor", math.nan, "–"),
        ("n_fills", math.nan, "–"),
        ("allocation", 0.25, "25.00 %"),
        ("pnl_usd", -3.456, "−3.46"),
        ("pnl_usd", -0.001, "0.00"),
        ("total_return_frac", -0.00001, "0.00 %"),
        ("sortino", -math.inf, "−inf"),
    ],
)
def test_format(name: str, value: float, text: str) -> None:
    assert format_metric(name, value) == text


def test_text_table_is_aligned() -> None:
    lines = text_table({"sharpe": 1.5, "final_equity": 100000.0, "mine": 2.0}).splitlines()
    assert lines[0] == "Sharpe              1.50"
    assert lines[1] == "Final equity  100,000.00"
    assert lines[2].startswith("mine ")
    assert text_table({}) == ""


def test_rich_table_takes_markup_literally() -> None:
    out = io.StringIO()
    Console(file=out, width=60).print(rich_table({"sharpe": 1.5}, title="[red]x[/red]"))
    assert "[red]x[/red]" in out.getvalue()
    assert "1.50" in out.getvalue()


def test_notebook_view_is_static_and_escaped() -> None:
    html = summary_html("<script>x</script>", {"sharpe": 1.5, "n_trades": 4.0}, [1.0, 2.0, 1.5])
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<polyline") == 1
    assert html.count("<tr>") == 2
    assert len(html) < 3000


def test_sparkline_keeps_the_peak_of_a_long_series() -> None:
    values = [1.0] * 100_000
    values[77_777] = 2.0
    svg = sparkline(values)
    assert ",2.0 " in svg
    assert len(svg) < 6000
    assert sparkline([1.0]) == ""
    assert "27.0,28.0" not in sparkline([1.0, 1.0])
    assert ",28.0" in sparkline([1.0, 1.0])
