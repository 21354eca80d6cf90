"""Pictures of models: frames in, plotly figures out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mqd.report.plots import BLUE, GREY, ORANGE, RED, TEAL, style

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

COLOURS = (BLUE, ORANGE, TEAL, RED)
BAR_WIDTH = 0.03


def calibration_figure(tables: Mapping[str, pd.DataFrame], title: str = "Calibration") -> Figure:
    """Return how often it was up against the score, a line a model, with the number of rows below.

    A table has the columns ``mean_score``, ``up_frac`` and ``n``, and may have ``low_frac`` and
    ``high_frac``, which are drawn as bars of error. On the diagonal a score means what it says.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.75, 0.25], vertical_spacing=0.06
    )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"},
        name="as said", row=1, col=1,
    )  # fmt: skip
    for number, (name, table) in enumerate(tables.items()):
        colour = COLOURS[number % len(COLOURS)]
        figure.add_scatter(
            x=table["mean_score"], y=table["up_frac"], mode="lines+markers", name=name,
            line={"color": colour}, error_y=_errors(table), legendgroup=name, row=1, col=1,
        )  # fmt: skip
        figure.add_bar(
            x=table["mean_score"], y=table["n"], width=BAR_WIDTH, marker_color=colour,
            opacity=0.6, showlegend=False, legendgroup=name, row=2, col=1,
        )  # fmt: skip
    figure.update_yaxes(title_text="was up", tickformat=".0%", range=[0, 1], row=1, col=1)
    figure.update_yaxes(title_text="rows", row=2, col=1)
    figure.update_xaxes(title_text="score", range=[0, 1], row=2, col=1)
    return style(figure, 520, title, legend=True)


def _errors(table: pd.DataFrame) -> dict[str, Any] | None:
    if "low_frac" not in table:
        return None
    return {
        "type": "data", "symmetric": False, "thickness": 1,
        "array": table["high_frac"] - table["up_frac"],
        "arrayminus": table["up_frac"] - table["low_frac"],
    }  # fmt: skip


def loss_figure(losses: pd.DataFrame, window: int, title: str = "Brier loss") -> Figure:
    """Return each model's mean loss over the last ``window`` predictions.

    ``losses``: a column a model, one row a prediction in order of time. They are counted, not
    timed, so that nights take no room.
    """
    from plotly.graph_objects import Figure

    figure = Figure()
    rolled = losses.reset_index(drop=True).rolling(window).mean().dropna()
    shown = rolled.iloc[:: max(1, len(rolled) // 1000)]
    for number, name in enumerate(shown):
        figure.add_scatter(
            x=shown.index, y=shown[name], mode="lines", name=str(name),
            line={"color": COLOURS[number % len(COLOURS)]},
        )  # fmt: skip
    figure.update_layout(yaxis_title="loss (0.25: a coin)", xaxis_title="predictions")
    return style(figure, 420, f"{title}, mean of the last {window:,}", legend=True)
