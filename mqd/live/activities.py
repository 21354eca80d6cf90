"""What an account did since a desk began there, each entry once.

Alpaca's activities have no order that a reader could follow by the last id: a fee or a dividend
carries midnight of its day and is told hours or days later. So the newest stretch is read again at
every question, minutes of it for fills and days for cash, and what was seen is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from mqd import logs
from mqd.adapters.alpaca.wire import number, stamp_ns
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, NS_PER_S
from mqd.execution.reconciliation import FillActivity
from mqd.execution.venue_account import CashActivity

Entry = dict[str, Any]
SPLITS: Final = frozenset({"SPLIT", "SSP"})
FLOWS: Final = frozenset({"CSD", "CSW", "TRANS", "JNLC", "JNL", "ACATC"})
TRADES, OTHERS = "trade_activity", "non_trade_activity"
AGAIN_NS: Final = {TRADES: 10 * NS_PER_MINUTE, OTHERS: 7 * NS_PER_DAY}
NEW_YORK: Final = ZoneInfo("America/New_York")


class Activities(Protocol):
    """Who tells the account's activities."""

    def activities(
        self, after_id: str = "", *, after_ns: int | None = None, category: str = ""
    ) -> list[Entry]:
        """Return the entries after an instant, oldest first."""
        ...


class ActivityReader:
    """Reads what is new. ``since_ns`` is when the desk began, None: all that there is counts.

    ``heard_ns`` is the last instant that a log tells of: a desk that goes on asks from a day
    before it on.
    """

    def __init__(
        self, source: Activities, since_ns: int | None = None, heard_ns: int | None = None
    ) -> None:
        self._source = source
        self.since_ns = since_ns
        starts = [ns for ns in (since_ns, heard_ns and heard_ns - NS_PER_DAY) if ns is not None]
        self._from_ns = max(starts, default=None)
        self._newest: dict[str, int] = {}
        self._seen: dict[str, dict[str, int]] = {TRADES: {}, OTHERS: {}}

    def new(self) -> list[Entry]:
        """Return the entries that were not told before, fills first."""
        told = {category: self._ask(category) for category in (TRADES, OTHERS)}
        return [one for category, found in told.items() for one in self._take(category, found)]

    def all(self) -> list[Entry]:
        """Return all entries from the first question's start on, whatever was told before."""
        found = []
        for category in (TRADES, OTHERS):
            after_ns = None if self._from_ns is None else self._from_ns - AGAIN_NS[category]
            found += self._source.activities(after_ns=after_ns, category=category)
        return [entry for entry in found if is_since(entry, self.since_ns)]

    def _ask(self, category: str) -> list[Entry]:
        newest = self._newest.get(category, self._from_ns)
        after_ns = None if newest is None else newest - AGAIN_NS[category]
        return self._source.activities(after_ns=after_ns, category=category)

    def _take(self, category: str, found: Sequence[Entry]) -> list[Entry]:
        """Return what is new among a question's answers, and remember it."""
        seen = self._seen[category]
        new = [one for one in found if one["id"] not in seen and is_since(one, self.since_ns)]
        for entry in found:
            seen[entry["id"]] = instant_of(entry)
        if seen:
            self._newest[category] = max(seen.values())
            oldest_ns = self._newest[category] - 2 * AGAIN_NS[category]
            self._seen[category] = {name: ns for name, ns in seen.items() if ns >= oldest_ns}
        return new


def instant_of(entry: Mapping[str, Any]) -> int:
    """Return when an entry came to be, ns UTC: the start of its day where it says no more."""
    stamp = stamp_ns(entry.get("transaction_time")) or stamp_ns(entry.get("created_at"))
    return stamp or _day_ns(str(entry.get("date") or ""))


def ex_ns_of(entry: Mapping[str, Any]) -> int:
    """Return when an entry's day begins in New York, ns UTC: a split's prices are new from it."""
    return _day_ns(str(entry.get("date") or "")) or instant_of(entry)


def is_since(entry: Mapping[str, Any], since_ns: int | None) -> bool:
    """Return whether an entry belongs to a desk that began at ``since_ns``; one that names its day
    alone does from that day on."""
    if since_ns is None:
        return True
    if entry.get("transaction_time") or entry.get("created_at"):
        return instant_of(entry) > since_ns
    began = datetime.fromtimestamp(since_ns // NS_PER_S, UTC).astimezone(NEW_YORK).date()
    return str(entry.get("date") or "") >= began.isoformat()


def _day_ns(day: str) -> int:
    try:
        midnight = datetime.fromisoformat(day).replace(tzinfo=NEW_YORK)
    except ValueError:
        return 0
    return int(midnight.timestamp()) * NS_PER_S


def account_of(activity_type: str) -> str:
    """Return the account that a change of cash is booked to, "" for a kind that nobody knows.

    Taxes on dividends and interest stand with them. Source: Alpaca's activity types.
    """
    if activity_type in FLOWS:
        return "deposits"
    if activity_type in ("FEE", "CFEE", "PTC"):
        return "fees"
    for prefix, account in (("DIV", "dividends"), ("INT", "borrow")):
        if activity_type.startswith(prefix):
            return account
    return ""


class Booked:
    """The changes of cash that a log holds: their ids, and how many are older than ids.

    ``flows``: deposits and withdrawals are booked too; not where nobody knows since when the
    account is the desk's.
    """

    def __init__(self, ids: Sequence[str] = (), n_unnamed: int = 0, *, flows: bool = True) -> None:
        self._ids, self._n_unnamed, self._flows = set(ids), n_unnamed, flows
        self._log = logs.get_logger("activities")
        self.splits: list[Entry] = []

    def knows(self, entry: Entry) -> bool:
        """Return whether an entry is settled by the log, a fill that a person adopted too."""
        return str(entry["id"]) in self._ids

    def new_charges(self, entries: Sequence[Entry], quantum: Decimal) -> list[CashActivity]:
        """Return the changes of cash that nobody has booked, and know them from now on."""
        found = []
        for entry in entries:
            name = str(entry["id"])
            if entry.get("activity_type") == "FILL" or name in self._ids:
                continue
            self._ids.add(name)
            if entry.get("activity_type") in SPLITS:
                self.splits.append(entry)
                continue
            charge = self._charge(entry, quantum)
            if charge is not None and self._n_unnamed:
                self._n_unnamed -= 1
            elif charge is not None:
                found.append(charge)
        return found

    def _charge(self, entry: Entry, quantum: Decimal) -> CashActivity | None:
        """Return an entry's change of cash; what cannot be read stays a break, and is said."""
        said, kind = entry.get("net_amount"), str(entry.get("activity_type"))
        net, account = number(said), account_of(kind)
        if said and (net is None or (net and not account)):
            self._log.error("activity_not_booked", kind=kind, amount=str(said), id=entry["id"])
        if not net or not account or (account == "deposits" and not self._flows):
            return None
        symbol = str(entry.get("symbol") or "")
        return CashActivity(account, symbol, int(net / quantum), str(entry["id"]))


def fills_of(
    entries: Sequence[Entry], read: Callable[[Entry], FillActivity | None]
) -> list[FillActivity]:
    """Return the executions among entries, as a reconciliation reads them."""
    told = (read(entry) for entry in entries if entry.get("activity_type") == "FILL")
    return [one for one in told if one is not None]
