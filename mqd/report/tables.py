"""Numbers as text: one way to write a metric, shared by console, notebook and tear sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

LABELS: dict[str, str] = {
    "final_equity": "Final equity",
    "total_return_frac": "Total return",
    "cagr_frac": "Return a year (CAGR)",
    "volatility_frac": "Volatility a year",
    "sharpe": "Sharpe",
    "sortino": "Sortino",
    "calmar": "Calmar",
    "max_drawdown_frac": "Max drawdown",
    "ulcer_index_frac": "Ulcer index",
    "value_at_risk_frac": "Value at risk (1 bar, 5 %)",
    "expected_shortfall_frac": "Expected shortfall (1 bar, 5 %)",
    "exposure_frac": "Bars in the market",
    "turnover_frac": "Turnover a year",
    "fees_usd": "Fees",
    "n_orders": "Orders",
    "n_denied": "Refused orders",
    "n_fills": "Fills",
    "n_trades": "Closed trades",
    "win_rate_frac": "Winning trades",
    "profit_factor": "Profit factor",
    "ambiguous_bars": "Ambiguous bars",
    "capped_fills": "Capped fills",
    "trimmed_fills": "Trimmed fills",
    "allocation": "Allocation",
    "pnl_usd": "Profit or loss, USD",
}
"""What a metric is called in front of people; unknown names are shown as they are."""

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
_WHOLE = frozenset({"ambiguous_bars", "capped_fills", "trimmed_fills"})


def label(name: str) -> str:
    """Return a metric's label, or its name when it has none."""
    return LABELS.get(name, name)


def _signed(text: str) -> str:
    """Return the text with a true minus, and none before a number that is shown as zero."""
    shown_as_zero = "0" in text and not any(digit in text for digit in "123456789")
    return text.replace("-", "" if shown_as_zero else MINUS)


def format_usd(value: float) -> str:
    """Return dollars with cents, ``1,234.50``; NaN is a dash."""
    return DASH if math.isnan(value) else _signed(f"{value:,.2f}")


def format_frac(value: float, digits: int = 2) -> str:
    """Return a fraction in hundredths, 0.1234 as ``12.34 %``; NaN is a dash."""
    return DASH if math.isnan(value) else _signed(f"{value * 100:,.{digits}f} %")


def is_count(name: str) -> bool:
    """Return whether a metric counts something: orders, fills, bars."""
    return name.startswith("n_") or name in _WHOLE


def document(metrics: Mapping[str, float]) -> dict[str, float | int]:
    """Return metrics for JSON: counts as ints, all else as floats."""
    return {str(n): int(v) if is_count(str(n)) else float(v) for n, v in metrics.items()}


def format_metric(name: str, value: float) -> str:
    """Return a metric as text: the unit follows from its name, NaN is a dash."""
    if math.isnan(value):
        return DASH
    if is_count(name):
        return f"{int(value):,}"
    if name == "turnover_frac":
        return f"{value:,.2f} x"
    if name.endswith("_frac") or name == "allocation":
        return format_frac(value)
    if name.endswith(("_usd", "_equity")):
        return format_usd(value)
    return _signed(f"{value:,.2f}")


def text_table(metrics: Mapping[str, float]) -> str:
    """Return the metrics as aligned lines of plain text, one a line."""
    rows = [(label(name), format_metric(name, value)) for name, value in metrics.items()]
    left = max((len(name) for name, _ in rows), default=0)
    right = max((len(text) for _, text in rows), default=0)
    return "\n".join(f"{name:<{left}}  {text:>{right}}" for name, text in rows)


def rich_table(metrics: Mapping[str, float], title: str = "") -> Table:
    """Return the metrics as a rich table for the console; ``title`` is taken literally."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right", no_wrap=True)
    for name, value in metrics.items():
        table.add_row(label(name), format_metric(name, value))
    return table


def html_rows(metrics: Mapping[str, float]) -> str:
    """Return the metrics as escaped ``<tr>`` rows of two cells, the value aligned right."""
    return "".join(
        f'<tr><td style="text-align:left">{escape(label(name))}</td>'
        f'<td style="text-align:right">{escape(format_metric(name, value))}</td></tr>'
        for name, value in metrics.items()
    )
