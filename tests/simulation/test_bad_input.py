"""Each way in which a venue or an account can be bad, by name: a desk goes on, the zeros hold."""

from __future__ import annotations

import pytest

from mqd.venue.fault_catalogue import CATALOGUE, Fault
from mqd.venue.faults import FaultPlan
from tests.simulation.worlds import run_world

NAMES = {
    "hang": (20, 60), "html_with_ok": (20, 60), "html_after_accept": (1, 3),
    "unknown_status": (1, 5), "unknown_enum": (2, 9), "unknown_field": (5, 20),
    "foreign_order": (4, 20), "hand_trade": (4, 20),
    "halted_symbol": (1, 4), "empty_positions": (1, 2), "account_blocked": (1, 2),
    "broker_replace": (2, 6), "missing_field": (2, 9),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_named_fault_loses_nothing_and_doubles_nothing(name, tmp_path):
    number, fired = CATALOGUE[name].number, 0
    for at in NAMES[name]:
        for seed in (0, 3):
            plan = FaultPlan([Fault(number, at=at, seed=seed)])
            done = run_world(seed, tmp_path / f"{at}-{seed}", plan)
            assert done.found == ()
            assert done.n_fills > 0
            fired += done.fired.get(name, 0)
    assert fired > 0
