"""The way of an order from bar to wire, stage by stage: ``live_stages.py CONFIG PACE``; JSON.

The desk of ``mqd paper`` runs in this process, live controls on, until SIGTERM or the session's
close. A bar is complete when its frame has been taken in and its step's time has come by the desk's
own clock (at a pace of 60 a venue's bar may come before it); what comes before, from the frame as
the socket gave it to the bar as the desk reads it, is ``socket_ns``. Then, for each order:

    wake      until the desk's thread takes the bar
    decide    features, rule, sizes, risk and live controls, up to the intent
    durable   the intent's record: written and on the disk
    executor  from the desk's thread to the worker that sends
    http      the request made and its last byte given to the kernel
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.adapters.alpaca.socket_link import DataLink
from mqd.live.config import read_config
from mqd.live.realtime_run import RealtimeRun
from mqd.live.session import LiveSession
from mqd.live.trading import trade
from mqd.transaction_log import TransactionLog

STAGES = ("wake", "decide", "durable", "executor", "http")
Inner = Callable[..., Any]


class Stages:
    """Instants of each order, on the monotonic clock; ``early`` counts intents not yet durable
    when their bytes went out."""

    def __init__(self) -> None:
        self._complete_ns = self._frame_ns = self._bar_ns = self._woken_ns = 0
        self._at: dict[str, list[int]] = {}
        self._seq: dict[str, int] = {}
        self._sending = threading.local()
        self._log: Any = None
        self.socket_ns: list[int] = []
        self.early = 0

    def install(self) -> None:
        """Wrap the places that are measured."""
        self._wrap(DataLink, "_take", self._framed)
        self._wrap(RealtimeRun, "_on_data", self._taken)
        self._wrap(LiveSession, "_gather", self._gathered)
        self._wrap(TransactionLog, "append", self._appended)
        self._wrap(AlpacaBrokerConnector, "submit", self._submitted)
        self._wrap(http.client.HTTPConnection, "send", self._sent)

    def _wrap(self, owner: type, name: str, around: Inner) -> None:
        inner = getattr(owner, name)
        setattr(owner, name, lambda *words, **named: around(inner, *words, **named))

    def _framed(self, inner: Inner, *words: Any) -> Any:
        self._frame_ns = monotonic_ns()
        return inner(*words)

    def _taken(self, inner: Inner, run: Any, messages: Any) -> Any:
        found = inner(run, messages)
        if any(message.get("T") == "b" for message in messages):
            self._bar_ns = monotonic_ns()
            self.socket_ns.append(self._bar_ns - self._frame_ns)
        return found

    def _gathered(self, inner: Inner, session: Any, ts_close: int) -> Any:
        over_ns = (session.clock.now_ns() - ts_close) / session.clock.factor
        self._woken_ns = monotonic_ns()
        self._complete_ns = min(max(self._bar_ns, self._woken_ns - int(over_ns)), self._woken_ns)
        return inner(session, ts_close)

    def _appended(self, inner: Inner, log: Any, kind: str, *words: Any, **named: Any) -> Any:
        begun = monotonic_ns()
        found = inner(log, kind, *words, **named)
        if kind == "intent":
            name = words[1]["id"]
            self._log, self._seq[name] = log, found
            self._at[name] = [self._complete_ns, self._woken_ns, begun, monotonic_ns()]
        return found

    def _submitted(self, inner: Inner, connector: Any, order: Any, *words: Any) -> Any:
        self._sending.name = order.client_order_id
        self._at[order.client_order_id].append(monotonic_ns())
        if self._log.durable_seq < self._seq[order.client_order_id]:
            self.early += 1
        try:
            return inner(connector, order, *words)
        finally:
            self._sending.name = ""

    def _sent(self, inner: Inner, connection: Any, data: Any) -> Any:
        found = inner(connection, data)
        name = getattr(self._sending, "name", "")
        if name:
            self._at[name][5:] = [monotonic_ns()]
        return found

    def told(self) -> dict[str, Any]:
        """Return the durations of the orders that were sent, by stage, ns."""
        sent = [at for at in self._at.values() if len(at) == 6]
        found: dict[str, Any] = {
            f"{stage}_ns": [at[n + 1] - at[n] for at in sent] for n, stage in enumerate(STAGES)
        }
        total = [at[5] - at[0] for at in sent]
        return {**found, "wire_ns": total, "socket_ns": self.socket_ns, "early": self.early}


def main() -> None:
    """Trade, and print what was measured."""
    stages = Stages()
    stages.install()
    config = read_config(Path(sys.argv[1]), rehearsal=True)
    closing = trade(config, factor=float(sys.argv[2]), until_close=True).done.closing
    found = {
        "breaks": list(closing.breaks), "duplicates": closing.duplicates,
        "lost_fills": closing.lost_fills,
    }  # fmt: skip
    print(json.dumps({**stages.told(), **found}))


if __name__ == "__main__":
    main()
