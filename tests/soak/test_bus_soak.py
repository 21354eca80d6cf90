"""The bus under load: 20,000 events a second with the log on, a slow and a quick listener.

``make test`` runs two seconds of it and asserts what must hold on any machine: nothing of
orders and fills is lost, order holds, no queue and no memory grows. ``make soak`` sets
MQD_SOAK_S (60 and more) and asserts the latency too: p99 <= 5 ms from publish to handled.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from decimal import Decimal
from pathlib import Path

from mqd.core.bar import Quote
from mqd.core.event import Topic
from mqd.event_bus import OrderEventBus
from mqd.log_reader import read
from mqd.transaction_log import TransactionLog, new_run_folder

RATE = 20_000
SLICE_S = 0.005
SOAK_S = float(os.environ.get("MQD_SOAK_S", "0"))
DURATION_S = SOAK_S or 2.0
RSS_GROWTH_FRAC_MAX = 0.05


def rss_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Producer(threading.Thread):
    """Publishes in slices of 5 ms: of 100 events 90 quotes, 10 reports with the time sent."""

    def __init__(self, bus: OrderEventBus) -> None:
        super().__init__(daemon=True)
        self.bus, self.reports, self.quotes = bus, 0, 0

    def run(self) -> None:
        start = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - start) < DURATION_S:
            while sent < elapsed * RATE:
                now = time.monotonic_ns()
                if sent % 10:
                    symbol = f"S{sent % 50}"
                    price = Decimal(sent)
                    self.bus.publish(
                        Topic.QUOTE, now, Quote(symbol, now, price, price, price, price)
                    )
                    self.quotes += 1
                else:
                    self.bus.publish(Topic.REPORT, now, self.reports)
                    self.reports += 1
                sent += 1
            time.sleep(SLICE_S)


def test_bus_with_log_under_load(tmp_path):
    folder = new_run_folder(tmp_path / "run")
    log = TransactionLog.create(folder, {}, durable=False)
    bus = OrderEventBus()
    latencies_ns: list[int] = []
    handled, heard, slow_heard = [], [], []
    rss_start = 0

    def on_report(event):
        log.append("report", event.ts_ns, {"n": event.payload})
        handled.append(event.payload)
        latencies_ns.append(time.monotonic_ns() - event.ts_ns)

    def on_quote_slowly(event):
        time.sleep(0.002)
        slow_heard.append(event.payload.symbol)

    bus.subscribe(Topic.REPORT, on_report, name="orders", stage=True)
    bus.attach(Topic.REPORT, lambda event: heard.append(event.payload), "console")
    bus.attach(Topic.QUOTE, on_quote_slowly, "shadow", maxsize=1_000)
    producer = Producer(bus)
    producer.start()
    while producer.is_alive():
        bus.wait(0.002)
        bus.drain()
        assert bus.stats().waiting["shadow"] <= 50, "at most one waiting quote a symbol"
        if not rss_start and producer.reports > 2_000:
            rss_start = rss_kib()
    rss_end = rss_kib()
    assert bus.close(timeout_s=10).clean
    log.close("done")

    assert handled == heard == list(range(producer.reports))
    assert len(slow_heard) + bus.stats().conflated == producer.quotes
    assert bus.stats().failures == {}
    assert sum(1 for record in read(folder) if record.kind == "report") == producer.reports
    kept_kib = len(handled) * 3 * 100 // 1024  # this test's own lists
    assert rss_end - kept_kib <= rss_start * (1 + RSS_GROWTH_FRAC_MAX)
    latencies_ns.sort()
    p99_ms = latencies_ns[len(latencies_ns) * 99 // 100] / 1e6
    rate = (producer.reports + producer.quotes) / DURATION_S
    print(f"{rate:.0f} events/s, p99 {p99_ms:.2f} ms, RSS {rss_start} -> {rss_end} KiB")
    if SOAK_S:
        assert rate >= RATE * 0.99
        assert p99_ms <= 5
