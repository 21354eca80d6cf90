"""Rehearsals in memory under drawn faults, their desks dying at drawn calls: the three zeros.

``make test`` runs 1,000 seeds, ``make soak`` (MQD_SEEDS=10000) more. A seed that fails runs alone:
``.venv/bin/python -m tests.simulation.worlds SEED``.
"""

from __future__ import annotations

import gc
import os
from collections import Counter

import pytest

from mqd.venue.fault_catalogue import CATALOGUE
from mqd.venue.faults import FaultPlan
from tests.simulation.worlds import run_world

SEEDS = int(os.environ.get("MQD_SEEDS", "1000"))
SHARD = 50
TWICE = 20
NEVER_HERE = {
    "clock_off": "a paced run does not ask for the clock",
    "replace_lies": "no strategy here replaces an order",
    "replace_reject": "no strategy here replaces an order",
}
FIRED: set[str] = set()
"""What fired in the shards of this process so far."""


@pytest.fixture
def swept():
    """Free what the desks of a shard leave: a restart hides what it rebuilt from the collector."""
    yield
    gc.unfreeze()
    gc.collect()


@pytest.mark.slow
@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("first", range(0, SEEDS, SHARD))
def test_no_seed_loses_or_doubles(first, tmp_path):
    found, fired, orders, deaths = {}, Counter(), 0, 0
    for seed in range(first, min(first + SHARD, SEEDS)):
        done = run_world(seed, tmp_path / str(seed))
        fired.update(done.fired)
        orders, deaths = orders + done.n_orders, deaths + done.n_deaths
        if done.found:
            found[seed] = done.found
    FIRED.update(fired)
    assert not found
    assert orders > 5 * SHARD
    assert deaths > SHARD / 3
    assert len(fired) > 10


@pytest.mark.parametrize("seed", [2088, 3858, 4481, 4932, 5627])
def test_seeds_that_a_soak_found_stay_mended(seed, tmp_path):
    """A lost update that a later one hides (2088, 4932); half of a split fill lost (3858, 4481); a
    fill heard after a restart on a bar that is not there yet (5627)."""
    done = run_world(seed, tmp_path / "run")
    assert done.n_fills > 10
    assert done.found == ()


@pytest.mark.slow
def test_every_fault_fires(tmp_path):
    """Each switch has a seed in which it had its occasion; seeds of shards do not run again."""
    missing = set(CATALOGUE) - set(NEVER_HERE) - FIRED
    for seed in range(min(SEEDS, 400)):
        if missing & {fault.name for fault in FaultPlan.random(seed).faults}:
            missing -= set(run_world(seed, tmp_path / str(seed)).fired)
        if not missing:
            break
    assert not missing


@pytest.mark.slow
def test_a_seed_repeats_to_the_byte(tmp_path):
    for seed in range(TWICE):
        first = run_world(seed, tmp_path / f"{seed}-1")
        assert first == run_world(seed, tmp_path / f"{seed}-2")
