"""Parallel coordinates of a sweep, drawn as plain lines: no WebGL, so it also prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.report.levels import Best, by_weight, levels, numbers, sign
from mqd.report.plots import INK, RED, TEAL, style
from mqd.report.scale import blend, steps
from mqd.report.tables import label

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Floats = NDArray[np.float64]

LINES_MAX = 1_200
AXES_MAX = 10
TICKS_MAX = 8


def _sample(table: pd.DataFrame, metric: str, best: Best) -> pd.DataFrame:
    """Return at most 1,200 rows with a number, the best last: 150 the best, the rest even."""
    values = sign(best) * numbers(table, metric)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    if len(order) > LINES_MAX:
        top = LINES_MAX // 8
        rest = np.linspace(0, len(order) - top - 1, LINES_MAX - top).astype(np.int64)
        order = np.concatenate((order[rest], order[len(order) - top :]))
    return table.iloc[order]


def _dimension(rows: pd.DataFrame, name: str) -> tuple[Floats, list[tuple[float, str]]]:
    """Return each row's place on an axis from 0 to 1, and the axis's ticks (place, text)."""
    axis = levels(rows, name, text_max=10)
    if len(axis.shown) <= TICKS_MAX or not axis.ordered:
        last = max(len(axis.shown) - 1, 1)
        texts = [f"{value:,.6g}" if axis.even else str(value) for value in axis.shown]
        ticks = [(place / last, text) for place, text in enumerate(texts)]
        return axis.of / last, ticks[:: -(-len(ticks) // TICKS_MAX)]
    values = numbers(rows, name)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    first, last_tick, step = steps(low, high, 5)
    marks = np.arange(round((last_tick - first) / step) + 1) * step + first
    span = high - low
    return (values - low) / span, [((at - low) / span, f"{at:,.6g}") for at in marks.tolist()]


def _lines(places: Floats, rank: Floats, colours: Sequence[str]) -> list[Any]:
    """Return one trace a colour: the lines of its rows, in the order of the rows."""
    from plotly import graph_objects as go

    n_axes = places.shape[1]
    group = np.searchsorted((0.25, 0.5, 0.75, 0.93), rank)
    traces = []
    for number, colour in enumerate(colours):
        part = places[group == number]
        ys = np.column_stack((part, np.full(len(part), math.nan))).ravel()
        xs = np.tile(np.append(np.arange(n_axes, dtype=np.float64), math.nan), len(part))
        top = number == len(colours) - 1
        line = {"color": colour, "width": 1.2 if top else 1.0}
        traces.append(
            go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip",
                       opacity=0.8 if top else 0.35)
        )  # fmt: skip
    return traces


def parallel_figure(
    table: pd.DataFrame, parameters: Sequence[str], metric: str = "sharpe", *, best: Best = "max"
) -> Figure:
    """Return parallel coordinates: a line a row, an axis a parameter, then the metric.

    At most ten parameters, those that move the metric most, and 1,200 lines: the best 150 and an
    even sample of the others by rank, the best on top. Colour is the rank: red the worst, green
    the best. Drawn as plain lines, so that it needs no WebGL.
    """
    from plotly import graph_objects as go

    rows = _sample(table, metric, best)
    varied = by_weight(table, parameters, metric)[:AXES_MAX] or list(parameters)[:1]
    names = [*(name for name in parameters if name in varied), metric]
    figure = go.Figure()
    style(figure, 400, f"{len(rows):,} of {len(table):,} rows")
    if len(rows):
        axes = [_dimension(rows, name) for name in names]
        rank = np.arange(len(rows)) / max(len(rows) - 1, 1)
        colours = [blend(RED, 0.8), blend(RED, 0.35), "#c9d0d9", blend(TEAL, 0.5), TEAL]
        figure.add_traces(_lines(np.column_stack([place for place, _ in axes]), rank, colours))
        for at, (_, ticks) in enumerate(axes):
            figure.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, line={"color": INK, "width": 1})
            for place, text in ticks:
                figure.add_annotation(
                    x=at, y=place, text=text, showarrow=False, xanchor="left", xshift=4,
                    font={"size": 10}, bgcolor="rgba(255,255,255,0.75)", borderpad=1,
                )  # fmt: skip
    shown = [escape(label(name)) for name in names]
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=shown, side="top", showgrid=False,
        zeroline=False, range=[-0.15, len(names) - 0.65], automargin=True, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.04, 1.04], fixedrange=True)
    return figure.update_layout(margin={"l": 16, "r": 16, "t": 84, "b": 16})
