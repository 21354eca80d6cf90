"""The tear sheet of one run: one self-contained HTML file that works offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mqd.report import page, plots
from mqd.report.data import ReportData
from mqd.report.document import chart, document, section, write_text

SYMBOLS_SHOWN = 6


def _symbols_shown(data: ReportData) -> list[str]:
    """Return the symbols to draw: at most six, the most filled, in the order of ``prices``."""
    count = data.fills["symbol"].value_counts()
    busiest = sorted(data.prices, key=lambda symbol: -int(count.get(symbol, 0)))[:SYMBOLS_SHOWN]
    return [symbol for symbol in data.prices if symbol in busiest]


def _price_section(data: ReportData) -> str:
    shown = _symbols_shown(data)
    charts = [
        chart(plots.trades_figure(data, symbol), f"price-{row}") for row, symbol in enumerate(shown)
    ]
    hidden = len(data.prices) - len(shown)
    note = f"The {len(shown)} symbols with the most fills; {hidden} more are not drawn."
    return section("Trades on price", f'<p class="soft">{note}</p>' if hidden else "", *charts)


def _sections(data: ReportData) -> Iterator[str]:
    yield section("Equity and drawdown", chart(plots.equity_figure(data), "equity"))
    yield section("Monthly returns", page.monthly_table(data))
    yield _price_section(data)
    exposure = chart(plots.exposure_figure(data), "exposure")
    rolling = chart(plots.rolling_sharpe_figure(data), "rolling-sharpe")
    yield section(
        "Exposure and rolling Sharpe",
        f'<div class="pair"><div>{exposure}</div><div>{rolling}</div></div>',
    )
    costs = chart(plots.costs_figure(data), "costs")
    yield section(
        "Costs", f'<div class="pair"><div>{page.costs_table(data)}</div><div>{costs}</div></div>'
    )
    if data.per_strategy is not None:
        yield section("Strategies", page.strategies_table(data.per_strategy))
    yield section("Assumptions", page.assumptions(data))
    if data.trades.empty:
        yield section("Closed trades", '<p class="soft">No round trip was closed.</p>')
    else:
        shown = f"The last {min(len(data.trades), page.TRADES_SHOWN):,} of {len(data.trades):,}."
        yield section(
            "Closed trades",
            chart(plots.returns_figure(data), "trade-returns"),
            f'<p class="soft">{shown}</p>',
            page.trades_table(data.trades),
        )


def html(data: ReportData) -> str:
    """Return the whole page."""
    body = page.header(data) + page.cards(data.metrics) + "".join(_sections(data))
    return document(data.title, body)


def write(data: ReportData, path: str | Path) -> Path:
    """Write the page to ``path`` (replaced if it exists) and return it.

    The file appears whole or not at all. Raises ``UsageError`` when it cannot be written.
    """
    return write_text(html(data), path)
