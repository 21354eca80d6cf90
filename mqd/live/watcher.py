"""What the venue says when it is asked: a thread that asks, so that the desk never waits.

Snapshots and answers are handed over; the desk's thread compares and books.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from mqd.core.clock import NS_PER_S
from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker, Clock
from mqd.live.activities import ActivityReader

RECONCILE_S = 60.0
AGAIN_S = 1.0
AGAIN_S_MAX = 15.0
JOIN_S = 10.0


class Errand(NamedTuple):
    """Something else to ask every ``every_s`` seconds; after a failure with the next round."""

    every_s: float
    do: Callable[[], None]


class VenueSnapshot(NamedTuple):
    """The venue's side at one time. ``asked_mono_ns`` is when the first question went out,
    ``told_mono_ns`` when the last answer had come: that of the clock, which took
    ``clock_took_ns``."""

    asked_mono_ns: int
    positions: dict[str, Position]
    orders: list[Order]
    account_: Account
    activities: list[dict[str, Any]]
    clock_ns: int
    told_mono_ns: int
    clock_took_ns: int = 0


class SnapshotBroker:
    """Answers a reconciliation from the newest snapshot; it takes no order."""

    snapshot: VenueSnapshot

    def positions(self) -> dict[str, Position]:
        """Return the positions of the snapshot."""
        return self.snapshot.positions

    def open_orders(self) -> list[Order]:
        """Return the open orders of the snapshot."""
        return self.snapshot.orders

    def account(self) -> Account:
        """Return the account of the snapshot."""
        return self.snapshot.account_


class Askable(Broker, Protocol):
    """A connector that also tells single orders, activities and the venue's clock."""

    def query(self, client_order_id: str) -> None:
        """Ask for one order; its report follows."""
        ...

    def activities(
        self, after_id: str = "", *, after_ns: int | None = None, category: str = ""
    ) -> list[dict[str, Any]]:
        """Return the account's activities after an instant, oldest first."""
        ...

    def clock_ns(self) -> int:
        """Return the venue's clock."""
        ...


class Watcher:
    """Asks for a snapshot every minute and whenever it is told to, and for single orders.

    ``failure`` is "" or why the last round failed; ``last_ok_mono_ns`` when one last worked;
    ``latest`` the newest snapshot.
    """

    def __init__(
        self,
        connector: Askable,
        clock: Clock,
        wake: threading.Event,
        *,
        every_s: float = RECONCILE_S,
    ) -> None:
        self._connector, self._clock, self._wake = connector, clock, wake
        self._every_s = every_s
        self._due = threading.Event()
        self._stop = threading.Event()
        self._asked: deque[str] = deque()
        self._snapshots: deque[VenueSnapshot] = deque()
        self._errands: list[Errand] = []
        self._errands_due: list[int] = []
        self.account = ActivityReader(connector)
        self._untold: list[dict[str, Any]] = []
        self._wanted = True
        self._thread = threading.Thread(target=self._work, name="mqd-watcher", daemon=True)
        self.failure = ""
        self._n_failed = 0
        self.last_ok_mono_ns: int | None = None
        self.latest: VenueSnapshot | None = None

    def since(self, since_ns: int | None, heard_ns: int | None = None) -> None:
        """Say when the desk began on its account, and what its log heard last; before ``start``."""
        self.account = ActivityReader(self._connector, since_ns, heard_ns)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking and join the thread."""
        self._stop.set()
        self._due.set()
        self._thread.join(JOIN_S)

    def ask_order(self, client_order_id: str) -> None:
        """Ask for one order soon."""
        self._asked.append(client_order_id)
        self._due.set()

    def ask_snapshot(self) -> None:
        """Ask for a snapshot soon."""
        self._wanted = True
        self._due.set()

    def take(self) -> list[VenueSnapshot]:
        """Return and forget the snapshots that have come."""
        found = []
        while self._snapshots:
            found.append(self._snapshots.popleft())
        return found

    @property
    def healthy(self) -> bool:
        """True while the last round worked."""
        return not self.failure and self.last_ok_mono_ns is not None

    def silence_ns(self) -> int | None:
        """How long ago a round last worked, None before the first."""
        if self.last_ok_mono_ns is None:
            return None
        return self._clock.monotonic_ns() - self.last_ok_mono_ns

    def snapshot(self) -> VenueSnapshot:
        """Ask for everything now, on the calling thread."""
        connector, asked = self._connector, self._clock.monotonic_ns()
        self._untold += self.account.new()
        held = connector.positions(), connector.open_orders(), connector.account()
        clock_asked, clock_ns = self._clock.monotonic_ns(), connector.clock_ns()
        told, untold = self._clock.monotonic_ns(), self._untold
        self._untold = []
        return VenueSnapshot(asked, *held, untold, clock_ns, told, told - clock_asked)

    def _work(self) -> None:
        next_ns = self._clock.monotonic_ns()
        while not self._stop.is_set():
            self._due.wait(min(AGAIN_S * 2.0**self._n_failed, AGAIN_S_MAX))
            self._due.clear()
            try:
                self._answer_orders()
                now = self._clock.monotonic_ns()
                if self._wanted or now >= next_ns:
                    self._wanted = False
                    next_ns = now + int(self._every_s * NS_PER_S)
                    self.latest = self.snapshot()
                    self._snapshots.append(self.latest)
                    self._well()
                self._run_errands()
                self._n_failed = 0
            except Exception as error:  # noqa: BLE001 - a watcher that died would look healthy
                self.failure = str(error) or type(error).__name__
                self._n_failed = min(self._n_failed + 1, 10)
                self._wanted = True
            self._wake.set()

    def also(self, errands: Sequence[Errand]) -> None:
        """Do these too; before ``start``."""
        self._errands += errands

    def _run_errands(self) -> None:
        """Do what is due; one that raises is due again, and the round has failed."""
        now = self._clock.monotonic_ns()
        self._errands_due = self._errands_due or [now] * len(self._errands)
        for place, errand in enumerate(self._errands):
            if now >= self._errands_due[place]:
                errand.do()
                self._errands_due[place] = now + int(errand.every_s * NS_PER_S)

    def _answer_orders(self) -> None:
        while self._asked and not self._stop.is_set():
            name = self._asked[0]
            self._connector.query(name)
            self._asked.popleft()

    def _well(self) -> None:
        self.failure = ""
        self.last_ok_mono_ns = self._clock.monotonic_ns()
