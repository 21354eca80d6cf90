"""Which of the venue's orders are ours: client ids, the venue's ids, legs, and their heirs.

A parent is known by its client id before it is sent. Legs and orders by which the venue replaces
ours get client ids that the venue makes, so they are known by the venue's id alone, once an answer
or an update has named it. What the venue tells of an id before that waits here. Not thread-safe:
the connector holds its lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mqd.core.order import Order, OrderType

WAITING_IDS_MAX: Final = 1000
WAITING_EACH_MAX: Final = 100
FOREIGN_MAX: Final = 1000
OVER_KEPT: Final = 20_000
"""Orders that are over are forgotten, oldest first, beyond this many (late news find the rest)."""

Message = dict[str, Any]


@dataclass(slots=True)
class Known:
    """One order of ours. ``venue_ids``: the last one works, earlier ones were replaced by it."""

    order: Order
    venue_ids: list[str] = field(default_factory=list)
    legs: tuple[str, ...] = ()
    parent: str = ""
    heir: str = ""
    heir_of: str = ""
    replaced: bool = False
    cum_lots: int = 0


class OrderMap:
    """All orders of ours, and what is said of orders that nobody here knows."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._names: dict[str, str] = {}
        self._carried: dict[str, int] = {}
        self._waiting: dict[str, list[Message]] = {}
        self._over: dict[str, None] = {}
        self.foreign: dict[str, Message] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> Known:
        return self._known[name]

    def get(self, name: str) -> Known | None:
        """Return what is known of an order of ours, None when it is none."""
        return self._known.get(name)

    def __len__(self) -> int:
        return len(self._known)

    def adopt(self, order: Order, legs: Sequence[Order]) -> None:
        """Know an order with its legs as ours; what is known of them already stays."""
        for member in (order, *legs):
            self._known.setdefault(member.client_order_id, Known(member)).order = member
        if legs:
            name = order.client_order_id
            self._known[name].legs = tuple(leg.client_order_id for leg in legs)
            for leg in legs:
                self._known[leg.client_order_id].parent = name

    def replaces(self, old: str, new: str) -> None:
        """Note that we asked to replace ``old`` by ``new``."""
        self._known[old].heir, self._known[new].heir_of = new, old

    def venue_id(self, name: str) -> str | None:
        """Return the venue's id of the order that works under a name, None while not known."""
        known = self._known.get(name)
        return known.venue_ids[-1] if known is not None and known.venue_ids else None

    def name_of_id(self, venue_id: str) -> str | None:
        """Return our name of an order of the venue's."""
        return self._names.get(venue_id)

    def name_of(self, record: Mapping[str, Any]) -> str | None:
        """Return our name of an order as the venue shows it; a client id of ours decides."""
        client_id = record.get("client_order_id")
        if isinstance(client_id, str) and client_id in self._known:
            return client_id
        return self._names.get(str(record.get("id")))

    def link(self, name: str, venue_id: str, carried_lots: int = 0) -> list[Message]:
        """Learn an id of the venue's; return, and forget, what waited for it.

        ``carried_lots`` had filled when it took the place of the id before.
        """
        owner = self._names.get(venue_id)
        if owner == name:
            return []
        if owner is not None:
            self._known[owner].venue_ids.remove(venue_id)
            self._carried.pop(venue_id, None)
        self._names[venue_id] = name
        self._known[name].venue_ids.append(venue_id)
        if carried_lots:
            self._carried[venue_id] = carried_lots
        self.foreign.pop(venue_id, None)
        return self._waiting.pop(venue_id, [])

    def carried(self, venue_id: str) -> int:
        """Return what had filled before an id took the place of another."""
        return self._carried.get(venue_id, 0)

    def wait(self, venue_id: str, message: Message) -> None:
        """Keep what the venue says of an id that is not known; the oldest ids give way."""
        kept = self._waiting.setdefault(venue_id, [])
        if len(kept) < WAITING_EACH_MAX and message not in kept:
            kept.append(message)
        if len(self._waiting) > WAITING_IDS_MAX:
            del self._waiting[next(iter(self._waiting))]

    def note_foreign(self, venue_id: str, record: Message) -> None:
        """Keep an order, or a fill, that is not ours."""
        self.foreign.pop(venue_id, None)
        self.foreign[venue_id] = record
        if len(self.foreign) > FOREIGN_MAX:
            del self.foreign[next(iter(self.foreign))]

    def drop_foreign(self, listed: Iterable[str]) -> None:
        """Forget foreign orders that the venue lists no longer; foreign fills stay."""
        kept = set(listed)
        gone = [i for i, one in self.foreign.items() if i not in kept and "status" in one]
        for venue_id in gone:
            del self.foreign[venue_id]

    def legs_of(self, name: str, record: Mapping[str, Any]) -> Iterator[tuple[str, Message]]:
        """Yield the legs in an answer with our names for them: a limit is a limit, a stop a stop.

        Legs that are linked keep their name. An answer with fewer legs leaves the rest unnamed.
        """
        said = record.get("legs")
        records = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
        free = list(self._known[name].legs)
        rest = []
        for one in records:
            owner = self._names.get(str(one.get("id")))
            if owner in free:
                free.remove(owner)
                yield owner, one
            else:
                rest.append(one)
        for one in rest:
            limit = one.get("type", one.get("order_type")) == "limit"
            match = (n for n in free if (self._known[n].order.type is OrderType.LIMIT) is limit)
            leg = next(match, None)
            if leg is not None:
                free.remove(leg)
                yield leg, one

    def asked_for(self, name: str) -> str:
        """Return the order to ask for: a leg whose id is not known is found in its parent."""
        known = self._known[name]
        return known.parent if known.parent in self._known and not known.venue_ids else name

    def groups_in_part(self) -> list[str]:
        """Return the parents that the venue knows and of which a leg's id is not known."""
        return [
            name
            for name, known in self._known.items()
            if known.legs and known.venue_ids and not all(map(self._is_settled, known.legs))
        ]

    def lacks_legs(self, name: str) -> bool:
        """Return True when a leg's id is not known."""
        return not all(map(self._is_settled, self._known[name].legs))

    def ended(self, name: str) -> None:
        """Note that an order is over; the oldest of very many are forgotten."""
        self._over.pop(name, None)
        self._over[name] = None
        while len(self._over) > OVER_KEPT:
            oldest = next(iter(self._over))
            del self._over[oldest]
            for venue_id in self._known.pop(oldest).venue_ids:
                del self._names[venue_id]
                self._carried.pop(venue_id, None)

    def _is_settled(self, leg: str) -> bool:
        known = self._known.get(leg)
        return known is None or bool(known.venue_ids) or leg in self._over
