"""Loading and validating bars from parquet; prints one JSON line. ``load_run.py BARS.parquet``."""

from __future__ import annotations

import json
import sys
import time

import mqd


def main() -> None:
    """Load twice: the first call also imports what loading needs."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        bars = mqd.load_bars(sys.argv[1], calendar="24/7", adjust="none")
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"bars": bars.n_bars, "first_s": seconds[0], "again_s": seconds[1]}))


if __name__ == "__main__":
    main()
