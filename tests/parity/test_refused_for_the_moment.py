"""What a trading desk refused for the moment is asked for again at the next close."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

import mqd
from mqd.core.order import Order, OrderType, Side, TimeInForce
from mqd.live.closing import books_of
from mqd.live.realtime_run import _may_send
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.risk.verdict import Refusal, RefusalCode, Refused
from tests.parity.stepwise import build_stepwise, drive
from tests.parity.test_stepwise_desk import DATASETS


class Twenty(mqd.Strategy):
    """Long for the first twenty bars, then flat."""

    def features(self, bars):
        return {"bar": np.arange(len(bars.close), dtype=np.float64)}

    def decide(self, now, position):
        return 0.5 if now.bar < 20.0 else 0.0


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-19"
    )


def denied_once(built, reducing):
    """Let the risk manager refuse the first order that reduces, or opens, as a trading desk's."""
    risk, check, denied = built.desk.parts.risk, built.desk.parts.risk.check, []

    def judged(order, legs, snapshot):
        if order.reducing is reducing and not denied:
            denied.append(order)
            refusal = Refusal(RefusalCode.MODE_UNBOUND, "binding", "6 min old")
            return Refused(order, (refusal,))
        live, risk.live = risk.live, None
        try:
            return check(order, legs, snapshot)
        finally:
            risk.live = live

    risk.check = judged
    return denied


@pytest.mark.parametrize("reducing", [True, False])
@pytest.mark.parametrize("trades", [True, False])
def test_a_denied_target_is_sized_anew_on_a_desk_that_trades(minutes, reducing, trades):
    built = build_stepwise(Twenty(), minutes, sizer=mqd.FixedQuantity(100))
    denied = denied_once(built, reducing)
    built.desk.parts.risk.live = (lambda: None) if trades else None
    built.desk.start()
    drive(built, 40)
    sent = [report for report, _ in built.desk.parts.hearing.fills]
    assert len(denied) == 1
    assert built.desk.parts.gate.n_denied == 1
    lots = [order.side * report.last_lots for report, order in built.desk.parts.hearing.fills]
    if trades:
        assert len(sent) == 2
        assert sum(lots) == 0
    else:
        assert len(sent) == (1 if reducing else 0)  # a replay refuses a target for good


def order(reducing, scale):
    side = Side.SELL if reducing else Side.BUY
    return Order(
        "mq1-x", "s", "MSFT", side, 1, OrderType.MARKET, TimeInForce.DAY, 0, scale,
        reducing=reducing,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("level", "opens", "reduces"),
    [
        (LatchLevel.CLEAR, True, True), (LatchLevel.REDUCE_ONLY, False, True),
        (LatchLevel.HALT, False, True), (LatchLevel.KILL, False, False),
    ],
)  # fmt: skip
def test_a_latch_holds_an_order_that_waits_in_the_queue(minutes, level, opens, reduces):
    latches = KillSwitch()
    if level is not LatchLevel.CLEAR:
        latches.trip("seen", 1, level)
    may_send = _may_send(latches)
    scale = build_stepwise(Twenty(), minutes).desk.parts.valuation.scales["MSFT"]
    assert (may_send(order(False, scale), 0) == "") is opens
    assert (may_send(order(True, scale), 0) == "") is reduces


def test_a_desk_that_trades_allows_for_cash_in_whole_cents(minutes):
    built = build_stepwise(Twenty(), minutes, sizer=mqd.FixedQuantity(100))
    built.desk.start()
    drive(built, 40)
    quantum = built.desk.parts.valuation.quantum
    assert len(built.desk.parts.hearing.fills) == 2
    assert books_of(built.desk).cash_tolerance_quanta == 0
    assert books_of(built.desk, cents=True).cash_tolerance_quanta * quantum == Decimal("0.02")
    built.desk.parts.risk.live = lambda: None
    assert books_of(built.desk).cash_tolerance_quanta * quantum == Decimal("0.02")
