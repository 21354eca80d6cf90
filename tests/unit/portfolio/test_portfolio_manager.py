"""Order plans against hand-worked cases, and the life of a standing target."""

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from mqd.core.money import Scale
from mqd.core.order import Side
from mqd.core.signal import HOLD, Signal
from mqd.errors import BadWeight, UsageError
from mqd.portfolio.manager import PortfolioManager
from mqd.portfolio.plan import NOTHING, Plan
from mqd.portfolio.sizing import FixedQuantity, FractionOfEquity, VolatilityTarget

QUANTUM = Decimal("1e-8")
PLANS = Path(__file__).parents[2] / "tables" / "portfolio_plans.csv"
CASES = list(csv.DictReader(PLANS.read_text(encoding="utf-8").splitlines()))
USD = 10**8


def scale(lot: str = "1") -> Scale:
    return Scale.of(Decimal("0.01"), Decimal(lot), QUANTUM)


def manager(symbols="S", sizer=None, lot="1", names=(("a", 1.0),), **options) -> PortfolioManager:
    scales = {symbol: scale(lot) for symbol in symbols}
    return PortfolioManager(names, list(symbols), sizer or FractionOfEquity(), scales, **options)


def signal(weight: float, symbol: str = "S", strategy: str = "a") -> Signal:
    return Signal(0, strategy, symbol, weight)


def pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(part.split(":")) for part in text.split(";") if part]


def signed(plan) -> list[tuple[str, int]]:
    return [(order.symbol, order.side * order.lots) for order in plan.orders]


def one(desk: PortfolioManager, weight: float, ticks=10_000, equity=100_000, lots=0) -> Plan:
    """The plan of a lone strategy on S; ``ticks`` of 0.01, ``equity`` in USD."""
    return desk.on_signal(signal(weight), ticks, equity * USD, lots)


@pytest.mark.parametrize("row", CASES, ids=[row["case"] for row in CASES])
def test_plan_table(row):
    names = [(name, float(share)) for name, share in pairs(row["strategies"])]
    symbols = ["S", "T", "U"][: int(row["symbols"])]
    desk = manager(symbols, lot=row["lot"], names=names)
    closes = {"S": int(Decimal(row["px"]) / Decimal("0.01"))}
    equity = int(row["equity"]) * USD
    before = [signal(float(w), strategy=n) for n, w in pairs(row["before"])]
    desk.on_signals(before, closes, equity, {})
    held = {name: int(lots) for name, lots in pairs(row["positions"])}
    for name, lots in held.items():
        desk.attribution.fill(0, f"seed-{name}", name, "S", lots, 1, 0)
    signals = [signal(float(w), strategy=n) for n, w in pairs(row["weights"])]
    account = sum(held.values())
    plan = desk.on_signals(signals, closes, equity, {"S": account})

    wanted = []
    for text in filter(None, row["orders"].split(" | ")):
        lots, flag, parties = text.split(" ")
        allocation = tuple((name, int(part)) for name, part in pairs(parties))
        wanted.append((int(lots), flag == "R", flag == "A", allocation))
    assert wanted == [
        (o.side * o.lots, o.reducing, o.after_reductions, o.allocation) for o in plan.orders
    ]
    crosses = tuple((name, int(lots)) for name, lots in pairs(row["crosses"]))
    assert [cross.allocation for cross in plan.crosses] == ([crosses] if crosses else [])
    zeros = [(name, float(weight)) for name, weight in pairs(row["zero_sizes"])]
    assert [(zero.strategy, zero.weight) for zero in plan.zero_sizes] == zeros


@pytest.mark.parametrize(
    "row", [r for r in CASES if r["strategies"] == "a:1"], ids=lambda r: r["case"]
)
def test_one_signal_plans_as_a_list_of_one_does(row):
    plans = []
    for entry in ("signal", "signals"):
        desk = manager(["S", "T"][: int(row["symbols"])], lot=row["lot"])
        ticks, equity = int(Decimal(row["px"]) * 100), int(row["equity"]) * USD
        for _, weight in pairs(row["before"]):
            desk.on_signal(signal(float(weight)), ticks, equity, 0)
        lots = sum(int(lots) for _, lots in pairs(row["positions"]))
        now = signal(float(pairs(row["weights"])[0][1]))
        if entry == "signal":
            plans.append(desk.on_signal(now, ticks, equity, lots))
        else:
            plans.append(desk.on_signals([now], {"S": ticks}, equity, {"S": lots}))
    assert plans[0] == plans[1]


def test_drift_alone_sends_nothing():
    desk = manager()
    assert signed(one(desk, 0.5)) == [("S", 500)]
    # sized anew, 500 shares would be 375 at 200, and 750 at 50
    assert one(desk, 0.5, ticks=20_000, equity=150_000, lots=500) is NOTHING
    assert one(desk, 0.5, ticks=5_000, equity=75_000, lots=500) is NOTHING


def test_a_trimmed_fill_counts_as_reached():
    desk = manager()
    one(desk, 1.0)
    assert one(desk, 1.0, lots=997) is NOTHING


def test_a_remainder_is_resized_at_the_close():
    desk = manager()
    one(desk, 1.0)
    desk.on_remainder("S", ["a"])
    assert desk.resizing == {("a", "S")}
    # 100,000 USD at 125.00 is 800 shares; 300 are held
    assert signed(one(desk, 1.0, ticks=12_500, lots=300)) == [("S", 500)]
    assert not desk.resizing
    assert one(desk, 1.0, ticks=12_500, lots=300) is NOTHING


def test_hold_works_the_remainder_and_resizes_nothing():
    desk = manager()
    one(desk, 1.0)
    assert one(desk, HOLD, lots=300) is NOTHING
    desk.on_remainder("S", ["a"])
    assert signed(one(desk, HOLD, ticks=12_500, lots=300)) == [("S", 700)]
    assert one(desk, HOLD, ticks=12_500, lots=300) is NOTHING


def test_hold_before_the_first_target_means_nothing():
    desk = manager()
    assert one(desk, HOLD) is NOTHING
    assert desk.standing("a", "S") == 0.0


def test_hold_and_band_do_not_meet():
    desk = manager(rebalance_band_frac=0.05)
    one(desk, 0.5)
    assert one(desk, HOLD, lots=900) is NOTHING


def test_the_band_sends_when_the_position_is_further_away():
    desk = manager(rebalance_band_frac=0.05)
    assert signed(one(desk, 0.5)) == [("S", 500)]
    # 500 shares at 110 of 105,000 are 0.5238: inside 0.05
    assert one(desk, 0.5, ticks=11_000, equity=105_000, lots=500) is NOTHING
    # at 125 of 112,500 they are 0.5556: 56,250 / 125 = 450 shares
    assert signed(one(desk, 0.5, ticks=12_500, equity=112_500, lots=500)) == [("S", -50)]


def test_after_an_exit_the_last_weight_does_not_enter_again():
    desk = manager()
    one(desk, 1.0)
    desk.on_exit("a", "S")
    desk.on_exit("a", "S")  # a second fill of the same exit
    assert desk.standing("a", "S") == 0.0
    assert one(desk, 1.0) is NOTHING
    assert one(desk, HOLD) is NOTHING
    assert one(desk, 1.0) is NOTHING
    assert signed(one(desk, 0.5)) == [("S", 500)]
    assert signed(one(desk, 1.0, lots=500)) == [("S", 500)]


def test_after_an_exit_a_zero_opens_the_way():
    desk = manager()
    one(desk, 1.0)
    desk.on_exit("a", "S")
    assert one(desk, 0.0) is NOTHING
    assert signed(one(desk, 1.0)) == [("S", 1000)]


def test_reductions_come_first_then_symbol_order():
    desk = manager("STUV")
    closes = dict.fromkeys("STUV", 10_000)
    equity = 100_000 * USD
    desk.on_signals([signal(1.0, "T"), signal(-1.0, "V")], closes, equity, {})
    now = [signal(w, s) for w, s in ((0.5, "V"), (0.5, "U"), (1.0, "S"), (0.2, "T"))]
    held = {"T": 250, "V": -250}
    plan = desk.on_signals(now, closes, equity, held)
    assert [(o.symbol, o.side * o.lots, o.reducing, o.after_reductions) for o in plan.orders] == [
        ("T", -200, True, False),
        ("V", 250, True, False),
        ("S", 250, False, True),
        ("U", 125, False, True),
        ("V", 125, False, True),
    ]


def test_increases_alone_wait_for_nothing():
    desk = manager("ST")
    closes = {"S": 10_000, "T": 10_000}
    plan = desk.on_signals([signal(1.0, "T"), signal(1.0, "S")], closes, 100_000 * USD, {})
    assert [(o.symbol, o.side, o.after_reductions) for o in plan.orders] == [
        ("S", Side.BUY, False),
        ("T", Side.BUY, False),
    ]


def test_several_strategies_plan_one_signal_against_their_own_position():
    desk = manager(names=(("a", 0.5), ("b", 0.5)))
    closes, equity = {"S": 10_000}, 100_000 * USD
    desk.on_signals([signal(1.0), signal(1.0, strategy="b")], closes, equity, {})
    for name in "ab":
        desk.attribution.fill(0, name, name, "S", 500, 1, 0)
    plan = desk.on_signal(signal(0.0, strategy="b"), 10_000, equity, 1000)
    assert [(o.side * o.lots, o.reducing, o.strategy) for o in plan.orders] == [(-500, True, "b")]


def test_allocate_weights_are_of_the_whole():
    desk = manager("STUV", allocating={"a"})
    closes = dict.fromkeys("STUV", 10_000)
    plan = desk.on_signals([signal(0.5, "S")], closes, 100_000 * USD, {})
    assert signed(plan) == [("S", 500)]


def test_allocate_may_use_the_multiplier_and_no_more():
    desk = manager("STU", allocating={"a"})
    every = (True, True, True)
    desk.check_allocation("a", 0, (0.4, -0.3, 0.3 + 9e-10), every)
    with pytest.raises(BadWeight, match="above the account's multiplier of 1"):
        desk.check_allocation("a", 0, (0.4, -0.3, 0.3 + 2e-9), every)
    manager("STU", allocating={"a"}, multiplier=2).check_allocation("a", 0, (1.0, -1.0, 0.0), every)


def test_hold_counts_as_the_standing_weight():
    desk = manager("ST", allocating={"a"})
    closes = dict.fromkeys("ST", 10_000)
    desk.on_signals([signal(0.7, "S")], closes, 100_000 * USD, {})
    desk.check_allocation("a", 0, (HOLD, 0.3), (True, True))
    with pytest.raises(BadWeight, match="multiplier"):
        desk.check_allocation("a", 0, (HOLD, 0.31), (True, True))


def test_a_masked_symbol_is_zero_or_hold():
    desk = manager("ST", allocating={"a"})
    desk.check_allocation("a", 0, (0.0, HOLD), (False, False))
    with pytest.raises(BadWeight, match=r"a returned 0\.1 for T .* masked"):
        desk.check_allocation("a", 0, (0.0, 0.1), (True, False))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1.0000001, -7.0])
def test_a_weight_that_is_none_is_refused_and_changes_nothing(weight):
    desk = manager()
    one(desk, 0.5)
    with pytest.raises(BadWeight, match=r"a returned .* for S at the bar closing 1970-01-01"):
        one(desk, weight, lots=500)
    assert desk.standing("a", "S") == 0.5


def test_one_bad_weight_of_a_snapshot_changes_nothing():
    desk = manager("ST")
    with pytest.raises(BadWeight):
        desk.on_signals([signal(1.0, "S"), signal(7.0, "T")], {"S": 1, "T": 1}, USD, {})
    assert desk.standing("a", "S") == 0.0


def test_a_symbol_without_a_price_can_only_go_to_zero():
    desk = manager("ST")
    with pytest.raises(BadWeight, match="no price"):
        desk.on_signals([signal(1.0, "S")], {"T": 10_000}, USD, {})
    desk.on_signals([signal(1.0, "S")], {"S": 10_000}, 100_000 * USD, {})
    plan = desk.on_signals([signal(0.0, "S")], {"T": 10_000}, 100_000 * USD, {"S": 500})
    assert signed(plan) == [("S", -500)]


def test_an_unsized_target_is_told_and_tried_again():
    closes: list[float] = [100.0, 101.0]
    sizer = VolatilityTarget(volatility_frac=1000.0, lookback_bars=2)
    desk = manager(sizer=sizer, closes=lambda _symbol, n: closes[-n:])
    plan = one(desk, 1.0)
    assert not plan.orders
    assert "more closes" in plan.zero_sizes[0].why
    assert desk.resizing == {("a", "S")}
    closes.append(100.0)
    assert signed(one(desk, HOLD)) == [("S", 1000)]
    assert not desk.resizing


def test_a_sizer_that_reads_closes_needs_them():
    with pytest.raises(UsageError, match="reads closes"):
        manager(sizer=VolatilityTarget())


def test_fixed_quantity_has_no_slot():
    desk = manager("ST", sizer=FixedQuantity(10), names=(("a", 0.5), ("b", 0.5)))
    plan = desk.on_signals([signal(0.5, "S")], {"S": 10_000}, 100_000 * USD, {})
    assert signed(plan) == [("S", 5)]


def test_a_split_carries_the_sized_target():
    desk = manager()
    one(desk, 1.0)
    desk.on_remainder("S", ["a"])
    desk.on_split("S", 2, 1)
    assert signed(one(desk, HOLD, ticks=5_000, lots=600)) == [("S", 1400)]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "at least one"),
        ([("a", 0.5), ("a", 0.5)], "one name"),
        ([("a", 0.0)], r"in \(0, 1\]"),
        ([("a", float("nan"))], r"in \(0, 1\]"),
        ([("a", 0.7), ("b", 0.4)], "sum to 1.1"),
    ],
)
def test_allocations_that_make_no_sense(names, words):
    with pytest.raises(UsageError, match=words):
        manager(names=names)
