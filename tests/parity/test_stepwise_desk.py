"""A desk that learns each bar at its close decides, sends and books what a replay does."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqd
from mqd.live.compare import compare
from mqd.strategy.loading import resolve
from tests.parity.stepwise import run_stepwise

DATASETS = Path(__file__).parents[2] / "datasets"


class Exits(mqd.Strategy):
    """Above its mean long, below it short by half, with every protective order."""

    stop_loss_frac: float = mqd.param(0.01, low=0.0, high=0.5)
    take_profit_frac: float = mqd.param(0.01, low=0.0, high=0.5)
    trailing_stop_frac: float = mqd.param(0.0, low=0.0, high=0.5)

    def features(self, bars):
        return {"mean": mqd.indicators.sma(bars.close, 5)}

    def decide(self, now, position):
        return 1.0 if now.close > now.mean else -0.5


class Armed(mqd.Strategy):
    """Keeps a state and reads its position: called at every bar."""

    state = {"calm": 0.0}  # noqa: RUF012 - the form that strategies are written in

    def features(self, bars):
        return {"slow": mqd.indicators.sma(bars.close, 30)}

    def decide(self, now, position, state):
        state.calm = state.calm + 1.0 if now.close > now.slow else 0.0
        if position.bars_held > 20.0 or state.calm < 3.0:
            return 0.0
        return 0.8


@pytest.fixture(scope="module")
def daily():
    return mqd.load_bars(
        DATASETS / "us_equity_daily_raw.parquet", symbols=["AAPL", "IBM"],
        start="1996-01-01", end="2001-01-01",
    )  # fmt: skip


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"],
        start="2022-05-19", end="2022-05-24",
    )  # fmt: skip


def assert_equal_to_the_replay(strategy, bars, least, **words):
    here = run_stepwise(strategy, bars, **words)
    replay = mqd.backtest(strategy, bars, engine="event", **words)
    compared = compare((here.orders, replay.orders), (here.fills, replay.fills))
    assert compared.differences == ()
    assert len(here.fills) >= least
    assert here.equity.equals(replay.equity)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("sma_cross", 5), ("bollinger_reversion", 10), ("momentum_rotation", 1),
        ("donchian_breakout", 4), ("rsi_reversion", 2), ("buy_and_hold", 1),
    ],
)  # fmt: skip
def test_the_library_on_daily_bars(name, least, daily):
    assert_equal_to_the_replay(resolve(name)(), daily, least)


@pytest.mark.parametrize(
    ("strategy", "least", "words"),
    [
        (Exits(), 300, {}),
        (Exits(trailing_stop_frac=0.005), 300, {"rebalance_band_frac": 0.02}),
        (Exits(), 2, {"limits": mqd.Limits.default(), "sizer": mqd.FixedQuantity(20)}),
        (Armed(), 30, {"costs": mqd.Costs(fee_bps=2, slippage_bps=3)}),
        (resolve("vwap_reversion")(), 10, {}),
    ],
)
def test_minutes_with_protection_state_limits_and_fees(strategy, least, words, minutes):
    assert_equal_to_the_replay(strategy, minutes, least, **words)
