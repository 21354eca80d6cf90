"""``mqd reconcile``: the books of a desk against its account, read and compared once.

Nothing is sent and nothing is written: what the log holds is rebuilt in memory, by the code that a
restart uses, and held against the venue's positions, orders, cash and fills. A desk may be trading
there; what is under way then shows as a difference that the next comparison does not have.
"""

from __future__ import annotations

from pathlib import Path

from mqd import __version__
from mqd.adapters.alpaca.keys import Keys, read_keys
from mqd.core.clock import LiveClock, WallClock
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.event_bus import OrderEventBus
from mqd.execution.reconciliation import PositionReconciliation, Reconciliation
from mqd.live.activities import ActivityReader, fills_of
from mqd.live.builder import DeskPlan, build_desk, plan_scales
from mqd.live.closing import books_of
from mqd.live.config import LiveConfig
from mqd.live.errors import NoStateFolder
from mqd.live.link import Link
from mqd.live.market import GrowingMarket
from mqd.live.realtime import RealtimeBroker
from mqd.live.recovery import Recovery
from mqd.live.status import check_folder
from mqd.live.trading import address_of, bind_account, logged_deposit, plan_of_config
from mqd.log_reader import read
from mqd.transaction_log import TransactionLog


def reconcile(config: LiveConfig, *, rehearsal: bool) -> Reconciliation:
    """Return how the log of ``config``'s state folder and its account differ.

    Raises ``NoStateFolder`` where no desk has begun, ``KeysRefused``, ``BindingRefused``, what a
    damaged log raises, and what the venue's refusals raise.
    """
    folder = check_folder(config.state)
    deposit = logged_deposit(folder)
    if deposit is None:
        raise NoStateFolder(str(folder), "no desk has begun there, so there is nothing to compare")
    keys = read_keys(config.keys_file, config.keys_env)
    plan = plan_of_config(config, deposit, WallClock().now_ns())
    link = _link(config, keys, plan)
    try:
        bind_account(config, keys, link.session, rehearsal=rehearsal)
        desk, since_ns = _rebuilt(plan, folder, link)
        link.know(desk)
        told = ActivityReader(link.connector, since_ns).all()
        fills = fills_of(told, link.connector.fill_activity)
        return PositionReconciliation(link.connector).compare(books_of(desk), fills)
    finally:
        link.close()


def _link(config: LiveConfig, keys: Keys, plan: DeskPlan) -> Link:
    """Return a line whose streams are never opened."""
    return Link(
        address_of(config, keys), plan_scales(plan.market), plan.quantum, LiveClock(),
        on_data=lambda _messages: None,
    )  # fmt: skip


def _rebuilt(plan: DeskPlan, folder: Path, link: Link) -> tuple[Desk, int | None]:
    """Return the desk that the log tells of, with a journal in memory, and when it began."""
    clock = LiveClock()
    market = GrowingMarket(plan.market, plan_scales(plan.market))
    header = {"run_id": "reconcile", "mode": "reconcile", "code": __version__}
    log = TransactionLog.create(None, header, durable=False)
    journal = Journal(log, None, OrderEventBus())
    broker = RealtimeBroker(link.connector, market, clock)
    desk = build_desk(plan, market, broker, clock, journal, None)
    found = Recovery(desk, market).take(read(folder))
    return desk, found.since_ns
