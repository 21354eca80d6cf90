"""Listeners beside the desk hear every bar, change nothing, and cannot stop a run."""

import numpy as np
import pytest

import mqd
from mqd.core.bar import BarRow, bar_row
from mqd.core.event import Event, Topic
from mqd.desk.listening import BarTeller
from mqd.event_bus import OrderEventBus
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross


class Hearing:
    """Keeps what it hears; raises where it is told to."""

    def __init__(self, raises_at: int = -1) -> None:
        self.rows: list[tuple[BarRow, bool]] = []
        self.raises_at = raises_at

    def on_bar(self, row: BarRow, *, past: bool) -> None:
        self.rows.append((row, past))
        if len(self.rows) == self.raises_at:
            raise RuntimeError("a listener broke")


@pytest.fixture(scope="module")
def bars():
    file = "datasets/us_equity_daily_raw.parquet"
    return mqd.load_bars(file, symbols=["AAPL", "IBM"], start="2008-01-02", end="2009-12-31")


@pytest.mark.parametrize("strategy", [SmaCross(fast=5, slow=20), RsiReversion()])
@pytest.mark.parametrize("raises_at", [-1, 1, 100])
def test_a_listener_leaves_the_log_as_it_is(bars, strategy, raises_at):
    alone = mqd.backtest(strategy, bars, engine="event")
    heard = Hearing(raises_at)
    told = mqd.backtest(strategy, bars, engine="event", listener=heard)
    assert told.log_sha256 == alone.log_sha256
    assert len(heard.rows) == sum(len(bars[symbol]) for symbol in bars.symbols)


def test_each_row_comes_once_in_order_and_is_the_bar(bars):
    heard = Hearing()
    mqd.backtest(SmaCross(fast=5, slow=20), bars, listener=heard)
    stamps = [row.ts_close for row, _ in heard.rows]
    assert stamps == sorted(stamps)
    assert not any(past for _, past in heard.rows)
    for symbol in bars.symbols:
        mine = [row for row, _ in heard.rows if row.symbol == symbol]
        assert mine == [bar_row(bars[symbol], n) for n in range(len(bars[symbol]))]


@pytest.mark.parametrize("raises_at", [-1, 2, 5, 6])
def test_history_and_passed_bars_come_before_as_past_whatever_the_listener_raises(bars, raises_at):
    heard = Hearing(raises_at)
    ibm = bars["IBM"]
    known = {"n": 3}

    def so_far(symbol):
        end = ibm.ts_close[known["n"] - 1]
        return bars.between(None, int(end))[symbol]

    bus = OrderEventBus()
    teller = BarTeller(bus, heard, so_far)
    teller.history(["IBM"])
    assert [past for _, past in heard.rows] == [True] * 3
    known["n"] = 6
    teller.on_event(Event(int(ibm.ts_close[5]), 0, 1, Topic.BAR, ibm.bar(5)))
    assert [past for _, past in heard.rows] == [True] * 5 + [False]
    assert np.array_equal([row.ts_close for row, _ in heard.rows], ibm.ts_close[:6])
    failed = {"bar listener": 1} if raises_at > 0 else {}
    assert bus.stats().failures == failed
    assert [one.ts_ns for one in bus.failures] == [int(ibm.ts_close[raises_at - 1]) for _ in failed]
