"""What a run tells a human: a few structured lines beside the log, none on the hot path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mqd import logs
from mqd.core.event import Event, Topic
from mqd.desk.gate import Denial
from mqd.event_bus import OrderEventBus
from mqd.portfolio.plan import ZeroSize


class Watch:
    """Writes ``mqd.jsonl`` of a run folder: start, refused orders, lost sizes, end."""

    def __init__(self, folder: Path, bus: OrderEventBus) -> None:
        logs.open_run(folder)
        self._log = logs.get_logger("desk")
        bus.subscribe(Topic.RISK, self._denied, name="watch")
        bus.subscribe(Topic.SIGNAL, self._lost, name="watch")

    def say(self, event: str, **words: Any) -> None:
        """Write one line."""
        self._log.info(event, **words)

    def end(self, reason: str, **words: Any) -> None:
        """Write the last line and close the file."""
        self._log.info("run_end", reason=reason, **words)
        logs.close()

    def _denied(self, event: Event) -> None:
        if not isinstance(event.payload, Denial):
            return
        order, refusals = event.payload
        self._log.info(
            "order_denied", symbol=order.symbol, order_id=order.client_order_id,
            strategy=order.strategy, side=order.side.name.lower(), qty=str(order.qty),
            why="; ".join(str(refusal) for refusal in refusals),
        )  # fmt: skip

    def _lost(self, event: Event) -> None:
        if isinstance(event.payload, ZeroSize):
            zero = event.payload
            self._log.info(
                "size_is_zero", symbol=zero.symbol, strategy=zero.strategy, weight=zero.weight,
                why=zero.why,
            )  # fmt: skip
