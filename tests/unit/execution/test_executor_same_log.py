"""A desk that sends through the executor writes the log of one that calls the broker itself."""

from decimal import Decimal

import pytest

import mqd
from mqd.backtesting import name_strategies
from mqd.core.order import TERMINAL, OrderRequest, OrderType, Side, TimeInForce
from mqd.desk.ground import replay_ground
from mqd.desk.journal import Journal
from mqd.desk.start_record import write_start
from mqd.desk.wiring import Wiring
from mqd.event_bus import OrderEventBus
from mqd.execution.executor import EventDrivenExecutor
from mqd.kernel.settings import settings_of
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.transaction_log import TransactionLog
from tests.unit.desk.desk_cases import two_waves

WAIT_S = 20.0


class ThreadedBroker:
    """The simulated broker behind an executor: what was sent is waited for before it is heard."""

    def __init__(self, broker, clock):
        self._broker = broker
        self.executor = EventDrivenExecutor(broker, clock, workers=3, may_send=lambda *_: "")

    def __getattr__(self, name):
        return getattr(self._broker, name)

    def _settle(self):
        assert self.executor.drain(WAIT_S)

    def submit(self, order, legs=()):
        self.executor.submit(order, legs)
        self._settle()

    def cancel(self, client_order_id):
        self.executor.cancel(client_order_id)
        self._settle()

    def replace(self, client_order_id, order):
        self.executor.replace(client_order_id, order)
        self._settle()

    def reports(self):
        return self.executor.reports()


class Quoting(mqd.Strategy):
    """Keeps a bid below the market: placed, moved twice, then cancelled."""

    def on_start(self, desk):
        self.bids, self.n_bars = {}, 0

    def on_bar(self, desk, bar):
        self.n_bars += 1
        name = self.bids.get(bar.symbol)
        working = name is not None and desk.broker.order(name).status not in TERMINAL
        limit = Decimal(str(bar.close)).quantize(Decimal("0.01")) - 3
        if not working:
            request = OrderRequest(
                symbol=bar.symbol, side=Side.BUY, qty=Decimal(10), type=OrderType.LIMIT,
                limit_px=limit, time_in_force=TimeInForce.GTC,
            )  # fmt: skip
            self.bids[bar.symbol] = desk.broker.submit(request)
        elif self.n_bars % 5:
            self.bids[bar.symbol] = desk.broker.replace(name, limit_px=limit)
        else:
            desk.broker.cancel(name)


def log_of(strategies, bars, *, threaded):
    settings = settings_of(bars, cash=100_000)
    log = TransactionLog.create(None, {"run_id": "memory", "mode": "replay"}, durable=False)
    journal = Journal(log, None, OrderEventBus())
    named = name_strategies(strategies)
    ground = replay_ground(bars, settings)
    broker = ThreadedBroker(ground.broker, ground.clock) if threaded else ground.broker
    ground.broker = broker
    wiring = Wiring(named, bars, settings, journal, ground)
    desk = wiring.build()
    write_start(
        journal, named, settings, wiring.scales, wiring.cash_quanta,
        data={}, first_ns=bars.first, seed=0, folder=None,
    )  # fmt: skip
    desk.start()
    desk.run()
    desk.stop()
    if threaded:
        stats = broker.executor.stats()
        assert broker.executor.close(WAIT_S)
        assert broker.executor.failure == ""
        engine = desk.parts.engine
        assert stats.sent == engine.n_sent + engine.n_cancels + engine.n_replaces
    return log.sha256, desk.parts.engine.n_sent


@pytest.mark.parametrize(
    "strategies",
    [
        SmaCross(fast=3, slow=8),
        Quoting(),
        [(SmaCross(fast=3, slow=8), 0.5), (RsiReversion(period=5), 0.5)],
    ],
    ids=["one", "quotes", "two"],
)
def test_the_log_is_the_same(strategies):
    bars = two_waves()
    here = log_of(strategies, bars, threaded=False)
    assert here[1] > 4
    assert log_of(strategies, bars, threaded=True) == here
