"""What a desk stands on: the only thing in which replay, rehearsal, paper and live differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from mqd.core.bar import CorporateAction
from mqd.core.clock import RunClock, SimulatedClock
from mqd.core.money import Scale, to_units
from mqd.core.protocols import Broker
from mqd.desk.market import Market
from mqd.desk.names import SIMULATED_ACCOUNT
from mqd.desk.runners import MakeRunner, make_runner
from mqd.desk.simulated import simulated_broker
from mqd.execution.fill_model import FillCounts
from mqd.execution.venue_account import CashActivity, SplitActivity
from mqd.kernel.settings import Settings, scales_of
from mqd.market_data.bars import Bars
from mqd.risk.kill_switch import KillSwitch


class ChargingBook(Protocol):
    """What the desk asks of the account on the far side beside its reports."""

    @property
    def owes_at_close(self) -> bool:
        """True when the session's close will charge something."""
        ...

    def open_session(self, day: int) -> None:
        """Settle what is due at the start of session ``day``."""
        ...

    def close_session(self, days_to_next: int) -> list[CashActivity]:
        """Return what the session's close charged."""
        ...

    def settled(self) -> int:
        """Return the cash that may be spent, quanta."""
        ...


class SteppedBroker(Broker, Protocol):
    """A broker whose bars come in steps; where nobody drives the venue the phases do nothing."""

    @property
    def counts(self) -> FillCounts:
        """How often an assumption of the fills mattered."""
        ...

    @property
    def account_book(self) -> ChargingBook:
        """The account on the far side."""
        ...

    @property
    def has_resting(self) -> bool:
        """True when an order may still fill."""
        ...

    @property
    def opens_ns(self) -> int:
        """The instant of this step's first open."""
        ...

    def begin(self, step: int, now_ns: int, rows: Sequence[int], last_rows: Sequence[int]) -> None:
        """Start a step that closes at ``now_ns``."""
        ...

    def match_open(self) -> None:
        """Fill what fills at this step's open."""
        ...

    def match_within(self) -> None:
        """Fill what fills inside the bar."""
        ...

    def match_close(self, closing: Sequence[str]) -> None:
        """Fill on-close orders of ``closing``, expire, and make the closes known."""
        ...

    def settle_marks(self) -> None:
        """Make the closes known where nothing rests."""
        ...

    def act(self, action: CorporateAction) -> CashActivity | SplitActivity | None:
        """Apply a corporate action to the venue's books."""
        ...

    def activities(self) -> list[CashActivity]:
        """Return and forget the changes of cash that the venue has told of by itself."""
        ...


@dataclass(slots=True)
class Ground:
    """The market, the venue and the clock of a run, and how its strategies are driven.

    ``account`` is the label that order ids carry; ``cash_quanta`` what the run starts with;
    ``kill_switch`` holds the account's latches (None: in memory, for this run alone).
    """

    market: Market
    broker: SteppedBroker
    clock: RunClock
    scales: dict[str, Scale]
    quantum: Decimal
    cash_quanta: int
    account: str = SIMULATED_ACCOUNT
    make_runner: MakeRunner = make_runner
    kill_switch: KillSwitch | None = None


def replay_ground(bars: Bars, settings: Settings) -> Ground:
    """Return the ground of a replay: all bars at hand, the simulated broker, simulated time."""
    scales, quantum = scales_of(bars, settings.cash)
    cash_quanta = to_units(settings.cash, quantum, "cash")
    market = Market(bars, scales, settings.fills.participation_frac)
    broker = simulated_broker(bars, market, settings, cash_quanta, quantum)
    return Ground(market, broker, SimulatedClock(), scales, quantum, cash_quanta)
