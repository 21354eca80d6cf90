"""A desk's restart from a long log, part by part. One JSON line.

``live_restart.py FOLDER``: what ``live_log.py`` wrote there is put into a state folder, and opened
and rebuilt as ``mqd paper`` does at its start.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from live_rules import Flip

import mqd
from mqd.backtesting import name_strategies
from mqd.core.clock import LiveClock
from mqd.kernel.settings import settings_of
from mqd.live.books import open_books
from mqd.live.builder import DeskPlan, build_desk, plan_scales, recover
from mqd.live.folder import StateFolder
from mqd.live.market import GrowingMarket, plan_of
from mqd.live.realtime import RealtimeBroker

ACCOUNT = "0" * 64


class NoVenue:
    """Stands where the connector does; a rebuilt desk asks nothing of it."""

    submit = cancel = replace = None

    def reports(self) -> list[object]:
        """Return nothing."""
        return []


def main() -> None:
    """Restart once and print the seconds of each part."""
    source, seconds = Path(sys.argv[1]), {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        begun = perf_counter()
        yield
        seconds[part] = perf_counter() - begun

    state = source / "state"
    StateFolder.open(state, account=ACCOUNT, mode="rehearsal").close()
    shutil.copytree(source / "run/log", state / "log", dirs_exist_ok=True)
    shutil.copy(source / "run/store.sqlite", state / "store.sqlite")
    bars = mqd.load_bars(source / "bars.parquet", calendar="XNYS")
    settings = settings_of(bars, sizer=mqd.FixedQuantity(10))
    with StateFolder.open(state, account=ACCOUNT, mode="rehearsal") as folder:
        with timed("log and store"):
            books = open_books(folder, mode="rehearsal", account=ACCOUNT, config="")
        plan = DeskPlan(
            named=name_strategies(Flip()), settings=settings,
            market=plan_of(bars, settings.fills.participation_frac), account="paper",
        )  # fmt: skip
        market = GrowingMarket(plan.market, plan_scales(plan.market))
        with timed("history into the market"):
            market.preload(bars)
        clock = LiveClock()
        broker = RealtimeBroker(NoVenue(), market, clock)  # type: ignore[arg-type]
        desk = build_desk(plan, market, broker, clock, books.journal, folder.latches)
        with timed("records into the desk"):
            found = recover(desk, market, books.journal)
        with timed("marks"):
            desk.resume()
        books.close("stopped")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    words = {"records": found.n_records, "open_orders": len(found.open_orders)}
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb, **words}))


if __name__ == "__main__":
    main()
