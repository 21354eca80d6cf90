"""How each program of ``make bench-sweep`` measures itself: one loop, one JSON line."""

from __future__ import annotations

import gc
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import sweep_data as data

T = TypeVar("T")


def measure(
    name: str,
    folder: Path,
    cases: list[str],
    prepare: Callable[[dict[str, data.Floats]], T],
    run: Callable[[T, data.Case], data.Floats],
    calls: int,
) -> None:
    """Run each case ``calls`` times after a first call, keep its answer, print the quickest.

    ``prepare`` turns arrays into the engine's own bars, untimed; ``run`` returns total return,
    Sharpe and maximum drawdown, shape (3, n_symbols, n_pairs). The process's first call, on the
    first case, is told apart; the first of a larger case is slower too (vectorbt: 17 s, then 10),
    so every engine's quickest call counts. ``cpu`` is the processor's time of all threads.
    ``peak_mb`` is the most that the whole process held until a case's end.
    """
    first_s = 0.0
    seconds, cpu, peaks = {}, {}, {}
    for place, case in enumerate(cases):
        bars = prepare(data.read(folder, case))
        if place == 0:
            start = time.perf_counter()
            run(bars, data.CASES[case])
            first_s = time.perf_counter() - start
        times = []
        for _ in range(calls):
            gc.collect()  # a peer's last answer must not count as this one's memory
            start, start_cpu = time.perf_counter(), time.process_time()
            found = run(bars, data.CASES[case])
            times.append((time.perf_counter() - start, time.process_time() - start_cpu))
            np.save(folder / f"{name} {case}.npy", found)
        seconds[case] = min(wall for wall, _ in times)
        cpu[case] = min(busy for _, busy in times)
        peaks[case] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first_s": first_s, "seconds": seconds, "cpu": cpu, "peak_mb": peaks}))
