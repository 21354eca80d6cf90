"""A day of a desk, and how long after a bar each order's bytes went out. One JSON line.

``live_wire.py CONFIG PACE``: the desk of ``mqd paper`` runs in this process until the session's
close. A bar counts as received when its decoded frame reaches the desk and its step's time has
come by the desk's own clock: at a pace of 60 a venue's bar may come before it.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns
from typing import Any

from mqd.live.config import read_config
from mqd.live.session import LiveSession
from mqd.live.trading import trade
from mqd.transaction_log import Tier, TransactionLog

_POST = b"POST /v2/orders "


class Stopwatch:
    """Instants on the monotonic clock: when steps became complete, and what followed."""

    def __init__(self) -> None:
        self.complete_ns = self.n_steps = 0
        self.wire_ns: list[int] = []
        self.durable_ns: list[int] = []
        self.decided_ns: list[int] = []

    def install(self) -> None:
        """Wrap the places that are measured."""
        self._wrap(LiveSession, "_gather", self._gathered)
        self._wrap(LiveSession, "_end", self._ended)
        self._wrap(TransactionLog, "append", self._appended)
        self._wrap(http.client.HTTPConnection, "send", self._sent)

    def _wrap(self, owner: type, name: str, around: Callable[..., Any]) -> None:
        inner = getattr(owner, name)
        setattr(owner, name, lambda *words, **named: around(inner, *words, **named))

    def _gathered(self, inner: Callable[..., Any], *words: Any) -> Any:
        self.complete_ns = monotonic_ns()
        return inner(*words)

    def _ended(self, inner: Callable[..., Any], *words: Any) -> Any:
        found = inner(*words)
        self.n_steps += 1
        self.decided_ns.append(monotonic_ns() - self.complete_ns)
        return found

    def _appended(self, inner: Callable[..., Any], *words: Any, **named: Any) -> Any:
        begun = monotonic_ns()
        found = inner(*words, **named)
        if words[1] == "intent" and (named.get("tier") or words[-1]) is Tier.D0:
            self.durable_ns.append(monotonic_ns() - begun)
        return found

    def _sent(self, inner: Callable[..., Any], connection: Any, data: Any) -> Any:
        if isinstance(data, bytes) and data.startswith(_POST):
            self.wire_ns.append(monotonic_ns() - self.complete_ns)
        return inner(connection, data)


def main() -> None:
    """Run the day and print what was measured, in ns."""
    watch = Stopwatch()
    watch.install()
    traded = trade(read_config(Path(sys.argv[1]), rehearsal=True), factor=float(sys.argv[2]),
                   until_close=True)  # fmt: skip
    closing = traded.done.closing
    found = {
        "wire_ns": watch.wire_ns, "durable_ns": watch.durable_ns, "decided_ns": watch.decided_ns,
        "breaks": list(closing.breaks), "duplicates": closing.duplicates,
        "lost_fills": closing.lost_fills,
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
