"""The venue fills what a replay fills: every command of a desk goes to both."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.core.order import OrderClass, OrderRequest, OrderType, Side, TimeInForce
from mqd.execution.costs import Costs
from mqd.market_data.bars import Bars, load_bars
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from tests.venue.mirror import mirrored, venue_fills
from tests.venue.venue_bench import ACCOUNT

MINUTES = "datasets/equity_minute.parquet"


class Grouped(mqd.Strategy):
    """Sends brackets, then replaces and cancels a resting order, by turns."""

    warm_up = 1
    kind = "event"

    def on_start(self, desk):
        self.n = 0

    def on_bar(self, desk, bar):
        self.n += 1
        px = Decimal(str(round(bar.close, 2)))
        for handle in desk.broker.orders():
            name = handle.client_order_id
            if self.n % 9 == 0:
                desk.broker.cancel(name)
                break
            if self.n % 4 == 0 and not name.endswith(("-tp", "-sl")):
                desk.broker.replace(name, limit_px=px + Decimal("0.07"), qty=Decimal(12))
        if self.n % 6 == 1 and not desk.broker.position(bar.symbol).lots:
            desk.broker.submit(
                OrderRequest(
                    symbol=bar.symbol, side=Side.BUY, qty=Decimal(10), type=OrderType.LIMIT,
                    limit_px=px + Decimal("0.05"), time_in_force=TimeInForce.GTC,
                    order_class=OrderClass.BRACKET, take_profit_px=px + Decimal("0.30"),
                    stop_loss_px=px - Decimal("0.30"),
                )
            )  # fmt: skip


@pytest.fixture(scope="module")
def minutes():
    return load_bars(MINUTES, symbols=["MSFT"], start="2022-05-19", end="2022-05-20")


def daily(n=300, n_symbols=3):
    """Random walks with splits left out: several symbols, whole sessions."""
    dice = np.random.default_rng(11)
    days = pd.bdate_range("2022-01-03", periods=n)
    days = days[~days.isin(pd.to_datetime(["2022-01-17", "2022-02-21", "2022-04-15", "2022-05-30",
        "2022-06-20", "2022-07-04", "2022-09-05", "2022-11-24", "2022-12-26", "2023-01-02",
        "2023-01-16", "2023-02-20"]))]  # fmt: skip
    frames = []
    for place in range(n_symbols):
        close = 100 * np.exp(np.cumsum(dice.normal(0, 0.02, len(days))))
        opened = close * np.exp(dice.normal(0, 0.005, len(days)))
        high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
        columns = {"open": opened, "high": high, "low": low, "close": close}
        frame = pd.DataFrame(columns).round(2)
        frames.append(frame.assign(symbol=f"S{place}", session=days.date, volume=1e6))
    return Bars.from_pandas(pd.concat(frames, ignore_index=True))


CASES = {
    "market targets": (SmaCross(fast=5, slow=20), {}),
    "costs": (SmaCross(fast=5, slow=20), {"costs": Costs.alpaca()}),
    "stop and target": (SmaCross(fast=5, slow=20, stop_loss_frac=0.03, take_profit_frac=0.04), {}),
    "stop": (SmaCross(fast=5, slow=20, stop_loss_frac=0.02), {"costs": Costs.alpaca()}),
    "trailing stop": (SmaCross(fast=5, slow=20, trailing_stop_frac=0.03), {}),
    "short and long": (RsiReversion(), {"costs": Costs.alpaca(), "multiplier": 2}),
}


def assert_equal(mirror):
    book = mirror.venue.books[ACCOUNT]
    assert not mirror.refused
    assert [one[:3] for one in mirror.fills] == venue_fills(mirror)
    assert book.broker.account() == mirror.inner.account()
    assert book.broker.open_orders() == [] or len(book.working()) == len(mirror.inner.open_orders())


@pytest.mark.parametrize("name", CASES)
def test_the_venue_fills_as_the_replay_on_daily_bars(name):
    strategy, words = CASES[name]
    mirror = mirrored(strategy, daily(), **words)
    assert len(mirror.fills) > 10
    assert_equal(mirror)


def test_the_venue_fills_as_the_replay_on_minutes(minutes):
    mirror = mirrored(SmaCross(fast=3, slow=9), minutes, costs=Costs.alpaca())
    assert len(mirror.fills) > 30
    assert_equal(mirror)


def test_brackets_cancels_and_legs_fill_as_in_the_replay(minutes):
    mirror = mirrored(Grouped(), minutes, costs=Costs.alpaca())
    assert len(mirror.fills) > 20
    assert_equal(mirror)
