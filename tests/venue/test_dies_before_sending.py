"""A desk killed between a durable intent and its POST: the next start learns what became of it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mqd.log_reader import read
from tests.venue.paper_world import ROOT, mqd, said, start_venue, write_config

pytestmark = pytest.mark.slow
PACE = 60
LAUNCHER = Path(__file__).parent / "dying_desk.py"


def records(state):
    begun = any((state / "log").glob("*.ndjson"))
    return list(read(state)) if begun else []


def test_the_next_start_waits_until_the_order_is_given_up(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config = write_config(tmp_path, venue)
        dead = subprocess.run(
            [sys.executable, str(LAUNCHER), "paper", str(config), "--rehearsal", f"{PACE}x"],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=120, check=False,
        )  # fmt: skip
        assert dead.returncode == -9, dead.stderr
        (intent,) = [one.payload["id"] for one in records(state) if one.kind == "intent"]
        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        waiting = threading.Event()
        for _ in range(1200):
            if [one for one in records(state) if one.kind == "fill"] or desk.poll() is not None:
                break
            waiting.wait(0.1)
        desk.terminate()
        code, told, why = said(desk)
        assert code == 0, why
        assert (told["breaks"], told["duplicates"], told["lost_fills"]) == ([], 0, 0)
        assert told["fills"] >= 1
    fates = [one.payload["kind"] for one in records(state)
             if one.kind == "report" and one.payload["id"] == intent]  # fmt: skip
    assert fates[-1] == "not_found"
    assert intent not in [one.payload["id"] for one in records(state) if one.kind == "fill"]
