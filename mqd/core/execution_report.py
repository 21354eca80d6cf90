"""What a venue says of an order, and what our own submit learned. Never an opinion of ours."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class OrderCommand(StrEnum):
    """What we do to an order; an illegal one raises ``IllegalTransition``."""

    SEND = "send"
    CANCEL = "cancel"
    REPLACE = "replace"


class ReportKind(StrEnum):
    """What came back. The first eight are outcomes of a submit or a query, the rest are reports."""

    ACK = "ack"
    DEFINITE_REJECT = "definite_reject"
    DUPLICATE_ID = "duplicate_id"
    OUTCOME_UNKNOWN = "outcome_unknown"
    RATE_LIMITED = "rate_limited"
    FOUND = "found"
    NOT_FOUND_YET = "not_found_yet"
    NOT_FOUND = "not_found"
    ACCEPTED = "accepted"
    PARTIAL_FILL = "partial_fill"
    FILL = "fill"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel_rejected"
    REPLACED = "replaced"
    REPLACE_REJECTED = "replace_rejected"
    REJECTED = "rejected"
    EXPIRED = "expired"
    STATUS = "status"
    BUST = "bust"
    CORRECT = "correct"


class ExecutionReport(NamedTuple):
    """One message of a venue about one order, on the integers of the run.

    ``ts_ns`` is when the desk can know it (a bar's close in a replay), ``ts_fill`` when the
    fill happened. ``last_lots`` and ``last_ticks`` are this execution's, ``cum_lots`` the
    venue's cumulative quantity (-1 when it did not say). ``fee_quanta`` is charged with this
    execution. ``status`` is the venue's own order status for FOUND. ``ref_execution_id`` names
    the execution that a BUST or CORRECT is about; ``replaced_by`` the child of a REPLACED.
    """

    kind: ReportKind
    client_order_id: str
    symbol: str
    ts_ns: int
    venue_order_id: str = ""
    execution_id: str = ""
    last_lots: int = 0
    last_ticks: int = 0
    cum_lots: int = -1
    fee_quanta: int = 0
    ts_fill: int = 0
    text: str = ""
    status: str = ""
    ref_execution_id: str = ""
    replaced_by: str = ""


class Fill(NamedTuple):
    """One execution: ``execution_id`` is its key for ever; ``lots`` > 0."""

    execution_id: str
    lots: int
    ticks: int
    fee_quanta: int
    ts_fill: int
