"""Record, then act: one place that writes to the log, feeds the store and tells the bus."""

from __future__ import annotations

from typing import Any

from mqd.core.event import Topic
from mqd.event_bus import OrderEventBus
from mqd.positions.store import PositionStore
from mqd.transaction_log import Tier, TransactionLog


class Journal:
    """The log, and what hangs on it. ``now_ns`` is the step's instant: every record carries it.

    While ``muted`` nothing is written or published: a recovery feeds what the log says already.
    """

    def __init__(
        self, log: TransactionLog, store: PositionStore | None, bus: OrderEventBus
    ) -> None:
        self.log, self.store, self.bus = log, store, bus
        self.now_ns = 0
        self.muted = False

    def write(self, kind: str, payload: dict[str, Any], tier: Tier = Tier.D1) -> int:
        """Append one record, feed the projection, return its seq."""
        if self.muted:
            return self.log.seq
        seq = self.log.append(kind, self.now_ns, payload, tier)
        if self.store is not None:
            self.store.apply(seq, kind, self.now_ns, payload)
        return seq

    def publish(self, topic: Topic, payload: object) -> None:
        """Tell the bus, if anybody listens; stages hear it at the next drain."""
        if self.muted and topic is not Topic.REPORT:
            return
        self.bus.publish(topic, self.now_ns, payload)
