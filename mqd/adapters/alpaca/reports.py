"""What the venue says of an order of ours, as ``ExecutionReport``: snapshots, events, fills.

An execution's id is the venue's order id and the quantity filled with it, so the stream's word and
the account activity of one fill have one id, and count once. A fill that does not say its price,
its quantity or the order's cumulative quantity is never completed by a guess: it is reported
without an execution, and the activity brings it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from mqd.adapters.alpaca import wire
from mqd.adapters.alpaca.mapping import event_kind
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order
from mqd.core.protocols import Clock

FILLS: Final = frozenset({ReportKind.FILL, ReportKind.PARTIAL_FILL})
SMALLER: Final = "filled: the venue's order was smaller than ours"


class ReportMaker:
    """Makes reports. ``quantum`` is the money unit of the run."""

    def __init__(self, clock: Clock, quantum: Decimal) -> None:
        self._clock, self._quantum = clock, quantum

    def plain(self, kind: ReportKind, name: str, symbol: str, text: str) -> ExecutionReport:
        """Return a report that carries a sentence and nothing else."""
        return ExecutionReport(kind, name, symbol, self._clock.now_ns(), text=text)

    def snapshot(
        self, kind: ReportKind, order: Order, record: Mapping[str, Any], carried: int
    ) -> ExecutionReport:
        """Return the venue's view of an order; ``carried`` lots filled under an earlier id."""
        cum = wire.cum_lots(record.get("filled_qty"), order.scale)
        status = wire.said_text(record.get("status"))
        if status == "filled" and _is_smaller(order, record, carried):
            status = "canceled"
        return ExecutionReport(
            kind, order.client_order_id, order.symbol, self._clock.now_ns(),
            venue_order_id=wire.id_of(record), cum_lots=cum + carried if cum >= 0 else -1,
            status=status, replaced_by=wire.id_of(record, "replaced_by"),
        )  # fmt: skip

    def of_update(
        self, order: Order, data: Mapping[str, Any], record: Mapping[str, Any], carried: int
    ) -> list[ExecutionReport]:
        """Return the reports of a trade update: ``data`` with its order ``record``."""
        event = wire.said_text(data.get("event")) or "no event"
        kind = event_kind(event)
        text = wire.said_text(data.get("reason"))
        report = self.snapshot(kind, order, record, carried)._replace(text=text, status="")
        if kind is ReportKind.STATUS:
            return [report._replace(status=event)]
        if kind not in FILLS:
            return [report]
        if report.cum_lots < 0:  # nothing else would ask for what has filled
            return [report._replace(kind=ReportKind.STATUS, status=f"{event} without filled_qty")]
        filled = self._fill(report, order, data, wire.amount(record.get("filled_qty")), carried)
        if record.get("status") == "filled" and _is_smaller(order, record, carried):
            # The other leg filled the rest: what is left of ours is over, without a word for it.
            over = report._replace(kind=ReportKind.CANCELED, text=SMALLER)
            return [filled, over]
        return [filled]

    def of_activity(self, order: Order, entry: Mapping[str, Any], carried: int) -> ExecutionReport:
        """Return the report of a FILL among the account activities."""
        cum = wire.cum_lots(entry.get("cum_qty"), order.scale)
        report = ExecutionReport(
            ReportKind.PARTIAL_FILL, order.client_order_id, order.symbol, self._clock.now_ns(),
            venue_order_id=wire.id_of(entry, "order_id"),
            cum_lots=cum + carried if cum >= 0 else -1,
        )  # fmt: skip
        return self._fill(report, order, entry, wire.amount(entry.get("cum_qty")), carried)

    def _fill(
        self,
        report: ExecutionReport,
        order: Order,
        said: Mapping[str, Any],
        total: Decimal,
        carried: int,
    ) -> ExecutionReport:
        qty, px = wire.number(said.get("qty")), wire.number(said.get("price"))
        whole = report.cum_lots >= order.lots
        report = report._replace(kind=ReportKind.FILL if whole else ReportKind.PARTIAL_FILL)
        cum = report.cum_lots - carried
        if qty is None or px is None or qty <= 0 or px <= 0 or cum <= 0:
            return report
        lots = wire.execution_lots(qty, total, order.scale)
        if lots <= 0:
            return report
        ticks, note = wire.fill_ticks(px, order.side, order.scale)
        return report._replace(
            execution_id=f"{report.venue_order_id}/{cum}",
            last_lots=lots, last_ticks=ticks,
            fee_quanta=wire.money_quanta(said.get("commission"), self._quantum),
            ts_fill=wire.stamp_ns(said.get("timestamp") or said.get("transaction_time")),
            text="; ".join(part for part in (report.text, note) if part),
        )  # fmt: skip


def _is_smaller(order: Order, record: Mapping[str, Any], carried: int) -> bool:
    """Return True when a filled order of the venue was for less than ours."""
    cum = wire.cum_lots(record.get("filled_qty"), order.scale)
    qty = wire.cum_lots(record.get("qty"), order.scale)
    return 0 < qty == cum and cum + carried < order.lots
