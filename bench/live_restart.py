"""A restart on a long log, as ``mqd paper`` makes it: ``live_restart.py FOLDER``; one JSON line.

FOLDER holds what `live_records` wrote. A first opening brings the empty store level. Then comes
the restart that is measured: a real venue process on the same bars, a `RealtimeRun` that resumes,
compares and ends. Each part is timed where the run itself calls it. Without a checkpoint it reads
the whole log and writes one; run again on a longer log, it reads that and what follows.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from live_records import plan_over

from mqd.live import books as live_books
from mqd.live import realtime_run
from mqd.live.books import open_books
from mqd.live.checkpoints import FOLDER as CHECKPOINTS
from mqd.live.control import Control
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.link import Link
from mqd.live.realtime_run import RealtimeRun, Terms
from mqd.live.rehearsal import DataSpec, local_address
from mqd.live.trading import logged_deposit
from mqd.live.venue_process import ACCOUNT_ID, VenueProcess
from mqd.positions.store import PositionStore
from mqd.transaction_log import TransactionLog

ACCOUNT = account_sha256(ACCOUNT_ID)
PHASES = ("open", "within", "close")


class Parts:
    """Seconds, and those of the processor, by the name of a part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}

    def time(self, part: str, owner: Any, name: str) -> None:
        """Time each call of ``owner.name`` as ``part``."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*words: Any, **named: Any) -> Any:
            return self.run(part, lambda: inner(*words, **named))

        setattr(owner, name, timed)

    def run(self, part: str, work: Callable[[], Any]) -> Any:
        """Return what ``work`` returns, and add the time that it took."""
        start, cpu = perf_counter(), thread_time()
        try:
            return work()
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - start
            self.cpu_s[part] = self.cpu_s.get(part, 0.0) + thread_time() - cpu
            self.peak_mb[part] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rebuild(state: Path, parts: Parts) -> None:
    """Bring the empty store level with the log."""
    store = parts.run("store rebuilt from nothing", lambda: PositionStore.recover(state))
    store.close()


def started_venue(folder: Path, data: DataSpec, symbols: tuple[str, ...]) -> VenueProcess:
    """Return a venue whose session has just ended."""
    words = {"data": str(data.path), "symbols": list(symbols), **data.words, "pace": "step"}
    venue = VenueProcess(folder, words)
    control = Control(venue.port, venue.token)
    while not control.begin().done:
        for phase in PHASES:
            control.phase(phase)
    control.close()
    return venue


def watch(parts: Parts) -> None:
    """Time the parts of a start where the run calls them."""
    parts.time("log verified, chain continued", TransactionLog, "resume")
    parts.time("store found level", live_books.PositionStore, "recover")
    parts.time("log looked at for its deposit", live_books, "_has_deposit")
    parts.time("sockets opened", Link, "open")
    parts.time("history of the session by REST", RealtimeRun, "_preload")
    parts.time("replay into the desk", realtime_run, "recover")
    parts.time("connector told of the orders", Link, "know")
    parts.time("reconciled", RealtimeRun, "_reconcile")


def restart(state: Path, data: DataSpec, parts: Parts) -> dict[str, Any]:
    """Restart the desk of a folder against a venue, and return what the start found."""
    plan = plan_over(data)
    scratch = Path(tempfile.mkdtemp(prefix="mqd-bench-venue-", dir=state.parent))
    with started_venue(scratch, data, plan.market.symbols) as venue:
        watch(parts)
        with StateFolder.open(state, account=ACCOUNT, mode="rehearsal") as folder:
            begun, cpu = perf_counter(), thread_time()
            parts.run("first cash record sought", lambda: logged_deposit(state))
            books = open_books(folder, mode="rehearsal", account=ACCOUNT, config=plan.sha256)
            terms = Terms(price_steps=False, checkpoints=True, over=lambda: True)
            run = RealtimeRun(plan, local_address(venue), folder, books, terms)
            ended: list[tuple[float, float]] = []
            start = run._reconcile

            def reconcile(*words: Any) -> bool:
                clean: bool = start(*words)
                ended.append((perf_counter() - begun, thread_time() - cpu))
                return clean

            run._reconcile = reconcile  # type: ignore[method-assign]
            done = run.run()
            n_records = books.journal.log.seq
            books.close("done")
    return {
        "ready_s": ended[0][0], "ready_cpu_s": ended[0][1],
        "records": n_records, "breaks": list(done.closing.breaks),
        "orders": len(done.desk.parts.machine.states()),
        "cash": str(done.desk.parts.valuation.ledger.cash),
    }  # fmt: skip


def main() -> None:
    """Rebuild the store, restart, print the parts."""
    folder = Path(sys.argv[1])
    data = DataSpec(folder / "minutes.parquet", {"tick": "0.01"})
    parts = Parts()
    if not (folder / "state" / CHECKPOINTS).exists():
        rebuild(folder / "state", parts)
    found = restart(folder / "state", data, parts)
    print(
        json.dumps(
            {**found, "seconds": parts.seconds, "cpu_s": parts.cpu_s, "peak_mb": parts.peak_mb}
        )
    )


if __name__ == "__main__":
    main()
