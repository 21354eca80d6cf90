"""A venue that takes its time to cancel a stop: no order goes out beside it, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqd
from mqd.core.order import Reason
from mqd.kernel.settings import settings_of
from tests.parity.stepwise import StepwiseBroker, build_stepwise, drive

DATASETS = Path(__file__).parents[2] / "datasets"


class Flips(mqd.Strategy):
    stop_loss_frac: float = mqd.param(0.002, low=0.0, high=0.5)
    turn: int = mqd.param(3, low=1, high=9)
    short: float = mqd.param(0.0, low=0.0, high=1.0)

    def features(self, bars):
        return {"bar": mqd.indicators.sma(bars.close, 2) * 0 + bars.minutes_from_open}

    def decide(self, now, position):
        return float(int(now.bar) // self.turn % 2) - self.short * 0.5


class LateCancels(StepwiseBroker):
    """Carries a cancel out when reports were asked for ``wait`` times since."""

    def __init__(self, bars, settings, wait):
        super().__init__(bars, settings, None)
        self.wait, self._asked, self.beside = wait, [], []
        self.n_late = 0

    def submit(self, order, legs=()):
        if order.reason is Reason.TARGET:
            resting = [one for one in self._broker.open_orders() if one.symbol == order.symbol]
            self.beside += [(order, one) for one in resting if one.reason is not Reason.TARGET]
        self._broker.submit(order, legs)

    def cancel(self, client_order_id):
        self._asked.append([self.wait, client_order_id])
        self.n_late += 1

    def reports(self):
        for one in self._asked:
            one[0] -= 1
        due = [name for left, name in self._asked if left < 0]
        self._asked = [one for one in self._asked if one[0] >= 0]
        for name in due:
            self._broker.cancel(name)
        return self._broker.reports()


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-19"
    )


def run(minutes, strategy, wait):
    words = {"sizer": mqd.FixedQuantity(100)}
    broker = LateCancels(minutes, settings_of(minutes, **words), wait)
    built = build_stepwise(strategy, minutes, broker=broker, **words)
    built.desk.start()
    drive(built)
    built.desk.stop()
    return built


def fills_of(built):
    return [(o.reason, o.side * r.last_lots, r.last_ticks, r.ts_fill)
            for r, o in built.desk.parts.hearing.fills]  # fmt: skip


@pytest.mark.parametrize("strategy", [Flips(), Flips(short=1.0), Flips(turn=5)])
@pytest.mark.parametrize("wait", [0, 1, 2, 3, 5])
def test_no_target_order_goes_out_beside_what_protects_its_position(strategy, wait, minutes):
    built = run(minutes, strategy, wait)
    reasons = [fill[0] for fill in fills_of(built)]
    assert built.broker.n_late > 10
    assert reasons.count(Reason.TARGET) > 20
    assert reasons.count(Reason.STOP_LOSS) > 2
    assert built.broker.beside == []
    held = set(positions(built))
    assert held == ({0, 50, -50} if strategy.short else {0, 100})


def positions(built):
    held = 0
    for _, lots, _, _ in fills_of(built):
        held += lots
        yield held


def test_a_cancel_that_comes_within_the_bar_changes_no_fill(minutes):
    """The exit goes out a moment later, before the next open: it meets the same price."""
    assert fills_of(run(minutes, Flips(), 1)) == fills_of(run(minutes, Flips(), 0))
