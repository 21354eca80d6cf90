"""The tear sheet's pieces of HTML: every word from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from mqd.report.data import ReportData
from mqd.report.plots import monthly_returns
from mqd.report.tables import DASH, format_frac, format_metric, format_usd, label

TRADES_SHOWN = 200
CARDS = (
    "total_return_frac", "cagr_frac", "sharpe", "sortino", "max_drawdown_frac", "volatility_frac",
    "calmar", "exposure_frac", "n_trades", "win_rate_frac", "profit_factor", "fees_usd",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


def header(data: ReportData) -> str:
    """Return title, sentence and the identity of the run."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in data.identity.items()
    )
    return (
        f'<header><h1>{escape(data.title)}</h1><p class="soft">{escape(data.subtitle)}</p>'
        f'<dl class="identity">{rows}</dl></header>'
    )


def cards(metrics: Mapping[str, float]) -> str:
    """Return the chosen metrics as cards and all of them as a table that opens."""
    signed = {"total_return_frac", "cagr_frac", "sharpe", "sortino", "calmar", "max_drawdown_frac"}
    shown = "".join(
        f'<div class="card"><span>{escape(label(name))}</span>'
        f'<b class="{_tone(metrics[name]) if name in signed else ""}">'
        f"{escape(format_metric(name, metrics[name]))}</b></div>"
        for name in CARDS
        if name in metrics
    )
    rows = [[label(name), format_metric(name, value)] for name, value in metrics.items()]
    return (
        f'<div class="cards">{shown}</div><details><summary>All metrics</summary>'
        f"{table(['Metric', 'Value'], rows)}</details>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table of escaped texts; the first ``left`` columns are aligned left."""
    sides = [' class="left"' if column < left else "" for column in range(len(head))]
    top = "".join(f"<th{side}>{escape(name)}</th>" for side, name in zip(sides, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{side}>{escape(cell)}</td>" for side, cell in zip(sides, row, strict=True))
        + "</tr>"
        for row in rows
    )
    inner = f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _month_cell(value: float, bound: float) -> str:
    if np.isnan(value):
        return "<td></td>"
    depth = min(abs(value) / bound, 1.0) * 0.55 if bound else 0.0
    colour = "18,117,107" if value > 0 else "179,64,46"
    return f'<td style="background:rgba({colour},{depth:.2f})">{format_frac(value, 1)}</td>'


def monthly_table(data: ReportData) -> str:
    """Return compounded returns, years down, months across and the year's total at the end."""
    months = monthly_returns(data)
    inner = months.drop(columns="year").to_numpy(dtype=np.float64)
    bound = float(np.nanmax(np.abs(inner))) if np.isfinite(inner).any() else 0.0
    rows = []
    for year, values, total in zip(months.index, inner, months["year"], strict=True):
        cells = "".join(_month_cell(float(value), bound) for value in values)
        rows.append(
            f'<tr><td class="left">{year}</td>{cells}'
            f'<td class="total {_tone(total)}">{format_frac(float(total), 1)}</td></tr>'
        )
    head = "".join(f"<th>{name}</th>" for name in (*MONTHS, "Year"))
    return (
        '<div class="scroll"><table><thead><tr><th class="left"></th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def assumptions(data: ReportData) -> str:
    """Return each assumption with how often it mattered."""
    rows = "".join(
        f'<tr><td class="left wrap">{escape(sentence)}</td>'
        f"<td>{DASH if count is None else f'{count:,}'}</td></tr>"
        for sentence, count in data.assumptions
    )
    return (
        '<table><thead><tr><th class="left">Assumption</th><th>Times it mattered</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def costs_table(data: ReportData) -> str:
    """Return costs in USD by kind, with their share of the starting equity."""
    rows = []
    for kind, amount in data.costs.items():
        way = "received" if kind == "dividends" else "paid"
        share = format_frac(amount / data.starting_equity)
        rows.append([f"{kind.capitalize()}, {way}", format_usd(amount), share])
    return table(["Kind", "USD", "Of starting equity"], rows)


def strategies_table(frame: pd.DataFrame) -> str:
    """Return per-strategy performance, one row a strategy."""
    columns = [str(column) for column in frame.columns]
    rows = [
        [str(name), *(format_metric(column, float(row[column])) for column in columns)]
        for name, row in zip(frame.index, frame.to_dict("records"), strict=True)
    ]
    return table(["Strategy", *(label(column) for column in columns)], rows)


def _when(stamp: Any) -> str:
    return str(pd.Timestamp(stamp).strftime("%Y-%m-%d %H:%M"))


def _price(px: float) -> str:
    return f"{px:,.2f}" if abs(px) >= 100 else f"{px:,.6g}"


def trades_table(trades: pd.DataFrame) -> str:
    """Return the last 200 closed trades, the newest first."""
    newest = trades.tail(TRADES_SHOWN).iloc[::-1]
    rows = [
        [
            str(row["symbol"]), str(row["strategy"]), str(row["direction"]),
            _when(row["entry_ts"]), _when(row["exit_ts"]), f"{row['qty']:,.10g}",
            _price(row["entry_px"]), _price(row["exit_px"]), format_usd(row["pnl_usd"]),
            format_frac(row["return_frac"]), format_usd(row["fees_usd"]), f"{row['bars_held']:,}",
            str(row["exit_reason"]),
        ]
        for row in newest.to_dict("records")
    ]  # fmt: skip
    head = [
        "Symbol", "Strategy", "Side", "Entry (UTC)", "Exit (UTC)", "Quantity", "Entry price",
        "Exit price", "P&L, USD", "Return", "Fees", "Bars", "Exit",
    ]  # fmt: skip
    return table(head, rows, left=5)
