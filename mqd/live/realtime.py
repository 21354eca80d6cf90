"""A venue that runs by itself: what a live desk stands on in place of a replay's broker."""

from __future__ import annotations

from collections.abc import Sequence

from mqd.core.bar import CorporateAction
from mqd.core.clock import RunClock
from mqd.core.order import Order
from mqd.core.position import Account, Position
from mqd.core.protocols import Broker
from mqd.execution.fill_model import FillCounts
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.live.market import GrowingMarket
from mqd.live.plan import LiveBar


class RealtimeBroker:
    """A ``SteppedBroker`` over a broker whose venue nobody drives: its phases pass by.

    ``arrived`` are the bars of the step under way, put here before the step ends; ``charged``
    the changes of cash that the venue told of and nobody has booked yet.
    """

    has_resting = True

    def __init__(self, broker: Broker, market: GrowingMarket, clock: RunClock) -> None:
        self.counts = FillCounts()
        self._broker, self._market, self._clock = broker, market, clock
        self.account_book = RealtimeBook(self)
        self.arrived: list[LiveBar] = []
        self.ends_session = False
        self.charged: list[CashActivity] = []
        self.submit, self.cancel, self.replace = broker.submit, broker.cancel, broker.replace
        self.reports = broker.reports

    @property
    def opens_ns(self) -> int:
        """The present instant."""
        return self._clock.now_ns()

    def begin(self, step: int, now_ns: int, rows: Sequence[int], last_rows: Sequence[int]) -> None:
        """Do nothing."""

    def match_open(self) -> None:
        """Do nothing."""

    def match_within(self) -> None:
        """Do nothing."""

    def match_close(self, closing: Sequence[str]) -> None:
        """Make the closes of the step known."""
        self.settle_marks()

    def settle_marks(self) -> None:
        """Hand the bars that arrived to the market."""
        self._market.take(self.arrived, ends_session=self.ends_session)
        self.arrived = []

    def act(self, action: CorporateAction) -> CashActivity | SplitActivity | None:
        """Do nothing: the venue keeps the corporate actions, and tells of them as activities."""
        return None

    def activities(self) -> list[CashActivity]:
        """Return and forget the changes of cash that the venue told of."""
        charged, self.charged = self.charged, []
        return charged

    def open_orders(self) -> list[Order]:
        """Return the orders that the venue holds as working."""
        return self._broker.open_orders()

    def positions(self) -> dict[str, Position]:
        """Return the venue's non-flat positions by symbol."""
        return self._broker.positions()

    def account(self) -> Account:
        """Return the venue's view of the account."""
        return self._broker.account()


class RealtimeBook:
    """The account on the far side: it settles by itself, and its charges come as activities."""

    owes_at_close = True

    def __init__(self, broker: RealtimeBroker) -> None:
        self._broker = broker
        self.settled_quanta = 0

    def settled(self) -> int:
        """Return the cash that the venue last said may be spent."""
        return self.settled_quanta

    def open_session(self, day: int) -> None:
        """Do nothing."""

    def close_session(self, days_to_next: int) -> list[CashActivity]:
        """Return what the venue charged and nobody has booked."""
        return self._broker.activities()
