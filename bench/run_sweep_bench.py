"""``make bench-sweep``: mqd's sweep beside vectorbt (numba, Rust) and a hand-written kernel.

``run_sweep_bench.py [--quick] [--rounds 3] [--minutes 9]``. Fresh processes in rotation, the
quickest call of each, medians over the rounds, ratios round by round. No further round begins when
``--minutes`` would not hold it. ``--quick`` is one round without the 100 symbols and a tenth of the
other combinations. Nothing is judged here: it prints what was measured beside the goal, and writes
all of it to ``runs/``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sweep_data as data

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = ROOT / "runs" / "bench_sweep.json"
FIRST = "1,035 pairs"
LARGE, MANY = "10,011 pairs", "100 symbols"
METRICS = ("total return", "Sharpe", "max drawdown")
PARTS = ("library", "exits", "rules", "single", "stream", "desk")
PARTS_S = 120
PROGRAMS = {
    "mqd 1": ("sweep_mqd.py", "1"),
    "plain 1": ("sweep_plain.py", "1"),
    "vectorbt numba": ("sweep_vectorbt.py", "numba"),
    "vectorbt rust": ("sweep_vectorbt.py", "rust"),
    "mqd 2": ("sweep_mqd.py", "2"),
    "plain 2": ("sweep_plain.py", "2"),
}
PEERS = ("vectorbt numba", "vectorbt rust")

Run = dict[str, Any]
Rounds = list[dict[str, Run]]


def measured(caches: Path, *words: object) -> Run:
    """Run a program of this folder in a fresh process and return the JSON of its last line."""
    program, *arguments = [str(word) for word in words]
    places = {"MQD_CACHE_DIR": str(caches), "NUMBA_CACHE_DIR": str(caches / "numba")}
    done = subprocess.run(
        [sys.executable, str(HERE / program), *arguments], capture_output=True, text=True,
        cwd=ROOT, check=False, env={**os.environ, **places},
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
    found: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def one_round(scratch: Path, caches: str, cases: Iterable[str]) -> dict[str, Run]:
    """Run every program once, in turn; each keeps compiled code in a folder of its own."""
    found = {}
    for name, (program, argument) in PROGRAMS.items():
        folder = scratch / caches / name
        found[name] = measured(folder, program, scratch, argument, *cases)
        took = ", ".join(f"{k} {v:.3f} s" for k, v in found[name]["seconds"].items())
        print(f"  {name:<15} {took}", flush=True)
    return found


def rotate(scratch: Path, cases: list[str], rounds: int, until: float) -> Rounds:
    """Run rounds until there are enough, or until the next would end after ``until``."""
    found: Rounds = []
    longest = 0.0
    for number in range(rounds):
        if found and time.monotonic() + longest > until:
            print(f"  {len(found)} of {rounds} rounds fit the time")
            break
        print(f"Round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        start = time.monotonic()
        found.append(one_round(scratch, "caches", cases))
        longest = max(longest, time.monotonic() - start)
    return found


def ratio(rounds: Rounds, case: str, ours: str, theirs: str, of: str = "seconds") -> float:
    """Return how many times faster ``ours`` is, the median of each round's own ratio."""
    seconds: list[tuple[float, float]] = [
        (one[ours][of][case], one[theirs][of][case]) for one in rounds
    ]
    return median(b / a for a, b in seconds)


def rates(rounds: Rounds, cases: Iterable[str]) -> dict[str, Any]:
    """Return rates (bar-evaluations a second), ratios round by round, and peak memory."""
    found: dict[str, Any] = {}
    for case in cases:
        n = data.CASES[case].evaluations
        rows = {}
        for name in PROGRAMS:
            seconds = median(one[name]["seconds"][case] for one in rounds)
            peak_mb = max(one[name]["peak_mb"][case] for one in rounds)
            rows[name] = {"per_s": n / seconds, "peak_mb": peak_mb}
        found[case] = {
            "engines": rows,
            "mqd_1_over": {
                peer: [ratio(rounds, case, "mqd 1", peer, of) for of in ("seconds", "cpu")]
                for peer in (*PEERS, "plain 1")
            },
            "two_threads_over_one": {
                who: ratio(rounds, case, f"{who} 2", f"{who} 1") for who in ("mqd", "plain")
            },
        }
    return found


def agreement(scratch: Path, cases: Iterable[str]) -> dict[str, Any]:
    """Return, a case and peer, the largest differences from mqd and the rows beyond 1e-6."""
    found: dict[str, Any] = {}
    for case in cases:
        ours = np.load(scratch / f"mqd 1 {case}.npy")
        found[case] = {}
        for name in (*PEERS, "plain 1", "mqd 2"):
            away = np.abs(np.load(scratch / f"{name} {case}.npy") - ours)
            found[case][name] = {
                "rows": int(away[0].size),
                "beyond_1e-6": int((~(away <= 1e-6)).any(axis=0).sum()),
                **{m: float(a.max()) for m, a in zip(METRICS, away, strict=True)},
            }
    return found


def show_rates(found: dict[str, Any]) -> None:
    """Print rates, ratios and memory of each case."""
    for case, one in found.items():
        size = data.CASES[case]
        n_pairs = size.evaluations // size.n_bars // size.n_symbols
        print(f"\n{n_pairs:,} pairs x {size.n_bars:,} bars x {size.n_symbols} symbol(s)")
        print(f"  {'':<22}{'M bar-evaluations/s':>20}{'peak MB so far':>16}")
        for name, row in one["engines"].items():
            print(f"  {name:<22}{row['per_s'] / 1e6:>20,.1f}{row['peak_mb']:>16,.0f}")
        for name, (wall, cpu) in one["mqd_1_over"].items():
            print(f"  mqd 1 / {name:<16}{wall:>18,.2f}   by processor time {cpu:,.2f}")
        for name, times in one["two_threads_over_one"].items():
            print(f"  {name + ' 2 / ' + name + ' 1':<24}{times:>18,.2f}")


def show_agreement(found: dict[str, Any]) -> None:
    """Print the largest differences, and what the largest of return is in money."""
    print("\nLargest difference from mqd on one thread (rounding of fees to 1e-8 USD, of floats)")
    print(f"  {'':<30}{'rows':>8}{'> 1e-6':>8}{METRICS[0]:>15}{METRICS[1]:>10}{METRICS[2]:>15}")
    for case, peers in found.items():
        for name, row in peers.items():
            print(f"  {case + ', ' + name:<30}{row['rows']:>8,}{row['beyond_1e-6']:>8}", end="")
            print(f"{row[METRICS[0]]:>15.1e}{row[METRICS[1]]:>10.1e}{row[METRICS[2]]:>15.1e}")
    worst = max(row[METRICS[0]] for peers in found.values() for row in peers.values())
    print(f"  the largest of all is {worst * data.CASH:.1e} USD of {data.CASH:,} USD")


def show_first(empty: dict[str, Run], rounds: Rounds) -> dict[str, Any]:
    """Print and return the seconds of the first call, compiled code absent and present."""
    found = {}
    print(f"\nFirst call, imports excluded, {FIRST} (s)    empty cache   filled, new process")
    for name in PROGRAMS:
        if name.startswith("plain"):
            continue
        filled = median(one[name]["first_s"] for one in rounds)
        found[name] = {"empty_s": empty[name]["first_s"], "filled_s": filled}
        print(f"  {name:<42}{found[name]['empty_s']:>13.2f}{filled:>22.2f}")
    return found


def show_parts(parts: dict[str, Run]) -> None:
    """Print what mqd alone was asked for, or why it refused."""
    for name, one in parts.items():
        print()
        if "refused" in one:
            print(f"{name}: refused. {one['refused']}")
        else:
            SHOWN[name](one)


def show_library(found: Run) -> None:
    """Print the rate of each strategy."""
    print("Library strategies, one thread (M bar-evaluations/s)")
    for name, per_s in found.items():
        told = f"{per_s / 1e6:>12,.1f}" if isinstance(per_s, float) else f"  {per_s}"
        print(f"  {name:<30}{told}")


def show_beside(title: str, found: Run) -> None:
    """Print the rate of SMA pairs without something and with it."""
    print(f"SMA pairs {found['without'] / 1e6:,.1f} M bar-evaluations/s, with {title}", end="")
    print(f" {found['with'] / 1e6:,.1f}: ratio {found['ratio']:.2f}")


def show_single(found: Run) -> None:
    """Print the bars a second of one backtest."""
    print("One backtest of 100,000 bars (M bars/s)")
    for name, per_s in found.items():
        print(f"  {name:<30}{per_s / 1e6:>12,.3f}")


def show_stream(found: Run) -> None:
    """Print time and memory of very many combinations."""
    print(f"{found['combinations']:,} combinations x 250 bars, memory_mb=400", end="")
    print(f": {found['seconds']:.1f} s, peak {found['peak_mb']:,.0f} MB", end="")
    print(f" ({found['before_mb']:,.0f} MB before the first call)")


SHOWN: dict[str, Callable[[Run], None]] = {
    "library": show_library,
    "exits": lambda found: show_beside("a stop and a target", found),
    "rules": lambda found: show_beside("ten rules", found),
    "single": show_single,
    "stream": show_stream,
    "desk": lambda found: print(f"Rows again in the desk: {found['told']}"),
}


def goals() -> None:
    """Print what was to be reached."""
    print("\nGoals: 10,011 pairs >= 100 x vectorbt, >= 0.6 x plain, two threads >= 1.8 x one,")
    print("<= 400 MB; 100 symbols >= 60 x vectorbt; first call <= 3 s empty, <= 0.6 s filled;")
    print("library >= 50 M (>= 25 M where allocate sorts); exits >= 0.7; rules >= 0.9;")
    print("one backtest >= 20 M bars/s; a million combinations within 400 MB")


def main() -> None:
    """Measure, print, and write ``runs/bench_sweep.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0)
    asked = parser.parse_args()
    began = time.monotonic()
    until = began + asked.minutes * 60 - PARTS_S
    cases = [FIRST, LARGE] if asked.quick else [FIRST, LARGE, MANY]
    with tempfile.TemporaryDirectory(prefix="mqd-bench-") as name:
        scratch = Path(name)
        data.write(scratch)
        print(f"First calls, no compiled code on disk, load {os.getloadavg()[0]:.1f}", flush=True)
        empty = one_round(scratch, "caches", [FIRST])
        rounds = rotate(scratch, cases, 1 if asked.quick else asked.rounds, until)
        print("Parts", flush=True)
        scale = 10 if asked.quick else 1
        caches = scratch / "caches" / "mqd 1"
        parts = {part: measured(caches, "sweep_parts.py", part, scale) for part in PARTS}
        document: Run = {"rates": rates(rounds, cases), "agreement": agreement(scratch, cases)}
    show_rates(document["rates"])
    show_agreement(document["agreement"])
    document["first"] = show_first(empty, rounds)
    show_parts(parts)
    goals()
    document |= {"parts": parts, "rounds": rounds, "load": os.getloadavg()}
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(f"\n{time.monotonic() - began:.0f} s in all; everything in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
