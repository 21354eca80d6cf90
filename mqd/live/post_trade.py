"""Control 30: every execution is held against its order and the limits as soon as it is booked."""

from __future__ import annotations

from typing import cast

from mqd import logs
from mqd.accounting import FillEntry
from mqd.core.event import Event, Topic
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.core.order import Order
from mqd.desk.loop import Desk


class PostTrade:
    """Listens to a desk's fills; what one breaks sets REDUCE_ONLY, is logged, and told.

    It listens as a stage: a latch that cannot be made durable ends the run.
    """

    def __init__(self, desk: Desk) -> None:
        self._parts = desk.parts
        desk.parts.journal.bus.subscribe(Topic.FILL, self._on_fill, name="post_trade", stage=True)

    def _on_fill(self, event: Event) -> None:
        report, order, _ = cast("tuple[ExecutionReport, Order, FillEntry]", event.payload)
        if report.kind is ReportKind.BUST:
            return  # the books take a fill back under the other side: nothing was traded
        parts = self._parts
        lots_after = parts.valuation.ledger.lots.get(order.symbol, 0)
        breaches = parts.risk.post_trade(
            order, report.last_ticks, report.cum_lots, lots_after, parts.clock.now_ns()
        )
        for text in breaches:
            parts.journal.write("alert", {"text": text})
            logs.get_logger("risk").error("fill_breaks_limits", text=text)
