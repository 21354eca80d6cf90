"""Two equal rehearsals print one decision hash, and a running one shows that it lives."""

from __future__ import annotations

import json

import pytest

from mqd.core.clock import NS_PER_S, WallClock
from mqd.live.decision_hash import decision_sha256
from mqd.live.rehearsal import DataSpec, rehearse
from mqd.live.status import read_status
from mqd.strategy.loading import resolve
from tests.parity.test_stepwise_desk import DATASETS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*websockets.*:DeprecationWarning"),
]
MINUTES = DATASETS / "equity_minute.parquet"


def rehearsed(place, slow):
    words = {"symbols": ["MSFT"], "start": "2022-05-19", "end": "2022-05-19"}
    strategy = resolve("sma_cross")(fast=3, slow=slow)
    return rehearse(strategy, DataSpec(MINUTES, words), out=place, replay=False)


def test_the_decision_hash_is_of_the_decisions_alone(tmp_path):
    first, again = rehearsed(tmp_path / "a", 8), rehearsed(tmp_path / "b", 8)
    other = rehearsed(tmp_path / "c", 9)
    assert first.decision_sha256 == again.decision_sha256 == decision_sha256(tmp_path / "b")
    assert first.decision_sha256 != other.decision_sha256
    assert first.summary()["decision_sha256"] == first.decision_sha256


def test_a_paced_run_says_that_it_lives(tmp_path):
    rehearsed(tmp_path / "a", 8)
    beat = json.loads((tmp_path / "a/heartbeat.json").read_text())
    assert beat["bars"] >= 1
    found = read_status(tmp_path / "a", WallClock().now_ns()).heartbeat
    assert found is not None
    assert found.age_ns < 60 * NS_PER_S
    assert (found.said["state"], found.alive) == ("stopped", False)  # it gave its folder back
