"""A paper desk with its rate budget, on a venue that says 429: cancels pass, submits wait."""

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from mqd.adapters.alpaca.budget import CALLS_MIN, RESERVE
from mqd.core.clock import NS_PER_S, WallClock
from mqd.log_reader import read
from tests.venue.budget_desk import HOLD_S
from tests.venue.paper_world import kinds, mqd, said, start_venue, wait_for, write_config

pytestmark = pytest.mark.slow
PACE = 20
LAUNCHER = Path(__file__).parent / "budget_desk.py"
FLIPS = """
import mqd


class Flips(mqd.Strategy):
    stop_loss_frac: float = mqd.param(0.2, low=0.0, high=0.5)

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 6)}

    def decide(self, now, position):
        if position.weight == 0.0 or position.bars_held < 3:
            return 1.0
        return 0.0
"""
STORMS = [{"name": "rate_limit", "at": at, "parameters": {"times": 2}} for at in (18, 26, 34)]


def noted(notes):
    return [json.loads(line) for line in notes.read_text().splitlines()]


def test_cancels_go_out_while_submits_wait_and_nothing_is_doubled(tmp_path):
    state, notes, hold = tmp_path / "state", tmp_path / "notes", tmp_path / "hold"
    (tmp_path / "flips.py").write_text(FLIPS)
    wall = WallClock()
    with start_venue(tmp_path, PACE, faults={"faults": STORMS}) as venue:
        config = write_config(tmp_path, venue, strategy="flips.py:Flips")
        config.write_text(config.read_text().replace("fast = 3\nslow = 8\n", ""))
        signed = {"APCA-API-KEY-ID": venue.key_id, "APCA-API-SECRET-KEY": venue.secret}

        def ask(path):
            """Ask past the desk, until no 429 is in the way."""
            while (
                answer := requests.get(f"{venue.url}{path}", headers=signed, timeout=10)
            ).status_code == 429:
                continue
            return answer.json()

        desk = subprocess.Popen(
            [sys.executable, str(LAUNCHER), str(notes), str(hold), "paper", str(config),
             "--rehearsal", f"{PACE}x", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(LAUNCHER.parents[2])},
        )  # fmt: skip
        wait_for(lambda: kinds(state).count("fill") >= 2, seconds=90)
        wait_for(lambda: any(one["type"] == "stop" for one in ask("/v2/orders")))
        hold.touch()
        wait_for(lambda: urgent_while_held(noted(notes)))
        assert said(mqd("kill", config, "--reason", "the test says so"))[0] == 0
        began_ns = wall.monotonic_ns()
        wait_for(lambda: ask("/v2/orders") == [], seconds=10)
        assert (wall.monotonic_ns() - began_ns) / NS_PER_S <= 5
        code, told, why = said(desk)
        assert (code, told["killed"], told["breaks"]) == (0, True, []), why
        assert (told["duplicates"], told["lost_fills"]) == (0, 0)
        orders = ask("/v2/orders?status=all&limit=500")
        fills = ask("/v2/account/activities/FILL?page_size=100")
    lines = noted(notes)
    assert_budget(lines)
    assert_nothing_doubled(state, orders, fills)


def while_held(lines):
    """Return the calls whose turn came while the budget was held."""
    held_s = next((line["at_s"] for line in lines if line["kind"] == "held"), 1e12)
    calls = [line for line in lines if line["kind"] == "call"]
    return [c for c in calls if held_s + 0.1 < c["at_s"] < held_s + HOLD_S - 0.1]


def urgent_while_held(lines):
    """Return the cancels, and questions before them, that went out meanwhile."""
    return [call for call in while_held(lines) if call["urgent"] and call["granted"]]


def assert_budget(lines):
    """Hold the calls against the rules: waits of 429s, the held time, and the counts a minute."""
    calls = [line for line in lines if line["kind"] == "call"]
    assert sum(line["kind"] == "429" for line in lines) >= 3
    assert any(c["granted"] and not c["urgent"] and c["waited_s"] > 0.2 for c in calls)
    held = while_held(lines)
    assert all(c["granted"] and c["waited_s"] < 0.2 for c in held if c["urgent"])
    late = [c for c in held if not c["urgent"]]
    assert any("watcher" not in c["thread"] for c in late)  # the exit that was decided meanwhile
    assert not any(c["granted"] for c in late)
    granted = [c["at_s"] for c in calls if c["granted"]]
    assert all(one <= other + 0.01 for one, other in pairwise(granted))
    for at_s in granted:
        window = [c for c in calls if c["granted"] and at_s <= c["at_s"] < at_s + 59.5]
        assert len(window) <= CALLS_MIN
        assert sum(not c["urgent"] for c in window) <= CALLS_MIN - RESERVE


def assert_nothing_doubled(state, orders, fills):
    """Hold the venue's orders and fills against the log's."""
    records = list(read(state))
    intents = Counter(one.payload["id"] for one in records if one.kind == "intent")
    names = Counter(order["client_order_id"] for order in orders)
    assert set(names.values()) == set(intents.values()) == {1}
    assert names.keys() <= intents.keys()
    name_of = {order["id"]: order["client_order_id"] for order in orders}
    told, booked = Counter(), Counter()
    for fill in fills:
        told[name_of[fill["order_id"]]] += Decimal(fill["qty"])
    for one in records:
        if one.kind == "fill":
            booked[one.payload["id"]] += Decimal(one.payload["qty"])
    assert told == booked
    assert len(told) >= 3
    sent_after = [one.kind for one in records]
    assert "intent" not in sent_after[sent_after.index("kill") :]
