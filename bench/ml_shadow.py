"""A shadow's log: append, score, open again. ``ml_shadow.py [RECORDS]``, 1,000,000 by default.

Two models over 20 symbols with 20 features and a label of five bars, flushed at each step as a
tracker does. Goals: 50 µs an append (p50), 10 s to score a million records, memory flat: the peak
with all records is held against that with a tenth of them, each in a fresh process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mqd.core.clock import WallClock
from mqd.ml.shadow.known import KEPT
from mqd.ml.shadow.log import ShadowLog
from mqd.ml.shadow.records import Matured, Prediction, Watched

SYMBOLS, MODELS, FEATURES, BARS_AHEAD = 20, 2, 20, 5
MINUTE_NS = 60_000_000_000
START_NS = 1_700_000_000_000_000_000
HORIZON = "0123456789ab"
GOAL_APPEND_US, GOAL_SCORE_S, GOAL_GROWTH = 50.0, 10.0, 1.25


def write(folder: Path, n_records: int) -> tuple[float, float]:
    """Write a log; return p50 and p99 of an append, µs."""
    clock, rng = WallClock(), np.random.default_rng(1)
    names = [f"feature_{number}" for number in range(FEATURES)]
    label = {"kind": "fixed_horizon", "bars": BARS_AHEAD, "threshold_frac": 0.0}
    models = tuple(
        Watched(f"model{n}", f"{n + 10:x}" * 64, "shadow", 0.55, label, HORIZON, "e" * 64, names)
        for n in range(MODELS)
    )
    symbols = tuple(f"S{number}" for number in range(SYMBOLS))
    took = []
    with ShadowLog.open(folder) as log:
        log.start(models, symbols)
        for bar in range(n_records // (SYMBOLS * (MODELS + 1))):
            ts = START_NS + bar * MINUTE_NS
            matrix = rng.normal(size=(SYMBOLS, FEATURES))
            for row, symbol in enumerate(symbols):
                for model in models:
                    said = Prediction(ts, symbol, model.sha256, rng.random(), "model", 1_234_567)
                    start = clock.monotonic_ns()
                    log.predict(said, model.schema, matrix[row])
                    took.append(clock.monotonic_ns() - start)
                if bar >= BARS_AHEAD:
                    ret = float(rng.normal(0.0, 0.001))
                    t0 = ts - BARS_AHEAD * MINUTE_NS
                    log.mature(Matured(t0, symbol, ts, ret, int(ret > 0), HORIZON))
            log.flush()
    p50, p99 = np.quantile(took, (0.5, 0.99)) / 1e3
    return float(p50), float(p99)


def measure(folder: Path) -> None:
    """Score a log and open it again; print what both took as JSON."""
    from mqd.ml.evaluation.scoring import score_log

    clock = WallClock()
    start = clock.monotonic_ns()
    scores = score_log(folder)
    scored = clock.monotonic_ns()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ShadowLog.open(folder).close()
    opened = clock.monotonic_ns()
    (folder / KEPT).unlink()
    ShadowLog.open(folder).close()
    read = clock.monotonic_ns()
    told = {
        "score_s": (scored - start) / 1e9, "open_s": (opened - scored) / 1e9,
        "read_s": (read - opened) / 1e9, "peak_mb": peak_mb,
        "matured": sum(one.n for one in scores.values()),
    }  # fmt: skip
    print(json.dumps(told))


def main() -> None:
    """Write two logs, measure each in a process of its own, print the table."""
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]))
        return
    n_records = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    with tempfile.TemporaryDirectory() as place:
        told = []
        for n in (n_records // 10, n_records):
            folder = Path(place) / str(n)
            p50, p99 = write(folder, n)
            words = [sys.executable, __file__, "--measure", str(folder)]
            found = subprocess.run(words, capture_output=True, text=True, check=True)
            told.append(json.loads(found.stdout))
        small, large = told
        growth = large["peak_mb"] / small["peak_mb"]
        print(f"append          p50 {p50:6.1f} µs, p99 {p99:.1f} µs; goal p50 {GOAL_APPEND_US:.0f}")
        print(f"score {n:>9,} {large['score_s']:8.2f} s; goal {GOAL_SCORE_S:.0f} a million")
        print(
            f"open again      {large['open_s']:8.2f} s; {large['read_s']:.2f} s when it was not"
            " closed"
        )
        print(
            f"memory          {large['peak_mb']:8.0f} MB, {small['peak_mb']:.0f} MB with a tenth:"
            f" x {growth:.2f}; goal x {GOAL_GROWTH}"
        )


if __name__ == "__main__":
    main()
