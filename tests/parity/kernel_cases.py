"""Runs drawn for the comparison of the compiled loop with the desk."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import mqd
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.library.vwap_reversion import VwapReversion
from tests.parity.drawn_rules import KINDS, drawn_class
from tests.parity.twin_cases import Armed, Coded, Feeling, Shares, Watched, stamps_of

NS_PER_H = 3_600 * 10**9
EXITS = ("stop_loss_frac", "take_profit_frac", "trailing_stop_frac")
SYMBOLS = ("CCX", "AAC", "BTC")
RICH = mqd.Costs(fee_bps=3, fee_per_share=0.005, slippage_bps=7, borrow_bps_per_year=700)
STRICT = mqd.Costs(fee_bps=0.5, fee_per_share=0.0035, borrow_bps_per_year=300, regulatory=True)


class Careless(Shares):
    """Coded weights as they are: their sum may be too large, and symbols may be untradable."""

    def allocate(self, now: Any, positions: Any) -> Any:
        """Return the coded weights, 0 where they are not a number."""
        weights = np.zeros(len(now.w))
        for i in range(len(now.w)):
            known = now.w[i] == now.w[i]
            weights[i] = now.w[i] if known else (0.1 if positions.qty[i] > 0.0 else 0.0)
        return weights


class Market(NamedTuple):
    """A calendar, its bars' length, and the least lot."""

    calendar: str
    frame: str
    lot: str


MARKETS = (
    Market("XNYS", "1day", "1"), Market("XNYS", "1day", "0.01"), Market("XNYS", "30min", "1"),
    Market("XNYS", "30min", "0.000001"), Market("24/7", "60min", "0.000001"),
    Market("24/7", "60min", "1"), Market("XTKS", "30min", "1"),
)  # fmt: skip


@cache
def stamps_in(calendar: str, frame: str) -> tuple[pd.Timestamp, ...]:
    """Return the starts of a market's bars."""
    if calendar != "XTKS":
        return tuple(stamps_of(frame))
    days = [day for day in pd.bdate_range("2026-03-16", "2026-04-10") if day.month_name() == "March"
            and day.day != 20]  # fmt: skip
    halves = [pd.Timedelta(minutes=30 * i) for i in (*range(5), *range(7, 13))]
    return tuple(day.tz_localize("UTC") + half for day in days for half in halves)


def walk(rng: random.Random, n: int, wild: float, holes: float) -> list[tuple[Any, ...]]:
    """Return rows ``(place, open, high, low, close, volume)`` of a walk with gaps and holes."""
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
        if rng.random() >= holes or place == 0:
            rows.append((place, *prices, volume))
    return rows


def an_action(rng: random.Random, symbol: str, stamp: pd.Timestamp) -> dict[str, Any]:
    """Return a split or a dividend of a day."""
    row = {"symbol": symbol, "ex_date": str(stamp.date()), "ratio": None, "amount": None}
    if rng.random() < 0.6:
        ratio = rng.choice([2.0, 3.0, 0.5, 1.5, 0.1])
        return row | {"kind": "split", "ratio": ratio}
    return row | {"kind": "dividend", "amount": rng.choice([0.17, 1.0, 0.333333])}


@cache
def some_bars(seed: int, n_symbols: int) -> mqd.Bars:
    """Return the bars drawn from ``seed``: 12 to 60 rows a symbol."""
    rng = random.Random(seed)
    market = rng.choice(MARKETS)
    n = rng.choice([12, 25, 40, 60])
    holes, wild = rng.choice([0, 0, 0.12]), rng.choice([0.01, 0.04])
    stamps = stamps_in(market.calendar, market.frame)
    first = rng.randrange(len(stamps) - n)
    closes_only = rng.random() < 0.06
    rows = []
    for symbol in SYMBOLS[:n_symbols]:
        for i, o, h, low, c, v in walk(rng, n, wild, holes):
            prices = {"close": c} if closes_only else {"open": o, "high": h, "low": low, "close": c}
            rows.append({"symbol": symbol, "timestamp": stamps[first + i], "volume": v, **prices})
    table = pd.DataFrame(rows)
    if market.frame == "1day":
        table["session"] = [stamp.date() for stamp in table.pop("timestamp")]
    actions = None
    if market.calendar == "XNYS" and rng.random() < 0.5:
        often = [2, 6, 12] if market.frame == "1day" else [1, 2]
        picks = [(rng.choice(SYMBOLS[:n_symbols]), stamps[first + rng.randrange(1, n)])
                 for _ in range(rng.choice(often))]  # fmt: skip
        actions = pd.DataFrame([an_action(rng, *pick) for pick in dict.fromkeys(picks)])
        actions = actions.drop_duplicates(["symbol", "ex_date"])
    return mqd.Bars.from_pandas(
        table, actions=actions, symbols=list(SYMBOLS[:n_symbols]), timeframe=market.frame,
        calendar=market.calendar, lot=market.lot, adjust=rng.choice(["none", "none", "split"]),
    )  # fmt: skip


Maker = Callable[[random.Random, dict[str, float]], mqd.Strategy]


def _drawn(number: int) -> Maker:
    def make(rng: random.Random, exits: dict[str, float]) -> mqd.Strategy:
        weights = [-1.0, -0.5, 0.0, 0.3, 0.6, 1.0]
        words = {"a": rng.choice(weights), "b": rng.choice(weights), "n": rng.randrange(1, 6)}
        return drawn_class(number, KINDS[number % len(KINDS)])(**words, **exits)

    return make


def _coded(cls: type[mqd.Strategy], **more: Any) -> Maker:
    def make(rng: random.Random, exits: dict[str, float]) -> mqd.Strategy:
        return cls(seed=rng.randrange(1000), calm=rng.choice([1, 2, 5]), **more, **exits)

    return make


MAKERS: dict[str, Maker] = {
    "sma_cross": lambda rng, exits: SmaCross(fast=2, slow=rng.choice([5, 9]), **exits),
    "donchian_breakout": lambda rng, exits: DonchianBreakout(entry=4, exit=2, **exits),
    "bollinger_reversion": lambda rng, exits: BollingerReversion(period=5, width=0.7, **exits),
    "rsi_reversion": lambda rng, exits: RsiReversion(
        period=3, buy_below=rng.choice([40.0, 49.0]), sell_above=60.0, **exits
    ),
    "vwap_reversion": lambda rng, exits: VwapReversion(
        entry_frac=0.001, flat_minutes=rng.choice([1, 60]), **exits
    ),
    "buy_and_hold": lambda rng, exits: BuyAndHold(weight=rng.choice([1.0, 0.7, -0.4]), **exits),
    "momentum_rotation": lambda rng, exits: MomentumRotation(
        lookback=3, top=rng.choice([1, 2]), every=rng.choice([1, 2]), **exits
    ),
    "coded": _coded(Coded, shorts=1),
    "coded long": _coded(Coded, shorts=0),
    "watched": _coded(Watched, shorts=1),
    "feeling": lambda rng, exits: Feeling(
        entry=rng.choice([0.001, 0.005]), patience=rng.choice([2, 4]), **exits
    ),
    "armed": lambda rng, exits: Armed(every=rng.choice([1, 2, 5]), **exits),
    "shares": _coded(Shares),
    "careless": _coded(Careless),
    **{f"drawn {number}": _drawn(number) for number in range(len(KINDS))},
}
"""Every strategy of the library, the coded ones, and rules drawn from a grammar."""

OFTEN = ("coded", "watched", "shares", "coded", "watched", "feeling")


ONE = ("sma_cross", "bollinger_reversion", "vwap_reversion", "feeling", "drawn 0", "drawn 2",
       "drawn 4")  # fmt: skip
MANY = ("donchian_breakout", "rsi_reversion", "buy_and_hold", "armed", "drawn 1",
        "drawn 3", "drawn 5")  # fmt: skip
"""Those that are compiled for one symbol alone, or for several alone: compiling takes seconds."""


def some_strategy(rng: random.Random, fresh: int = 0) -> tuple[str, mqd.Strategy]:
    """Return a strategy with drawn parameters and exits, and its name here.

    A rule of the grammar is drawn anew from ``fresh`` when that is not 0.
    """
    exits = {}
    if rng.random() < 0.6:
        exits = {name: rng.choice([0.005, 0.01, 0.03]) for name in EXITS if rng.random() < 0.6}
    name = rng.choice([*MAKERS, *OFTEN])
    made = _drawn(fresh) if fresh and name.startswith("drawn") else MAKERS[name]
    return name, made(rng, exits)


def some_fills(rng: random.Random, bars: mqd.Bars) -> mqd.FillModel:
    """Return participation, touches, latency and halts."""
    halts = []
    for symbol in bars.symbols:
        if rng.random() < 0.15 and len(bars[symbol]) > 6:
            start = rng.randrange(len(bars[symbol]) - 5)
            opens = bars[symbol].ts_open
            halts.append((symbol, int(opens[start]), int(opens[start + rng.choice([1, 2, 4])])))
    late = rng.choice([0, 0, 0, 1, 20 * 60 * 10**9, 2 * NS_PER_H, 30 * NS_PER_H])
    return mqd.FillModel(
        participation_frac=rng.choice([0.1, 0.29, 1.0]), touch_fills=rng.random() < 0.5,
        latency_ns=late, close_only=bars.close_only, halts=tuple(halts),
    )  # fmt: skip


def some_words(rng: random.Random, bars: mqd.Bars) -> dict[str, Any]:
    """Return costs, cash, sizes and fills."""
    sizer = rng.choice(
        [
            None, None, None, None, mqd.FixedQuantity(37), mqd.FixedNotional(3000),
            mqd.VolatilityTarget(0.2, 3, 1.5), mqd.Kelly(0.5, 3, 1.0),
        ]
    )  # fmt: skip
    return {
        "costs": rng.choice([None, mqd.Costs(), RICH, STRICT]),
        "cash": rng.choice([100_000, 5000.37, 900]), "multiplier": rng.choice([1, 1, 2]),
        "sizer": sizer, "fills": some_fills(rng, bars),
        "rebalance_band_frac": rng.choice([None, None, None, 0.03]),
    }  # fmt: skip


class Case(NamedTuple):
    """One run."""

    name: str
    strategy: mqd.Strategy
    bars: mqd.Bars
    words: dict[str, Any]


def some_case(seed: int, *, compiled: bool) -> Case:
    """Return the run drawn from ``seed``; ``compiled`` keeps to few kernels."""
    rng = random.Random(seed)
    name, strategy = some_strategy(rng, 0 if compiled else 1000 + seed)
    numbers = [1, 2, 3]
    if compiled:
        numbers = [1] if name in ONE else [2, 3] if name in MANY else [1, 2, 3]
    bars = some_bars(rng.randrange(70), rng.choice(numbers))
    return Case(name, strategy, bars, some_words(rng, bars))


FRAMES = ("orders", "fills", "trades", "equity", "positions")


def outcome(case: Case, engine: Any) -> mqd.Result | mqd.errors.MqdError:
    """Return the result of a run, or the error it ended with."""
    try:
        return mqd.backtest(case.strategy, case.bars, engine=engine, **case.words)
    except mqd.errors.MqdError as error:
        return error


def assert_equal(compiled: mqd.Result, desk: mqd.Result) -> None:
    """Demand equality of everything but ids, to the bit."""
    for name in FRAMES:
        one, other = getattr(compiled, name), getattr(desk, name)
        ids = [column for column in ("id", "order_id", "execution_id") if column in one]
        pd.testing.assert_frame_equal(
            one.drop(columns=ids), other.drop(columns=ids), check_exact=True, obj=name
        )
    pd.testing.assert_series_equal(compiled.metrics, desk.metrics, check_exact=True)
    assert compiled.source.counts == desk.source.counts
    assert list(compiled.source.splits) == list(desk.source.splits)
    assert compiled.assumptions == desk.assumptions
