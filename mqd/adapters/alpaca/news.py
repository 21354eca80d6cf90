"""What is said of our orders, by answers, the stream and activities, in one queue of reports.

Whatever comes first, the reports come to the same: an update about an id that is not known yet
waits until an answer names it, a fill told twice has one id, and an order that the venue replaces
by itself (a corporate action) stays the same order here: its heir's fills are its fills.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.order_map import OrderMap
from mqd.adapters.alpaca.reports import ReportMaker
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order, OrderClass
from mqd.core.protocols import Clock

HEIR: Final = "the venue replaced the order by itself"
DIFFERS: Final = "an order of this id differs in symbol, side or quantity"
_ENDS: Final = frozenset(
    {
        ReportKind.FILL, ReportKind.CANCELED, ReportKind.EXPIRED, ReportKind.REJECTED,
        ReportKind.REPLACED, ReportKind.DEFINITE_REJECT,
    }
)  # fmt: skip
_OVER_WORDS: Final = frozenset({"filled", "canceled", "expired", "rejected", "replaced"})
_HEIR_EVENTS: Final = frozenset({"new", "fill", "partial_fill"})


class OrderNews:
    """The queue of reports and the map of orders behind it. Every method may be called from any
    thread; ``lock`` holds several together."""

    def __init__(self, clock: Clock, quantum: Decimal) -> None:
        self.lock = threading.RLock()
        self.orders = OrderMap()
        self._make = ReportMaker(clock, quantum)
        self._out: list[ExecutionReport] = []

    def take_all(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived."""
        with self.lock:
            out, self._out = self._out, []
        return out

    def say(self, kind: ReportKind, names: Sequence[str], text: str) -> None:
        """Report one thing of several orders."""
        with self.lock:
            for name in names:
                symbol = self.orders[name].order.symbol
                self._put(self._make.plain(kind, name, symbol, text))

    def know(self, name: str, venue_id: str) -> None:
        """Learn the venue's id of an order."""
        with self.lock:
            self._replay(self.orders.link(name, venue_id))

    def saw(self, kind: ReportKind, name: str, record: Mapping[str, Any]) -> None:
        """Report an order as the venue shows it, then its legs, then what waited for them."""
        with self.lock:
            waiting = []
            for one, said in ((name, record), *self.orders.legs_of(name, record)):
                venue_id, order = wire.id_of(said), self.orders[one].order
                if not venue_id:
                    continue
                if _differs(order, said):
                    report = self._make.plain(ReportKind.STATUS, one, order.symbol, DIFFERS)
                    self._put(report._replace(status=DIFFERS))
                    continue
                waiting += self.orders.link(one, venue_id)
                carried = self.orders.carried(venue_id)
                self._put(self._make.snapshot(kind, order, said, carried))
            self._replay(waiting)

    def update(self, data: Mapping[str, Any]) -> None:
        """Take the ``data`` of a trade update."""
        record = data.get("order")
        venue_id = wire.id_of(record) if isinstance(record, dict) else ""
        if not isinstance(record, dict) or not venue_id:
            return
        with self.lock:
            name = self.orders.name_of(record)
            if name is None and str(data.get("event")) in _HEIR_EVENTS:
                name = self._inherits(record)
            if name is None:
                self.orders.wait(venue_id, dict(data))
                return
            waiting = self.orders.link(name, venue_id)
            self._told(name, data, record)
            self._replay(waiting)

    def fill(self, entry: Mapping[str, Any]) -> None:
        """Take a FILL among the account activities; one that is not ours is kept as foreign."""
        venue_id = wire.id_of(entry, "order_id")
        if not venue_id:
            return
        with self.lock:
            name = self.orders.name_of_id(venue_id)
            if name is None:
                self.orders.wait(venue_id, dict(entry))
                self.orders.note_foreign(venue_id, dict(entry))
                return
            carried = self.orders.carried(venue_id)
            self._put(self._make.of_activity(self.orders[name].order, entry, carried))

    def follow(self, name: str, record: Mapping[str, Any], heir: Mapping[str, Any]) -> bool:
        """Follow an order to the one by which the venue says that it was replaced.

        False when the heir is another order of ours: then it is for itself.
        """
        with self.lock:
            if self.orders.name_of(heir) not in (None, name):
                return False
            if self.orders.venue_id(name) is None:
                self.know(name, wire.id_of(record))
            self._bequeath(name, record)
        return True

    # --- inside ------------------------------------------------------------------------------

    def _told(self, name: str, data: Mapping[str, Any], record: dict[str, Any]) -> None:
        """Report a trade update about an order of ours."""
        known, venue_id, event = self.orders[name], wire.id_of(record), str(data.get("event"))
        if event == "replaced" and not self._by_us(name, record):
            self._bequeath(name, record)
            return
        if event in _HEIR_EVENTS and known.heir_of:
            self._succeeded(known.heir_of, venue_id)
        carried = self.orders.carried(venue_id)
        for report in self._make.of_update(known.order, data, record, carried):
            if report.kind is not ReportKind.REPLACED:
                self._put(report)
            elif not known.replaced:
                known.replaced = True
                self._put(report)

    def _by_us(self, name: str, record: Mapping[str, Any]) -> bool:
        """Return True when we asked for a replace, or another order of ours came of it."""
        heir = wire.id_of(record, "replaced_by")
        owner = self.orders.name_of_id(heir)
        return not heir or bool(self.orders[name].heir) or owner not in (None, name)

    def _bequeath(self, name: str, record: Mapping[str, Any]) -> None:
        """Let the order by which the venue replaced one of ours take its name."""
        heir, venue_id = wire.id_of(record, "replaced_by"), wire.id_of(record)
        if self.orders.venue_id(name) != venue_id:
            return
        order = self.orders[name].order
        filled = max(0, wire.cum_lots(record.get("filled_qty"), order.scale))
        self._inherit(name, heir, self.orders.carried(venue_id) + filled)

    def _inherits(self, record: Mapping[str, Any]) -> str | None:
        """Return our name of the order that a new one of the venue's replaces, None for none."""
        old_id = wire.id_of(record, "replaces")
        name = self.orders.name_of_id(old_id)
        if name is None or self.orders[name].heir or self.orders.venue_id(name) != old_id:
            return None
        self._inherit(name, wire.id_of(record), self.orders[name].cum_lots)
        return name

    def _inherit(self, name: str, heir_id: str, carried_lots: int) -> None:
        waiting = self.orders.link(name, heir_id, carried_lots)
        report = self._make.plain(ReportKind.ACCEPTED, name, self.orders[name].order.symbol, HEIR)
        self._put(report._replace(venue_order_id=heir_id))
        self._replay(waiting)

    def _succeeded(self, old: str, heir_id: str) -> None:
        """Report, once, that an order was replaced, when its heir is heard of first."""
        known = self.orders.get(old)
        if known is None or known.replaced:
            return
        known.replaced = True
        report = self._make.plain(ReportKind.REPLACED, old, known.order.symbol, "")
        self._put(report._replace(replaced_by=heir_id))

    def _replay(self, waiting: Sequence[Mapping[str, Any]]) -> None:
        """Take in what was said of an order before its id was known."""
        for message in waiting:
            if "activity_type" in message:
                self.fill(message)
            else:
                self.update(message)

    def _put(self, report: ExecutionReport) -> None:
        name = report.client_order_id
        known = self.orders[name]
        known.cum_lots = max(known.cum_lots, report.cum_lots)
        if report.kind in _ENDS or report.status in _OVER_WORDS:
            self.orders.ended(name)
        self._out.append(report)


def _differs(order: Order, record: Mapping[str, Any]) -> bool:
    """Return True when an order with our id is not the one we meant. The quantity tells only of
    simple orders that stand for themselves: members of a group shrink."""
    symbol, side, qty = record.get("symbol"), str(record.get("side")), record.get("qty")
    if side in wire.SIDES and wire.side_of(record) is not order.side:
        return True
    if isinstance(symbol, str) and symbol != order.symbol:
        return True
    if order.order_class is not OrderClass.SIMPLE or order.parent or record.get("replaces"):
        return False
    return wire.number(qty) not in (None, order.qty)
