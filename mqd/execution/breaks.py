"""What a difference between our books and the venue's can be, and what explains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

_SPLIT_FACTOR_MAX: Final = 100


class BreakKind(StrEnum):
    """What kind of difference it is, most particular explanation first."""

    MISSING_POSITIONS = "missing_positions"  # no position named at all, though ours are not flat
    TIMING = "timing"  # the venue counted fills whose executions are on their way
    MISSED_FILL = "missed_fill"  # an order of ours has, or can have, filled by the difference
    MANUAL_TRADE = "manual_trade"  # an order that is not ours has filled
    RENAMED = "renamed"  # the same lots stand under another symbol
    SPLIT = "split"  # announced, or one side is a whole multiple of the other
    POSITION = "position"  # no explanation
    FOREIGN_ORDER = "foreign_order"  # the venue works an order that is not ours
    MISSING_ORDER = "missing_order"  # our working order is not on the venue's list
    CASH = "cash"  # cash differs by more than the tolerance


EXPLAINED: Final = frozenset({BreakKind.TIMING})
UNEXPLAINED_POSITION: Final = frozenset(
    {
        BreakKind.MISSED_FILL,
        BreakKind.MANUAL_TRADE,
        BreakKind.RENAMED,
        BreakKind.SPLIT,
        BreakKind.POSITION,
        BreakKind.MISSING_POSITIONS,
    }
)
BELIEVED: Final = frozenset({BreakKind.TIMING, BreakKind.MISSED_FILL, BreakKind.MANUAL_TRADE})
"""What explains a position that an empty answer does not name."""


class WorkingOrder(NamedTuple):
    """One of our orders that is not over, as the desk's state machine has it.

    ``signed_leaves`` are the lots that may still fill, ``signed_provisional`` those that the
    venue counted and whose executions have not arrived; both with the sign of the side.
    ``confirmed`` is False while the venue has never confirmed the order (intent, submitted,
    unknown): such an order may be absent from its list.
    """

    symbol: str
    signed_leaves: int
    signed_provisional: int = 0
    confirmed: bool = True


class FillActivity(NamedTuple):
    """One FILL among the venue's account activities.

    ``client_order_id`` is "" when the order is not ours; ``cum_lots`` what the order had filled
    with it (-1: the venue did not say).
    """

    activity_id: str
    symbol: str
    signed_lots: int
    client_order_id: str = ""
    cum_lots: int = -1


class Announced(NamedTuple):
    """Corporate actions that are due: ``renames`` from old to new symbol, ``splits`` new shares
    for one old share."""

    renames: Mapping[str, str] = MappingProxyType({})
    splits: Mapping[str, Fraction] = MappingProxyType({})


NOTHING_ANNOUNCED: Final = Announced()


class Break(NamedTuple):
    """One difference. ``ours`` and ``theirs`` are lots, or quanta for CASH; ``what`` is an order
    id for the order kinds, else a sentence. ``activities`` are the ids of those that explain it.
    """

    kind: BreakKind
    symbol: str
    ours: int
    theirs: int
    what: str
    activities: tuple[str, ...] = ()

    @property
    def explained(self) -> bool:
        """Whether waiting will settle it."""
        return self.kind in EXPLAINED

    @property
    def is_mismatch(self) -> bool:
        """Whether log and venue contradict each other: positions, or a fill that is not booked."""
        return self.kind in UNEXPLAINED_POSITION and (
            self.ours != self.theirs or self.kind is BreakKind.MISSED_FILL
        )


class Copy(NamedTuple):
    """What the activities say of one symbol: signed lots of ours that are not booked, signed lots
    of others, and the ids of both."""

    missed: int = 0
    manual: int = 0
    missed_ids: tuple[str, ...] = ()
    manual_ids: tuple[str, ...] = ()


def _is_split(ours: int, theirs: int) -> bool:
    """Whether one side is a whole multiple of the other, 2 to 100 times, on the same side."""
    if ours * theirs <= 0:
        return False
    small, large = sorted((abs(ours), abs(theirs)))
    return large % small == 0 and 2 <= large // small <= _SPLIT_FACTOR_MAX


def witnessed(working: Iterable[WorkingOrder], copy: Copy, found: Break) -> Break | None:
    """Return the break as activities, or executions on their way, explain it exactly."""
    change = found.theirs - found.ours
    provisional = sum(order.signed_provisional for order in working)
    waits = change == provisional or (change == 0 and copy.missed == provisional)
    if provisional and waits and not copy.manual_ids:
        what = "the venue counted fills whose executions are due"
        return found._replace(kind=BreakKind.TIMING, what=what)
    if copy.missed_ids and not copy.manual_ids and change in (copy.missed, 0):
        what = f"FILL {', '.join(copy.missed_ids)} is not booked: query the order"
        return found._replace(kind=BreakKind.MISSED_FILL, what=what, activities=copy.missed_ids)
    own = copy.missed or provisional
    if copy.manual_ids and change in (copy.manual, copy.manual + own, 0):
        what = f"an order that is not ours has filled: {', '.join(copy.manual_ids)}"
        ids = (*copy.missed_ids, *copy.manual_ids)
        return found._replace(kind=BreakKind.MANUAL_TRADE, what=what, activities=ids)
    return None


def guessed(
    working: Iterable[WorkingOrder], symbol: str, ours: int, theirs: int, ratio: Fraction | None
) -> Break:
    """Name the most particular thing that could explain one symbol's difference."""
    provisional = buys = sells = 0
    for order in working:
        provisional += order.signed_provisional
        buys += max(0, order.signed_leaves)
        sells += max(0, -order.signed_leaves)
    change = theirs - ours
    if ratio is not None and ours * ratio == theirs:
        kind, what = BreakKind.SPLIT, f"a split of {ratio} for 1 was announced"
    elif (buys or sells) and -sells <= change - provisional <= buys:
        kind, what = BreakKind.MISSED_FILL, "an open order can have filled: query it"
    elif _is_split(ours, theirs):
        kind, what = BreakKind.SPLIT, "one side is a whole multiple of the other"
    else:
        kind, what = BreakKind.POSITION, "no open order or split explains it"
    return Break(kind, symbol, ours, theirs, what)


def renamed(breaks: list[Break], announced: Announced) -> list[Break]:
    """Join a position that only we name with the one that only the venue names, when a rename was
    announced or both stand alone with the same lots."""
    left = {item.symbol: item for item in breaks if item.kind is BreakKind.POSITION}
    old = [item for item in left.values() if item.ours and not item.theirs]
    new = [item for item in left.values() if item.theirs and not item.ours]
    now_called: dict[str, str] = {}
    for one in old:
        same = [other.symbol for other in new if other.theirs == one.ours]
        named = announced.renames.get(one.symbol)
        twins = [other for other in old if other.ours == one.ours]
        if named in same:
            now_called[one.symbol] = str(named)
        elif named is None and len(same) == 1 and len(twins) == 1:
            now_called[one.symbol] = same[0]
    once_called = {name: was for was, name in now_called.items()}
    joined = []
    for item in breaks:
        was = once_called.get(item.symbol, item.symbol)
        if was in now_called and item.symbol in left:
            what = f"{was} seems to be called {now_called[was]} now"
            joined.append(item._replace(kind=BreakKind.RENAMED, what=what))
        else:
            joined.append(item)
    return joined


def copies_of(activities: Iterable[FillActivity], filled: Mapping[str, int]) -> dict[str, Copy]:
    """Hold activities against the ``filled`` lots of each order, symbol by symbol."""
    copies: dict[str, Copy] = {}
    ours: dict[str, list[FillActivity]] = {}
    for one in activities:
        if one.client_order_id:
            ours.setdefault(one.client_order_id, []).append(one)
            continue
        copy = copies.get(one.symbol, Copy())
        copies[one.symbol] = copy._replace(
            manual=copy.manual + one.signed_lots,
            manual_ids=(*copy.manual_ids, one.activity_id),
        )
    for name, fills in ours.items():
        total = sum(abs(one.signed_lots) for one in fills)
        missing = max(total, *(one.cum_lots for one in fills)) - filled.get(name, 0)
        if missing > 0:
            first = fills[0]
            copy = copies.get(first.symbol, Copy())
            copies[first.symbol] = copy._replace(
                missed=copy.missed + (missing if first.signed_lots > 0 else -missing),
                missed_ids=(*copy.missed_ids, *(one.activity_id for one in fills)),
            )
    return copies
