"""What a live session does between reports: heartbeat, latches, reconciliation, doubts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import cast

from mqd import logs
from mqd.adapters.alpaca.connector import AlpacaBrokerConnector
from mqd.core.clock import NS_PER_S, WallClock
from mqd.core.protocols import Broker
from mqd.desk.loop import Desk
from mqd.errors import MqdError
from mqd.execution.reconciliation import PositionReconciliation, Reconciliation
from mqd.live.activities import Booked, fills_of
from mqd.live.closing import books_of
from mqd.live.doubts import Doubts
from mqd.live.folder import StateFolder
from mqd.live.realtime import RealtimeBroker
from mqd.live.session import LiveSession
from mqd.live.split_booking import SplitBooking
from mqd.live.watcher import SnapshotBroker, VenueSnapshot, Watcher
from mqd.risk.errors import LatchNotDurable
from mqd.risk.kill_switch import LatchLevel

BEAT_NS = NS_PER_S
LATCH_NS = NS_PER_S // 4
CALM_NS = 5 * NS_PER_S
AGAIN_NS = NS_PER_S
BEHIND_NS = 2 * NS_PER_S


class Heartbeat:
    """Says once a second that the desk lives: the watchdog cancels when it falls silent.

    With less than 1 GiB left on the disk the desk may only reduce from then on.
    """

    def __init__(self, folder: StateFolder) -> None:
        self._folder, self._wall, self._next_ns = folder, WallClock(), 0
        self._log = logs.get_logger("heartbeat")

    def __call__(self, session: LiveSession) -> None:
        """Write the heartbeat when it is due; at the end each time: what it says last stays."""
        now = self._wall.monotonic_ns()
        if now < self._next_ns and not session.ended:
            return
        self._next_ns = now + BEAT_NS
        parts = session.desk.parts
        try:
            self._folder.beat(
                self._wall.now_ns(), state="running", open_orders=parts.blotter.n_open(),
                **session.counters(),
            )  # fmt: skip
            self._look_at_room(parts.clock.now_ns())
        except (OSError, LatchNotDurable) as error:
            self._log.error("heartbeat_failed", why=str(error))

    def _look_at_room(self, now_ns: int) -> None:
        space, latches = self._folder.space(), self._folder.latches
        if not space.enough and latches.level < LatchLevel.REDUCE_ONLY:
            why = f"{space.free_bytes >> 20} MiB are left on the disk; 1024 are needed to open"
            latches.trip(why, now_ns, LatchLevel.REDUCE_ONLY)
            self._log.error("disk_full", why=why)


class Latches:
    """Ends a session whose kill latch is set: cancels everything until nothing is open.

    Nothing is open when two of the venue's lists, asked for five seconds apart, were empty
    (others' orders count too) and no order of ours is working or in doubt. Until then all is
    cancelled again every five seconds, also while the venue cannot be asked.
    """

    def __init__(
        self, folder: StateFolder, watcher: Watcher, cancel_everything: Callable[[], None]
    ) -> None:
        self._switch, self._watcher = folder.latches, watcher
        self._cancel_everything = cancel_everything
        self._wall, self._next_ns = WallClock(), 0
        self._log = logs.get_logger("latches")
        self._killed_ns = self._sweep_ns = self._ask_ns = 0
        self._empty_ns: int | None = None
        self.killed = False

    def __call__(self, session: LiveSession) -> None:
        """Look at the latches when that is due, and go on cancelling."""
        now = self._wall.monotonic_ns()
        if now < self._next_ns:
            return
        self._next_ns = now + LATCH_NS
        if not self.killed and self._switch.tripped:
            self._kill(session.desk, now)
        if self.killed:
            self._chase(session, now)

    def _kill(self, desk: Desk, now: int) -> None:
        self.killed, self._killed_ns = True, now
        reasons = {level.name: why for level, why in self._switch.reasons.items()}
        desk.parts.journal.write("kill", {"reasons": reasons})
        for state in desk.parts.machine.working():
            desk.parts.gate.cancel(state.order.client_order_id)

    def _chase(self, session: LiveSession, now: int) -> None:
        """Cancel and ask again; stop the session once nothing has been open for five seconds."""
        if now >= self._ask_ns:
            self._ask_ns = now + CALM_NS // 2
            self._watcher.ask_snapshot()
        if self._calm_ns(session.desk) >= CALM_NS:
            session.stop("killed")
        elif now >= self._sweep_ns and (self._empty_ns is None or self._is_unheard(now)):
            self._sweep_ns = now + CALM_NS
            self._sweep()

    def _is_unheard(self, now: int) -> bool:
        """Return whether the venue's newest list is old: nobody knows what is open by now."""
        latest = self._watcher.latest
        return latest is None or now - latest.told_mono_ns > 2 * CALM_NS

    def _calm_ns(self, desk: Desk) -> int:
        """Return how long nothing has been open, by the lists that were asked for since."""
        latest = self._watcher.latest
        asked_ns = 0 if latest is None else latest.asked_mono_ns
        if latest is None or asked_ns <= self._killed_ns:
            return 0
        if latest.orders or desk.parts.machine.working():
            self._empty_ns = None
            return 0
        if self._empty_ns is None:
            self._empty_ns = latest.told_mono_ns
        return asked_ns - self._empty_ns

    def _sweep(self) -> None:
        """Ask the venue to cancel all it holds; what fails is tried again while any is open."""
        open_ids = [] if self._watcher.latest is None else self._watcher.latest.orders
        self._log.info("cancelling_everything", open_at_the_venue=len(open_ids))
        try:
            self._cancel_everything()
        except MqdError as error:
            self._log.error("cancel_all_failed", why=str(error))


class Reconciler:
    """Compares the books with every snapshot; a difference counts when a second one shows it."""

    def __init__(
        self,
        watcher: Watcher,
        connector: AlpacaBrokerConnector,
        broker: RealtimeBroker,
        folder: StateFolder,
        quantum: Decimal,
        booked: Booked | None = None,
    ) -> None:
        self._watcher, self._connector, self._broker = watcher, connector, broker
        self._folder, self._quantum = folder, quantum
        self._booked = Booked() if booked is None else booked
        self._splits = SplitBooking()
        self._differed = False
        self._seen = SnapshotBroker()
        self._reconciliation = PositionReconciliation(cast(Broker, self._seen))
        self._wall, self._seen_state, self._changed_ns = WallClock(), (0, 0, 0, 0), 0
        self._ask_ns: int | None = None
        self.last: Reconciliation | None = None
        self.last_mono_ns: int | None = None
        self.frozen: frozenset[str] = frozenset()
        self._told: tuple[list[str], bool] = ([], False)

    def __call__(self, session: LiveSession) -> None:
        """Take in what the watcher brought."""
        self._notice(session.desk)
        if self._ask_ns is not None and self._wall.monotonic_ns() >= self._ask_ns:
            self._ask_ns = None
            self._watcher.ask_snapshot()
        for snapshot in self._watcher.take():
            self.take(session.desk, snapshot)
            self._follow_clock(session, snapshot)

    def _follow_clock(self, session: LiveSession, snapshot: VenueSnapshot) -> None:
        """Note the venue's clock; go forward to it when this machine slept.

        The venue said it somewhere in the time that its answer took: only what is beyond half of
        that is known to be a difference.
        """
        clock, half_ns = session.clock, snapshot.clock_took_ns // 2
        age_ns = self._wall.monotonic_ns() - snapshot.told_mono_ns + half_ns
        clock.tell(snapshot.clock_ns, age_ns=age_ns)
        if clock.skew_ns > (BEHIND_NS + half_ns) * clock.factor:
            behind_s = clock.skew_ns / NS_PER_S
            clock.tell(snapshot.clock_ns, age_ns=age_ns, adopt=True)
            text = f"our clock was {behind_s:.1f} s behind the venue's, and follows it"
            session.desk.parts.journal.write("alert", {"text": text})
            logs.get_logger("clock").warning("clock_behind", text=text)

    def take(self, desk: Desk, snapshot: VenueSnapshot) -> None:
        """Book what a snapshot tells of, and compare."""
        told = [one for one in snapshot.activities if not self._booked.knows(one)]
        self._broker.charged += self._booked.new_charges(told, self._quantum)
        self._broker.account_book.settled_quanta = snapshot.account_.settled_quanta
        for activity in self._broker.activities():
            desk.book(activity)
        self._connector.take_activities(told)
        desk.parts.hearing.listen()
        self._notice(desk)
        if snapshot.asked_mono_ns <= self._changed_ns:
            self._ask_again()  # it shows a time before the last order or fill
            return
        self._seen.snapshot = snapshot
        while self._booked.splits:
            self._splits.hear(self._booked.splits.pop(0))
        self._splits.book(desk, snapshot.positions)
        fills = fills_of(told, self._connector.fill_activity)
        found = self._splits.named(self._reconciliation.compare(books_of(desk), fills))
        self.last, self.last_mono_ns = found, snapshot.asked_mono_ns
        if found.ok:
            self._differed, self.frozen, self._told = False, frozenset(), ([], False)
            return
        if not self._differed:
            self._differed = True
            self._ask_again()
            return
        self._tell(desk, found)

    def _ask_again(self) -> None:
        """Ask for another snapshot, not at once: a busy desk must leave calls for its orders."""
        if self._ask_ns is None:
            self._ask_ns = self._wall.monotonic_ns() + AGAIN_NS

    def _notice(self, desk: Desk) -> None:
        """Note when an order, a cancel, an update or a fill last changed what there is."""
        engine, hearing = desk.parts.engine, desk.parts.hearing
        state = engine.n_sent, engine.n_cancels, self._connector.n_updates, len(hearing.fills)
        if state != self._seen_state:
            self._seen_state, self._changed_ns = state, self._wall.monotonic_ns()

    def _tell(self, desk: Desk, found: Reconciliation) -> None:
        """Freeze what is not explained; shut the gate when it is too much. The same differences
        are told once."""
        self.frozen = frozenset(found.frozen_symbols)
        breaks = [f"{one.kind} {one.symbol}: {one.what}" for one in found.breaks]
        if (breaks, found.halt) != self._told:
            self._told = breaks, found.halt
            desk.parts.journal.write("reconcile", {"breaks": breaks, "halt": found.halt})
            logs.get_logger("reconcile").warning("books_differ", breaks=breaks, halt=found.halt)
        if found.halt:
            now_ns = desk.parts.clock.now_ns()
            self._folder.latches.trip("; ".join(breaks), now_ns, LatchLevel.HALT)


class AskBack:
    """Works off orders in doubt, and tells a human of cancels that nobody answers."""

    def __init__(self, doubts: Doubts) -> None:
        self._doubts = doubts

    def __call__(self, session: LiveSession) -> None:
        """Ask for what is due."""
        self._doubts.work()
        for alert in self._doubts.alerts:
            logs.get_logger("doubts").warning("cancel_unanswered", text=alert)
            session.desk.parts.journal.write("alert", {"text": alert})
