"""How bars show themselves: a few lines of text, or a table in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from mqd.core.clock import iso
from mqd.market_data.calendar import day_date

if TYPE_CHECKING:
    from mqd.market_data.bars import Bars

SYMBOLS_SHOWN = 10
HEADER = ("symbol", "bars", "first session", "last session", "last close", "missing")


def as_text(bars: Bars) -> str:
    """Return two lines about all the bars and one a symbol, at most ten of these."""
    rows = [
        f"  {symbol:<10} {count:>9} bars  {first} to {last}  last close {close}"
        for symbol, count, first, last, close, _ in _cells(bars)[:SYMBOLS_SHOWN]
    ]
    hidden = len(bars) - SYMBOLS_SHOWN
    more = [f"  ... and {hidden} more"] if hidden > 0 else []
    return "\n".join([_title(bars), f"  {_span(bars)}", *rows, *more])


def as_html(bars: Bars) -> str:
    """Return the same as a small HTML table with every symbol."""
    header = "".join(f"<th>{name}</th>" for name in HEADER)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for row in _cells(bars)
    )
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
    return f"<b>{html.escape(_title(bars))}</b><br>{html.escape(_span(bars))}{table}"


def _title(bars: Bars) -> str:
    return (
        f"Bars: {bars.n_bars:,} bars of {bars.timeframe}, {len(bars)} symbol(s),"
        f" calendar {bars.calendar}, adjust {bars.adjust!r}, feed {bars.feed!r}"
    )


def _span(bars: Bars) -> str:
    missing, dropped = sum(bars.gaps.values()), len(bars.dropped)
    return (
        f"{iso(bars.first)} to {iso(bars.last)} from {bars.source};"
        f" {missing:,} missing, {dropped:,} dropped{', closes only' if bars.close_only else ''}"
    )


def _cells(bars: Bars) -> list[tuple[str, ...]]:
    return [
        (
            symbol, f"{len(one):,}", f"{day_date(one.session[0])}", f"{day_date(one.session[-1])}",
            f"{one.close[-1]:.10g}", f"{bars.gaps.get(symbol, 0):,}",
        )
        for symbol, one in bars.items()
    ]  # fmt: skip
