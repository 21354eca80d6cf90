"""Which orders of a log are not over, and what is known of each: one answer for all who ask.

An order that the venue called over stays over, whatever comes late. One that was given up ("not
found" twice, after the grace) is over too, until the venue names it after all: then it lives.
Questions about orders that are over go on for a while; their answers change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mqd.core.execution_report import ReportKind
from mqd.core.order import TERMINAL
from mqd.log_reader import Record

OVER: Final = frozenset(
    {
        "denied", ReportKind.DEFINITE_REJECT, ReportKind.NOT_FOUND, ReportKind.FILL,
        ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED, ReportKind.REPLACED,
    }
)  # fmt: skip
"""The last words about an order."""
UNHEARD: Final = frozenset(
    {
        ReportKind.OUTCOME_UNKNOWN, ReportKind.RATE_LIMITED, ReportKind.DUPLICATE_ID,
        ReportKind.NOT_FOUND_YET, ReportKind.CANCEL_REJECTED, ReportKind.REPLACE_REJECTED,
    }
)  # fmt: skip
"""Words that do not say that the venue has the order."""
WORKS: Final = "works at the venue"
IN_DOUBT: Final = "in doubt: the venue has not confirmed it"


def may_be_open(row: dict[str, Any]) -> bool:
    """Return whether a row of the store's orders may be of one that is not over: what was said
    of it last is no end, and it is not filled."""
    return row["last_event"] not in OVER and row["filled_qty"] != row["qty"]


def not_over(rows: Iterable[dict[str, Any]], records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return the rows of orders that are not over, each with its ``fate``: WORKS or IN_DOUBT.

    ``records`` are those of the log from the first of these orders' intents on.
    """
    waiting = {row["id"]: row | {"fate": IN_DOUBT} for row in rows}
    given_up: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.kind not in ("report", "fill"):
            continue
        name, kind = record.payload["id"], record.payload["kind"]
        if kind == ReportKind.NOT_FOUND:
            if name in waiting:
                given_up[name] = waiting.pop(name)
        elif kind in OVER or record.payload.get("status") in TERMINAL:
            waiting.pop(name, None)
            given_up.pop(name, None)
        elif kind not in UNHEARD:
            row = waiting.get(name) or given_up.pop(name, None)
            if row is not None:
                waiting[name] = row | {"fate": WORKS}
    return list(waiting.values())
