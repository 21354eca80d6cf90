"""One symbol over long quiet stretches: whatever ends a stretch must be met in both engines.

Cases are few bars long elsewhere, and a stretch ends with each sixteenth of the bars.
"""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.risk.limits import Limits, LimitValues
from tests.parity.interpreted import interpreted, plain_rules
from tests.parity.kernel_cases import RICH, Case, assert_equal, outcome
from tests.parity.kernel_kinds import kinds_of
from tests.parity.test_kernel import compare_rows
from tests.parity.test_kernel_rules import kinds_of as refusals_of

pytestmark = pytest.mark.filterwarnings("ignore")

SEEDS = range(60)
N_BARS = 400
KINDS = frozenset(
    {
        "split in a held stretch", "dividend in a held stretch", "borrow", "trim", "stop_loss",
        "take_profit", "trailing_stop", "expiry", "gap", "regulatory", "short", "denial", "partial",
        "dividend short", "cash in lieu", "flip",
    }
)  # fmt: skip
"""What the cases must have met between them."""


REFUSALS = frozenset({"latch", "drawdown", "patient", "turnover"})


class Levels(mqd.Strategy):
    """A function of the bars: a target by the level of a slow wave, HOLD between two levels."""

    upper: float = 0.7
    lower: float = 0.2
    high_weight: float = 1.0
    low_weight: float = 0.0

    def features(self, bars):
        """Return the wave, which the volumes carry."""
        return {"wave": bars.volume % 1000.0 / 1000.0}

    def decide(self, now, position):
        """Return one weight above, another below, HOLD between."""
        if now.wave > self.upper:
            return self.high_weight
        return self.low_weight if now.wave < self.lower else mqd.HOLD


class Patient(Levels):
    """Reads its position: out after some bars, or when too far below the best price."""

    bars_max: int = 40
    drop_frac: float = 0.2

    def decide(self, now, position):
        """Return 0 when it has been long enough, else as above without HOLD."""
        if position.bars_held >= self.bars_max:
            return 0.0
        if position.qty > 0 and now.close < position.peak_px * (1.0 - self.drop_frac):
            return 0.0
        return self.high_weight if now.wave > self.upper else self.low_weight


def some_actions(draw: random.Random, stamps: pd.DatetimeIndex) -> pd.DataFrame | None:
    """Return a few splits and dividends, or none."""
    days = sorted(draw.sample(range(1, len(stamps)), draw.choice([0, 0, 3, 8])))
    rows = [
        {
            "symbol": "A", "ex_date": stamps[day].date().isoformat(), "kind": kind,
            "ratio": draw.choice([2.0, 3.0, 0.5, 1.5]) if kind == "split" else None,
            "amount": draw.choice([0.1, 1.25]) if kind == "dividend" else None,
        }
        for day in days
        for kind in [draw.choice(["split", "dividend"])]
    ]  # fmt: skip
    return pd.DataFrame(rows) if rows else None


@cache
def sessions() -> pd.DatetimeIndex:
    """Return the days of real bars: the exchange was open on them."""
    bars = mqd.load_bars("datasets/us_equity_daily_raw.parquet", symbols=["AAPL"])
    opens = pd.DatetimeIndex(bars["AAPL"].ts_open, tz="UTC").tz_convert("America/New_York")
    return opens[:N_BARS].normalize()


def some_bars(draw: random.Random) -> mqd.Bars:
    """Return daily bars of a walk whose volumes carry a slow wave."""
    numbers = np.random.default_rng(draw.randrange(2**32))
    open_days = sessions()
    close = 50.0 * np.exp(np.cumsum(numbers.normal(0.0, draw.choice([0.003, 0.02]), N_BARS)))
    open_ = np.concatenate(([50.0], close[:-1])) * np.exp(numbers.normal(0.0, 0.004, N_BARS))
    wave = 0.5 + 0.5 * np.sin(np.arange(N_BARS) / draw.choice([5.0, 20.0, 60.0]) + draw.random())
    frame = pd.DataFrame(
        {
            "symbol": "A", "timestamp": open_days, "open": open_, "close": close,
            "high": np.maximum(open_, close) * 1.004, "low": np.minimum(open_, close) * 0.996,
        }
    ).round(2)  # fmt: skip
    frame["volume"] = np.floor(wave * 999.0) + draw.choice([10_000.0, 5_000_000.0])
    return mqd.Bars.from_pandas(
        frame, timeframe="1day", tick="0.01", lot="1", actions=some_actions(draw, open_days)
    )


def some_strategy(draw: random.Random) -> mqd.Strategy:
    """Return one of the two with drawn parameters and exits."""
    words = {
        "upper": draw.choice([0.6, 0.95]), "lower": draw.choice([0.05, 0.4]),
        "high_weight": draw.choice([1.0, 0.6]), "low_weight": draw.choice([0.0, -1.0, -0.4]),
    }  # fmt: skip
    if draw.random() < 0.6:
        words["stop_loss_frac"] = draw.choice([0.0, 0.02, 0.3])
        words["take_profit_frac"] = draw.choice([0.0, 0.04, 0.5])
        if draw.random() < 0.3:
            words |= {"stop_loss_frac": 0.0, "take_profit_frac": 0.0, "trailing_stop_frac": 0.05}
    if draw.random() < 0.5:
        return with_exits(Levels)(**words)
    words |= {"bars_max": draw.choice([20, 150]), "drop_frac": draw.choice([0.02, 0.3])}
    return with_exits(Patient)(**words)


@cache
def with_exits(kind: type[mqd.Strategy]) -> type[mqd.Strategy]:
    """Return the strategy with protective exits as parameters."""
    names = ("stop_loss_frac", "take_profit_frac", "trailing_stop_frac")
    body = dict.fromkeys(names, 0.0) | {"__annotations__": dict.fromkeys(names, float)}
    return type(kind.__name__, (kind,), body)


def actions_met(case: Case, result: mqd.Result) -> set[str]:
    """Return which corporate actions met a position."""
    held = result.positions["A"].to_numpy()
    closes = case.bars["A"].ts_close
    at = [
        (action.kind.value, closes.searchsorted(action.ts_ex)) for action in case.bars["A"].actions
    ]
    return {f"{kind} in a held stretch" for kind, row in at if row and held[row - 1] and held[row]}


def some_limits(draw: random.Random) -> Limits:
    """Return limits of which those that look at the past may bind, and few others."""
    values = LimitValues(
        daily_loss_frac_max=draw.choice([0.01, 0.03, 0.5]),
        drawdown_frac_max=draw.choice([0.05, 0.2, 0.9]),
        notional_usd_max=draw.choice([9_000.0, 1e9, 1e9]),
        turnover_frac_max=draw.choice([0.8, 50.0]),
        same_order_age_ns_min=draw.choice([0.0, 3600e9]), position_frac_max=2.0,
        concentration_frac_max=2.0, gross_frac_max=2.0, net_frac_max=2.0, notional_frac_max=2.0,
        sector_unknown_frac_max=2.0, margin_equity_frac_max=10.0, ref_age_ns_max=1e18,
        bad_tick_frac_max=draw.choice([0.03, 10.0, 10.0, 10.0]), qty_max=1e6, volume_frac_max=1.0,
        position_qty_max=1e9, prices_min=0.0, buying_power_frac_max=1.0,
    )  # fmt: skip
    return Limits(account=values)


def patient(order: Any, portfolio: Any, limits: Any) -> bool:
    """Reads what only the past of the account tells."""
    high, start = portfolio.high_water_equity, portfolio.day_start_equity
    return order.notional <= 0.98 * min(high, start) and portfolio.orders_today < 3.0


def test_rules_know_every_close_of_a_stretch() -> None:
    """What rules know of the past is told when the stretch is over."""
    met: Counter[str] = Counter()
    for seed in range(40):
        draw = random.Random(seed)
        words = {"limits": some_limits(draw), "rules": [patient] if seed % 2 else []}
        strategy, bars = some_strategy(draw), some_bars(draw)
        desk = mqd.backtest(strategy, bars, engine="event", **words)
        with interpreted():
            loop = mqd.backtest(strategy, bars, engine="compiled", **words)
            assert_equal(loop, desk)
            met.update(refusals_of(loop))
    assert {kind for kind in REFUSALS if not met[kind]} == set(), met


def test_long_stretches_end_where_the_desk_says() -> None:
    """The loop runs as plain Python; a kind that no case met is tested by nothing here."""
    met: Counter[str] = Counter()
    for seed in SEEDS:
        draw = random.Random(seed)
        words = {
            "costs": draw.choice([mqd.Costs(), mqd.Costs.alpaca(), RICH]),
            "cash": draw.choice([20_000, 1_000_000]),
            "fills": mqd.FillModel(),
            "sizer": None,
            "rebalance_band_frac": None,
            "multiplier": 1,
        }
        case = Case("stretches", some_strategy(draw), some_bars(draw), words)
        with plain_rules():
            desk = outcome(case, "event")
        with interpreted():
            loop = outcome(case, "compiled")
        assert isinstance(desk, mqd.Result), f"seed {seed}: {desk}"
        assert_equal(loop, desk)
        met.update(kinds_of(case, desk) | actions_met(case, desk))
    assert {kind for kind in KINDS if not met[kind]} == set(), met


def test_a_run_that_needs_turn_after_all_counts_once() -> None:
    """A dividend is for ``turn``: what was summed up to there must not count twice."""
    n_met = 0
    for seed in range(4):
        draw = random.Random(seed)
        bars = some_bars(draw)
        words = {"costs": mqd.Costs(), "fills": mqd.FillModel()}
        rows = [{"upper": upper} for upper in (0.3, 0.6, 0.9)]
        with interpreted():
            compare_rows(Case("stretches", Levels(), bars, words), rows)
        n_met += actions_met(Case("", Levels(), bars, words), mqd.backtest(Levels(), bars)) != set()
    assert n_met
