"""A desk that is told each bar as it closes, over the simulated broker: no future at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mqd.backtesting import name_strategies
from mqd.core.clock import SimulatedClock
from mqd.core.money import to_units
from mqd.desk.ground import Ground, replay_ground
from mqd.desk.harvest import harvest
from mqd.desk.journal import Journal
from mqd.desk.loop import Desk
from mqd.desk.source import Terms
from mqd.desk.start_record import write_start
from mqd.desk.wiring import Wiring
from mqd.event_bus import OrderEventBus
from mqd.kernel.settings import scales_of, settings_of
from mqd.live.market import GrowingMarket
from mqd.live.plan import LiveBar, plan_of
from mqd.live.runners import make_live_runner
from mqd.transaction_log import TransactionLog


class StepwiseBroker:
    """The replay's broker behind a market that learns each bar only when it has closed."""

    def __init__(self, bars, settings, growing):
        self._past = replay_ground(bars, settings)
        self._broker, self._market = self._past.broker, self._past.market
        self.growing, self._bars, self._step = growing, bars, -1

    def __getattr__(self, name):
        return getattr(self._broker, name)

    def next_step(self):
        self._step += 1
        if self._step >= self._market.n_steps:
            return None
        self._market.begin(self._step)
        return self._market.ts_close[self._step]

    def begin(self, step: int, now_ns: int, rows: Sequence[int], last_rows: Sequence[int]):
        self._broker.begin(step, now_ns, self._market.rows(step), self._market.last_rows(step))

    def activities(self):
        actions = self._market.actions.get(self._step, ())
        return [paid for action in actions if (paid := self._broker.act(action)) is not None]

    def match_close(self, closing):
        self._broker.match_close(self._market.closing(self._market.present_rows))
        self._tell()

    def settle_marks(self):
        self._broker.settle_marks()
        self._tell()

    def _tell(self):
        rows = zip(self._market.symbols, self._market.present_rows, strict=True)
        told = [self._live_bar(symbol, row) for symbol, row in rows if row >= 0]
        self.growing.take(told, ends_session=self._market.ends_session[self._step])

    def _live_bar(self, symbol, row):
        one = self._bars[symbol]
        return LiveBar(
            symbol, int(one.ts_open[row]), one.open[row], one.high[row], one.low[row],
            one.close[row], one.volume[row],
            None if one.vwap is None else one.vwap[row],
            None if one.trade_count is None else one.trade_count[row],
        )  # fmt: skip


class Built(NamedTuple):
    desk: Desk
    broker: StepwiseBroker
    growing: GrowingMarket
    terms: Terms


def build_stepwise(strategy, bars, folder=None, broker=None, **words):
    """Return a desk that learns each bar at its close, its log in ``folder`` when one is named."""
    settings = settings_of(bars, **words)
    scales, quantum = scales_of(bars, settings.cash)
    growing = GrowingMarket(plan_of(bars, settings.fills.participation_frac), scales)
    broker = broker or StepwiseBroker(bars, settings, growing)
    broker.growing = growing
    cash = to_units(settings.cash, quantum, "cash")
    ground = Ground(
        growing, broker, SimulatedClock(), scales, quantum, cash, make_runner=make_live_runner
    )
    header = {"run_id": "stepwise", "mode": "rehearsal"}
    log = TransactionLog.create(folder, header, durable=False)
    journal = Journal(log, None, OrderEventBus())
    named = name_strategies(strategy)
    desk = Wiring(named, growing.bars, settings, journal, ground).build()
    data = growing.plan.words()
    write_start(journal, named, settings, scales, cash, data=data, first_ns=bars.first)
    return Built(desk, broker, growing, Terms.of(settings, quantum))


def drive(built, most=None):
    """Take all steps, or at most ``most``; return how many there were."""
    n = 0
    while n != most and (ts_close := built.broker.next_step()) is not None:
        built.desk.step(built.growing.announce(ts_close))
        n += 1
    return n


def run_stepwise(strategy, bars, **words):
    """Return what ``harvest`` finds of a run whose desk learns each bar at its close."""
    built = build_stepwise(strategy, bars, **words)
    built.desk.start()
    drive(built)
    built.desk.stop()
    return harvest(built.desk, built.terms)
