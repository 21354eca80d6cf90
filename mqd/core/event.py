"""Events of the bus and their one total order ``(ts_ns, priority, sequence)``."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Topic(StrEnum):
    """What an event is about."""

    REPORT = "report"
    FILL = "fill"
    LEDGER = "ledger"
    LOG = "log"
    ORDER = "order"
    RISK = "risk"
    SIGNAL = "signal"
    BAR = "bar"
    TRADE = "trade"
    QUOTE = "quote"
    TIMER = "timer"
    RUN = "run"


PRIORITY: dict[Topic, int] = {topic: rank for rank, topic in enumerate(Topic)}
"""Ties of one instant: reports and fills before market data, market data before timers."""

NEVER_DROPPED = frozenset(set(Topic) - {Topic.QUOTE})
"""Only quotes conflate (the newest of a symbol replaces the one that waits)."""


class Event(NamedTuple):
    """One message on the bus; ``sequence`` is given by the bus when it accepts the event."""

    ts_ns: int
    priority: int
    sequence: int
    topic: Topic
    payload: object
