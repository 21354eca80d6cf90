"""``make bench``: mqd's event engine beside backtesting.py, interleaved, fresh processes, medians.

``run_bench.py [rounds]`` (default 5). Makes the peer's environment in ``.venvs/backtesting`` from
the hashed lock, once. Nothing is judged here: it prints what was measured and what the goal is.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bars as bench_bars

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEER_VENV = ROOT / ".venvs" / "backtesting"
SMALL, LARGE = 100_000, 1_000_000
IMPORTS = 5

Run = Mapping[str, Any]


def peer_python() -> Path:
    """Return the interpreter of the peer's own environment, making it when it is missing."""
    python = PEER_VENV / "bin" / "python"
    done = PEER_VENV / "installed.txt"
    lock = ROOT / "requirements" / "bench-backtesting.txt"
    if not done.exists() or done.read_text(encoding="utf-8") != lock.read_text(encoding="utf-8"):
        print("Installing backtesting.py into an environment of its own …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEER_VENV)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True)
        done.write_text(lock.read_text(encoding="utf-8"), encoding="utf-8")
    return python


def measured(*command: object) -> Run:
    """Run a program in a fresh process and return the JSON of its last line."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} failed:\n{done.stderr}")
    found: Run = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def rotate(peer: Path, arrays: Path, rounds: int, scratch: Path) -> dict[str, list[Run]]:
    """Run mqd, the peer, and mqd without orders in turn, ``rounds`` times."""
    found: dict[str, list[Run]] = {"trade": [], "peer": [], "flat": []}
    for number in range(rounds):
        for what, runs in found.items():
            if what == "peer":
                run = measured(peer, HERE / "peer_backtesting.py", arrays)
            else:
                with tempfile.TemporaryDirectory(dir=scratch) as folder:
                    run = measured(sys.executable, HERE / "desk_run.py", arrays, folder, what)
            runs.append(run)
            speed = run["bars"] / run["seconds"]
            print(f"  round {number + 1}, {run['engine']}: {speed:,.0f} bars/s", flush=True)
    return found


def rate(runs: list[Run]) -> float:
    """Return the median of bars a second."""
    return statistics.median(run["bars"] / run["seconds"] for run in runs)


def order_life_us(found: Mapping[str, list[Run]]) -> float:
    """Return what an order costs: the median seconds that trading adds, by the orders."""
    trade, flat = (statistics.median(r["seconds"] for r in found[w]) for w in ("trade", "flat"))
    return (trade - flat) / found["trade"][0]["orders"] * 1e6


def report(n: int, found: Mapping[str, list[Run]]) -> None:
    """Print one size: rates, the ratio pair by pair, orders, memory, agreement."""
    trade, peer = found["trade"], found["peer"]
    ratios = [
        ours["bars"] / ours["seconds"] / (theirs["bars"] / theirs["seconds"])
        for ours, theirs in zip(trade, peer, strict=True)
    ]
    orders = statistics.median(run["orders"] / run["seconds"] for run in trade)
    print(f"{n:,} bars, {trade[0]['fills']:,} fills")
    print(f"  mqd event engine         {rate(trade):>12,.0f} bars/s")
    print(f"  backtesting.py           {rate(peer):>12,.0f} bars/s")
    pairs = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"  ratio, pair by pair      {statistics.median(ratios):>12.2f}         ({pairs})")
    print(f"  orders                   {orders:>12,.0f} a second")
    print(f"  an order's whole life    {order_life_us(found):>12.1f} µs")
    for name, runs in (("mqd", trade), ("backtesting.py", peer)):
        print(f"  peak memory {name:<14} {max(run['peak_mb'] for run in runs):>10.0f} MB")
    fills = {run["fills"] for run in [*trade, *peer]}
    ours, theirs = trade[0]["final_equity"], peer[0]["final_equity"]
    print(f"  fills agree              {len(fills) == 1!s:>12}         {sorted(fills)}")
    print(f"  final equity             {ours:>15,.4f}      backtesting.py {theirs:,.4f}")
    print(f"  equity differs by        {abs(ours - theirs):>15.2e}")


def import_seconds() -> float:
    """Return the median time of ``import mqd`` in a fresh process, the interpreter's left out."""
    code = "import time; t = time.perf_counter(); import mqd; print(time.perf_counter() - t)"
    times = [measured(sys.executable, "-c", code) for _ in range(IMPORTS)]
    return statistics.median(float(str(seconds)) for seconds in times)


def main() -> None:
    """Run both sizes and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    peer = peer_python()
    with tempfile.TemporaryDirectory(prefix="mqd-bench-") as scratch:
        found = {}
        for n, repeats in ((SMALL, rounds), (LARGE, max(1, rounds - 2))):
            arrays, table = bench_bars.write(Path(scratch), n)
            print(f"{n:,} bars, {repeats} rounds", flush=True)
            found[n] = rotate(peer, arrays, repeats, Path(scratch))
        loading = measured(sys.executable, HERE / "load_run.py", table)
    print()
    for n, runs in found.items():
        report(n, runs)
    print("Beside the engines")
    kept = rate(found[LARGE]["trade"]) / rate(found[SMALL]["trade"])
    print(f"  rate at {LARGE:,} bars over that at {SMALL:,}   {kept:.2f}   (goal: 0.80 or more)")
    print(
        f"  load and validate {loading['bars']:,} bars            {loading['again_s']:.2f} s",
        end="",
    )
    print(f" (first call {loading['first_s']:.2f} s; goal: 1 s)")
    print(f"  import mqd                                {import_seconds():.3f} s (goal: 0.3 s)")
    print("Goals at 100,000 bars: ratio 2 or more, an order 60 µs or less, memory 250 MB or less")


if __name__ == "__main__":
    main()
