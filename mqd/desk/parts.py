"""The stages of one run, wired together once by ``backtesting`` and handed to the loop."""

from __future__ import annotations

from dataclasses import dataclass

from mqd.core.clock import RunClock
from mqd.desk.facade import StrategyDesk
from mqd.desk.gate import OrderGate
from mqd.desk.ground import SteppedBroker
from mqd.desk.hearing import Hearing
from mqd.desk.journal import Journal
from mqd.desk.market import Market
from mqd.desk.protection import Protection
from mqd.desk.runners import Runner
from mqd.desk.slots import Holding
from mqd.desk.targets import Targets
from mqd.desk.valuation import Valuation
from mqd.execution.engine import OrderExecutionEngine
from mqd.orders.blotter import Blotter
from mqd.orders.state_machine import OrderStateMachine
from mqd.portfolio.manager import PortfolioManager
from mqd.risk.manager import RiskManager
from mqd.strategy.strategy import Strategy


@dataclass(slots=True)
class Trader:
    """One strategy of a run: its name, its share, how it decides and what its hooks see."""

    name: str
    strategy: Strategy
    allocation: float
    hooks: frozenset[str]
    runner: Runner | None = None
    desk: StrategyDesk | None = None


@dataclass(slots=True)
class Parts:
    """Everything the loop calls. ``holdings`` are by (strategy, symbol)."""

    clock: RunClock
    market: Market
    journal: Journal
    broker: SteppedBroker
    engine: OrderExecutionEngine
    machine: OrderStateMachine
    blotter: Blotter
    risk: RiskManager
    portfolio: PortfolioManager
    valuation: Valuation
    protection: Protection
    gate: OrderGate
    hearing: Hearing
    holdings: dict[tuple[str, str], Holding]
    targets: Targets
