"""Whether the simulated venue takes an order, and until when it works."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from mqd.core.clock import NS_PER_DAY
from mqd.core.instrument import AssetClass
from mqd.core.order import Order, Reason, Side, TimeInForce
from mqd.execution import capabilities
from mqd.execution.resting import Resting
from mqd.execution.tape import Tape
from mqd.execution.venue_account import VenueAccount

GTC_NS = 90 * NS_PER_DAY
PROTECTIVE = frozenset({Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP})


class Acceptance:
    """The capability table applied to one run's symbols.

    Protective orders of the desk stand beside its other orders without being a wash trade (at
    the venue they are groups), and with several strategies on one symbol each covers its own.
    For coins, whose venue takes neither stops nor groups, the desk keeps them itself.
    """

    def __init__(
        self,
        tapes: Mapping[str, Tape],
        asset_class: AssetClass,
        session_closes: Sequence[int],
        session_opens: Sequence[int] = (),
    ) -> None:
        self._asset_class = asset_class
        self._closes, self._opens = session_closes, session_opens
        self._lots_per_share = {
            s: int(1 / t.scale.lot) if t.scale.lot < 1 else 1 for s, t in tapes.items()
        }

    def refusal(
        self,
        order: Order,
        account: VenueAccount,
        resting: Mapping[str, Resting],
        replaced: Resting | None = None,
    ) -> str:
        """Return why an order is rejected, "" when it is taken."""
        held = account.lots(order.symbol)
        protective = order.reason in PROTECTIVE
        leg = bool(order.parent)
        if account.kind == "cash" and order.side is Side.SELL and held < order.lots and not leg:
            return "a cash account holds no short positions"
        if protective:
            return ""
        equity = self._asset_class is AssetClass.EQUITY
        why = capabilities.refusal(
            order, self._asset_class, self._lots_per_share[order.symbol],
            order.side * -order.lots if leg else held,
            0 if leg else _working(order, resting, replaced),
        )  # fmt: skip
        if why:
            return why
        if equity and order.reason is Reason.EVENT and (why := capabilities.sub_penny(order)):
            return why
        for other in resting.values():
            simple = other is not replaced and other.order.reason not in PROTECTIVE
            if simple and capabilities.crosses(order, other.order):
                return "potential wash trade detected: opposite side order exists"
        return ""

    def too_late(self, order: Order, sent_ns: int) -> str:
        """Return why an on-open order is rejected: it is taken outside the session only."""
        if order.time_in_force is not TimeInForce.OPG or not self._opens:
            return ""
        opens = bisect_left(self._opens, sent_ns)
        closes = bisect_right(self._closes, sent_ns)
        if closes < len(self._closes) and (
            opens == len(self._opens) or self._closes[closes] < self._opens[opens]
        ):
            return "opg orders are taken outside the session only"
        return ""

    def expiry(self, order: Order, sent_ns: int) -> int:
        """Return when an order ends: DAY and the like at the next close of a session."""
        if order.time_in_force is TimeInForce.GTC:
            return sent_ns + GTC_NS
        place = bisect_right(self._closes, sent_ns)
        return self._closes[place] if place < len(self._closes) else sent_ns + GTC_NS


def _working(order: Order, resting: Mapping[str, Resting], replaced: Resting | None) -> int:
    """Return the lots that open orders on the same side will trade; a group counts once."""
    lots = 0
    groups = {order.group} if order.group else set()
    for other in resting.values():
        terms = other.order
        if terms.symbol != order.symbol or terms.side is not order.side or other is replaced:
            continue
        if terms.reason in PROTECTIVE or terms.group in groups:
            continue
        if terms.group:
            groups.add(terms.group)
        lots += other.leaves
    return lots
