"""The whole truth about what may happen to an order: every (status, pending, event) decided.

The rows below are the table of reliability.md section 3, with pending requests as a field of
their own. One column a state; ``P_CAN`` and ``P_REP`` are ACCEPTED or PARTIALLY_FILLED with a
pending cancel or replace; ``DONE`` is CANCELED, EXPIRED and REJECTED. A cell is a word:

    =            nothing moves (the same again, or older news)
    sub unk acc par fil can exp rej rep aba      the next status; a pending request ends
    /c /r /n     the pending request afterwards: CANCEL, REPLACE, NONE
    ?            ask the venue     !  anomaly: quarantine the symbol and ask the venue
    x            it lives although it should not: cancel it     d  remember our cancel for later
    m            merge: the row of the venue's own status word decides (``STATUS_WORDS``)
    X            our own command is illegal here

Statuses that the venue never confirmed (INTENT, SUBMITTED, UNKNOWN, ABANDONED, DENIED) give way
to its word; statuses that it did confirm are left only through a fill, a bust or a correction.
A pending request beside a status that cannot have one (anything but ACCEPTED and
PARTIALLY_FILLED) does not occur; such a cell is decided as if nothing were pending.
Quantities then decide between ACCEPTED, PARTIALLY_FILLED and FILLED (``state_machine``).

The reference moves a pending cancel to a pending replace when both are reported; here the
cancel stays, as FIX ranks it higher, so that the order of the two reports cannot matter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mqd.core.execution_report import OrderCommand, ReportKind
from mqd.core.order import OrderStatus, Pending

CANCEL_DEFERRED: Final = 1  # our cancel waits until the venue can take it
CANCEL_ASKED: Final = 2
CANCEL_REFUSED: Final = 4  # the venue refused the last cancel; older PENDING_CANCELs are stale
REPLACE_ASKED: Final = 8
REPLACE_REFUSED: Final = 16
COMPLETE: Final = 32  # the venue once called the order filled
DONE_FOR_DAY: Final = 64
SUSPENDED: Final = 128
STOPPED: Final = 256
CALCULATED: Final = 512
RESTATED: Final = 1024
REOPENED: Final = 2048  # filled once, then made void; the venue says that it works again

STATUS_FLAGS: Final = {
    "done_for_day": DONE_FOR_DAY,
    "suspended": SUSPENDED,
    "stopped": STOPPED,
    "calculated": CALCULATED,
    "restated": RESTATED,
}
"""What a STATUS report may say; another word is an anomaly."""

STATUS_WORDS: Final = {
    "": ReportKind.ACCEPTED,
    "new": ReportKind.ACCEPTED,
    "accepted": ReportKind.ACCEPTED,
    "pending_new": ReportKind.ACCEPTED,
    "accepted_for_bidding": ReportKind.ACCEPTED,
    "held": ReportKind.ACCEPTED,
    "partially_filled": ReportKind.PARTIAL_FILL,
    "filled": ReportKind.FILL,
    "pending_cancel": ReportKind.PENDING_CANCEL,
    "pending_replace": ReportKind.PENDING_REPLACE,
    "canceled": ReportKind.CANCELED,
    "expired": ReportKind.EXPIRED,
    "rejected": ReportKind.REJECTED,
    "replaced": ReportKind.REPLACED,
    "done_for_day": ReportKind.STATUS,
    "suspended": ReportKind.STATUS,
    "stopped": ReportKind.STATUS,
    "calculated": ReportKind.STATUS,
    "restated": ReportKind.STATUS,
}
"""The row that a snapshot (ACK, FOUND) follows, by the venue's word; an unknown word means open,
worst case, with an anomaly."""


class Cell(NamedTuple):
    """One decided cell. ``status`` None keeps it; ``set_flags`` and ``clear_flags`` are masks."""

    status: OrderStatus | None
    pending: Pending
    illegal: bool = False
    merge: bool = False
    query: bool = False
    quarantine: bool = False
    cancel: bool = False
    set_flags: int = 0
    clear_flags: int = 0
    ended: OrderStatus | None = None
    takes: bool = False


_COLUMNS: Final = "INTENT SUBMIT UNKNOWN ACCEPT PARTLY P_CAN P_REP FILLED DONE REPLAC ABANDN DENIED"

_ROWS: Final = """
SEND             sub    X     sub   X     X     X     X     X     X     X     X     X
CANCEL           can    =d    =d    =/c   =/c   =     =d    =     =     =     =     =
REPLACE          X      X     X     =/r   X     X     X     X     X     X     X     X
ACK              !      m     m     =     =     =     =     =     =     =     accx  acc!x
DEFINITE_REJECT  !      rej   =?    !     !     !     !     !     =     =     =     !
DUPLICATE_ID     !      unk?  =?    =     =     =     =     =     =     =     unk?  unk!
OUTCOME_UNKNOWN  !      unk?  =?    =     =     =     =     =     =     =     =     !
RATE_LIMITED     !      unk?  =?    =     =     =     =     =     =     =     =     !
FOUND            m      m     m     m     m     m     m     m     m     m     m     m
NOT_FOUND_YET    =      unk?  =?    !     !     !     !     !     =     =     =     =
NOT_FOUND        exp    aba   aba   !     !     !     !     !     =     =     =     =
ACCEPTED         acc!   acc   acc   =     =     =     =     =     =     =     accx  acc!x
PARTIAL_FILL     par!   par   par   par   par   par/c par/r =     =     =     parx  par!x
FILL             fil!   fil   fil   fil   fil   fil   fil   =     fil   fil?  fil!  fil!
PENDING_CANCEL   !      acc/c acc/c =/c   =/c   =     =/c   =     =     =     !     !
PENDING_REPLACE  !      acc/r acc/r =/r   =/r   =     =     =     =     =     !     !
CANCELED         !      can   can   can   can   can   can   =     =     =     can   !
CANCEL_REJECTED  !      =?    =?    =?    =?    =/n?  =?    =     =     =     =     !
REPLACED         !      rep   rep   rep   rep   rep   rep   =?    =     =     =?    !
REPLACE_REJECTED !      =     =?    =     =     =     =/n   =     =     =     =     !
REJECTED         !      rej   rej   rej   rej   rej   rej   !     =     =     rej   !
EXPIRED          !      exp   exp   exp   exp   exp   exp   !     =     =     exp   !
STATUS           =?     =?    =?    =?    =?    =?    =?    =     =     =     =?    !
BUST             !      !     !     !     !     !     !     can!  !     !     !     !
CORRECT          !      !     !     !     !     !     !     !     !     !     !     !
"""

_STATUS_OF: Final = {
    "sub": OrderStatus.SUBMITTED,
    "unk": OrderStatus.UNKNOWN,
    "acc": OrderStatus.ACCEPTED,
    "par": OrderStatus.PARTIALLY_FILLED,
    "fil": OrderStatus.FILLED,
    "can": OrderStatus.CANCELED,
    "exp": OrderStatus.EXPIRED,
    "rej": OrderStatus.REJECTED,
    "rep": OrderStatus.REPLACED,
    "aba": OrderStatus.ABANDONED,
}
_PENDING_OF: Final = {"c": Pending.CANCEL, "r": Pending.REPLACE, "n": Pending.NONE}
_COLUMN_OF: Final = {
    OrderStatus.INTENT: 0,
    OrderStatus.SUBMITTED: 1,
    OrderStatus.UNKNOWN: 2,
    OrderStatus.ACCEPTED: 3,
    OrderStatus.PARTIALLY_FILLED: 4,
    OrderStatus.FILLED: 7,
    OrderStatus.CANCELED: 8,
    OrderStatus.EXPIRED: 8,
    OrderStatus.REJECTED: 8,
    OrderStatus.REPLACED: 9,
    OrderStatus.ABANDONED: 10,
    OrderStatus.DENIED: 11,
}
LIVE: Final = frozenset({OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED})
"""Confirmed by the venue and not over: the statuses that can have a pending request."""
OURS: Final = frozenset(
    {
        OrderStatus.INTENT,
        OrderStatus.SUBMITTED,
        OrderStatus.UNKNOWN,
        OrderStatus.ABANDONED,
        OrderStatus.DENIED,
    }
)
"""Statuses that the venue never confirmed."""

_FLAGS: Final = {
    "PENDING_CANCEL": (CANCEL_ASKED, 0),
    "PENDING_REPLACE": (REPLACE_ASKED, 0),
    "CANCEL_REJECTED": (CANCEL_REFUSED, 0),
    "REPLACE_REJECTED": (REPLACE_REFUSED, 0),
    "FILL": (COMPLETE, 0),
}
_ASKS: Final = {
    "CANCEL": (CANCEL_ASKED, CANCEL_REFUSED | CANCEL_DEFERRED),
    "REPLACE": (REPLACE_ASKED, REPLACE_REFUSED),
}
_ENDS: Final = {
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
    "REPLACED": OrderStatus.REPLACED,
}
_TAKES: Final = frozenset({"PARTIAL_FILL", "FILL", "BUST", "CORRECT"})


def _cell(event: str, pending: Pending, status: OrderStatus, word: str) -> Cell:
    """Read one word of the table."""
    live = status in LIVE
    head, _, tail = word.partition("/")
    target = _STATUS_OF.get(head[:3])
    after = pending if live and target is None else Pending.NONE
    if tail:
        after = _PENDING_OF[tail[0]]
    marks = word[3:] if target else word
    set_flags, clear_flags = _FLAGS.get(event, (0, 0))
    if event in _ASKS and tail:
        set_flags, clear_flags = _ASKS[event]
    if "d" in marks or "x" in marks:
        set_flags |= CANCEL_DEFERRED
    ended = None if status in OURS and target is None else _ENDS.get(event)
    if ended is None and status in OURS and target in _ENDS.values():
        ended = target
    return Cell(
        status=target,
        pending=after,
        illegal="X" in marks,
        merge=word == "m",
        query="?" in marks or "!" in marks,
        quarantine="!" in marks,
        cancel="x" in marks,
        set_flags=set_flags,
        clear_flags=clear_flags,
        ended=ended,
        takes=event in _TAKES,
    )


def _build() -> dict[tuple[OrderStatus, Pending, OrderCommand | ReportKind], Cell]:
    """Spread the rows over every status and pending; refuse a table with a hole."""
    events: dict[str, OrderCommand | ReportKind] = {}
    for event in (*OrderCommand, *ReportKind):
        events[event.name] = event
    table: dict[tuple[OrderStatus, Pending, OrderCommand | ReportKind], Cell] = {}
    for line in _ROWS.strip().splitlines():
        name, *words = line.split()
        assert len(words) == len(_COLUMNS.split()), f"row {name} has {len(words)} cells"
        for status in OrderStatus:
            for pending in Pending:
                column = _COLUMN_OF[status]
                if status in LIVE and pending is not Pending.NONE:
                    column = 5 if pending is Pending.CANCEL else 6
                cell = _cell(name, pending, status, words[column])
                table[status, pending, events[name]] = cell
    assert len(table) == len(OrderStatus) * len(Pending) * len(events), "the table has a hole"
    return table


TABLE: Final = _build()
"""Every cell: ``TABLE[status, pending, event]``."""
