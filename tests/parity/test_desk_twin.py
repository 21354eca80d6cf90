"""The desk against its slow twin: the same fills, fees, cash, positions and equity, exactly."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mqd
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.sma_cross import SmaCross
from tests.parity.twin import Twin
from tests.parity.twin_cases import Armed, Coded, Feeling, Shares, Watched, bars_of

KINDS = frozenset(
    {
        "shared cash", "trim", "partial", "stop_loss", "take_profit", "trailing_stop", "ambiguous",
        "flip", "denial", "split", "split of an order", "dividend", "dividend short", "absent bar",
        "zero volume", "HOLD", "state", "remainder", "HOLD on a remainder", "follow-up", "borrow",
        "band", "re-entry blocked", "partial exit", "skip",
    }
)  # fmt: skip
"""What the examples must have met between them."""

SYMBOLS = ("CCX", "AAC", "BTC")
RICH = mqd.Costs(fee_bps=3, fee_per_share=0.005, slippage_bps=7, borrow_bps_per_year=700)
EXITS = ("stop_loss_frac", "take_profit_frac", "trailing_stop_frac")
MET: Counter[str] = Counter()


def walk(rng: random.Random, n: int, wild: float, holes: float) -> list[tuple[Any, ...]]:
    """Return bars of a random walk with gaps, thin and empty volumes, and missing rows."""
    px = rng.choice([20.0, 101.37, 333.3])
    rows = []
    for place in range(n):
        opened = px * (1 + rng.gauss(0, wild / 2))
        closed = opened * (1 + rng.gauss(0, wild))
        high = max(opened, closed) * (1 + abs(rng.gauss(0, wild / 2)))
        low = min(opened, closed) * (1 - abs(rng.gauss(0, wild / 2)))
        prices = [round(value, 2) for value in (opened, high, low, closed)]
        px = prices[3]
        volume = 0.0 if rng.random() < holes else float(rng.choice([50, 500, 5000, 10**6, 10**8]))
        if rng.random() >= holes:
            rows.append((place, *prices, volume))
    return rows


def an_action(rng: random.Random, symbols: list[str], n: int) -> tuple[Any, ...]:
    """Return a split or a dividend on some day."""
    symbol, place = rng.choice(symbols), rng.randrange(2, n)
    if rng.random() < 0.5:
        return symbol, place, "split", rng.choice([2.0, 3.0, 0.5, 1.5]), None
    return symbol, place, "dividend", None, rng.choice([0.17, 1.0, 0.333])


def some_bars(rng: random.Random, frame: str) -> mqd.Bars:
    """Return 1 to 3 symbols of 12 to 40 bars."""
    n = rng.choice([12, 25, 40])
    symbols = list(SYMBOLS[: rng.choice([1, 2, 3])])
    holes, wild = rng.choice([0, 0.12]), rng.choice([0.01, 0.04])
    columns = {symbol: walk(rng, n, wild, holes) for symbol in symbols}
    actions = [an_action(rng, symbols, n) for _ in range(rng.choice([0, 2]))]
    adjust = rng.choice(["none", "none", "split"])
    return bars_of(columns, actions if frame == "1day" else [], frame, adjust=adjust)


def some_strategy(rng: random.Random, *, shorts: bool) -> mqd.Strategy:
    """Return one of few classes, so that few are compiled, with drawn parameters and exits."""
    exits = {}
    if rng.random() < 0.5:
        exits = {name: rng.choice([0.01, 0.03]) for name in EXITS if rng.random() < 0.6}
    seed, calm = rng.randrange(1000), rng.choice([1, 2, 5])
    long_only: list[Any] = [
        lambda: Coded(seed=seed, shorts=0, calm=calm, **exits),
        lambda: SmaCross(fast=2, slow=5, **exits),
        lambda: DonchianBreakout(entry=4, exit=2, **exits),
        lambda: BollingerReversion(period=5, width=0.7, **exits),
        lambda: MomentumRotation(lookback=3, top=1, every=calm, **exits),
    ]
    both: list[Any] = [
        lambda: Coded(seed=seed, shorts=1, calm=calm, **exits),
        lambda: Watched(seed=seed, shorts=1, calm=calm, **exits),
        lambda: Feeling(entry=0.005, patience=1 + calm, **exits),
        lambda: Armed(every=calm, **exits),
        lambda: Shares(seed=seed, calm=calm, **exits),
    ]
    return rng.choice(long_only + both * 2 if shorts else long_only)()


def some_words(rng: random.Random) -> dict[str, Any]:
    """Return costs, cash, sizes and fills."""
    sizers = [None, None, None, mqd.FixedQuantity(37), mqd.FixedNotional(3000)]
    model = rng.choice(
        [
            None,
            mqd.FillModel(participation_frac=1.0),
            mqd.FillModel(participation_frac=0.29, touch_fills=True),
        ]
    )
    return {
        "costs": rng.choice([None, mqd.Costs(), RICH]), "cash": rng.choice([100_000, 5000.37]),
        "multiplier": rng.choice([1, 1, 2]), "sizer": rng.choice(sizers), "fills": model,
        "rebalance_band_frac": rng.choice([None, None, 0.03]),
    }  # fmt: skip


def compare(strategy: mqd.Strategy, bars: mqd.Bars, words: dict[str, Any]) -> Counter[str]:
    """Run both and demand equality of everything; return what the twin met."""
    twin = Twin(strategy, bars, **words).run()
    result = mqd.backtest(strategy, bars, **words)
    fills = [
        (f.symbol, f.side, Decimal(str(f.qty)), Decimal(str(f.px)), Decimal(str(f.fee_usd)),
         f.ts_fill.value, f.ts_known.value, f.reason)
        for f in result.fills.itertuples()
    ]  # fmt: skip
    assert fills == [tuple(fill) for fill in twin.fills]
    equity = result.equity
    curve = list(zip([ts.value for ts in equity.index], equity.equity, equity.cash, strict=True))
    assert curve == [(ts, float(value), float(cash)) for ts, value, cash in twin.curve]
    held = {s: Decimal(str(result.positions[s].iloc[-1])) for s in bars.symbols}
    assert held == {s: book.qty for s, book in twin.books.items()}
    if len(bars.symbols) > 1:
        twin.kinds["shared cash"] += len({fill.symbol for fill in twin.fills}) > 1
    return twin.kinds


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32 - 1))
def check_drawn(seed: int) -> None:
    """One run, drawn from ``seed``."""
    rng = random.Random(seed)
    frame = rng.choice(["1day", "1day", "1day", "30min", "60min"])
    bars = some_bars(rng, frame)
    MET.update(compare(some_strategy(rng, shorts=frame != "60min"), bars, some_words(rng)))


@pytest.mark.filterwarnings("ignore")
def test_the_desk_equals_its_twin_and_every_kind_was_met() -> None:
    """A kind that no example met would be a rule that nothing here tests."""
    MET.clear()
    check_drawn()
    assert {kind for kind in KINDS if not MET[kind]} == set()
