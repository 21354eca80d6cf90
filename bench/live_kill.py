"""The kill switch, again and again: ``live_kill.py FOLDER REPETITIONS``; one JSON line.

Each time a desk (`RealtimeRun`) has an order open in every symbol at a venue process of its own;
then ``mqd kill`` is run as a process. Noted are: how long the latch took to be durable, as the
command says; the whole process, Python's start included; when the venue's own list of open orders
was empty, from the command's start; and how many orders reached the venue after the command had
returned, with two more bars to decide on and until the desk ended by itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import live_minutes
import requests
from live_records import plan_over

from mqd.live.books import open_books
from mqd.live.builder import DeskPlan
from mqd.live.control import Begun, Control
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.realtime_run import RealtimeRun, Terms
from mqd.live.rehearsal import DataSpec, local_address
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess

ACCOUNT = account_sha256(ACCOUNT_ID)
SYMBOLS, FACTOR, STEPS = 5, 60.0, 2
MINUTE_NS = 60 * 10**9
WAIT_S, POLL_S = 30.0, 0.01


def wait(what: Any, why: str) -> None:
    """Wait until ``what()``; end the program when it does not come true."""
    waiting, until = threading.Event(), perf_counter() + WAIT_S
    while not what():
        if perf_counter() > until:
            sys.exit(f"live_kill: {why} did not happen in {WAIT_S:g} s")
        waiting.wait(POLL_S)


class Venue:
    """A venue process as its keys' holder and its pacemaker see it."""

    def __init__(self, process: VenueProcess) -> None:
        self._process, self.control = process, Control(process.port, process.token)
        self._session = requests.Session()
        self._session.headers.update(
            {"APCA-API-KEY-ID": process.key_id, "APCA-API-SECRET-KEY": process.secret}
        )

    def orders(self, status: str) -> list[dict[str, Any]]:
        """Return the account's orders: "open" or "all"."""
        words = {"status": status, "limit": "500"}
        answer = self._session.get(f"{self._process.url}/v2/orders", params=words, timeout=10)
        found: list[dict[str, Any]] = answer.json()
        return found

    def catch_up(self, run: RealtimeRun, begun: Begun) -> None:
        """Take the steps that were over by the desk's clock before it was ready."""
        while begun.ts_close < run.clock.now_ns():
            for phase in ("open", "within", "close"):
                self.control.phase(phase)
            begun = self.control.begin()
        self._begun: Begun | None = begun
        self._closed_ns = 0

    def step(self, run: RealtimeRun) -> None:
        """Take one step; its bars go out when the desk's clock has reached its close."""
        half_ns = self._closed_ns + MINUTE_NS // 2
        wait(lambda: run.clock.now_ns() > half_ns, "the orders' way to the venue")
        begun, self._begun = self._begun or self.control.begin(), None
        self._closed_ns = begun.ts_close
        self.control.phase("open")
        wait(lambda: run.clock.now_ns() > begun.ts_close, "the step's close")
        self.control.phase("within")
        self.control.phase("close")


def one(folder: Path, data: DataSpec, plan: DeskPlan) -> dict[str, float]:
    """Start a venue and a desk, kill it, and return what was measured."""
    words = {"data": str(data.path), "symbols": list(plan.market.symbols), **data.words}
    state = folder / "state"
    with VenueProcess(folder, words | {"pace": "step"}) as process:
        venue = Venue(process)
        begun = venue.control.begin()
        with StateFolder.open(state, account=ACCOUNT, mode="rehearsal") as held:
            books = open_books(held, mode="rehearsal", account=ACCOUNT, config=plan.sha256)
            terms = Terms(factor=FACTOR, price_steps=False)
            run = RealtimeRun(plan, local_address(process), held, books, terms)
            desk = threading.Thread(target=run.run)
            desk.start()
            wait(lambda: run.session is not None and run.market.n_steps > 0, "the desk's start")
            venue.catch_up(run, begun)
            for _ in range(STEPS):
                venue.step(run)
            wait(lambda: len(venue.orders("open")) == SYMBOLS, "an open order in every symbol")
            found = killed(state, venue, run)
            desk.join(WAIT_S)
            found["ended_s"] = perf_counter() - found.pop("start")
            found["orders_after"] = len(venue.orders("all")) - found.pop("n_orders")
            books.close("killed")
    return found


def killed(state: Path, venue: Venue, run: RealtimeRun) -> dict[str, float]:
    """Kill the desk of a state folder and watch the venue's list."""
    start = perf_counter()
    command = [sys.executable, "-m", "mqd", "kill", str(state), "--reason", "bench", "--json"]
    done = subprocess.Popen(command, stdout=subprocess.PIPE)
    empty_s = process_s = 0.0
    n_orders = -1
    while not empty_s or n_orders < 0:
        if n_orders < 0 and done.poll() is not None:
            process_s, n_orders = perf_counter() - start, len(venue.orders("all"))
        if not empty_s and not venue.orders("open"):
            empty_s = perf_counter() - start
        if perf_counter() - start > WAIT_S:
            sys.exit("live_kill: orders were still open")
    assert done.stdout is not None
    said = json.loads(done.stdout.read())
    venue.step(run)
    venue.step(run)
    return {
        "start": start, "durable_ms": said["durable_ms"], "process_ms": process_s * 1e3,
        "empty_s": empty_s, "n_orders": n_orders,
    }  # fmt: skip


def main() -> None:
    """Repeat, and print every repetition."""
    folder, repetitions = Path(sys.argv[1]), int(sys.argv[2])
    data = live_minutes.write(folder, SYMBOLS)
    plan = plan_over(data)
    found = []
    for number in range(repetitions):
        place = folder / f"{number:03d}"
        place.mkdir()
        found.append(one(place, data, plan))
    print(json.dumps({"kills": found}))


if __name__ == "__main__":
    main()
