"""Bars, strategies and a desk built stage by stage, for the tests of the desk."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

import mqd
from mqd.backtesting import name_strategies
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.desk.wiring import Wiring
from mqd.event_bus import OrderEventBus
from mqd.execution.reconciliation import Books, PositionReconciliation, Reconciliation, WorkingOrder
from mqd.kernel.settings import Settings
from mqd.transaction_log import TransactionLog
from tests.parity.twin_cases import bars_of

Rows = list[tuple[Any, ...]]


def wave(n: int, phase: float = 0.0, px: float = 100.0, volume: float = 1e6) -> Rows:
    """Return ``n`` bars that swing by a tenth, without chance."""
    steps = np.arange(n + 1) / 3.0 + phase
    closes = np.round(px * (1 + 0.1 * np.sin(steps)), 2)
    rows = []
    for i in range(n):
        opened, closed = float(closes[i]), float(closes[i + 1])
        high, low = max(opened, closed) + 0.4, min(opened, closed) - 0.4
        rows.append((i, opened, round(high, 2), round(low, 2), closed, volume))
    return rows


def two_waves(n: int = 60) -> mqd.Bars:
    """Return two symbols out of step; one has thin volumes and a missing day."""
    thin = [(*row[:5], 2000.0 if i % 7 else 0.0) for i, row in enumerate(wave(n, 2.0, 40.0))]
    return bars_of({"AAA": wave(n), "BBB": thin[:20] + thin[21:]}, [])


class Crosses(mqd.Strategy):
    """Long above the mean of three closes, short below."""

    bias: float = mqd.param(1.0, low=-1.0, high=1.0)

    def features(self, bars: Any) -> Any:
        """Return the mean of the close."""
        return {"mean": mqd.indicators.sma(bars.close, 3)}

    def decide(self, now: Any, position: Any) -> float:
        """Return the bias with the sign of the close's distance from the mean."""
        return self.bias if now.close > now.mean else -self.bias


class CrossesWatched(Crosses):
    """The same, called at every bar because it reads its position."""

    def decide(self, now: Any, position: Any) -> float:
        """Return the same weight."""
        side = 1.0 if now.close > now.mean else -1.0
        return side * self.bias + 0.0 * position.qty


class Patient(mqd.Strategy):
    """Keeps a count and exits by protective orders."""

    state: ClassVar = {"seen": 0.0}
    stop_loss_frac: float = mqd.param(0.03, low=0.0, high=0.5)
    take_profit_frac: float = mqd.param(0.05, low=0.0, high=0.5)

    def decide(self, now: Any, position: Any, state: Any) -> float:
        """Enter at every fifth bar, HOLD in between."""
        state.seen = state.seen + 1.0
        if state.seen % 10.0 == 5.0:
            return 0.9
        return 0.3 if state.seen % 10.0 == 0.0 else mqd.HOLD


def built(
    strategy: Any, bars: mqd.Bars, *, bus: OrderEventBus | None = None, **words: Any
) -> tuple[Desk, TransactionLog]:
    """Return a started desk and its log, wired as ``backtest`` does."""
    named = name_strategies(strategy)
    settings = Settings(
        cash=words.get("cash", Decimal(100_000)),
        sizer=words.get("sizer", mqd.FractionOfEquity()),
        costs=words.get("costs", mqd.Costs.alpaca()),
        fills=mqd.FillModel(), limits=mqd.Limits.research(1),
        account=words.get("account", "margin"), multiplier=1, rebalance_band_frac=None,
    )  # fmt: skip
    log = TransactionLog.create(None, {"run_id": "memory", "mode": "replay"}, durable=False)
    desk = Wiring(named, bars, settings, Journal(log, None, bus or OrderEventBus())).build()
    desk.start()
    return desk, log


def reconciled(desk: Desk) -> Reconciliation:
    """Compare the desk's books with those of its venue."""
    parts = desk.parts
    valuation = parts.valuation
    lots = dict(valuation.ledger.lots)
    working = {
        state.order.client_order_id: WorkingOrder(
            state.order.symbol, int(state.order.side) * state.leaves_lots
        )
        for symbol in parts.market.symbols
        for state in parts.blotter.open_orders(symbol)
    }
    values = {
        s: abs(n) * valuation.mark(s) * valuation.scales[s].tick_lot_quanta for s, n in lots.items()
    }
    books = Books(lots, values, valuation.ledger.cash, valuation.equity(), working)
    return PositionReconciliation(parts.broker).compare(books)
