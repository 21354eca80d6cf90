"""A log as a desk writes it, of any length: ``live_records.py FOLDER SYMBOLS RECORDS``.

A FOLDER that holds one already gets as many records more.

Every record is made by the functions that make a desk's own (`mqd.desk.records`) from an order,
a report and the ledger's entry, and goes through the real log: numbered, chained, in segments.
What is left out is the market, the risk and the syncs. Each symbol is bought and sold at one price,
one order in eight is cancelled, and at the end nothing is held: the account of a venue on which
nobody has traded agrees with it. The store stays empty, so that bringing it level is a rebuild.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import live_minutes

from mqd.accounting import Ledger
from mqd.backtesting import name_strategies
from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.core.signal import Signal
from mqd.desk import records
from mqd.desk.journal import Journal
from mqd.execution.engine import client_order_id
from mqd.kernel.settings import settings_of
from mqd.live.books import open_books
from mqd.live.builder import DeskPlan, plan_scales, write_first_records
from mqd.live.folder import StateFolder, account_sha256
from mqd.live.rehearsal import DataSpec, plan_desk
from mqd.live.venue_process import ACCOUNT_ID
from mqd.log_reader import read

LOTS, STEP_NS = 10, 90_000_000
CANCELLED_EVERY = 8
Line = tuple[str, dict[str, object]]


def plan_over(data: DataSpec) -> DeskPlan:
    """Return a desk's plan over bars, with the rule that trades at every bar."""
    bars = data.load()
    return plan_desk(name_strategies(live_minutes.Flip()), bars, settings_of(bars))


class Writer:
    """Makes the records of one order after the other; ``ledger`` is what they come to.

    ``n`` orders were made before, the last at ``ts_ns``.
    """

    def __init__(self, plan: DeskPlan, ts_ns: int, n: int = 0) -> None:
        self._plan, self.ts_ns = plan, ts_ns
        self._strategy = plan.named[0][0]
        self._scales = plan_scales(plan.market)
        self._n = n
        self.ledger = Ledger()

    def order(self, symbol: str, *, cancelled: bool = False) -> Iterator[Line]:
        """Yield what a desk writes of one order of a symbol, bought when flat, else sold."""
        self._n += 1
        self.ts_ns += STEP_NS
        held = self.ledger.lots.get(symbol, 0)
        weight, side = (0.0, Side.SELL) if held else (1.0, Side.BUY)
        scale, ts_ns = self._scales[symbol], self.ts_ns
        name = client_order_id(
            self._plan.account, self._strategy, "1", symbol, side, ts_ns, "", self._n
        )
        order = Order(
            name, self._strategy, symbol, side, LOTS, OrderType.MARKET, TimeInForce.DAY, ts_ns,
            scale, allocation=((self._strategy, side * LOTS),),
        )  # fmt: skip
        venue_id = f"{self._n:08x}-6f6d-4c1e-9e0a-{self._n:012x}"
        yield "decision", records.decision(Signal(ts_ns, self._strategy, symbol, weight), weight)
        yield "intent", records.intent(order)
        told = ExecutionReport(ReportKind.ACK, name, symbol, ts_ns, venue_order_id=venue_id)
        yield "report", records.report(told, scale)
        if cancelled:
            yield "command", records.command(name, OrderCommand.CANCEL)
            gone = told._replace(kind=ReportKind.CANCELED, cum_lots=0)
            yield "report", records.report(gone, scale)
            return
        ticks = 10_000 + 100 * self._plan.market.symbols.index(symbol)
        fill = ExecutionReport(
            ReportKind.FILL, name, symbol, ts_ns, venue_order_id=venue_id,
            execution_id=f"{venue_id}-1", last_lots=LOTS, last_ticks=ticks, cum_lots=LOTS,
            ts_fill=ts_ns,
        )  # fmt: skip
        entry = self.ledger.fill_entry(symbol, side * LOTS, ticks * scale.tick_lot_quanta, 0)
        yield "fill", records.fill(fill, order, entry)
        self.ledger.book(entry)

    def lines(self, n_records: int) -> Iterator[Line]:
        """Yield at least ``n_records`` records of whole orders, and end flat."""
        symbols, n, place = self._plan.market.symbols, 0, 0
        while n < n_records:
            place += 1
            cancelled = place % CANCELLED_EVERY == 0
            for line in self.order(symbols[place % len(symbols)], cancelled=cancelled):
                n += 1
                yield line
        for symbol in list(self.ledger.lots):
            yield from self.order(symbol)


def write(state: Path, plan: DeskPlan, n_records: int) -> int:
    """Write a log of at least ``n_records`` into a state folder, or add as many to the log that is
    there; return how many it holds."""
    account = account_sha256(ACCOUNT_ID)
    with StateFolder.open(state, account=account, mode="rehearsal") as folder:
        books = open_books(folder, mode="rehearsal", account=account, config=plan.sha256)
        writer = went_on(state, plan) if books.resumed else begun(plan, books.journal)
        for kind, payload in writer.lines(n_records):
            books.journal.log.append(kind, writer.ts_ns, payload)
        n = books.journal.log.seq
        books.close("failed")
    return n


def begun(plan: DeskPlan, journal: Journal) -> Writer:
    """Write a new log's first records."""
    write_first_records(plan, journal)
    first_ns = journal.now_ns
    journal.write("account.since", {"ns": first_ns + 1})
    return Writer(plan, first_ns)


def went_on(state: Path, plan: DeskPlan) -> Writer:
    """Return a writer that goes on behind the last order of a log."""
    orders = [one.ts_ns for one in read(state) if one.kind == "intent"]
    return Writer(plan, orders[-1], len(orders))


def main() -> None:
    """Write bars and log into a folder; print one JSON line."""
    folder, n_symbols, n_records = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    spec = DataSpec(folder / "minutes.parquet", {"tick": "0.01"})
    data = spec if spec.path.exists() else live_minutes.write(folder, n_symbols)
    start = time.perf_counter()
    n = write(folder / "state", plan_over(data), n_records)
    size = sum(file.stat().st_size for file in (folder / "state/log").iterdir())
    took = time.perf_counter() - start
    print(json.dumps({"records": n, "bytes": size, "seconds": took}))


if __name__ == "__main__":
    main()
