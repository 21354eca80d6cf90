"""The figure of a walk-forward: tested equity by window, and the metric in and out of sample."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from mqd.report.plots import BLUE, GREY, ORANGE, gaps, stamps, style

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def walk_forward_figure(
    equity: pd.Series, windows: pd.DataFrame, metric: str, parameters: Sequence[str]
) -> Figure:
    """Return equity in USD with every other window shaded, above bars of the metric.

    ``equity``: by bar close, UTC. ``windows``: ``test_first, test_last, in_sample,
    out_of_sample`` and the parameters, one row a window.
    """
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.65, 0.35], vertical_spacing=0.05
    )
    index = pd.DatetimeIndex(equity.index)
    line = {"color": BLUE, "width": 1.4}
    figure.add_trace(
        go.Scatter(
            x=stamps(index), y=equity.to_numpy(), name="Equity, tested bars", mode="lines",
            line=line, hovertemplate="%{x}<br>%{y:,.2f} USD<extra></extra>",
        ),
        row=1, col=1,
    )  # fmt: skip
    first = stamps(pd.DatetimeIndex(windows["test_first"]))
    last = stamps(pd.DatetimeIndex(windows["test_last"]))
    chosen = [
        escape(", ".join(f"{name}={row[name]}" for name in parameters))
        for row in windows[list(parameters)].to_dict("records")
    ]
    for name, title, colour in (
        ("in_sample", "In sample", GREY),
        ("out_of_sample", "Out of sample", ORANGE),
    ):
        figure.add_trace(
            go.Bar(
                x=first + (last - first) / 2, y=windows[name].to_numpy(), name=title,
                marker={"color": colour}, text=chosen, textposition="none",
                hovertemplate="%{text}<br>%{y:.3f}<extra>" + title + "</extra>",
            ),
            row=2, col=1,
        )  # fmt: skip
    for begin, end in list(zip(first, last, strict=True))[::2]:
        figure.add_vrect(x0=begin, x1=end, fillcolor=GREY, opacity=0.12, line_width=0)
    style(figure, 520, legend=True)
    figure.update_layout(barmode="group")
    figure.update_yaxes(title_text="USD", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text=escape(metric), row=2, col=1)
    figure.update_xaxes(rangebreaks=gaps(index))
    return figure
