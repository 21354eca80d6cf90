"""5,000 symbols x 10 years of minutes x 1,000 combinations, shown at a thousandth of the size.

``make bench-scale`` writes five files of one symbol each, ten years of minutes, and sweeps 1,000
combinations of ``sma_cross`` over them on two Dask worker processes. The client passes paths; the
workers read. Each symbol is of full size, so what a worker holds and does for one is what it
would for each of 5,000; what is printed for those is this run times a thousand.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import exchange_calendars
import numpy as np
import pandas as pd
import psutil
from distributed import Client, LocalCluster

import mqd
from mqd.core.clock import WallClock
from mqd.strategy.library.sma_cross import SmaCross
from tests.unit.sweeps.counted_link import CountedLink

SYMBOLS, YEARS, FULL = 5, 10, 5_000
GRID = {"fast": range(5, 105, 5), "slow": range(104, 304, 4)}
MEMORY_MB = 400
MB = 1e6


def write(folder: Path, symbol: str, seed: int, years: int) -> Path:
    """Write a symbol's minutes as ``mqd.load_bars`` reads them; return the file."""
    calendar = exchange_calendars.get_calendar("XNYS", start=f"{2024 - years}-01-01")
    minutes = calendar.minutes[calendar.minutes < pd.Timestamp("2024-01-01", tz="UTC")]
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 2e-4, len(minutes)))), 2)
    open_ = np.round(np.maximum(close + rng.normal(0, 0.02, len(close)), 0.01), 2)
    frame = pd.DataFrame(
        {
            "symbol": symbol,
            "timestamp": minutes,
            "open": open_,
            "high": np.maximum(open_, close) + 0.01,
            "low": np.maximum(np.minimum(open_, close) - 0.01, 0.01),
            "close": close,
            "volume": rng.integers(1_000, 100_000, len(close)).astype(np.float64),
        }
    )
    path = folder / f"{symbol}.parquet"
    frame.to_parquet(path, index=False)
    return path


def peak_mb() -> float:
    """Return the most memory this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def held_mb() -> float:
    """Return the memory this process holds, MB."""
    return float(psutil.Process().memory_info().rss / MB)


def timed_load(path: str) -> float:
    """Return how long a worker reads one file, seconds."""
    clock = WallClock()
    began = clock.monotonic_ns()
    mqd.load_bars(path)
    return (clock.monotonic_ns() - began) / 1e9


def measured(files: dict[str, Path], grid: dict[str, Any]) -> dict[str, float]:
    """Sweep the files on two workers and return what was measured."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=50,
        ) as cluster,
        CountedLink("127.0.0.1", urlparse(cluster.scheduler_address).port) as link,
        Client(link.address) as client,
    ):
        client.wait_for_workers(2)
        first = str(next(iter(files.values())))
        load_s = min(client.submit(timed_load, first, pure=False).result() for _ in range(2))
        warm = mqd.sweep(
            SmaCross, files, {"fast": [10, 20], "slow": [200, 250]}, workers=client,
            engine="compiled", memory_mb=MEMORY_MB,
        )  # fmt: skip
        print(f"each worker has compiled the rule and read a file: {warm.seconds:.1f} s")
        before = held_mb()
        sent, received = link.sent, link.received
        swept = mqd.sweep(
            SmaCross, files, grid, workers=client, engine="compiled", memory_mb=MEMORY_MB,
            progress=True,
        )  # fmt: skip
        rows = len(swept.table)
        return {
            "rows": rows,
            "engine": swept.engine,
            "seconds": swept.seconds,
            "rate": swept.bar_evaluations_per_s,
            "load_s": load_s,
            "sent": link.sent - sent,
            "received": link.received - received,
            "client_mb": held_mb() - before,
            "worker_mb": max(client.run(peak_mb).values()),
        }


def report(found: dict[str, float], files: dict[str, Path], evaluations: float) -> None:
    """Print the run, and what 5,000 symbols need by it."""
    n = len(files)
    disk = sum(path.stat().st_size for path in files.values())
    print(f"\nThis run: {n} symbols, {evaluations:.3g} bar-evaluations on 2 workers of 1 thread")
    print(f"  engine {found['engine']}, {found['rows']:,} rows in {found['seconds']:.1f} s")
    print(
        f"  {found['rate'] / MB:,.0f} M bar-evaluations/s, {found['rate'] / 2 / MB:,.0f} a worker"
    )
    print(f"  a worker reads one file in {found['load_s']:.2f} s, {disk / n / MB:.0f} MB each")
    print(
        f"  through the client: {found['sent'] / 1e3:,.0f} kB out,"
        f" {found['received'] / 1e3:,.0f} kB in ({found['received'] / found['rows']:.0f} B a row)"
    )
    print(
        f"  peak of a worker {found['worker_mb']:,.0f} MB; the client grew by"
        f" {found['client_mb']:,.0f} MB"
    )
    times = FULL / n
    print(f"\n{FULL:,} symbols of this length ({evaluations * times:.3g} bar-evaluations):")
    print(
        f"  {disk * times / 1e9:,.0f} GB of parquet; {found['rows'] * times:,.0f} rows,"
        f" {found['received'] * times / 1e9:.1f} GB in, {found['sent'] * times / MB:.0f} MB out"
    )
    worker_s = 2 * found["seconds"] * times
    for workers in (2, 16, 64, 256):
        hours = worker_s / workers / 3600
        print(
            f"  {workers:>4} workers of one thread: {hours:8.2f} h,"
            f" {workers * found['worker_mb'] / 1e3:,.0f} GB of memory in all"
        )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--symbols", type=int, default=SYMBOLS)
    words.add_argument("--years", type=int, default=YEARS)
    said = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="mqd-scale-") as folder:
        files = {
            f"S{place:04}": write(Path(folder), f"S{place:04}", place, said.years)
            for place in range(said.symbols)
        }
        n_bars = sum(len(pd.read_parquet(path, columns=["close"])) for path in files.values())
        n = len(GRID["fast"]) * len(GRID["slow"])
        report(measured(files, GRID), files, float(n_bars * n))


if __name__ == "__main__":
    main()
