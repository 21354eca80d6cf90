"""``make bench-live``: the numbers of a live desk on this machine, through its real processes.

``run_live_bench.py [--only NAME] [--quick] [--seconds N]``; names: wire, load, session, restart,
kill. Nothing is judged: what was measured stands beside the goal, and all of it goes to
``runs/bench_live.json``. Where an honest peer exists (one bare POST and one bare fsync for the way
to the wire, one bare msgpack decode for the burst), it is measured in between, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import live_minutes
import live_world
import msgpack
import numpy as np
import requests

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = ROOT / "runs" / "bench_live.json"
TAIL = 19_000
"""Records since the last checkpoint: a start writes one when 20,000 have followed."""
PACE, BARE_EVERY_S, RATE, FRAMES_S = 60.0, 0.25, 20_000, 200
ORDER = {
    "symbol": "MSFT", "qty": "80", "side": "buy", "type": "market", "time_in_force": "day",
    "client_order_id": "mq1-0000-aaaaaaaaaaaaaaaaaaaaaaaaaa",
}  # fmt: skip
STAGES = {
    "wake": "the desk's thread takes it", "decide": "rule, size, risk",
    "durable": "intent on the disk", "executor": "to the worker", "http": "request to the kernel",
}  # fmt: skip
Found = dict[str, Any]


def program(name: str, *words: object, timeout_s: float = 1200.0) -> Found:
    """Run a program of this folder in a fresh process and return the JSON of its last line."""
    command = [sys.executable, str(HERE / name), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{name} {' '.join(map(str, words))} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def line(what: str, text: str, goal: str = "") -> None:
    """Print one line of a table."""
    print(f"  {what:<46} {text:>26}   {goal}", flush=True)


def spread(what: str, values: Sequence[float], unit: str, goal: str = "") -> None:
    """Print median, 99th and largest of a list; "-" where it is empty."""
    if not values:
        line(what, "-", goal)
        return
    p50, p99 = np.percentile(values, [50, 99])
    line(what, f"{p50:.2f} / {p99:.2f} / {max(values):.2f} {unit}", goal)


def ms(found: Found, name: str) -> list[float]:
    """Return the durations of a name, in ms."""
    return [one / 1e6 for one in found[name]]


# --- 1 bar to wire --------------------------------------------------------------------------------


class Bare(threading.Thread):
    """What no desk can do without: one POST to the same venue, one append and fsync."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self._url, self._folder, self._over = url, folder, threading.Event()
        self.post_ms: list[float] = []
        self.sync_ms: list[float] = []

    def run(self) -> None:
        """Measure both, in turn, until ``stop``."""
        text = b"x" * 400
        with requests.Session() as session, (self._folder / "bare").open("ab", 0) as file:
            while not self._over.wait(BARE_EVERY_S):
                begun = time.perf_counter()
                session.post(f"{self._url}/v2/nothing", json=ORDER, timeout=10)
                posted = time.perf_counter()
                file.write(text)
                os.fsync(file.fileno())
                self.sync_ms.append((time.perf_counter() - posted) * 1e3)
                self.post_ms.append((posted - begun) * 1e3)

    def stop(self) -> None:
        """Stop and join."""
        self._over.set()
        self.join()


def until(process: subprocess.Popen[str], seconds: float) -> Found:
    """Let a desk run for a while, end it with SIGTERM, and return the JSON that it prints."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    out, why = process.communicate(timeout=60)
    if process.returncode != 0:
        sys.exit(f"{process.args!r} failed:\n{why[-3000:]}")
    found: Found = json.loads(out.strip().splitlines()[-1])
    return found


def wire(folder: Path, seconds: float) -> Found:
    """Trade MSFT at every close for a while, as ``mqd paper`` does, live controls on."""
    with live_world.started_venue(folder, PACE) as venue:
        config = live_world.write_config(folder, venue)
        command = [sys.executable, str(HERE / "live_stages.py"), str(config), str(PACE)]
        desk = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        bare = Bare(venue.url, folder)
        bare.start()
        found = until(desk, seconds)
        bare.stop()
    return {**found, "post_ms": bare.post_ms, "sync_ms": bare.sync_ms}


def show_wire(found: Found) -> None:
    """Print number 1."""
    print("1 bar to wire: `mqd paper` on a venue at 60x, live controls on (p50 / p99 / most)")
    total, durable = ms(found, "wire_ns"), ms(found, "durable_ns")
    spread(f"bar complete -> order bytes, {len(total)} orders", total, "ms", "goal 2 / 20 ms")
    for stage, what in STAGES.items():
        spread(f"  {stage}: {what}", ms(found, f"{stage}_ns"), "ms")
    rest = [a - b for a, b in zip(total, durable, strict=True)]
    spread("  all but the disk", rest, "ms")
    line("  sent before their intent was durable", str(found["early"]), "goal 0")
    spread("before: frame of the socket -> bar", ms(found, "socket_ns"), "ms")
    spread("peer: one bare write and fsync", found["sync_ms"], "ms")
    spread("peer: one bare POST and its answer", found["post_ms"], "ms")
    if durable and found["sync_ms"]:
        ratio = statistics.median(durable) / statistics.median(found["sync_ms"])
        line("durable intent / bare fsync, medians", f"{ratio:.2f}")


# --- 2 a burst ------------------------------------------------------------------------------------


class Jitter(threading.Thread):
    """How late this machine wakes a program that does nothing but sleep: its own noise."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.late_ms: list[float] = []

    def run(self) -> None:
        """Sleep 5 ms at a time until ``stop``."""
        due = time.perf_counter()
        while not self._over.is_set():
            due = max(due + 0.005, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            self.late_ms.append((time.perf_counter() - due) * 1e3)

    def stop(self) -> None:
        """Stop and join."""
        self._over.set()
        self.join()


def load(folder: Path, seconds: float) -> Found:
    """Trade under a burst of quotes and trades; a bare decode of such a frame beside it."""
    with live_world.started_venue(folder, PACE) as venue:
        config = live_world.write_config(folder, venue)
        command = [
            sys.executable, str(HERE / "live_flood.py"), f"ws://127.0.0.1:{venue.port}", str(RATE),
            str(PACE),
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
            assert flood.stdin is not None
            assert flood.stdout is not None
            port = json.loads(flood.stdout.readline())["port"]
            jitter = Jitter()
            jitter.start()
            found = program("live_load.py", config, PACE, port, seconds)
            jitter.stop()
            flood.stdin.close()
    return {**found, "seconds": seconds, "decode_us": bare_decode_us(), "jitter_ms": jitter.late_ms}


def bare_decode_us() -> float:
    """Return the µs a message that msgpack alone takes for a frame of 100 quotes."""
    stamp = msgpack.Timestamp.from_unix_nano(1_652_967_000_123_456_789)
    quote = {
        "T": "q", "S": "MSFT", "bx": "V", "bp": 250.01, "bs": 2, "ax": "V", "ap": 250.03,
        "as": 3, "c": ["R"], "z": "C", "t": stamp,
    }  # fmt: skip
    frame = msgpack.packb([quote] * 100)
    times = []
    for _ in range(300):
        begun = time.perf_counter()
        msgpack.unpackb(frame, timestamp=2)
        times.append((time.perf_counter() - begun) * 1e4)
    return statistics.median(times)


def show_load(found: Found) -> None:
    """Print number 2."""
    print(f"2 burst: {RATE:,} messages/s for {found['seconds']:g} s over the data socket")
    rate = found["messages"] / found["seconds"]
    line("messages taken in", f"{found['messages']:,} ({rate:,.0f}/s)")
    late = ms(found, "late_ns")
    spread("sent -> taken in by the desk", late, "ms", "goal p99 5 ms")
    seconds = [late[at : at + FRAMES_S] for at in range(0, len(late), FRAMES_S)]
    worst = [float(np.percentile(one, 99)) for one in seconds]
    line("p99 of the median second, of the worst", f"{np.median(worst):.2f}, {max(worst):.2f} ms")
    spread("bar complete -> order bytes, meanwhile", ms(found, "wire_ns"), "ms")
    lost = f"{found['lost_fills']} / {found['duplicates']} / {len(found['breaks'])}"
    line(f"lost, doubled, breaks; {found['fills']} fills", lost, "goal 0 / 0 / 0")
    rss = found["rss_mb"]
    if rss:
        marks = [rss[min(1, len(rss) - 1)], rss[len(rss) // 2], rss[-1]]
        line(
            "memory at start, middle, end", " ".join(f"{one:.0f}" for one in marks) + " MB", "flat"
        )
    cpu_us = found["cpu_s"] / found["messages"] * 1e6
    line("processor time of the desk, a message", f"{cpu_us:.1f} µs")
    line("peer: bare msgpack decode of a message", f"{found['decode_us']:.2f} µs")
    spread("peer: a program that only sleeps wakes late", found["jitter_ms"], "ms")


# --- 3 a session ----------------------------------------------------------------------------------


def session(folder: Path, n_symbols: int, n_minutes: int) -> Found:
    """Rehearse a session at full speed; means of 3 and 8 bars cross often."""
    data = live_minutes.write(folder, n_symbols, n_minutes)
    command = [
        sys.executable, "-m", "mqd", "rehearse", "sma_cross", "--data", str(data.path),
        "--symbols", ",".join(live_minutes.names(n_symbols)), "--tick", "0.01", "--speed", "max",
        "--set", "fast=3", "--set", "slow=8", "--no-replay", "--out", str(folder / "run"), "--json",
    ]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    took = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(f"mqd rehearse failed:\n{done.stderr[-3000:]}")
    said: Found = json.loads(done.stdout)
    return {**said, "seconds": took, "symbols": n_symbols, "minutes": n_minutes}


def show_session(found: Found) -> None:
    """Print number 3."""
    print("3 session: `mqd rehearse --speed max`, the whole process")
    bars = f"{found['symbols']} symbols x {found['minutes']} bars"
    line(bars, f"{found['seconds']:.1f} s", "goal 60 s for 50 x 390")
    line("orders, fills", f"{found['orders']:,}, {found['fills']:,}")
    lost = f"{found['lost_fills']} / {found['duplicates']} / {found['breaks']}"
    line("lost, doubled, breaks", lost, "goal 0 / 0 / 0")


# --- 4 restart, 5 kill ----------------------------------------------------------------------------


def restart(folder: Path, n_records: int) -> Found:
    """Restart a desk on a long log without a checkpoint, then on a log that grew since."""
    made = program("live_records.py", folder, 50, n_records)
    first = program("live_restart.py", folder)
    grown = program("live_records.py", folder, 50, TAIL)
    return {
        "first": {**first, "made": made},
        "later": {**program("live_restart.py", folder), "made": grown},
    }


def show_restart(found: Found) -> None:
    """Print number 4."""
    print("4 restart on a log that no checkpoint shortens; it writes one")
    show_start(found["first"], "")
    print(f"4 restart on a log that grew by {TAIL:,} records since")
    show_start(found["later"], "goal 15 s for 1,000,000")


def show_start(found: Found, goal: str) -> None:
    """Print one restart."""
    made, seconds = found["made"], found["seconds"]
    size = f"{made['bytes'] / 2**20:.0f} MB"
    line("records, log, orders", f"{made['records']:,}, {size}, {found['orders']:,}")
    apart = {"store rebuilt from nothing", "reconciled"}
    ready = found["ready_s"] - seconds["reconciled"]
    line("start to rebuilt desk", f"{ready:.1f} s", goal)
    line("  processor time of it", f"{found['ready_cpu_s'] - found['cpu_s']['reconciled']:.1f} s")
    for part, took in seconds.items():
        if part not in apart:
            cpu, peak = found["cpu_s"][part], found["peak_mb"][part]
            line(f"  {part}", f"{took:.2f} s, cpu {cpu:.2f}, {peak:.0f} MB")
    line("reconciled with the venue", f"{seconds['reconciled']:.2f} s", "goal 5 s")
    if "store rebuilt from nothing" in seconds:
        rebuilt = seconds["store rebuilt from nothing"]
        line("a store rebuilt from nothing, beside", f"{rebuilt:.1f} s")
    line("breaks", str(len(found["breaks"])), "goal 0")


def kill(folder: Path, repetitions: int) -> Found:
    """Kill a desk again and again."""
    return program("live_kill.py", folder, repetitions)


def show_kill(found: Found) -> None:
    """Print number 5."""
    kills = found["kills"]
    print(f"5 kill switch: {len(kills)} times, five open orders each (p50 / p99 / most)")
    spread("latch durable, as the command says", [k["durable_ms"] for k in kills], "ms", "100 ms")
    spread("the command's whole process", [k["process_ms"] for k in kills], "ms")
    spread("command started -> open list empty", [k["empty_s"] for k in kills], "s", "goal 5 s")
    spread("command started -> desk has ended", [k["ended_s"] for k in kills], "s")
    line(
        "orders that reached the venue afterwards", str(sum(k["orders_after"] for k in kills)), "0"
    )


def work_of(quick: bool, seconds: float) -> dict[str, Any]:
    """Return how each number is measured and shown."""
    return {
        "wire": (lambda at: wire(at, 20 if quick else seconds + 15), show_wire),
        "load": (lambda at: load(at, 8 if quick else seconds), show_load),
        "session": (lambda at: session(at, *((10, 60) if quick else (50, 390))), show_session),
        "restart": (lambda at: restart(at, 20_000 if quick else 1_000_000), show_restart),
        "kill": (lambda at: kill(at, 2 if quick else 20), show_kill),
    }


def main() -> None:
    """Measure what was asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["wire", "load", "session", "restart", "kill"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    words = parser.parse_args()
    found: Found = {}
    for name, (measure, show) in work_of(words.quick, words.seconds).items():
        if words.only not in (None, name):
            continue
        before = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="mqd-bench-") as place:
            found[name] = measure(Path(place))
        found[name]["load"] = [before, os.getloadavg()[0]]
        show(found[name])
        line("load of the machine before, after", " ".join(f"{x:.1f}" for x in found[name]["load"]))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
