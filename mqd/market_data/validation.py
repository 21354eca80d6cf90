"""The rules that bars must keep. Each names its rows, the values and the way out.

The rules look at whole columns; one million rows take some tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Ints
from mqd.core.clock import NS_PER_DAY, iso
from mqd.errors import BadRows
from mqd.market_data.columns import OPTIONAL, PRICES, Columns

ROWS_SHOWN = 5
DROP = "Correct the source, or pass on_bad='drop' to leave these rows out and have them listed."


@dataclass(frozen=True)
class Finding:
    """One rule and the rows that break it, as indices into the columns."""

    rule: str
    rows: Ints
    say: Callable[[int], str]
    fix: str


def check_values(columns: Columns) -> list[Finding]:
    """Return what breaks the rules of one row: finite, positive, high and low, volume."""
    numbers = columns.numbers
    findings = []
    fields = [name for name in (*PRICES, "volume", *OPTIONAL) if name in numbers]
    for name in fields:
        bad = ~np.isfinite(numbers[name])
        if name in OPTIONAL:
            bad &= _given(columns, name)
        findings += _finding(columns, f"{name} is finite", bad, (name,))
    for name in fields[:4]:
        bad = numbers[name] <= 0.0
        findings += _finding(columns, f"{name} is above zero", bad, (name,))
    for name in ("volume", "trade_count"):
        if name in numbers:
            findings += _finding(columns, f"{name} is not negative", numbers[name] < 0, (name,))
    high, low = numbers["high"], numbers["low"]
    for other in ("low", "open", "close"):
        bad = high < numbers[other]
        findings += _finding(columns, f"high is not below {other}", bad, ("high", other))
        if other != "low":
            bad = low > numbers[other]
            findings += _finding(columns, f"low is not above {other}", bad, ("low", other))
    return findings


def check_order(columns: Columns) -> list[Finding]:
    """Return the rows whose stamp repeats or precedes one before it, symbol by symbol."""
    backward = np.zeros(len(columns.ts), dtype=bool)
    repeated = np.zeros(len(columns.ts), dtype=bool)
    for rows in rows_by_symbol(columns.code, len(columns.symbols)):
        ts = columns.ts[rows]
        if len(ts) < 2 or bool((ts[1:] > ts[:-1]).all()):
            continue
        latest = np.maximum.accumulate(ts)
        first = np.zeros(len(ts), dtype=bool)
        first[np.unique(ts, return_index=True)[1]] = True
        repeated[rows] = ~first
        backward[rows[1:]] = (ts[1:] < latest[:-1]) & first[1:]
    return [
        *_finding(columns, "a symbol has one bar a stamp", repeated, ()),
        *_finding(columns, "stamps ascend within a symbol", backward, ()),
    ]


def check_sessions(
    columns: Columns, session_row: Ints, calendar: str, daily: bool
) -> list[Finding]:
    """Return the rows that the calendar puts in no session (``session_row`` is -1)."""
    what = "stamped at a session's open or midnight" if daily else "inside a session"
    fix = (
        f"The calendar is {calendar}: name another one (calendar=...) if the bars trade elsewhere"
        " or round the clock ('24/7'), correct the stamps (a stamp is the bar's start), name the"
        " time frame (timeframe='1min') if it was taken wrongly, or pass on_bad='drop'."
    )
    found = _finding(columns, f"a bar is {what} of {calendar}", session_row < 0, ())
    return [Finding(item.rule, item.rows, item.say, fix) for item in found]


def check_width(
    columns: Columns, all_rows: list[Ints], starts: Ints, width_ns: int
) -> list[Finding]:
    """Return the rows that begin before the bar ahead of them has ended.

    ``starts`` are the bars' starts, for daily bars their sessions' rows in the calendar (-1:
    none). It happens when a time frame is named that is longer than the data's.
    """
    least = 1 if width_ns >= NS_PER_DAY else width_ns
    early = np.zeros(len(starts), dtype=bool)
    for rows in all_rows:
        own = starts[rows]
        early[rows[1:]] = (own[1:] - own[:-1] < least) & (own[1:] >= 0)
    return _finding(columns, "a bar begins when the one before has ended", early, ())


def refuse_or_drop(
    columns: Columns, findings: list[Finding], on_bad: str, dropped: list[str]
) -> NDArray[np.bool_]:
    """Raise ``BadRows`` for the first finding, or return the mask of rows to keep.

    With ``on_bad="drop"`` each dropped row adds one sentence to ``dropped``.
    """
    keep = np.ones(len(columns.ts), dtype=bool)
    for finding in findings:
        if on_bad == "refuse":
            shown = [finding.say(int(row)) for row in finding.rows[:ROWS_SHOWN]]
            raise BadRows(columns.source, finding.rule, shown, len(finding.rows), finding.fix)
        dropped += [
            f"{finding.say(int(row))}: dropped, breaks '{finding.rule}'"
            for row in finding.rows[keep[finding.rows]]
        ]
        keep[finding.rows] = False
    return keep


def rows_by_symbol(code: Ints, count: int) -> list[Ints]:
    """Return the rows of each symbol in source order."""
    if len(code) and bool((code[1:] >= code[:-1]).all()):
        edges = np.searchsorted(code, np.arange(count + 1))
        return [np.arange(edges[i], edges[i + 1]) for i in range(count)]
    order = np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(count + 1))
    return [order[edges[i] : edges[i + 1]] for i in range(count)]


def _given(columns: Columns, name: str) -> NDArray[np.bool_]:
    """Return the rows whose symbol has a value of the column at all."""
    finite = np.isfinite(columns.numbers[name]).astype(np.float64)
    return (np.bincount(columns.code, finite, len(columns.symbols)) > 0)[columns.code]


def _finding(
    columns: Columns, rule: str, bad: NDArray[Any], fields: tuple[str, ...]
) -> list[Finding]:
    if not bad.any():
        return []

    def say(row: int) -> str:
        values = "".join(f", {name} = {float(columns.numbers[name][row])!r}" for name in fields)
        symbol = columns.symbols[columns.code[row]]
        stamp = iso(int(columns.ts[row]))
        return f"{columns.where(row)}: {symbol} {stamp}{values}"

    return [Finding(rule, np.flatnonzero(bad), say, DROP)]
