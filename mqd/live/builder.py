"""A desk over the adapter, new or rebuilt from its log: the same for rehearsal, paper and live."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass
from decimal import Decimal

from mqd.adapters.alpaca.wire import unsupported_exits
from mqd.core.clock import RunClock
from mqd.core.instrument import AssetClass
from mqd.core.money import Scale, run_quantum, to_units
from mqd.desk.ground import Ground, SteppedBroker
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.desk.start_record import write_start
from mqd.desk.wiring import Wiring
from mqd.errors import UsageError
from mqd.kernel.settings import Settings
from mqd.live.checkpoints import Checkpoints
from mqd.live.market import GrowingMarket
from mqd.live.plan import MarketPlan
from mqd.live.recovery import Recovered, Recovery
from mqd.live.runners import make_live_runner
from mqd.log_reader import read_again
from mqd.result import Named
from mqd.risk.kill_switch import KillSwitch
from mqd.strategy.compiled import fingerprint
from mqd.strategy.strategy import Strategy


def plan_scales(plan: MarketPlan) -> dict[str, Scale]:
    """Return the integer scales of a plan's symbols, on one quantum."""
    quantum = run_quantum((plan.ticks[s], plan.lots[s]) for s in plan.symbols)
    return {s: Scale.of(plan.ticks[s], plan.lots[s], quantum) for s in plan.symbols}


@dataclass(slots=True, kw_only=True)
class DeskPlan:
    """What a desk trades: strategies, settings, market, and the label of its account."""

    named: Named
    settings: Settings
    market: MarketPlan
    account: str

    @property
    def quantum(self) -> Decimal:
        """The money quantum of the run."""
        return next(iter(plan_scales(self.market).values())).quantum

    @property
    def sha256(self) -> str:
        """The hash of what decides the trading: code, parameters, limits, sizes, market."""
        settings = self.settings
        words = (
            [(fingerprint(one), dict(one.parameters), share) for _, one, share in self.named],
            settings.limits.sha256, settings.sizer, settings.multiplier,
            settings.rebalance_band_frac, self.market.words(),
        )  # fmt: skip
        return hashlib.sha256(repr(words).encode()).hexdigest()


def refuse_exits(strategy: Strategy, asset_class: AssetClass) -> None:
    """Raise ``UsageError`` for protective orders that Alpaca cannot hold."""
    why = unsupported_exits(
        strategy.stop_loss_frac, strategy.take_profit_frac, strategy.trailing_stop_frac,
        asset_class,
    )  # fmt: skip
    if why:
        raise UsageError(f"{strategy!r} cannot trade there: {why}.")


def build_desk(
    plan: DeskPlan,
    market: GrowingMarket,
    broker: SteppedBroker,
    clock: RunClock,
    journal: Journal,
    kill_switch: KillSwitch | None,
) -> Desk:
    """Return a desk over ``broker``; nothing is written yet."""
    scales = plan_scales(plan.market)
    cash = to_units(plan.settings.cash, plan.quantum, "cash")
    ground = Ground(
        market, broker, clock, scales, plan.quantum, cash, plan.account, make_live_runner,
        kill_switch,
    )  # fmt: skip
    return Wiring(plan.named, market.bars, plan.settings, journal, ground).build()


def write_first_records(plan: DeskPlan, journal: Journal) -> None:
    """Record what a new log starts with: the run and its deposit."""
    scales = plan_scales(plan.market)
    cash = to_units(plan.settings.cash, plan.quantum, "cash")
    write_start(
        journal, plan.named, plan.settings, scales, cash,
        data=plan.market.words(), first_ns=plan.market.first_ns,
        folder=journal.log.folder,
    )  # fmt: skip


def recover(
    desk: Desk, market: GrowingMarket, journal: Journal, *, checkpoints: bool = False
) -> Recovered:
    """Rebuild a desk from the log of its folder; its market holds the history already.

    With ``checkpoints`` only what follows the last one is read; the desk's list of fills then
    begins there.

    The collector rests meanwhile and leaves out afterwards what was rebuilt: all of it stays, and
    looking through it again and again takes as long as the rebuilding.
    """
    assert journal.log.folder is not None, "a log in memory has nothing to recover"
    collects = gc.isenabled()
    gc.disable()
    try:
        if checkpoints:
            return Checkpoints(journal.log.folder).recover(desk, market, journal)
        return Recovery(desk, market).take(read_again(journal.log.folder))
    finally:
        gc.freeze()
        if collects:
            gc.enable()
