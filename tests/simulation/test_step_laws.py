"""At every call of a desk: what the venue may do is bounded by what the desk counts.

The plans here lose the answers of orders, and most of what the stream tells, again and again;
desks die at drawn calls. A seed that fails runs alone:
``python -m tests.simulation.test_step_laws SEED``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from mqd.backtesting import name_strategies
from mqd.kernel.settings import settings_of
from mqd.live.rehearsal import plan_desk
from mqd.log_reader import read
from mqd.testing.in_memory import MemoryDesks, MemoryVenue
from mqd.venue.fault_catalogue import CATALOGUE, Fault
from mqd.venue.faults import FaultPlan
from tests.simulation.laws import Laws, watched_run
from tests.simulation.worlds import KINDS, bars_of, fates_of
from tests.simulation.zeros import LogSide, VenueSide, books_differ, fills_lost, orders_twice

SEEDS = 24
LOSSES = (
    "gateway_timeout_after_accept", "html_after_accept", "drop_tcp_after_accept", "late_accept",
    "late_to_show",
)  # fmt: skip
SILENCES = ("drop_event", "mute_stream", "half_open", "delay_event")


def storm(seed):
    """Return a plan that loses many answers and much of what is told."""
    dice = np.random.default_rng([seed, 2])
    lost = [(str(dice.choice(LOSSES)), int(dice.integers(1, 12)), {}) for _ in range(6)]
    mute = [(str(dice.choice(SILENCES)), int(dice.integers(1, 30)), {}) for _ in range(8)]
    late = [("late_accept", int(dice.integers(1, 12)), {"seconds": 60 * int(dice.integers(3))})]
    return FaultPlan(
        Fault(CATALOGUE[name].number, name, at=at, seed=seed, parameters=words)
        for name, at, words in (*lost, *mute, *late)
    )


def run_storm(seed, folder, faults=None):
    """Return the laws of a seed's run, and what broke the zeros at its end."""
    bars = bars_of(1 + seed % 3, seed % 16)
    settings = settings_of(bars, multiplier=1 + seed % 2)
    plan = plan_desk(name_strategies(KINDS[seed // 3 % len(KINDS)]()), bars, settings)
    memory = MemoryVenue(bars, settings, storm(seed) if faults is None else faults)
    laws = Laws(memory)
    desks = MemoryDesks(plan, memory, folder, watched_run(laws))
    for fate in fates_of(seed):
        if desks.run(fate) is not None:
            break
    log, venue = LogSide(read(folder)), VenueSide(memory.ask)
    zeros = [*orders_twice(log, venue), *fills_lost(log, venue), *books_differ(log, venue)]
    return laws, zeros


@pytest.mark.parametrize("first", range(0, SEEDS, 8))
def test_no_call_finds_the_venue_beyond_what_the_desk_counts(first, tmp_path):
    found, unknown, checks = {}, 0, 0
    for seed in range(first, first + 8):
        laws, zeros = run_storm(seed, tmp_path / str(seed))
        unknown, checks = unknown + laws.n_unknown, checks + laws.n_checks
        if laws.broken or zeros:
            found[seed] = [*laws.broken, *zeros]
    assert not found
    assert checks > 1000
    assert unknown > 20


@pytest.mark.parametrize(("seconds", "given_up"), [(0, False), (60, False), (120, True)])
@pytest.mark.parametrize("name", ["late_accept", "late_to_show"])
def test_not_found_is_believed_no_sooner_than_the_rule_allows(name, seconds, given_up, tmp_path):
    """Bars are a minute long: asked for at 0, 60 and 120 s; only the third one may give up. What
    turns up after that is adopted and cancelled."""
    number = CATALOGUE[name].number
    faults = FaultPlan([Fault(number, at=3, parameters={"seconds": seconds})])
    laws, zeros = run_storm(0, tmp_path / "run", faults)
    assert faults.fired == {name: 1}
    assert (laws.broken, zeros) == ([], [])
    assert laws.n_unknown > 0
    assert bool(laws.given_up) is given_up


def main(words):
    """Run the seeds of a command line and print what broke."""
    for seed in map(int, words):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
            laws, zeros = run_storm(seed, Path(scratch) / "run")
            print(seed, laws.n_checks, laws.n_unknown, *laws.broken[:6], *zeros, sep="\n  ")


if __name__ == "__main__":
    main(sys.argv[1:])
