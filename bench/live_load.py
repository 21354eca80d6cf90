"""A desk under a burst of market data: how late it hears, and what it holds. One JSON line.

``live_load.py CONFIG PACE DATA_PORT SECONDS``: the desk of ``mqd paper``, its data socket at
``DATA_PORT``, is stopped with SIGTERM after ``SECONDS`` of burst.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns, process_time
from typing import Any

from live_stages import Stages

from mqd.live import trading
from mqd.live.config import read_config
from mqd.live.realtime_run import RealtimeRun

SAMPLE_S = 1.0


class Load:
    """What a run under load showed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.late_ns: list[int] = []
        self.rss_mb: list[float] = []
        self.n_messages = 0
        self.cpu_s = 0.0
        self._begun = False

    def install(self, port: int) -> None:
        """Put the data socket at ``port``, and note when frames were taken in."""
        inner, address_of = RealtimeRun._on_data, trading.address_of

        def noted(run: RealtimeRun, messages: Sequence[dict[str, Any]]) -> None:
            inner(run, messages)
            self.n_messages += len(messages)
            sent = messages[0].get("sent_mono_ns")
            if sent is not None:
                self.late_ns.append(monotonic_ns() - sent)
                self._begin()

        RealtimeRun._on_data = noted  # type: ignore[method-assign]
        trading.address_of = lambda config, keys: replace(
            address_of(config, keys),
            data_stream_url=f"ws://127.0.0.1:{port}/v2/{config.feed}",
        )

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        waiting, before_s = threading.Event(), process_time()
        for _ in range(int(self._seconds / SAMPLE_S)):
            waiting.wait(SAMPLE_S)
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.rss_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.cpu_s = process_time() - before_s
        os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run under load and print what was measured."""
    config, pace = read_config(Path(sys.argv[1]), rehearsal=True), float(sys.argv[2])
    load, watch = Load(float(sys.argv[4])), Stages()
    load.install(int(sys.argv[3]))
    watch.install()
    done = trading.trade(config, factor=pace).done
    found = {
        "late_ns": load.late_ns, "rss_mb": load.rss_mb, "cpu_s": load.cpu_s,
        "messages": load.n_messages,
        "wire_ns": watch.told()["wire_ns"], "fills": len(done.desk.parts.hearing.fills),
        "breaks": list(done.closing.breaks), "duplicates": done.closing.duplicates,
        "lost_fills": done.closing.lost_fills, "denied": done.desk.parts.gate.n_denied,
        "first_denial": done.desk.parts.gate.first_denial,
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
