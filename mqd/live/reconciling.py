"""``mqd reconcile``: the books of a desk against its account, read and compared once.

Nothing is sent and nothing is written: what the log holds is rebuilt in memory, by the code that a
restart uses, and held against the venue's positions, orders, cash and fills. A desk may be trading
there; what is under way then shows as a difference that the next comparison does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mqd import __version__
from mqd.adapters.alpaca.keys import Keys, read_keys
from mqd.core.clock import LiveClock, WallClock
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.event_bus import OrderEventBus
from mqd.execution.reconciliation import PositionReconciliation, Reconciliation
from mqd.live.activities import ActivityReader, Booked, fills_of
from mqd.live.builder import DeskPlan, build_desk, plan_scales
from mqd.live.closing import books_of
from mqd.live.config import LiveConfig
from mqd.live.errors import NoStateFolder
from mqd.live.link import Link
from mqd.live.market import GrowingMarket
from mqd.live.realtime import RealtimeBroker
from mqd.live.recovery import Recovered, Recovery
from mqd.live.status import check_folder
from mqd.live.trading import address_of, bind_account, logged_deposit, plan_of_config
from mqd.log_reader import read
from mqd.transaction_log import TransactionLog


def reconcile(config: LiveConfig, *, rehearsal: bool) -> Reconciliation:
    """Return how the log of ``config``'s state folder and its account differ.

    Raises ``NoStateFolder`` where no desk has begun, ``KeysRefused``, ``BindingRefused``, what a
    damaged log raises, and what the venue's refusals raise.
    """
    with compared(config, rehearsal=rehearsal) as both:
        return both.found


class Compared(NamedTuple):
    """A desk rebuilt in memory, the line to its account, and how they differ."""

    desk: Desk
    link: Link
    found: Reconciliation


@contextmanager
def compared(config: LiveConfig, *, rehearsal: bool) -> Iterator[Compared]:
    """Rebuild the desk of ``config``'s log, compare it with the account, and hold the line open."""
    folder = check_folder(config.state)
    deposit = logged_deposit(folder)
    if deposit is None:
        raise NoStateFolder(str(folder), "no desk has begun there, so there is nothing to compare")
    keys = read_keys(config.keys_file, config.keys_env)
    plan = plan_of_config(config, deposit, WallClock().now_ns())
    link = _link(config, keys, plan)
    try:
        bind_account(config, keys, link.session, rehearsal=rehearsal)
        desk, recovered = _rebuilt(plan, folder, link)
        link.know(desk)
        told = ActivityReader(link.connector, recovered.since_ns).all()
        for charge in booked_by(recovered).new_charges(told, plan.quantum):
            desk.book(charge)  # in memory: as a start would, before it compares
        settled = set(recovered.charges)
        told = [one for one in told if one["id"] not in settled]
        fills = fills_of(told, link.connector.fill_activity)
        found = PositionReconciliation(link.connector).compare(books_of(desk, cents=True), fills)
        yield Compared(desk, link, found)
    finally:
        link.close()


def _link(config: LiveConfig, keys: Keys, plan: DeskPlan) -> Link:
    """Return a line whose streams are never opened."""
    return Link(
        address_of(config, keys), plan_scales(plan.market), plan.quantum, LiveClock(),
        on_data=lambda _messages: None,
    )  # fmt: skip


def _rebuilt(plan: DeskPlan, folder: Path, link: Link) -> tuple[Desk, Recovered]:
    """Return the desk that the log tells of, with a journal in memory, and what the log held."""
    clock = LiveClock()
    market = GrowingMarket(plan.market, plan_scales(plan.market))
    header = {"run_id": "reconcile", "mode": "reconcile", "code": __version__}
    log = TransactionLog.create(None, header, durable=False)
    journal = Journal(log, None, OrderEventBus())
    broker = RealtimeBroker(link.connector, market, clock)
    desk = build_desk(plan, market, broker, clock, journal, None)
    return desk, Recovery(desk, market).take(read(folder))


def booked_by(found: Recovered) -> Booked:
    """Return the changes of cash that a log holds."""
    n_unnamed = found.n_charges - len(found.charges)
    return Booked(found.charges, n_unnamed, flows=found.since_ns is not None)
