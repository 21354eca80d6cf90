"""A sweep as one self-contained HTML page: its best rows, its shape, and how much of it is luck."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mqd.report import page, sweep_plots
from mqd.report.document import chart as plain_chart
from mqd.report.document import document, section, write_text
from mqd.report.levels import Best, by_weight, is_numeric, numbers
from mqd.report.parallel import parallel_figure
from mqd.report.tables import DASH, format_metric, label

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAPS_MAX = 3
METRICS_SHOWN = (
    "sharpe", "total_return_frac", "cagr_frac", "max_drawdown_frac", "volatility_frac",
    "turnover_frac", "n_trades", "fees_usd",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SweepData:
    """A sweep, ready to be shown.

    ``table``: one row a combination (and symbol, dataset), a column a parameter and a metric;
    ``parameters`` names the former, ``metric`` what was searched for, ``best`` its good side.
    ``n_trials``: how many were tried in the study. ``luck``: figures by label ("Deflated Sharpe":
    "0.93"), shown as cards. ``notes``: sentences. ``identity``: what was run.
    ``curves``: equity curves of chosen rows in USD by bar close, the best first; None: no fan.
    """

    title: str
    subtitle: str
    table: pd.DataFrame
    parameters: Sequence[str]
    n_trials: float
    metric: str = "sharpe"
    best: Best = "max"
    luck: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    identity: Mapping[str, str] = field(default_factory=dict)
    curves: pd.DataFrame | None = None
    rows_shown: int = 20


def _header(data: SweepData) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in data.identity.items()
    )
    cards = "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b></div>'
        for name, value in data.luck.items()
    )
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in data.notes)
    return (
        f'<header><h1>{escape(data.title)}</h1><p class="soft">{escape(data.subtitle)}</p>'
        f'<dl class="identity">{rows}</dl></header><div class="cards">{cards}</div>{notes}'
    )


def _chart(figure: Figure, name: str) -> str:
    """Return a figure with its title above it as text, where a narrow page can wrap it."""
    title = str(figure.layout.title.text or "")
    figure.update_layout(title={"text": ""})
    return f'<p class="soft">{title}</p>{plain_chart(figure, name)}'


def _cell(table: pd.DataFrame, name: str, value: object, *, is_metric: bool) -> str:
    if not is_numeric(table, name):
        return DASH if value is None or value == "" else str(value)
    number = float(value)  # type: ignore[arg-type]  # the column is numeric
    if is_metric:
        return format_metric(name, number)
    return DASH if math.isnan(number) else f"{number:,.6g}"


def _top(data: SweepData) -> str:
    """Return the best rows as a table: what was tried first, then the metrics."""
    values = numbers(data.table, data.metric) * (-1.0 if data.best == "max" else 1.0)
    order = pd.Series(values).sort_values(kind="stable", na_position="last").index
    rows = data.table.iloc[order[: data.rows_shown]]
    several = (n for n in ("dataset", "symbol") if n in rows and data.table[n].nunique() > 1)
    keys = [*several, *data.parameters]
    metrics = dict.fromkeys((data.metric, *METRICS_SHOWN))
    shown = [*keys, *(name for name in metrics if name in rows)]
    if "failed" in rows and (rows["failed"].fillna("") != "").any():
        shown.append("failed")
    texts = [
        [_cell(rows, name, row[name], is_metric=name not in keys) for name in shown]
        for row in rows.to_dict("records")
    ]
    told = f"{len(rows):,} of {len(data.table):,} rows, by {label(data.metric)}."
    table = page.table([label(name) for name in shown], texts, left=len(keys))
    return f'<p class="soft">{escape(told)}</p>{table}'


def _maps(data: SweepData) -> Iterator[str]:
    """Yield a heat map a pair of the three parameters that matter most, or one curve."""
    names = by_weight(data.table, data.parameters, data.metric)[:MAPS_MAX]
    if len(names) < 2:
        name = names[0] if names else data.parameters[0]
        yield _chart(
            sweep_plots.curve_figure(data.table, name, data.metric, best=data.best), "map-0"
        )
    pairs = [(x, y) for place, x in enumerate(names) for y in names[place + 1 :]]
    for number, (x, y) in enumerate(pairs):
        figure = sweep_plots.heatmap_figure(data.table, x, y, data.metric, best=data.best)
        yield _chart(figure, f"map-{number}")


def _sections(data: SweepData) -> Iterator[str]:
    yield section("Best rows", _top(data))
    if not np.isfinite(numbers(data.table, data.metric)).any():
        yield section("Nothing to draw", '<p class="soft">No row has a number.</p>')
        return
    if "sharpe" in data.table:
        figure = sweep_plots.sharpe_distribution_figure(data.table, data.n_trials)
        yield section("Skill or luck", _chart(figure, "sharpe"))
    maps = [f"<div>{one}</div>" for one in _maps(data)]
    kind = "pair" if len(maps) > 1 else "single"
    yield section("Over the parameters", f'<div class="{kind}">{"".join(maps)}</div>')
    told = (
        "Each combination averaged with those one step away: a plateau survives, a lone spike does"
        " not."
    )
    stable = sweep_plots.stability_figure(data.table, data.parameters, data.metric, best=data.best)
    yield section("Stability", f'<p class="soft">{told}</p>', _chart(stable, "stability"))
    lines = parallel_figure(data.table, data.parameters, data.metric, best=data.best)
    yield section("All parameters at once", _chart(lines, "parallel"))
    if data.curves is not None and not data.curves.empty:
        yield section("Equity", _chart(sweep_plots.equity_fan_figure(data.curves), "fan"))


def html(data: SweepData) -> str:
    """Return the whole page."""
    return document(data.title, _header(data) + "".join(_sections(data)))


def write(data: SweepData, path: str | Path) -> Path:
    """Write the page to ``path`` (replaced if it exists) and return it.

    The file appears whole or not at all. Raises ``UsageError`` when it cannot be written.
    """
    return write_text(html(data), path)
