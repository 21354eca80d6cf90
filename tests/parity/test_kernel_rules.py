"""Rules inside the compiled loop against the desk: the same orders, denials, fills and money."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pandas as pd
import pytest

import mqd
from mqd.compiled_run import CompiledSource
from mqd.risk.limits import NAMES, Limits, LimitValues
from tests.parity import test_desk_twin as drawn
from tests.parity.twin_cases import Coded, Feeling

pytestmark = pytest.mark.filterwarnings("ignore")

INF = float("inf")
SEEDS = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
    44, 45, 54, 72, 74, 103, 114, 125, 177, 180, 195, 214, 249, 255, 266, 275, 314, 393, 489,
    501, 551, 565,
)  # fmt: skip
"""Few, because each costs a run of the desk; what they meet is asserted below."""
FRAMES = ("orders", "fills", "equity", "positions", "trades")
IDS = ["id", "order_id", "execution_id"]
BOUND = ("multiplier_max", "buying_power_frac_max", "daily_loss_frac_max", "drawdown_frac_max")
KINDS = frozenset(
    {
        "buying power", "denied_symbol", "in_universe", "strategy_armed", "no_self_trade",
        "no_duplicate", "fresh_price", "believable_price", "order_qty", "order_volume",
        "order_notional", "position_qty", "position_notional", "gross_exposure", "net_exposure",
        "concentration", "sector", "order_rate", "orders_per_minute", "repeated_fills",
        "open_orders", "messages", "turnover", "small", "few", "calm", "latch",
        "passed while latched", "protective order denied",
    }
)  # fmt: skip
"""What the cases must have met between them."""

DRAWN: dict[str, tuple[float, ...]] = {
    "qty_max": (50.0, 10_000.0, 1e6), "volume_frac_max": (0.01, 1.0, 1e9),
    "qty_unknown_volume_max": (100.0, 1e9), "notional_usd_max": (3000.0, 25_000.0, 1e9),
    "notional_frac_max": (0.05, 0.6, 2.0), "position_qty_max": (400.0, 1e9),
    "position_frac_max": (0.1, 0.7, 2.0), "gross_frac_max": (0.5, 1.0, 2.0),
    "net_frac_max": (0.5, 1.0, 2.0), "concentration_frac_max": (0.1, 2.0),
    "sector_frac_max": (0.3, 2.0), "sector_unknown_frac_max": (0.1, 2.0),
    "buying_power_frac_max": (0.95, 0.5, 1.0), "multiplier_max": (1.0, 1.5, 4.0),
    "daily_loss_frac_max": (0.02, 0.5, INF), "drawdown_frac_max": (0.05, 0.1, 0.9, INF),
    "orders_s_max": (5.0, 1e-5, 1e-6), "orders_burst_max": (2.0, 3.0, 10.0),
    "orders_min_max": (2.0, 3.0, 60.0), "account_orders_min_max": (4.0, 120.0),
    "same_order_age_ns_min": (0.0, 1e9, 3600e9), "fills_min_max": (1.0, 2.0, 10.0),
    "ref_age_ns_max": (172_800e9, 3600e9, 1e18), "bad_tick_frac_max": (0.02, 0.2, 10.0),
    "prices_min": (0.0, 5.0), "margin_equity_frac_max": (0.4, 0.95, 10.0),
    "open_orders_symbol_max": (1.0, 2.0, 5.0), "open_orders_account_max": (2.0, 3.0, 50.0),
    "messages_min_max": (3.0, 5.0, 160.0), "messages_per_fill_max": (1.0, 20.0),
    "messages_free_max": (3.0, 50.0), "replaces_max": (10.0, 1e9, 1e9),
    "turnover_frac_max": (0.8, 2.0, 50.0),
}  # fmt: skip
"""Values on both sides of what the drawn runs reach."""


@mqd.rule()
def small(order: Any, portfolio: Any, limits: Any) -> bool:
    """Orders of less than a part of equity."""
    return order.qty / portfolio.equity * 5.0 <= 0.004 * limits.replaces_max


@mqd.rule(reducing_passes=True)
def few(order: Any, portfolio: Any, limits: Any) -> bool:
    """Raises in Python when the position is flat and orders are open."""
    if limits.replaces_max > 100.0:
        return True
    return portfolio.n_open_account <= 1.0 or 1.0 / portfolio.qty > 0.0


def calm(order: Any, portfolio: Any, limits: Any) -> bool:
    """Undecorated: binds every order."""
    return limits.replaces_max > 100.0 or portfolio.messages_today < 6.0


def keeps(order: Any, portfolio: Any, limits: Any) -> bool:
    """For research limits: no large order, none beside one that adds, no reduction at market."""
    if order.reducing > 0.0 and order.px == portfolio.ref_px:
        return False
    beside = portfolio.open_notional <= portfolio.gross_held * 1.001
    return beside and order.notional / portfolio.equity <= 0.5


OWN = (small, few, calm)


def some_strategy(rng: random.Random, *, shorts: bool) -> mqd.Strategy:
    """Return one of two classes, so that few are compiled, with drawn exits."""
    exits = {}
    if rng.random() < 0.6:
        exits = {name: rng.choice([0.01, 0.03]) for name in drawn.EXITS if rng.random() < 0.6}
    calm = rng.choice([1, 1, 2, 5])
    if rng.random() < 0.6 or not shorts:
        return Coded(seed=rng.randrange(1000), shorts=int(shorts), calm=calm, **exits)
    return Feeling(entry=0.005, patience=1 + calm, **exits)


def some_limits(rng: random.Random) -> Limits:
    """Return a limits file in which most rules are loose and a few bind."""
    values = LimitValues(**{name: rng.choice(choices) for name, choices in DRAWN.items()})
    loose = rng.sample([n for n in NAMES if n.endswith("_max") and n not in BOUND], 20)
    account = values._replace(**dict.fromkeys(loose, 1e9))
    words: dict[str, Any] = {}
    if rng.random() < 0.3:
        words["allow"] = frozenset(rng.sample(drawn.SYMBOLS, 2))
    if rng.random() < 0.2:
        words["deny"] = frozenset(rng.sample(drawn.SYMBOLS, 1))
    if rng.random() < 0.6:
        words["sectors"] = {s: rng.choice(["x", "y"]) for s in rng.sample(drawn.SYMBOLS, 2)}
    if rng.random() < 0.3:
        words["symbols"] = {"AAC": account._replace(position_qty_max=100.0)}
    if rng.random() < 0.3:
        words["strategies"] = {"Coded": account._replace(notional_usd_max=2000.0)}
    return Limits(account=account, **words)


def assert_same(desk: mqd.Result, loop: mqd.Result) -> None:
    """Demand equal frames, ids aside."""
    for name in FRAMES:
        pair = [getattr(result, name) for result in (desk, loop)]
        left, right = (frame.drop(columns=frame.columns.intersection(IDS)) for frame in pair)
        pd.testing.assert_frame_equal(left, right, check_exact=True, obj=name)


def kinds_of(result: mqd.Result) -> set[str]:
    """Return what refused orders in a run, and what became of others beside them."""
    source = result.source
    assert isinstance(source, CompiledSource)
    masks = source.records.denied[:, 1].tolist()
    met = {name for bit, name in enumerate(source.controls) for m in masks if m >> bit & 1}
    orders = result.orders
    denied = orders.status == "denied"
    if "latch" in met:
        latched = [mask >> (len(source.controls) - 1) & 1 for mask in masks]
        first = source.records.denied[latched.index(1), 0]
        if not denied.iloc[first:].all():
            met.add("passed while latched")
    if (denied & (orders.reason != "target")).any():
        met.add("protective order denied")
    if (orders.status == "rejected").any():
        met.add("rejected by the venue")
    return met


def compare(seed: int, met: Counter[str]) -> None:
    """Run one case in the desk and in the compiled loop and demand equality."""
    rng = random.Random(seed)
    frame = rng.choice(["1day", "1day", "1day", "30min", "60min"])
    bars, strategy = drawn.some_bars(rng, frame), some_strategy(rng, shorts=frame != "60min")
    words = drawn.some_words(rng)
    words |= {"limits": some_limits(rng), "rules": OWN}
    desk = mqd.backtest(strategy, bars, engine="event", **words)
    try:
        loop = mqd.backtest(strategy, bars, engine="compiled", **words)
    except mqd.errors.NotCompilable:
        met["left to the desk"] += 1
        return
    try:
        assert_same(desk, loop)
    except AssertionError as error:
        error.add_note(f"seed {seed}: {strategy!r} on {bars!r} with {words}")
        raise
    met.update(kinds_of(loop))


def test_rules_refuse_the_same_orders_in_the_loop_as_in_the_desk() -> None:
    """A kind that no case met would be a rule that nothing here tests."""
    met: Counter[str] = Counter()
    for seed in SEEDS:
        compare(seed, met)
    assert {kind for kind in KINDS if not met[kind]} == set()
    assert met["left to the desk"] == 0


def test_a_rule_beside_research_limits_refuses_the_same_orders() -> None:
    """The equity judged by is the present one; the venue rejects what a denied order leaves."""
    met: Counter[str] = Counter()
    for seed in range(20):
        rng = random.Random(seed)
        exits = {"stop_loss_frac": 0.1, "take_profit_frac": 0.1} if seed % 2 else {}
        bars, strategy = drawn.some_bars(rng, "1day"), Coded(seed=seed, shorts=1, **exits)
        words: dict[str, Any] = {"rules": [keeps], "multiplier": rng.choice([1, 2])}
        desk = mqd.backtest(strategy, bars, engine="event", **words)
        loop = mqd.backtest(strategy, bars, engine="compiled", **words)
        assert_same(desk, loop)
        met.update(kinds_of(loop))
    assert met["keeps"]
    assert met["rejected by the venue"]


def three_days() -> mqd.Bars:
    """Return a short series of one symbol."""
    return drawn.some_bars(random.Random(5), "1day")


def test_a_rule_that_could_differ_when_compiled_is_refused_with_the_reason() -> None:
    """The desk can run each of them."""

    def squares(order: Any, portfolio: Any, limits: Any) -> bool:
        return order.qty**2 < 1e6

    def share(value: float, whole: float) -> float:
        return value / whole

    def divides(order: Any, portfolio: Any, limits: Any) -> bool:
        return share(order.notional, portfolio.equity) < 0.5

    def texts(order: Any, portfolio: Any, limits: Any) -> bool:
        return len(f"{order.qty:.2f}") < 9

    def numbers(order: Any, portfolio: Any, limits: Any) -> bool:
        return order.qty

    strategy = Coded(seed=1, shorts=0)
    for rule, words in (
        (squares, "squares uses"), (divides, "divides divides inside share"),
        (texts, "texts does not compile"), (numbers, "numbers returns float64, not a bool"),
    ):  # fmt: skip
        with pytest.raises(mqd.errors.NotCompilable, match=words):
            mqd.backtest(strategy, three_days(), rules=[rule], engine="compiled")
        mqd.backtest(strategy, three_days(), rules=[rule], engine="event")


def test_limits_with_more_decimals_than_64_bits_compare_are_refused() -> None:
    """The sentence names the number."""
    limits = Limits(account=LimitValues(daily_loss_frac_max=0.0123456789))
    with pytest.raises(mqd.errors.NotCompilable, match=r"0\.0123456789"):
        mqd.backtest(Coded(), three_days(), limits=limits, engine="compiled")
