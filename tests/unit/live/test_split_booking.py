"""A split that the venue tells of while a desk trades: through the adapter, equal to a replay."""

from __future__ import annotations

import threading
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.backtesting import name_strategies
from mqd.core.clock import NS_PER_DAY, NS_PER_MINUTE, SimulatedClock, WallClock
from mqd.desk.journal import Journal
from mqd.event_bus import OrderEventBus
from mqd.execution.breaks import BreakKind
from mqd.kernel.settings import settings_of
from mqd.live.activities import Booked
from mqd.live.books import OpenBooks
from mqd.live.builder import build_desk, plan_scales
from mqd.live.chores import Reconciler
from mqd.live.folder import StateFolder
from mqd.live.market import GrowingMarket
from mqd.live.paced_run import PacedRun
from mqd.live.realtime import RealtimeBroker
from mqd.live.recovery import Recovery
from mqd.live.rehearsal import plan_desk
from mqd.live.watcher import Watcher
from mqd.log_files import new_run_folder
from mqd.log_reader import read
from mqd.testing.in_memory import ADDRESS, MemoryControl, MemoryLink, MemoryVenue
from mqd.transaction_log import TransactionLog

OPENING_NS = pd.Timestamp("2024-03-05 09:30", tz="America/New_York").value
N = 8


class BuysOnce(mqd.Strategy):
    """Buys at the third bar and holds."""

    state = {"bars": 0.0}  # noqa: RUF012

    def decide(self, now, position, state):
        state.bars = state.bars + 1.0
        return mqd.HOLD if state.bars != 3.0 else 1.0


def bars_of(ratio):
    """Return two sessions of eight minutes, the second after a split of ``ratio``."""
    minutes = np.arange(N, dtype=np.int64) * NS_PER_MINUTE + OPENING_NS
    stamps = np.concatenate([minutes, minutes + NS_PER_DAY])
    px = np.round(np.concatenate([np.full(N, 90.0), np.full(N, 90.0 / ratio)]), 2)
    frame = pd.DataFrame(
        {
            "symbol": "AAA", "timestamp": pd.to_datetime(stamps, utc=True), "open": px,
            "high": px, "low": px, "close": px, "volume": 1e6,
        }
    )  # fmt: skip
    actions = pd.DataFrame(
        {"symbol": ["AAA"], "ex_date": ["2024-03-06"], "kind": ["split"], "ratio": [ratio]}
    )
    return mqd.Bars.from_pandas(frame, "XNYS", tick=0.01, lot=1, actions=actions)


class World:
    """A desk that bought before a split, and a reconciler that hears the venue after it."""

    def __init__(self, folder, ratio, qty):
        self.bars = bars_of(ratio)
        settings = settings_of(self.bars, sizer=mqd.FixedQuantity(qty))
        self.settings = settings
        self.plan = plan_desk(name_strategies(BuysOnce()), self.bars, settings)
        self.memory = MemoryVenue(self.bars, settings)
        self.folder = folder
        new_run_folder(folder / "run")
        log = TransactionLog.create(folder / "run", {"run_id": "split"}, durable=False)
        journal = Journal(log, None, OrderEventBus())
        state = StateFolder(folder / "run", -1, lambda _path: 1 << 40)
        self.run = PacedRun(
            self.plan, ADDRESS, MemoryControl(self.memory), state, OpenBooks(journal, False),
            patience_s=0.0, connect=self._connect,
        )  # fmt: skip
        self.done = self.run.run()
        self.desk, self.log = self.done.desk, log
        self.link = self._connect(
            ADDRESS, plan_scales(self.plan.market), self.plan.quantum, SimulatedClock(),
            on_data=lambda _m: None,
        )  # fmt: skip
        self.link.know(self.desk)

    def _connect(self, _address, scales, quantum, clock, *, on_data):
        return MemoryLink(self.memory, scales, quantum, clock, on_data)

    def reconciler(self, desk=None, ids=()):
        """Return a new desk's reconciler, and what gives it a snapshot of the venue.

        What the rehearsal booked at its closes has no ids there: it is named here.
        """
        told = self.memory.venue.first.activities
        ids = [*ids, *(one["id"] for one in told if one["activity_type"] != "SPLIT")]
        desk = desk or self.desk
        watcher = Watcher(self.link.connector, WallClock(), threading.Event())
        broker = RealtimeBroker(self.link.connector, desk.parts.market, SimulatedClock())
        halted = []
        latches = SimpleNamespace(trip=lambda why, _ns, _level: halted.append(why))
        made = Reconciler(
            watcher, self.link.connector, broker, SimpleNamespace(latches=latches),
            self.plan.quantum, Booked(ids, flows=False),
        )  # fmt: skip
        return made, watcher, halted

    @property
    def ledger(self):
        return self.desk.parts.valuation.ledger

    def splits(self):
        return [r.payload for r in read(self.folder / "run") if r.kind == "action"]


@pytest.mark.parametrize(
    ("ratio", "qty", "after", "in_lieu"),
    [(2, 7, 14, "0"), (0.5, 8, 4, "0"), (1.5, 7, 10, "30"), (0.25, 7, 1, "270")],
)
def test_a_told_split_is_booked_once_as_the_replays_desk_does(tmp_path, ratio, qty, after, in_lieu):
    """Worked by hand: 7 shares 3 for 2 are 10.5, and half a share at 60 is 30 USD."""
    world = World(tmp_path, ratio, qty)
    assert world.ledger.lots == {"AAA": qty}
    reconciler, watcher, halted = world.reconciler()
    for _ in range(3):
        reconciler.take(world.desk, watcher.snapshot())
    assert reconciler.last.ok, reconciler.last
    assert (halted, reconciler.frozen) == ([], frozenset())
    assert world.ledger.lots == {"AAA": after}
    (record,) = world.splits()
    assert (record["qty_before"], record["qty_after"]) == (str(qty), str(after))
    assert Decimal(record["cash"]) == Decimal(in_lieu)
    assert len(record["activities"]) == 1
    replay = mqd.backtest(
        BuysOnce(), world.bars, sizer=mqd.FixedQuantity(qty), out=tmp_path / "replay"
    )
    (twin,) = [r.payload for r in read(tmp_path / "replay") if r.kind == "action"]
    assert {name: record[name] for name in twin} == twin
    assert replay is not None


def test_a_restart_takes_the_split_in_and_does_not_book_it_again(tmp_path):
    world = World(tmp_path, 1.5, 7)
    reconciler, watcher, _ = world.reconciler()
    for _ in range(2):
        reconciler.take(world.desk, watcher.snapshot())
    market = GrowingMarket(world.plan.market, plan_scales(world.plan.market))
    journal = Journal(
        TransactionLog.create(None, {"run_id": "x"}, durable=False), None, OrderEventBus()
    )
    broker = RealtimeBroker(world.link.connector, market, SimulatedClock())
    desk = build_desk(world.plan, market, broker, SimulatedClock(), journal, None)
    found = Recovery(desk, market).take(read(tmp_path / "run"))
    ledger = desk.parts.valuation.ledger
    assert (ledger.lots, ledger.cost, ledger.cash) == (
        world.ledger.lots, world.ledger.cost, world.ledger.cash,
    )  # fmt: skip
    assert set(world.splits()[0]["activities"]) <= set(found.charges)
    again, watcher, halted = world.reconciler(desk, found.charges)
    for _ in range(2):
        again.take(desk, watcher.snapshot())
    assert again.last.ok
    assert (len(world.splits()), halted) == (1, [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qty": None}, "names no quantity"),
        ({"qty": "2"}, "the venue holds 10"),
        ({"status": "canceled"}, "is canceled"),
        ({"description": ""}, "must be stated"),
        ({"description": "5 for 2"}, "must be stated"),
        ({"qty": "3.5"}, "no whole number of lots"),
        ({"qty": "-17"}, "the venue holds 10"),
    ],
)
def test_a_split_that_is_not_proved_is_named_and_stays_frozen(tmp_path, change, words):
    world = World(tmp_path, 1.5, 7)
    for entry in world.memory.venue.first.activities:
        if entry["activity_type"] == "SPLIT":
            entry.update(change)
    reconciler, watcher, _ = world.reconciler()
    for _ in range(3):
        reconciler.take(world.desk, watcher.snapshot())
    assert world.ledger.lots == {"AAA": 7}
    assert world.splits() == []
    named = [one for one in reconciler.last.breaks if one.symbol == "AAA"]
    assert [one.kind for one in named] == [BreakKind.SPLIT]
    assert words in named[0].what
    assert reconciler.frozen == {"AAA"}


def test_a_close_from_before_stands_for_the_new_unit_until_a_later_one(tmp_path):
    world = World(tmp_path, 2, 7)
    market = world.desk.parts.market
    last_ns = market.marked_ns("AAA")
    market.note_split("AAA", last_ns - 1, Fraction(3))
    assert market.mark("AAA") == 4500
    market.note_split("AAA", last_ns, Fraction(2))
    assert market.mark("AAA") == 2250
    market.enter(market.n_steps - 1)
    assert market.mark("AAA") == 2250
