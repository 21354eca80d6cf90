"""One HTML file that works offline: plotly.js and the style sheet are in it, nothing is fetched.

plotly.js is inlined once (about 4.5 MB). The same figures give the same bytes: no clock, no random
ids.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mqd.errors import UsageError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

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


def chart(figure: Figure, name: str) -> str:
    """Return a figure as HTML without plotly.js; its element is ``chart-<name>``."""
    from plotly.io import to_html

    inner = to_html(
        figure, full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"chart-{name}"
    )
    return f'<div class="chart">{inner}</div>'


def section(title: str, *parts: str) -> str:
    """Return a section of ready HTML under an escaped heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def document(title: str, body: str) -> str:
    """Return the whole page around ready HTML; ``title`` is escaped."""
    from plotly.offline import get_plotlyjs

    css = files("mqd.report").joinpath("tearsheet.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_NETWORK}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{css}</style>"
        '<script>window.PlotlyConfig = {MathJaxConfig: "local"};</script>'
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}</main></body></html>\n"
    )


def write_text(text: str, path: str | Path) -> Path:
    """Write a page to ``path`` (replaced if it exists) and return it.

    The file appears whole or not at all. Raises ``UsageError`` when it cannot be written.
    """
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(target)
    except OSError as cause:
        unfinished.unlink(missing_ok=True)
        raise UsageError(
            f"The report {target} cannot be written ({cause.strerror or cause})."
            " Name a file in a folder that exists and is writable."
        ) from cause
    return target
