"""One seed, one world: bars, strategy, faults and the moments at which the desk dies.

``python -m tests.simulation.worlds SEED …`` runs seeds again and tells what came of each;
``--all FIRST N`` runs many.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import mqd
from mqd.backtesting import name_strategies
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE
from mqd.kernel.settings import settings_of
from mqd.live.rehearsal import plan_desk
from mqd.log_reader import log_sha256, read
from mqd.testing.in_memory import Fate, MemoryDesks, MemoryVenue
from mqd.venue.faults import FaultPlan
from tests.simulation.sim_strategies import Flips, Guarded, Stateful, Trailing
from tests.simulation.zeros import LogSide, VenueSide, books_differ, fills_lost, orders_twice

KINDS = (Guarded, Flips, Trailing, Stateful)
N_BARS = 60
DEATHS_MAX = 3
CALLS = 400
OPENING_NS = pd.Timestamp("2024-03-05 09:30", tz="America/New_York").value


class Outcome(NamedTuple):
    """``found``: what broke the zeros; ``fired``: the faults that had their occasion."""

    found: tuple[str, ...]
    fired: dict[str, int]
    log_sha256: str
    n_orders: int
    n_fills: int
    n_deaths: int


@lru_cache(maxsize=64)
def bars_of(n_symbols: int, seed: int):
    """Return bars of the first minutes of two sessions, a drawn walk a symbol."""
    dice = np.random.default_rng(seed)
    minutes = np.arange(N_BARS // 2, dtype=np.int64) * NS_PER_MINUTE + OPENING_NS
    stamps = np.concatenate([minutes, minutes + NS_PER_DAY])
    frames = []
    for symbol in ("AAA", "BBB", "CCC")[:n_symbols]:
        close = np.round(50 * np.exp(np.cumsum(dice.normal(0, 0.002, N_BARS))), 2)
        first = np.round(close * np.exp(dice.normal(0, 0.0005, N_BARS)), 2)
        high = np.round(np.maximum(first, close) + dice.integers(0, 9, N_BARS) / 100, 2)
        low = np.round(np.minimum(first, close) - dice.integers(0, 9, N_BARS) / 100, 2)
        frame = pd.DataFrame(
            {
                "symbol": symbol, "timestamp": pd.to_datetime(stamps, utc=True), "open": first,
                "high": high, "low": low, "close": close,
                "volume": dice.integers(1_000, 400_000, N_BARS).astype(float),
            }
        )  # fmt: skip
        frames.append(frame)
    return mqd.Bars.from_pandas(pd.concat(frames), "XNYS", tick=0.01, lot=1)


def fates_of(seed: int):
    """Return when the desks of a seed die, the last one lives; every third seed has no death."""
    dice = np.random.default_rng([seed, 1])
    deaths = 0 if seed % 3 == 0 else int(dice.integers(1, DEATHS_MAX + 1))
    drawn = [(int(dice.integers(1, CALLS)), bool(dice.integers(2))) for _ in range(deaths)]
    return [*(Fate(at, after=after) for at, after in drawn), Fate()]


def run_world(seed: int, folder: Path, faults: FaultPlan | None = None) -> Outcome:
    """Run a seed, or its world with other faults, to its end in ``folder`` (not there yet) and
    compare both sides."""
    bars = bars_of(1 + seed % 3, seed % 16)
    settings = settings_of(bars, multiplier=1 + seed % 2)
    strategy = KINDS[seed // 3 % len(KINDS)]()
    plan = plan_desk(name_strategies(strategy), bars, settings)
    faults = FaultPlan.random(seed) if faults is None else faults
    memory = MemoryVenue(bars, settings, faults)
    desks = MemoryDesks(plan, memory, folder)
    for fate in fates_of(seed):
        if desks.run(fate) is not None:
            break
    split = "partial_fill" in faults.fired
    log, venue = LogSide(read(folder)), VenueSide(memory.ask)
    found = [
        *orders_twice(log, venue), *fills_lost(log, venue, split=split), *books_differ(log, venue)
    ]  # fmt: skip
    return Outcome(
        tuple(found), dict(faults.fired), log_sha256(folder), len(venue.orders),
        len(venue.fills), desks.n_lives - 1,
    )  # fmt: skip


def main(words) -> int:
    """Run the seeds of a command line."""
    seeds = range(int(words[1]), int(words[1]) + int(words[2])) if words[0] == "--all" else words
    bad = 0
    for seed in map(int, seeds):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
            try:
                done = run_world(seed, Path(scratch) / "run")
            except Exception:  # noqa: BLE001 - told, and counted
                bad += 1
                print(f"seed {seed}: raised\n{traceback.format_exc(limit=-6)}")
                continue
        bad += bool(done.found)
        if done.found or words[0] != "--all":
            plan = [(one.name, one.at) for one in FaultPlan.random(seed).faults]
            print(f"seed {seed}: {done}\n  plan: {plan}")
    print(f"{bad} of {len(seeds)} seeds failed")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
