"""Desks of rehearsals, killed with signal 9 at random moments, until they reach their end.

Each desk is a process of its own over its state folder; the venue is another process and lives on.
``make test`` kills 40 times, ``make soak`` (MQD_KILLS=500) more. The seed of a failing run stands
in the test's name.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mqd.adapters.alpaca.keys import Keys, Secret
from mqd.adapters.alpaca.session import AlpacaSession
from mqd.core.clock import WallClock
from mqd.kernel.settings import settings_of
from mqd.live.rehearsal import DataSpec, _venue_words
from mqd.live.venue_process import VenueProcess
from mqd.log_reader import read
from tests.simulation.zeros import all_zeros, store_differs

ROOT = Path(__file__).parents[2]
DATA = ROOT / "datasets" / "equity_minute.parquet"
STRATEGIES = ROOT / "tests" / "simulation" / "sim_strategies.py"
SERVER = Path(__file__).with_name("desk_server.py")
KILLS = int(os.environ.get("MQD_KILLS", "40"))
LIFE_S = (0.05, 0.9)
END_S = 120.0


class Case(NamedTuple):
    strategy: str
    words: dict
    multiplier: int = 1


CASES = [
    Case("Guarded", {"symbols": ["MSFT"], "start": "2022-05-19", "end": "2022-05-19"}),
    Case("Flips", {"symbols": ["SPY"], "start": "2020-12-15", "end": "2020-12-15"}),
    Case("Trailing", {"symbols": ["MSFT"], "start": "2022-05-20", "end": "2022-05-20"}),
    Case("Stateful", {"symbols": ["MSFT"], "start": "2022-05-23", "end": "2022-05-23"}),
]
SEEDS = range(max(len(CASES), KILLS // 10))


def config_of(case, venue, folder):
    """Write keys and configuration of a case's desk; return the configuration's file."""
    keys, file = folder / "keys.toml", folder / "desk.json"
    keys.touch(0o600)
    keys.write_text(f'key_id = "{venue.key_id}"\nsecret = "{venue.secret}"\n')
    file.touch(0o600)
    said = {
        "strategy": f"{STRATEGIES}:{case.strategy}", "data": str(DATA), "words": case.words,
        "port": venue.port, "control_token": venue.token, "keys": str(keys),
        "state": str(folder / "state"), "multiplier": case.multiplier,
    }  # fmt: skip
    file.write_text(json.dumps(said))
    return file


class Desks:
    """Starts desks, one after the other, and kills them; only processes that it started."""

    def __init__(self, config, errors) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(SERVER), str(config), str(errors)], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def live(self, seconds):
        """Let a desk live for so long; None when it was killed, else its exit code."""
        self._server.stdin.write(b"\n")
        with os.fdopen(os.pidfd_open(int(self._server.stdout.readline()))) as desk:
            if not select.select([self._server.stdout], [], [], seconds)[0]:
                signal.pidfd_send_signal(desk.fileno(), signal.SIGKILL)
            code = int(self._server.stdout.readline())
        return None if code == -signal.SIGKILL else code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


def venue_of(case, folder):
    data = DataSpec(DATA, case.words)
    bars = data.load()
    words = _venue_words(data, bars, settings_of(bars, multiplier=case.multiplier))
    return VenueProcess(folder, words | {"pace": "step"})


def asker(venue):
    keys = Keys(Secret(venue.key_id), Secret(venue.secret))
    return AlpacaSession(venue.url, keys, WallClock())


def expect_zeros(venue, folder):
    """Assert what must hold when the last desk has ended."""
    session = asker(venue)
    try:
        found = all_zeros(session.ask, folder / "state")
    finally:
        session.close()
    assert not found
    assert not store_differs(folder / "state")
    said = json.loads((folder / "state" / "result.json").read_text())
    assert not said["breaks"]
    assert said["duplicates"] == said["lost_fills"] == 0
    assert not said["anomalies"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_desks_that_are_killed_lose_and_double_nothing(seed, tmp_path):
    case, dice = CASES[seed % len(CASES)], np.random.default_rng(seed)
    kills = 0
    with (
        venue_of(case, tmp_path) as venue,
        Desks(config_of(case, venue, tmp_path), tmp_path / "desk.err") as desks,
    ):
        for _ in range(KILLS // len(SEEDS)):
            ended = desks.live(dice.uniform(*LIFE_S))
            if ended is not None:
                break
            kills += 1
        else:
            ended = desks.live(END_S)
        assert ended == 0, (tmp_path / "desk.err").read_text()[-4000:]
        expect_zeros(venue, tmp_path)
    assert kills >= 3
    resumed = [one for one in read(tmp_path / "state") if one.kind == "run.resume"]
    assert len(resumed) <= kills
    print(f"{kills} kills, {len(resumed)} resumed")


def test_a_desk_is_a_program_of_its_own(tmp_path):
    case = Case("Flips", {"symbols": ["MSFT"], "start": "2022-05-19", "end": "2022-05-19"})
    with venue_of(case, tmp_path) as venue:
        config = config_of(case, venue, tmp_path)
        program = [sys.executable, "-m", "mqd.live.desk_process", "--config", str(config)]
        with subprocess.Popen(program, cwd=ROOT) as desk:
            while not any((tmp_path / "state" / "log").glob("*.ndjson")):
                assert desk.poll() is None
            desk.kill()
        assert desk.returncode == -signal.SIGKILL
        again = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        expect_zeros(venue, tmp_path)
