"""Builds a desk on its ground: every stage once, joined here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mqd.accounting import Ledger
from mqd.core.execution_report import ExecutionReport
from mqd.core.order import TimeInForce
from mqd.desk.facade import BrokerFacade, StrategyDesk
from mqd.desk.gate import OrderGate
from mqd.desk.ground import Ground, SteppedBroker, replay_ground
from mqd.desk.hearing import Hearing
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk, default_time_in_force
from mqd.desk.names import OrderNames
from mqd.desk.parts import Parts, Trader
from mqd.desk.protection import Exits, Protection
from mqd.desk.slots import Holding
from mqd.desk.targets import Targets
from mqd.desk.valuation import Valuation
from mqd.execution.engine import OrderExecutionEngine
from mqd.kernel.settings import Settings
from mqd.market_data.bars import Bars
from mqd.orders.blotter import Blotter
from mqd.orders.state import OrderState
from mqd.orders.state_machine import OrderStateMachine
from mqd.portfolio.manager import PortfolioManager
from mqd.risk.manager import RiskManager
from mqd.strategy.strategy import Strategy

Books = Callable[[str], tuple[int, int]]


class Wiring:
    """One use: builds the parts in their order and returns the desk."""

    def __init__(
        self,
        strategies: Sequence[tuple[str, Strategy, float]],
        bars: Bars,
        settings: Settings,
        journal: Journal,
        ground: Ground | None = None,
    ) -> None:
        self._settings, self._journal, self._bars = settings, journal, bars
        ground = self._ground = ground or replay_ground(bars, settings)
        self.scales, self.quantum = ground.scales, ground.quantum
        self.cash_quanta = ground.cash_quanta
        self.market, self._clock = ground.market, ground.clock
        self._traders = [
            Trader(name, strategy, allocation, strategy.hooks())
            for name, strategy, allocation in strategies
        ]
        self._desk: Desk

    def build(self) -> Desk:
        """Return the desk, ready to start."""
        settings, market = self._settings, self.market
        broker = self._ground.broker
        engine = OrderExecutionEngine(broker, self._clock)
        machine, blotter = OrderStateMachine(), Blotter()
        risk = RiskManager(
            settings.limits, rules=settings.rules, kill_switch=self._ground.kill_switch
        )
        valuation = self._valuation(broker)
        portfolio = self._portfolio()
        gate = OrderGate(
            self._clock, market, valuation, risk, machine, blotter, engine, self._journal,
            settings.multiplier,
        )  # fmt: skip
        tif = default_time_in_force(self._bars.calendar)
        versions = {trader.name: repr(trader.strategy) for trader in self._traders}
        names = OrderNames(self._journal, versions, self._ground.account, machine.is_known)
        protection = Protection(gate, names, all_day=self._bars.calendar == "24/7")
        holdings = self._holdings(portfolio, valuation)
        hearing = Hearing(
            self._journal, engine, machine, blotter, valuation, risk, portfolio, protection,
            holdings, market.present_row, self._tell, gate.denials,
        )  # fmt: skip
        targets = Targets(
            self._clock, market, self._journal, gate, hearing, machine, portfolio, protection,
            valuation, names, tif, settings.fills.latency_ns,
        )  # fmt: skip
        parts = Parts(
            self._clock, market, self._journal, broker, engine, machine, blotter, risk, portfolio,
            valuation, protection, gate, hearing, holdings, targets,
        )  # fmt: skip
        for trader in self._traders:
            self._equip(trader, parts, names, tif)
        self._desk = Desk(parts, self._traders)
        return self._desk

    def _valuation(self, broker: SteppedBroker) -> Valuation:
        ledger = Ledger()
        ledger.book_cash("deposits", self.cash_quanta)
        settled = broker.account_book.settled
        return Valuation(ledger, self.scales, self.quantum, self.market.mark, settled)

    def _portfolio(self) -> PortfolioManager:
        settings, market = self._settings, self.market
        bars = self._bars
        return PortfolioManager(
            [(trader.name, trader.allocation) for trader in self._traders],
            market.symbols,
            settings.sizer,
            self.scales,
            multiplier=settings.multiplier,
            rebalance_band_frac=settings.rebalance_band_frac,
            allocating=[t.name for t in self._traders if t.strategy.kind == "allocate"],
            closes=lambda symbol, n: market.closes(symbol, market.row_now(symbol), n),
            bars_per_year=bars.bars_per_session * bars.sessions_per_year,
            whole_shorts=() if bars.calendar == "24/7" else None,
        )

    def _holdings(
        self, portfolio: PortfolioManager, valuation: Valuation
    ) -> dict[tuple[str, str], Holding]:
        holdings = {}
        for trader in self._traders:
            books = self._books(trader.name, portfolio, valuation)
            for symbol in self.market.symbols:
                holdings[trader.name, symbol] = Holding(
                    self._bars, symbol, self.scales[symbol], _bound(books, symbol)
                )
        return holdings

    def _books(self, name: str, portfolio: PortfolioManager, valuation: Valuation) -> Books:
        """Return how to look up a strategy's own lots and cost."""
        if len(self._traders) == 1:
            lots, cost = valuation.ledger.lots, valuation.ledger.cost
        else:
            book = portfolio.attribution.books[name]
            lots, cost = book.lots, book.cost
        return lambda symbol: (lots.get(symbol, 0), cost.get(symbol, 0))

    def _equip(self, trader: Trader, parts: Parts, names: OrderNames, tif: TimeInForce) -> None:
        """Give a strategy its runner, its protection and what its hooks see."""
        portfolio, strategy = parts.portfolio, trader.strategy
        exits = Exits(
            strategy.stop_loss_frac, strategy.take_profit_frac, strategy.trailing_stop_frac
        )
        own = {symbol: parts.holdings[trader.name, symbol] for symbol in self.market.symbols}
        if exits:
            for symbol, holding in own.items():
                parts.protection.guard(trader.name, symbol, exits, holding, self.scales[symbol])
        trader.runner = self._ground.make_runner(
            trader.name, strategy, self.market, own, trader.allocation,
            needs_resize=lambda symbol: (trader.name, symbol) in portfolio.resizing,
            check_allocation=portfolio.check_allocation,
            every=self._settings.rebalance_band_frac is not None,
        )  # fmt: skip
        if trader.hooks:
            facade = BrokerFacade(
                trader.name, parts.gate, parts.machine, parts.valuation, self._clock, names,
                self._books(trader.name, portfolio, parts.valuation), tif,
            )  # fmt: skip
            trader.desk = StrategyDesk(self._clock, facade, self.market)

    # The desk exists only once its parts do: what they tell it is bound late.

    def _tell(self, strategy: str, report: ExecutionReport, state: OrderState) -> None:
        self._desk.tell(strategy, report, state)


def _bound(books: Books, symbol: str) -> Callable[[], tuple[int, int]]:
    return lambda: books(symbol)
