"""Colours and ticks of a metric: what is lost is red, what is won is green, zero is white."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.report.plots import RED, TEAL
from mqd.report.tables import label

Floats = NDArray[np.float64]

_PALE = "#eef2f5"


def blend(colour: str, share: float) -> str:
    """Return ``colour`` over white, ``share`` of it."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * share):02x}" for part in parts)


def colour_scale(values: Floats) -> dict[str, Any]:
    """Return range and colours: red below zero, white at it, green above; a ramp on one side.

    The lowest fiftieth shares one colour, so that a few disasters do not bleach the rest.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return {"min": 0.0, "max": 1.0, "colours": [[0, _PALE], [1, TEAL]]}
    low, high = float(np.quantile(known, 0.02)), float(known.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    if low >= 0.0:
        colours = [[0, _PALE], [0.5, blend(TEAL, 0.45)], [1, TEAL]]
    elif high <= 0.0:
        colours = [[0, RED], [0.5, blend(RED, 0.45)], [1, _PALE]]
    else:
        bound, zero = max(-low, high), -low / (high - low)
        colours = [
            [0, blend(RED, -low / bound)],
            [zero, "#ffffff"],
            [1, blend(TEAL, high / bound)],
        ]
    return {"min": low, "max": high, "colours": colours}


def tick_format(metric: str) -> str:
    """Return plotly's format of a metric's values: hundredths for a fraction."""
    return ".3~%" if metric.endswith("_frac") and metric != "turnover_frac" else ",.3~f"


def colour_bar(metric: str) -> dict[str, Any]:
    """Return a thin colour bar, so that a narrow page keeps room for the cells."""
    title = {"text": escape(label(metric)), "side": "right", "font": {"size": 11}}
    return {
        "thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}, "title": title,
        "tickformat": tick_format(metric), "xpad": 6,
    }  # fmt: skip


def steps(low: float, high: float, n_wanted: int = 10) -> tuple[float, float, float]:
    """Return first, last and step of round numbers that cut [low, high] into about ``n_wanted``."""
    rough = (high - low) / n_wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1.0, 2.0, 2.5, 5.0, 10.0) if times * power >= rough)
    return math.ceil(low / step) * step, math.floor(high / step) * step, step
