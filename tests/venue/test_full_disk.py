"""A disk that fills up while a paper desk writes down a fill: nothing is sent, nothing is lost."""

import os
import subprocess
import sys
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from mqd.log_reader import read
from tests.venue.paper_world import mqd, said, start_venue, wait_for, write_config

pytestmark = pytest.mark.slow
PACE = 600
LAUNCHER = Path(__file__).parent / "full_disk_desk.py"


def desk_on_a_filling_disk(kind, n_fills, config, *words):
    """Start a paper desk whose disk fills up at its n-th fill."""
    root = str(LAUNCHER.parents[2])
    return subprocess.Popen(
        [sys.executable, str(LAUNCHER), kind, str(n_fills), "paper", str(config), "--rehearsal",
         f"{PACE}x", "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip


class Asked:
    """The venue, asked past the desk."""

    def __init__(self, venue):
        self._url = venue.url
        self._signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}

    def get(self, path):
        return requests.get(f"{self._url}{path}", headers=self._signed, timeout=10).json()

    def orders(self):
        """Return the client ids of all orders that were ever sent."""
        found = self.get("/v2/orders?status=all&limit=500")
        return [one["client_order_id"] for one in found]

    def executions(self):
        """Return what was filled, by client id."""
        clients = {
            one["id"]: one["client_order_id"] for one in self.get("/v2/orders?status=all&limit=500")
        }
        found = Counter()
        for one in self.get("/v2/account/activities/FILL?page_size=100"):
            found[clients[one["order_id"]]] += Decimal(one["qty"])
        return found


def logged(state, kind):
    if not any((state / "log").glob("*.ndjson")):
        return []
    return [one.payload for one in read(state) if one.kind == kind]


def booked(state):
    """Return what the log says was filled, by client id."""
    found = Counter()
    for one in logged(state, "fill"):
        found[one["id"]] += Decimal(one["qty"])
    return found


def test_a_fill_that_the_disk_refuses_ends_the_desk_and_is_found_after_the_restart(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config, asked = write_config(tmp_path, venue), Asked(venue)
        code, _, why = said(desk_on_a_filling_disk("limit", 3, config))
        assert code == 1, why
        assert "could not be written" in why
        assert "Traceback" not in why
        sent = asked.orders()
        assert sorted(sent) == sorted(one["id"] for one in logged(state, "intent"))
        before = booked(state)
        assert len(logged(state, "fill")) == 2
        assert sum(asked.executions().values()) > sum(before.values())
        threading.Event().wait(1.0)
        assert sorted(asked.orders()) == sorted(sent)
        desk = mqd("paper", config, "--rehearsal", f"{PACE}x", "--json")
        wait_for(lambda: len(logged(state, "fill")) >= 5)
        desk.terminate()
        code, told, why = said(desk)
        assert code == 0, why
        assert (told["breaks"], told["duplicates"], told["lost_fills"]) == ([], 0, 0)
        code, told, why = said(mqd("reconcile", config, "--rehearsal", "--json"))
        assert (code, told["equal"]) == (0, True), why
        assert booked(state) == asked.executions()
    assert before.keys() < booked(state).keys()


def test_the_reserve_takes_the_fill_and_the_desk_goes_on(tmp_path):
    state = tmp_path / "state"
    with start_venue(tmp_path, PACE) as venue:
        config, asked = write_config(tmp_path, venue), Asked(venue)
        desk = desk_on_a_filling_disk("reserve", 3, config)
        wait_for(lambda: len(logged(state, "fill")) >= 5)
        desk.terminate()
        code, told, why = said(desk)
        assert code == 0, why
        assert (told["breaks"], told["duplicates"], told["lost_fills"]) == ([], 0, 0)
        assert booked(state) == asked.executions()
    assert not (state / "reserve").exists()
