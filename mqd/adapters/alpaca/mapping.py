"""Alpaca's words in ours: every status, event and error has its row; unknown ones have a rule.

Sources: Alpaca's trading specification 2.0.1 (2026-08-13), its page on trade updates, the enums
of alpaca-py 0.44.
"""

from __future__ import annotations

import re
from typing import Final

from mqd.core.execution_report import ReportKind

EVENTS: Final = {
    "new": ReportKind.ACCEPTED,
    "accepted": ReportKind.ACCEPTED,
    "pending_new": ReportKind.ACCEPTED,
    "held": ReportKind.ACCEPTED,
    "fill": ReportKind.FILL,
    "partial_fill": ReportKind.PARTIAL_FILL,
    "canceled": ReportKind.CANCELED,
    "expired": ReportKind.EXPIRED,
    "rejected": ReportKind.REJECTED,
    "replaced": ReportKind.REPLACED,
    "pending_cancel": ReportKind.PENDING_CANCEL,
    "pending_replace": ReportKind.PENDING_REPLACE,
    "order_cancel_rejected": ReportKind.CANCEL_REJECTED,
    "order_replace_rejected": ReportKind.REPLACE_REJECTED,
    "done_for_day": ReportKind.STATUS,
    "stopped": ReportKind.STATUS,
    "suspended": ReportKind.STATUS,
    "calculated": ReportKind.STATUS,
    "restated": ReportKind.STATUS,
}
"""The kind of report that an event of ``trade_updates`` is. Any other event is a STATUS with its
own word: the order machine keeps the order open, quarantines the symbol and asks."""

DUPLICATE: Final = re.compile(r"client.?order.?id", re.IGNORECASE)
"""Any complaint about the client id: the order may be ours, so it is looked up."""

RATE_CODE: Final = 42910000
DEFINITE: Final = frozenset({400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431})
"""Refusals of a request that was read and not carried out. Of other 4xx (408, 425, 499 of a gateway
that lost its patience) nothing is known."""


def event_kind(event: str) -> ReportKind:
    """Return the kind of report of an event."""
    return EVENTS.get(event, ReportKind.STATUS)


def submit_outcome(status: int, code: int, message: str, *, readable: bool) -> ReportKind:
    """Return what an answer to a POST of an order says of the order's life.

    2xx that can be read: ACK. 409, or 422 about the client id: DUPLICATE_ID. 429: RATE_LIMITED.
    ``DEFINITE``: DEFINITE_REJECT. All else (3xx, 5xx, a 2xx that is no order): OUTCOME_UNKNOWN.
    """
    if 200 <= status < 300:
        return ReportKind.ACK if readable else ReportKind.OUTCOME_UNKNOWN
    if status == 429 or code == RATE_CODE:
        return ReportKind.RATE_LIMITED
    if status == 409 or (status == 422 and DUPLICATE.search(message)):
        return ReportKind.DUPLICATE_ID
    return ReportKind.DEFINITE_REJECT if status in DEFINITE else ReportKind.OUTCOME_UNKNOWN


REFUSALS: Final = (
    (401, 0, "", "auth"),
    (403, 40310000, "insufficient buying power", "insufficient_funds"),
    (403, 40310000, "insufficient qty available", "insufficient_position"),
    (403, 40310000, "wash trade", "wash_trade"),
    (403, 40310000, "opposite side", "wash_trade"),
    (422, 42210000, "wash trade", "wash_trade"),
    (403, 40310010, "", "halted"),
    (403, 40310100, "", "day_trading"),
    (403, 40310000, "", "rejected"),
    (403, 0, "", "permission"),
    (404, 40410000, "", "not_found"),
    (404, 0, "order not found for", "not_found"),
    (409, 0, "", "duplicate_id"),
    (422, 40010001, "client_order_id", "duplicate_id"),
    (422, 40010001, "isn't sent to exchange yet", "not_replaceable"),
    (422, 40010001, "", "invalid_request"),
    (422, 42210000, "order is already in", "not_cancelable"),
    (422, 42210000, "", "invalid_order"),
    (429, 0, "", "rate_limited"),
)
"""(status, code or 0 for any, words of the message or "" for any, our word for it), first match;
letters' case does not count."""


def refusal_word(status: int, code: int, message: str) -> str:
    """Return our word for a refusal; ``unknown`` for what is none (a server's error, 3xx)."""
    if status >= 500 or status < 400:
        return "unknown"
    said = message.lower()
    for row_status, row_code, words, word in REFUSALS:
        if status == row_status and row_code in (0, code) and words in said:
            return word
    return "rejected"
