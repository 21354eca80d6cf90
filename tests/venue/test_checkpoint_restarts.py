"""A paper desk killed again and again in a day; each restart begins at the last checkpoint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mqd.live.checkpoints import FOLDER, KIND
from tests.venue.paper_world import (
    ROOT,
    kinds,
    mqd,
    said,
    start_venue,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.slow
PACE = 250  # a slow machine starts four desks while a session lasts
LAUNCHER = Path(__file__).parent / "checkpoint_desk.py"


def desk(config, *words):
    """Start a paper desk that writes a checkpoint at each restart."""
    return subprocess.Popen(
        [sys.executable, str(LAUNCHER), "paper", str(config), "--rehearsal", f"{PACE}x", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_killed_desks_go_on_from_their_checkpoints(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        for fills in (2, 5, 8):
            killed = desk(config)
            wait_for(lambda fills=fills: kinds(state).count("fill") >= fills, seconds=120)
            killed.kill()
            killed.communicate()
        code, told, why = said(desk(config, "--until-close", "--json"))
        assert code == 0, why
        assert (told["breaks"], told["duplicates"], told["lost_fills"]) == ([], 0, 0)
        seen = kinds(state)
        assert told["fills"] == seen.count("fill") >= 10
        assert seen.count(KIND) == len(list((state / FOLDER).iterdir())) == 3
        assert "checkpoint_passed_over" not in (state / "mqd.jsonl").read_text()
        assert told["orders"] - told["denied"] == seen.count("intent")
        code, told, why = said(mqd("reconcile", config, "--rehearsal", "--json"))
        assert (code, told["equal"]) == (0, True), why
