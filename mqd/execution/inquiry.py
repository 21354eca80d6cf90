"""Orders whose fate is not known: when to ask the venue, and when "not found" means "not sent".

A submit that timed out may live. It is asked for by its id after 1, 2, 4, 8, 16, 30 and 60
seconds, then every 30 s. "Not found" is believed only when two questions in turn, both asked after
the grace, were answered so by a healthy venue; until then it is NOT_FOUND_YET. An id that was given
up stays watched to the end of the next trading day: an order that turns up then is adopted
and cancelled. Time is ``Clock.monotonic_ns``, handed in; nothing here asks anybody anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import TERMINAL, OrderStatus, Pending

SUBMITTED_MAX_NS: Final = 5 * NS_PER_S
SCHEDULE_NS: Final = tuple(s * NS_PER_S for s in (1, 2, 4, 8, 16, 30, 60))
REPEAT_NS: Final = 30 * NS_PER_S
GRACE_MIN_NS: Final = 60 * NS_PER_S
CANCEL_POLL_NS: Final = 30 * NS_PER_S
CANCEL_ALERT_NS: Final = 5 * NS_PER_MINUTE
WATCH_EVERY_NS: Final = 5 * NS_PER_MINUTE
WATCH_MAX_NS: Final = 5 * NS_PER_DAY
_DOUBTS: Final = frozenset(
    {ReportKind.OUTCOME_UNKNOWN, ReportKind.RATE_LIMITED, ReportKind.DUPLICATE_ID}
)
_DOUBTFUL: Final = frozenset({OrderStatus.SUBMITTED, OrderStatus.UNKNOWN})
_ANSWERS: Final = frozenset({ReportKind.FOUND, ReportKind.NOT_FOUND, ReportKind.NOT_FOUND_YET})


@dataclass(slots=True)
class _Doubt:
    """An order that the venue has not confirmed; ``asked_ns`` is the oldest open question,
    ``missing_ns`` the instant of the question whose "not found" counts as the first."""

    sent_ns: int
    since_ns: int
    due_ns: int
    asked_ns: int | None = None
    missing_ns: int | None = None

    def ask(self, now_ns: int) -> None:
        """Note a question and when the next one is due."""
        if self.asked_ns is None:
            self.asked_ns = now_ns
        later = bisect_right(SCHEDULE_NS, now_ns - self.since_ns)
        on_schedule = later < len(SCHEDULE_NS)
        self.due_ns = self.since_ns + SCHEDULE_NS[later] if on_schedule else now_ns + REPEAT_NS


@dataclass(slots=True)
class _Cancel:
    """A cancel that the venue has not answered."""

    asked_ns: int
    due_ns: int
    told: bool = False


@dataclass(slots=True)
class _Watch:
    """An id that was given up, watched until ``until_ns``."""

    until_ns: int
    due_ns: int


def to_next_session_end(now_ns: int, session_closes: Sequence[int]) -> int:
    """Return the ns from ``now_ns`` to the end of the next trading day (5 days when unknown).

    ``session_closes`` are the closes in ns UTC, ascending. The day that ``now_ns`` belongs to is
    not the next one: the close after the coming one counts.
    """
    place = bisect_right(session_closes, now_ns) + 1
    return session_closes[place] - now_ns if place < len(session_closes) else WATCH_MAX_NS


class Inquiry:
    """What to ask the venue and when; one desk's, told of everything on the desk's thread.

    ``watch_ns()`` returns how long an id that is given up now stays watched
    (``to_next_session_end``). ``delay_longest_ns`` is the longest time that the venue took today
    to confirm an order; twice that is the grace when it is more than 60 s.
    """

    def __init__(self, watch_ns: Callable[[], int] = lambda: WATCH_MAX_NS) -> None:
        self._watch_ns = watch_ns
        self._doubts: dict[str, _Doubt] = {}
        self._cancels: dict[str, _Cancel] = {}
        self._watches: dict[str, _Watch] = {}
        self._settled: set[str] = set()
        self._now_ns = 0
        self.delay_longest_ns = 0

    @property
    def grace_ns(self) -> int:
        """How long an order may be missing before that means anything."""
        return max(GRACE_MIN_NS, 2 * self.delay_longest_ns)

    @property
    def open_ids(self) -> list[str]:
        """The orders whose fate is not known; no position is opened while there are any."""
        return list(self._doubts)

    def asks(self, client_order_id: str) -> bool:
        """Return whether an order is in doubt, so that `due` names it when its time has come."""
        return client_order_id in self._doubts

    @property
    def watched_ids(self) -> list[str]:
        """The ids that were given up and may still turn up."""
        return list(self._watches)

    # --- what the desk tells -----------------------------------------------------------------

    def sent(self, client_order_id: str, now_ns: int) -> None:
        """A submit is under way; it is asked for when nothing is heard for 5 s.

        What the venue has confirmed already stays settled: the news may come first.
        """
        now_ns = self._at(now_ns)
        if client_order_id in self._settled:
            return
        since_ns = now_ns + SUBMITTED_MAX_NS
        self._doubts.setdefault(client_order_id, _Doubt(now_ns, since_ns, since_ns))

    def cancel_sent(self, client_order_id: str, now_ns: int) -> None:
        """A cancel is under way; it is asked for after 30 s."""
        now_ns = self._at(now_ns)
        self._cancels.setdefault(client_order_id, _Cancel(now_ns, now_ns + CANCEL_POLL_NS))

    def heard(
        self,
        client_order_id: str,
        kind: ReportKind,
        status: OrderStatus,
        pending: Pending,
        now_ns: int,
    ) -> None:
        """A report was taken in; ``status`` and ``pending`` are the order's after it.

        A submit that ended in doubt starts the grace anew: the venue may have it from now on.
        """
        now_ns = self._at(now_ns)
        if status in _DOUBTFUL:
            doubt = self._doubts.get(client_order_id)
            if doubt is None or kind in _DOUBTS:
                sent_ns = now_ns if doubt is None else doubt.sent_ns
                due_ns = now_ns + SCHEDULE_NS[0]
                self._doubts[client_order_id] = _Doubt(sent_ns, now_ns, due_ns)
        else:
            self._confirmed(client_order_id, status, now_ns)
        if pending is Pending.CANCEL:
            self.cancel_sent(client_order_id, now_ns)
        else:
            self._cancels.pop(client_order_id, None)

    def watch(self, client_order_id: str, for_ns: int, now_ns: int) -> None:
        """Watch an id that was given up, as the log of an earlier run says."""
        now_ns = self._at(now_ns)
        self._watches[client_order_id] = _Watch(now_ns + for_ns, now_ns + WATCH_EVERY_NS)

    def new_day(self) -> None:
        """Forget yesterday's delays."""
        self.delay_longest_ns = 0

    # --- what the desk asks ------------------------------------------------------------------

    def due(self, now_ns: int) -> list[str]:
        """Return the ids to query now, each once; they count as asked."""
        now_ns = self._at(now_ns)
        asked: dict[str, None] = {}
        for name, doubt in self._doubts.items():
            if now_ns >= doubt.due_ns:
                doubt.ask(now_ns)
                asked[name] = None
        for name, cancel in self._cancels.items():
            if now_ns >= cancel.due_ns:
                cancel.due_ns = now_ns + CANCEL_POLL_NS
                asked[name] = None
        self._watches = {n: w for n, w in self._watches.items() if now_ns < w.until_ns}
        for name, watch in self._watches.items():
            if now_ns >= watch.due_ns:
                watch.due_ns = now_ns + WATCH_EVERY_NS
                asked[name] = None
        return list(asked)

    def answered(self, client_order_id: str, found: bool, healthy: bool) -> ReportKind:
        """Judge the answer to a query: FOUND, NOT_FOUND_YET, or NOT_FOUND (given up).

        ``healthy``: a call for the venue's clock worked beside it. NOT_FOUND moves the id to the
        watched ones; FOUND of a watched one ends the watch (the state machine then asks for
        its cancel).
        """
        doubt = self._doubts.get(client_order_id)
        if found:
            self._watches.pop(client_order_id, None)
            if doubt is not None:
                self._note_delay(doubt.sent_ns, self._now_ns)
                del self._doubts[client_order_id]
            return ReportKind.FOUND
        if doubt is None or doubt.asked_ns is None:
            return ReportKind.NOT_FOUND_YET
        asked_ns, doubt.asked_ns = doubt.asked_ns, None
        over_ns = doubt.since_ns + self.grace_ns
        first_ns = doubt.missing_ns
        if healthy is not True:
            doubt.missing_ns = None
            return ReportKind.NOT_FOUND_YET
        if first_ns is None or first_ns < over_ns:
            doubt.missing_ns = asked_ns
            return ReportKind.NOT_FOUND_YET
        del self._doubts[client_order_id]
        self.watch(client_order_id, self._watch_ns(), self._now_ns)
        return ReportKind.NOT_FOUND

    def judged(self, report: ExecutionReport, healthy: bool) -> ExecutionReport:
        """Return a venue's report with what its FOUND or NOT_FOUND is worth; others unchanged."""
        if report.kind not in _ANSWERS:
            return report
        found = report.kind is ReportKind.FOUND
        return report._replace(kind=self.answered(report.client_order_id, found, healthy))

    def alerts(self, now_ns: int) -> list[str]:
        """Return a sentence for each cancel without an answer for over 5 minutes, once."""
        now_ns = self._at(now_ns)
        late = [
            (name, cancel)
            for name, cancel in self._cancels.items()
            if not cancel.told and now_ns - cancel.asked_ns > CANCEL_ALERT_NS
        ]
        for _, cancel in late:
            cancel.told = True
        return [
            f"Order {name}: the venue has not answered its cancel for"
            f" {(now_ns - cancel.asked_ns) // NS_PER_S} s. It still counts as open; look at the"
            " venue's own page, and call its support when it stays."
            for name, cancel in late
        ]

    # --- inside ------------------------------------------------------------------------------

    def _at(self, now_ns: int) -> int:
        self._now_ns = max(self._now_ns, now_ns)
        return self._now_ns

    def _confirmed(self, client_order_id: str, status: OrderStatus, now_ns: int) -> None:
        doubt = self._doubts.pop(client_order_id, None)
        if status is not OrderStatus.INTENT:
            self._settled.add(client_order_id)
        if status is OrderStatus.ABANDONED:
            if client_order_id not in self._watches:
                self.watch(client_order_id, self._watch_ns(), now_ns)
            return
        self._watches.pop(client_order_id, None)
        if doubt is not None and (status not in TERMINAL or status is OrderStatus.FILLED):
            self._note_delay(doubt.sent_ns, now_ns)

    def _note_delay(self, sent_ns: int, now_ns: int) -> None:
        self.delay_longest_ns = max(self.delay_longest_ns, now_ns - sent_ns)
