"""A run in a notebook cell: a small table and a line of equity. Static HTML, no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from mqd.report.downsample import keep_extremes
from mqd.report.tables import html_rows

SPARK_WIDTH, SPARK_HEIGHT, SPARK_POINTS = 280, 56, 280


def sparkline(values: ArrayLike) -> str:
    """Return an SVG polyline of a series, shape (n,); empty text below two finite values."""
    series = np.asarray(values, dtype=np.float64)
    series = series[np.isfinite(series)]
    if len(series) < 2:
        return ""
    rows = keep_extremes(series, SPARK_POINTS)
    low, high = float(series.min()), float(series.max())
    height = (series[rows] - low) / (high - low) if high > low else np.full(len(rows), 0.5)
    across = rows / (len(series) - 1) * (SPARK_WIDTH - 2) + 1
    down = (1.0 - height) * (SPARK_HEIGHT - 4) + 2
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return (
        f'<svg width="{SPARK_WIDTH}" height="{SPARK_HEIGHT}" role="img" aria-label="equity">'
        f'<polyline points="{points}" fill="none" stroke="#2458a6" stroke-width="1.5"/></svg>'
    )


def summary_html(title: str, metrics: Mapping[str, float], equity: ArrayLike) -> str:
    """Return the notebook view of a run: title, equity line, metrics in two columns."""
    items = list(metrics.items())
    half = (len(items) + 1) // 2
    tables = "".join(
        f'<table style="margin:0 1.5em 0 0">{html_rows(dict(part))}</table>'
        for part in (items[:half], items[half:])
        if part
    )
    return (
        f"<div><b>{escape(title)}</b><div>{sparkline(equity)}</div>"
        f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start">{tables}</div></div>'
    )
