"""The tear sheet: one self-contained HTML file that works offline.

plotly.js is inlined once (about 4.5 MB, so that the file needs no network); everything else is
this run's numbers. The same data give the same bytes: no clock, no random ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mqd.errors import UsageError
from mqd.report import page, plots
from mqd.report.data import ReportData

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SYMBOLS_SHOWN = 6
_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d"],
}

# The browser itself then refuses every request: what the page shows is in the page.
_NO_NETWORK = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; font-src data:"
)


def _chart(figure: Figure, name: str) -> str:
    from plotly.io import to_html

    inner = to_html(
        figure, full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"chart-{name}"
    )
    return f'<div class="chart">{inner}</div>'


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _symbols_shown(data: ReportData) -> list[str]:
    """Return the symbols to draw: at most six, the most filled, in the order of ``prices``."""
    count = data.fills["symbol"].value_counts()
    busiest = sorted(data.prices, key=lambda symbol: -int(count.get(symbol, 0)))[:SYMBOLS_SHOWN]
    return [symbol for symbol in data.prices if symbol in busiest]


def _price_section(data: ReportData) -> str:
    shown = _symbols_shown(data)
    charts = [
        _chart(plots.trades_figure(data, symbol), f"price-{row}")
        for row, symbol in enumerate(shown)
    ]
    hidden = len(data.prices) - len(shown)
    note = f"The {len(shown)} symbols with the most fills; {hidden} more are not drawn."
    return _section("Trades on price", f'<p class="soft">{note}</p>' if hidden else "", *charts)


def _sections(data: ReportData) -> Iterator[str]:
    yield _section("Equity and drawdown", _chart(plots.equity_figure(data), "equity"))
    yield _section("Monthly returns", page.monthly_table(data))
    yield _price_section(data)
    exposure = _chart(plots.exposure_figure(data), "exposure")
    rolling = _chart(plots.rolling_sharpe_figure(data), "rolling-sharpe")
    yield _section(
        "Exposure and rolling Sharpe",
        f'<div class="pair"><div>{exposure}</div><div>{rolling}</div></div>',
    )
    costs = _chart(plots.costs_figure(data), "costs")
    yield _section(
        "Costs", f'<div class="pair"><div>{page.costs_table(data)}</div><div>{costs}</div></div>'
    )
    if data.per_strategy is not None:
        yield _section("Strategies", page.strategies_table(data.per_strategy))
    yield _section("Assumptions", page.assumptions(data))
    if data.trades.empty:
        yield _section("Closed trades", '<p class="soft">No round trip was closed.</p>')
    else:
        shown = f"The last {min(len(data.trades), page.TRADES_SHOWN):,} of {len(data.trades):,}."
        yield _section(
            "Closed trades",
            _chart(plots.returns_figure(data), "trade-returns"),
            f'<p class="soft">{shown}</p>',
            page.trades_table(data.trades),
        )


def html(data: ReportData) -> str:
    """Return the whole page."""
    from plotly.offline import get_plotlyjs

    css = files("mqd.report").joinpath("tearsheet.css").read_text(encoding="utf-8")
    body = page.header(data) + page.cards(data.metrics) + "".join(_sections(data))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_NETWORK}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(data.title)}</title><style>{css}</style>"
        '<script>window.PlotlyConfig = {MathJaxConfig: "local"};</script>'
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>\n"
    )


def write(data: ReportData, path: str | Path) -> Path:
    """Write the page to ``path`` (replaced if it exists) and return it.

    The file appears whole or not at all. Raises ``UsageError`` when it cannot be written.
    """
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        unfinished.write_text(html(data), encoding="utf-8")
        unfinished.replace(target)
    except OSError as cause:
        unfinished.unlink(missing_ok=True)
        raise UsageError(
            f"The report {target} cannot be written ({cause.strerror or cause})."
            " Name a file in a folder that exists and is writable."
        ) from cause
    return target
