"""The simulated broker with its account, built in one way for the replay and for the venue."""

from __future__ import annotations

from decimal import Decimal

from mqd.core.instrument import AssetClass
from mqd.desk.market import Market
from mqd.execution.simulated_broker import SimulatedBroker
from mqd.execution.venue_account import VenueAccount
from mqd.kernel.settings import Settings
from mqd.market_data.bars import Bars


def simulated_broker(
    bars: Bars, market: Market, settings: Settings, cash_quanta: int, quantum: Decimal
) -> SimulatedBroker:
    """Return a broker over ``market`` that holds ``cash_quanta`` quanta of ``quantum``."""
    crypto = bars.calendar == "24/7"
    broker = SimulatedBroker(
        market.tapes,
        settings.fills,
        asset_class=AssetClass.CRYPTO if crypto else AssetClass.EQUITY,
        session_closes=market.session_closes,
        session_opens=market.session_opens,
    )
    account = VenueAccount(
        market.tapes, settings.costs, cash_quanta, quantum, broker.mark,
        kind=settings.account, multiplier=settings.multiplier, session_days=market.session_days,
    )  # fmt: skip
    broker.connect(account)
    nowhere = [-1] * len(market.symbols)
    broker.begin(-1, market.starts_ns, nowhere, nowhere)  # orders may come before the first step
    return broker
