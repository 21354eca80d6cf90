"""Figures of a sweep: plain ``plotly.graph_objects.Figure``, never a widget.

A ``table`` is a sweep's: one row a combination (and symbol), a column a parameter, a column a
metric. ``metric`` names one; ``best`` says whether its largest or smallest value is wanted. Rows
whose metric is NaN are drawn nowhere. Every figure has a bounded number of points whatever the
number of rows: cells, bins or a sample. Words from outside are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.report.downsample import keep_extremes
from mqd.report.levels import (
    Best,
    Levels,
    by_weight,
    chosen,
    levels,
    merged,
    numbers,
    plain,
    sign,
)
from mqd.report.parallel import parallel_figure
from mqd.report.plots import BLUE, GREY, INK, ORANGE, RED, TEAL, gaps, stamps, style
from mqd.report.scale import colour_bar, colour_scale, steps, tick_format
from mqd.report.tables import format_frac, format_metric, label
from mqd.robustness import neighbour_stability
from mqd.significance import expected_max_sharpe

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "curve_figure",
    "equity_fan_figure",
    "heatmap_figure",
    "parallel_figure",
    "sharpe_distribution_figure",
    "stability_figure",
]

Floats = NDArray[np.float64]

CURVES_MAX = 12
FAN_POINTS_MAX = 1_500


def _axes(table: pd.DataFrame, x: str, y: str) -> tuple[Levels, Levels]:
    """Return the levels of two parameters; where few cells would be filled, fewer of them."""
    across, up = levels(table, x), levels(table, y)
    n_cells = len(across.shown) * len(up.shown)
    if len(np.unique(across.of * len(up.shown) + up.of)) * 10 >= n_cells:
        return across, up
    fewer = max(5, int(math.sqrt(len(table) / 3.0)))
    return levels(table, x, fewer), levels(table, y, fewer)


def _square(across: Levels, up: Levels, values: Floats) -> Floats:
    """Return the largest value of each cell, shape (levels up, levels across)."""
    width, height = len(across.shown), len(up.shown)
    return merged(values, up.of * width + across.of, width * height, "max").reshape(height, width)


def _mark(x: list[Any], y: list[Any], name: str, symbol: str, text: str) -> Any:
    """Return a marker that is seen on every colour, dark with a white rim; a dot fits in others."""
    from plotly import graph_objects as go

    return go.Scatter(
        x=x, y=y, mode="markers", name=name, hovertemplate=f"{text}<extra></extra>",
        marker={"symbol": symbol, "size": 9 if symbol == "circle" else 16, "color": INK,
                "line": {"color": "#ffffff", "width": 2}},
    )  # fmt: skip


def _place(figure: Figure, axis: Levels, which: Literal["x", "y"]) -> None:
    update = figure.update_xaxes if which == "x" else figure.update_yaxes
    update(title_text=escape(label(axis.name)), showgrid=False, zeroline=False, automargin=True)
    if not axis.even:
        ticks = {"nticks": 10} if len(axis.shown) > 12 else {}
        update(type="category", categoryorder="array", categoryarray=axis.shown, **ticks)


def _at(square: Floats) -> tuple[int, int] | None:
    """Return (row, column) of the largest number, None when there is none."""
    if not np.isfinite(square).any():
        return None
    row, place = np.unravel_index(int(np.nanargmax(square)), square.shape)
    return int(row), int(place)


def _told(rows: pd.DataFrame, names: Sequence[str], signed: Floats, metric: str) -> str:
    """Return the best row's own values in words."""
    if not np.isfinite(signed).any():
        return "No row has a number"
    row = rows.iloc[int(np.nanargmax(signed))]
    parts = [f"{escape(name)} {plain(row[name])}" for name in names]
    return f"Best: {', '.join(parts)}: {format_metric(metric, float(row[metric]))}"


def heatmap_figure(
    table: pd.DataFrame,
    x: str,
    y: str,
    metric: str = "sharpe",
    *,
    fixed: Mapping[str, object] | None = None,
    best: Best = "max",
) -> Figure:
    """Return the metric over two parameters, the best cell marked.

    A cell shows the best of the rows in it: other parameters and symbols are searched over,
    unless ``fixed`` gives their value. At most 120 levels an axis; more are cut into bins, and a
    random search into as many as its rows can fill. Raises ``UsageError`` for an unknown column
    and when no row has the fixed values.
    """
    from plotly import graph_objects as go

    rows = chosen(table, fixed or {})
    across, up = _axes(rows, x, y)
    values = sign(best) * numbers(rows, metric)
    signed = _square(across, up, values)
    square = sign(best) * signed
    scale = colour_scale(square)
    found = f"{escape(label(metric))} %{{z:{tick_format(metric)}}}"
    hover = f"{escape(x)} %{{x}}, {escape(y)} %{{y}}<br>{found}"
    figure = go.Figure(
        go.Heatmap(
            x=across.shown, y=up.shown, z=square, zmin=scale["min"], zmax=scale["max"],
            colorscale=scale["colours"], hoverongaps=False, colorbar=colour_bar(metric),
            hovertemplate=f"{hover}<extra></extra>",
        )
    )  # fmt: skip
    at, title = _at(signed), _told(rows, (x, y), values, metric)
    if at is not None:
        point = [across.shown[at[1]]], [up.shown[at[0]]]
        figure.add_trace(_mark(*point, "Best", "circle", title))
    _place(figure, across, "x")
    _place(figure, up, "y")
    return style(figure, 420, title)


def curve_figure(
    table: pd.DataFrame,
    x: str,
    metric: str = "sharpe",
    *,
    fixed: Mapping[str, object] | None = None,
    best: Best = "max",
) -> Figure:
    """Return the metric over one parameter: the best row of each level and the mean of its rows."""
    from plotly import graph_objects as go

    rows = chosen(table, fixed or {})
    across, values = levels(rows, x), sign(best) * numbers(rows, metric)
    top = merged(values, across.of, len(across.shown), "max")
    mean = merged(values, across.of, len(across.shown), "mean")
    figure = go.Figure()
    for name, line, colour in (("Best", top, BLUE), ("Mean", mean, GREY)):
        if name == "Best" or not np.array_equal(top, mean, equal_nan=True):
            figure.add_trace(
                go.Scatter(x=across.shown, y=sign(best) * line, name=name, mode="lines+markers",
                           line={"color": colour, "width": 1.6}, marker={"size": 5})
            )  # fmt: skip
    title, several = _told(rows, (x,), values, metric), len(figure.data) > 1
    if np.isfinite(top).any():
        at = int(np.nanargmax(top))
        point = [across.shown[at]], [float(sign(best) * top[at])]
        figure.add_trace(_mark(*point, "Best of all", "circle", title))
    _place(figure, across, "x")
    figure.update_yaxes(title_text=escape(label(metric)), tickformat=tick_format(metric))
    return style(figure, 360, title, legend=several)


def stability_figure(
    table: pd.DataFrame,
    parameters: Sequence[str],
    metric: str = "sharpe",
    *,
    x: str | None = None,
    y: str | None = None,
    best: Best = "max",
) -> Figure:
    """Return the metric averaged with its neighbours over two parameters: plateaus, not spikes.

    Each combination counts as the mean of itself and the combinations one step away
    (``robustness.neighbour_stability``); a cell shows the best of these over the other
    parameters. A circle marks the best combination itself, a diamond the best plateau. ``x`` and
    ``y`` default to the two parameters that move the metric most; with one it is a curve.
    """
    from plotly import graph_objects as go

    rows = table.assign(**{metric: sign(best) * numbers(table, metric)})
    stable = neighbour_stability(rows, list(parameters), metric)
    smooth = table.assign(**{metric: sign(best) * stable.smoothed})
    axes = [name for name in (x, y) if name is not None]
    axes += [name for name in by_weight(table, parameters, metric) if name not in axes]
    told = f"Neighbours keep {format_frac(stable.kept_frac, 0)} of the best"
    if math.isnan(stable.kept_frac):
        told = "Nothing to keep: the best has no neighbour, or is not above zero"
    if len(axes) < 2:
        figure = curve_figure(smooth, axes[0] if axes else parameters[0], metric, best=best)
        return figure.update_layout(title={"text": told})
    across, up = _axes(table, axes[0], axes[1])
    signed = _square(across, up, stable.smoothed)
    square, raw = sign(best) * signed, _square(across, up, numbers(rows, metric))
    scale = colour_scale(square)
    figure = go.Figure(_surface(across, up, square, scale, metric))
    for name, cells, symbol in (("Plateau", signed, "diamond"), ("Best", raw, "circle")):
        at = _at(cells)
        if at is not None:
            text = f"{name}: {format_metric(metric, float(sign(best) * cells[at]))}"
            figure.add_trace(_mark([across.shown[at[1]]], [up.shown[at[0]]], name, symbol, text))
    _place(figure, across, "x")
    _place(figure, up, "y")
    return style(figure, 440, told, legend=True)


def _surface(
    across: Levels, up: Levels, square: Floats, scale: Mapping[str, Any], metric: str
) -> Any:
    """Return filled contours; cells where there are too few levels, or texts without an order."""
    from plotly import graph_objects as go

    shared = {
        "x": across.shown, "y": up.shown, "z": square, "zmin": scale["min"], "zmax": scale["max"],
        "colorscale": scale["colours"], "colorbar": colour_bar(metric), "showlegend": False,
        "hovertemplate": f"%{{x}}, %{{y}}: %{{z:{tick_format(metric)}}}<extra></extra>",
    }  # fmt: skip
    smooth = all(axis.ordered and axis.exact for axis in (across, up))
    if min(square.shape) < 5 or not smooth:
        return go.Heatmap(hoverongaps=False, **shared)
    first, last, step = steps(scale["min"], scale["max"])
    contours = {"start": first, "end": last, "size": step}
    line = {"width": 0.6, "color": "#ffffff"}
    return go.Contour(contours=contours, autocontour=False, line=line, **shared)


def sharpe_distribution_figure(
    table: pd.DataFrame, n_trials: float, *, column: str = "sharpe"
) -> Figure:
    """Return the histogram of all rows' Sharpe ratios with what luck alone would show.

    ``column`` holds annualised ratios, ``n_trials`` is how many were tried in all. Drawn in: the
    best, and the ratio that the best of ``n_trials`` without skill is expected to show
    (``significance.expected_max_sharpe`` of the rows' variance): left of it the best is no news.
    """
    from plotly import graph_objects as go

    values = numbers(table, column)
    known = values[np.isfinite(values)]
    figure = go.Figure()
    if len(known):
        counts, edges = np.histogram(known, bins=min(80, max(8, round(2 * len(known) ** (1 / 3)))))
        middles = (edges[:-1] + edges[1:]) / 2.0
        figure.add_trace(
            go.Bar(x=middles, y=counts, width=np.diff(edges) * 0.96, showlegend=False,
                   marker={"color": BLUE, "opacity": 0.55},
                   hovertemplate="about %{x:.2f}: %{y:,} rows<extra></extra>")
        )  # fmt: skip
        spread = float(known.var(ddof=1)) if len(known) > 1 else math.nan
        lines = [
            ("Best", float(known.max()), TEAL, "solid"),
            ("Median", float(np.median(known)), GREY, "dot"),
        ]
        luck = expected_max_sharpe(spread, n_trials)
        if math.isfinite(luck):
            lines.append((f"Luck alone, best of {n_trials:,.0f}", luck, RED, "dash"))
        for what, place, colour, dash in lines:
            name = f"{what}: {format_metric(column, place)}"
            figure.add_trace(
                go.Scatter(x=[place, place], y=[0, counts.max() * 1.05], mode="lines", name=name,
                           line={"color": colour, "width": 2, "dash": dash}, hoverinfo="name")
            )  # fmt: skip
        places = [*edges, *(place for _, place, _, _ in lines)]
        room = 0.03 * (max(places) - min(places))
        figure.update_xaxes(range=[min(places) - room, max(places) + room])
    figure.update_xaxes(title_text="Sharpe ratio of a row")
    figure.update_yaxes(title_text="Rows", rangemode="tozero")
    style(figure, 340, legend=True)
    return figure.update_layout(margin={"b": 96})


def equity_fan_figure(curves: pd.DataFrame) -> Figure:
    """Return equity curves with the bands that hold half and nine tenths of them at each close.

    ``curves`` is indexed by bar close, one column a chosen combination in USD, the best first.
    The first is drawn in colour, eleven more in grey; the bands and the median are over all.
    A curve with a hole is left out.
    """
    from plotly import graph_objects as go

    index = pd.DatetimeIndex(curves.index)
    curves = curves.dropna(axis="columns")
    values = curves.to_numpy(dtype=np.float64)
    figure = go.Figure()
    if values.size:
        rows = keep_extremes(values[:, 0], FAN_POINTS_MAX)
        at, values = stamps(index)[rows], values[rows]
        if values.shape[1] > 2:
            _bands(figure, at, values)
        _curves(figure, at, values, [str(name) for name in curves.columns])
    figure.update_yaxes(title_text="USD", tickformat=",.0f")
    figure.update_xaxes(rangebreaks=gaps(index))
    style(figure, 400, legend=True)
    return figure.update_layout(margin={"b": 96})


def _bands(figure: Figure, at: pd.DatetimeIndex, values: Floats) -> None:
    from plotly import graph_objects as go

    flat = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    for low, high, name, opacity in ((0.05, 0.95, "90 %", 0.12), (0.25, 0.75, "50 %", 0.22)):
        lower, upper = np.quantile(values, (low, high), axis=1)
        figure.add_trace(go.Scatter(x=at, y=lower, showlegend=False, **flat))
        colour = f"rgba(36,88,166,{opacity})"
        figure.add_trace(
            go.Scatter(x=at, y=upper, name=name, fill="tonexty", fillcolor=colour, **flat)
        )
    median = np.median(values, axis=1)
    line = {"color": BLUE, "width": 1.4, "dash": "dot"}
    figure.add_trace(go.Scatter(x=at, y=median, name="Median", mode="lines", line=line))


def _curves(figure: Figure, at: pd.DatetimeIndex, values: Floats, names: list[str]) -> None:
    from plotly import graph_objects as go

    for place in reversed(range(min(len(names), CURVES_MAX))):
        first = place == 0
        figure.add_trace(
            go.Scatter(
                x=at, y=values[:, place], mode="lines", name=escape(names[place]),
                showlegend=first, opacity=1.0 if first else 0.55,
                line={"color": ORANGE if first else GREY, "width": 2.0 if first else 0.8},
                hovertemplate="%{x}<br>%{y:,.2f} USD",
            )
        )  # fmt: skip
