"""Results in a notebook's cell: a small table of figures and what they say. No script, no style."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

NOTHING = "–"


def table_html(title: str, rows: Iterable[tuple[str, str, str]], said: str) -> str:
    """Return ``title``, a row for each name, value and what it says, and a sentence below.

    All of it is escaped.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(value)}</td>'
        f'<td style="text-align:left">{escape(words)}</td></tr>'
        for name, value, words in rows
    )
    return (
        f"<div><b>{escape(title)}</b><table><tbody>{cells}</tbody></table>"
        f"<div>{escape(said)}</div></div>"
    )


def figure(value: float, form: str, unit: str = "") -> str:
    """Return a number in ``form``, a format of Python's; a dash when there is none."""
    return NOTHING if math.isnan(value) else f"{value:{form}}{unit}"


def with_interval(found: Iterable[float], form: str, unit: str = "") -> str:
    """Return a number with its interval, of number, low and high."""
    mean, low, high = found
    if math.isnan(mean):
        return NOTHING
    return f"{mean:{form}}{unit} [{low:{form}}, {high:{form}}]"
