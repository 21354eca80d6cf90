"""The table of a sweep's features: who reads which row, what is computed, and how much is kept."""

from __future__ import annotations

import copy
import json
import math
import operator
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

import mqd
from mqd import indicators
from mqd.core.bar import SymbolBars
from mqd.errors import NotCompilable, ParameterOutOfRange, UsageError
from mqd.strategy.feature_columns import compute_features
from mqd.strategy.feature_table import FeaturePlan
from mqd.strategy.library.bollinger_reversion import BollingerReversion
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.donchian_breakout import DonchianBreakout
from mqd.strategy.library.momentum_rotation import MomentumRotation
from mqd.strategy.library.rsi_reversion import RsiReversion
from mqd.strategy.library.sma_cross import SmaCross
from mqd.strategy.library.vwap_reversion import VwapReversion
from mqd.strategy.strategy import Strategy

MakeBars = Callable[..., SymbolBars]


def strategy(function: Callable[[Any, SymbolBars], Any]) -> type[Strategy]:
    class Made(Strategy):
        fast: int = mqd.param(3, low=2, high=60)
        slow: int = mqd.param(5, low=2, high=90)
        width: float = 2.0

        def features(self, bars: SymbolBars) -> Any:
            return function(self, bars)

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    return Made


def grid(fast: range, slow: range) -> dict[str, np.ndarray[Any, Any]]:
    pairs = np.array([(f, s) for f in fast for s in slow])
    return {"fast": pairs[:, 0], "slow": pairs[:, 1]}


def test_a_table_by_hand(make_bars: MakeBars) -> None:
    bars = make_bars([1.0, 2.0, 3.0, 4.0])
    columns = {"fast": np.array([2, 2, 3, 2]), "slow": np.array([5, 3, 3, 3])}
    table = FeaturePlan(SmaCross, bars, ("fast", "slow"), {}).table(
        {"fast": columns["fast"], "slow": np.array([5, 6, 6, 6])}, 100_000
    )
    nan = math.nan
    assert table.names == ("fast", "slow")
    np.testing.assert_array_equal(table.matrices[0], [[nan, 1.5, 2.5, 3.5], [nan, nan, 2.0, 3.0]])
    np.testing.assert_array_equal(table.matrices[1], np.full((2, 4), nan))
    assert table.index.tolist() == [[0, 0, 1, 0], [0, 1, 1, 1]]
    assert [first.tolist() for first in table.first] == [[1, 2], [4, 4]]
    assert not table.holes
    assert table.index.dtype == table.first[0].dtype == np.int64
    assert all(m.flags.c_contiguous and m.dtype == np.float64 for m in table.matrices)


def test_holes_infinity_and_rows_without_a_number(walk: SymbolBars) -> None:
    n = len(walk)
    patterns = {2: [], 3: [0, 1], 4: [5], 5: [0, n - 1], 6: range(n)}

    def features(self: Any, bars: SymbolBars) -> Any:
        out = bars.close.copy()
        out[list(patterns[self.fast])] = np.inf
        return {"x": out}

    plan = FeaturePlan(strategy(features), walk, ("fast",), {})
    table = plan.table({"fast": np.array([2, 3, 4, 5, 6])}, 100_000)
    assert table.first[0].tolist() == [0, 2, 6, n, n]
    assert table.holes
    assert not plan.table({"fast": np.array([2, 3, 6])}, 100_000).holes


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    computed: list[str] = []
    apply = indicators._apply

    def counted(what: str, function: Any, inputs: Any, *windows: Any) -> Any:
        computed.append(f"{what} {windows}")
        return apply(what, function, inputs, *windows)

    monkeypatch.setattr(indicators, "_apply", counted)
    return computed


def test_each_distinct_mean_is_computed_once(
    walk: SymbolBars, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = grid(range(5, 30), range(20, 60))
    plan = FeaturePlan(SmaCross, walk, ("fast", "slow"), {})
    plan._is_proven = True
    computed = counting(monkeypatch)
    table = plan.table(columns, 10_000_000)
    assert plan.way == "traced"
    assert sorted(computed) == sorted(f"sma ({n},)" for n in range(5, 60))
    assert [len(matrix) for matrix in table.matrices] == [25, 40]
    computed.clear()
    plan.table(columns, 10_000_000)
    assert computed == []


def test_rows_of_the_previous_chunk_are_not_computed_again(
    walk: SymbolBars, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = grid(range(2, 40), range(41, 61))
    budget = 2 * 8 * len(walk) * 30
    for way in (SmaCross, strategy(lambda s, b: SmaCross.features(s, b) if s.fast else {})):
        plan = FeaturePlan(way, walk, ("fast", "slow"), {})
        parts = list(plan.chunks(columns, budget))
        assert len(parts) > 3
        tables = 0
        with monkeypatch.context() as patch:
            computed = counting(patch)
            for part in parts:
                plan.table({name: column[part] for name, column in columns.items()}, budget * 10)
                tables += 1
        extra = 2 * 7
        assert len(computed) <= 38 + 20 + extra
        assert tables == len(parts)


def test_chunks_are_the_longest_that_fit_in_order(walk: SymbolBars) -> None:
    columns = grid(range(2, 32), range(41, 61))
    rows = 25
    budget = 2 * 8 * len(walk) * rows
    plan = FeaturePlan(SmaCross, walk, ("fast", "slow"), {})
    parts = list(plan.chunks(columns, budget))
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 600
    assert len(parts) == 6

    def rows_of(part: slice) -> int:
        return sum(len(np.unique(column[part])) for column in columns.values())

    for part in parts:
        assert rows_of(part) <= rows
        if part.stop < 600:
            assert rows_of(slice(part.start, part.stop + 1)) > rows
        table = plan.table({name: column[part] for name, column in columns.items()}, budget)
        assert sum(matrix.nbytes for matrix in table.matrices) <= budget // 2
        assert plan.memo.bytes <= budget // 2


def test_one_combination_goes_whatever_the_budget(walk: SymbolBars) -> None:
    columns = grid(range(2, 4), range(5, 7))
    for cls in (SmaCross, strategy(lambda s, b: {"x": b.close * s.fast, "y": b.close * s.slow})):
        plan = FeaturePlan(cls, walk, ("fast", "slow"), {})
        assert list(plan.chunks(columns, 0)) == [slice(k, k + 1) for k in range(4)]
        assert list(plan.chunks(columns, 10**9)) == [slice(0, 4)]


def test_a_parameter_that_features_do_not_read_makes_no_rows(walk: SymbolBars) -> None:
    columns = {"fast": np.tile([3, 4], 500), "width": np.arange(1000) * 0.5}
    for function in (
        lambda s, b: {"x": indicators.sma(b.close, s.fast)},
        lambda s, b: {"x": b.close * s.fast},
    ):
        plan = FeaturePlan(strategy(function), walk, ("fast", "width"), {})
        table = plan.table(columns, 10_000_000)
        assert len(table.matrices[0]) == 2
        assert (table.index[0] == np.tile([0, 1], 500)).all()
        assert list(plan.chunks(columns, 10_000_000)) == [slice(0, 1000)]


def test_a_run_serves_all_combinations_that_agree_in_what_it_read(walk: SymbolBars) -> None:
    runs = []

    def features(self: Any, bars: SymbolBars) -> Any:
        fast = int(self.fast)
        runs.append(fast)
        return {"x": bars.close * (self.slow if fast > 3 else 1.0)}

    columns = grid(range(2, 6), range(7, 27))
    plan = FeaturePlan(strategy(features), walk, ("fast", "slow"), {})
    plan.table(columns, 10_000_000)
    plain = 4
    assert plan.way == "rerun"
    assert len([fast for fast in runs if fast <= 3]) <= 2 + plain
    assert 40 <= len([fast for fast in runs if fast > 3]) <= 40 + plain
    runs.clear()
    plan.table(columns, 10_000_000)
    assert runs == []


TRAPS: dict[str, Callable[[Any, SymbolBars], Any]] = {
    "condition": lambda s, b: {"x": b.close if s.fast > s.slow else b.high * 2},
    "truth": lambda s, b: {"x": b.close if s.fast else b.high * 2},
    "equality": lambda s, b: {"x": b.close if s.fast == 4 else b.high * 2},
    "range": lambda s, b: {"x": b.close * len(range(s.fast))},
    "slice": lambda s, b: {"x": np.append(np.zeros(s.fast), b.close[s.fast :])},
    "isinstance": lambda s, b: {"x": b.close * (2 if isinstance(s.fast, int) else 3)},
    "type": lambda s, b: {"x": b.close * (2 if type(s.fast) is int else 3)},
    "roll": lambda s, b: {"x": np.roll(b.close, s.fast)},
    "text": lambda s, b: {"x": b.close * len(f"{s.fast:03d}")},
    "repr": lambda s, b: {"x": b.close * len(repr(s.fast))},
    "percent sign": lambda s, b: {"x": b.close * float("%d" % s.fast)},  # noqa: UP031
    "self in text": lambda s, b: {"x": b.close * sum(map(ord, repr(s)))},
    "arithmetic": lambda s, b: {"x": indicators.sma(b.close, s.fast * 2 + 1)},
    "reflected": lambda s, b: {"x": indicators.sma(b.close, 1 + s.fast)},
    "array first": lambda s, b: {"x": b.close - indicators.sma(b.close, s.fast)},
    "ufunc": lambda s, b: {"x": np.log(indicators.sma(b.close, s.fast))},
    "array function": lambda s, b: {"x": np.where(b.close > 99, s.fast, 0.0)},
    "asarray": lambda s, b: {"x": np.asarray([s.fast] * len(b))},
    "full": lambda s, b: {"x": np.full(len(b), s.fast)},
    "float": lambda s, b: {"x": b.close * float(s.fast)},
    "sqrt": lambda s, b: {"x": b.close * math.sqrt(s.fast)},
    "index": lambda s, b: {"x": b.close * operator.index(s.fast)},
    "hash": lambda s, b: {"x": b.close * {2: 1.0, 3: 4.0}.get(s.fast, 7.0)},
    "set": lambda s, b: {"x": b.close * len({s.fast, 4})},
    "copy": lambda s, b: {"x": b.close * copy.deepcopy(s.fast)},
    "attribute": lambda s, b: {"x": b.close * s.fast.bit_length()},
    "hasattr": lambda s, b: {"x": b.close * (2 if hasattr(s.fast, "real") else 3)},
    "json": lambda s, b: {"x": b.close * float(json.dumps(s.fast))},
    "talib": lambda s, b: {"x": talib.SMA(b.close, s.fast)},
    "pandas": lambda s, b: {"x": pd.Series(b.close).rolling(s.fast).mean()},
    "match": lambda s, b: {"x": b.close * matched(s.fast)},
    "in place": lambda s, b: {"x": increased(s.fast) * b.close},
    "result in condition": lambda s, b: {
        "x": b.close if indicators.sma(b.close, s.fast)[-1] > 99 else b.high * 2
    },
    "result in max": lambda s, b: {"x": b.close * np.nanmax(indicators.sma(b.close, s.fast))},
    "result's length": lambda s, b: {"x": b.close * len(indicators.sma(b.close, s.fast))},
    "result in a slice": lambda s, b: {"x": indicators.sma(b.close, s.fast)[:] * 1.0},
    "unpacked": lambda s, b: {"x": next(iter(indicators.bollinger(b.close, s.fast))) * 2.0},
    "in a list": lambda s, b: {"x": weighted(b.close, [s.fast, 1])},
    "in a tuple": lambda s, b: {"x": weighted(b.close, (s.fast, 1))},
    "beside a list": lambda s, b: {"x": weighted(b.close, [1, 2], s.fast)},
}


def matched(value: int) -> float:
    match value:
        case int():
            return 2.0
        case _:
            return 3.0


def increased(value: int) -> int:
    value += 1
    return value


@mqd.feature
def weighted(values: Any, weights: Any, by: int = 1) -> Any:
    return values * sum(weights) * by


@pytest.mark.parametrize("name", TRAPS)
def test_a_parameter_used_as_a_value_is_run_again(walk: SymbolBars, name: str) -> None:
    cls = strategy(TRAPS[name])
    columns = grid(range(2, 7), range(3, 6))
    plan = FeaturePlan(cls, walk, ("fast", "slow"), {})
    table = plan.table(columns, 10_000_000)
    assert plan.way == "rerun"
    assert plan.reason
    for place, (fast, slow) in enumerate(zip(*columns.values(), strict=True)):
        plain = compute_features(cls(fast=int(fast), slow=int(slow)), walk)
        row = table.matrices[0][table.index[0, place]]
        assert row.tobytes() == plain.columns[0].tobytes(), (fast, slow)


def test_a_trace_that_the_code_swallows_has_ended_all_the_same(walk: SymbolBars) -> None:
    def features(self: Any, bars: SymbolBars) -> Any:
        try:
            scale = float(self.fast)
        except Exception:  # noqa: BLE001 - as a user may write it
            scale = 0.0
        return {"x": bars.close * scale}

    plan = FeaturePlan(strategy(features), walk, ("fast",), {})
    plan.table({"fast": np.array([2, 3])}, 100_000)
    assert (plan.way, plan.reason) == ("rerun", "__float__ of self.fast")


@pytest.mark.parametrize("is_traced", [True, False])
def test_values_that_differ_in_one_bit_have_rows_of_their_own(
    walk: SymbolBars, is_traced: bool
) -> None:
    widths = np.array([0.25, 0.5, 0.75, np.nextafter(0.75, 1.0), 0.0, -0.0, 0.25, 1.5])

    def features(self: Any, bars: SymbolBars) -> Any:
        width = self.width if is_traced else float(self.width)
        return {"x": signed(bars.close, width)}

    plan = FeaturePlan(strategy(features), walk, ("width",), {})
    table = plan.table({"width": widths}, 1_000_000)
    assert plan.way == ("traced" if is_traced else "rerun")
    assert table.index[0].tolist() == [0, 1, 2, 3, 4, 5, 0, 6]
    for place, width in enumerate(widths.tolist()):
        row = table.matrices[0][table.index[0, place]]
        assert row.tobytes() == np.copysign(walk.close + width, width).tobytes()


@mqd.feature
def signed(values: Any, width: float) -> Any:
    return np.copysign(values + width, width)


LIBRARY: dict[type[Strategy], dict[str, Any]] = {
    SmaCross: {"fast": [5, 6, 5], "slow": [20, 20, 30]},
    BollingerReversion: {"period": [10, 20, 10], "width": [1.0, 2.0, 3.0]},
    DonchianBreakout: {"entry": [10, 20, 10], "exit": [5, 5, 6]},
    MomentumRotation: {"lookback": [10, 20, 10], "top": [1, 2, 3]},
    RsiReversion: {"period": [10, 20, 10], "buy_below": [20.0, 30.0, 25.0]},
    VwapReversion: {"entry_frac": [0.001, 0.002, 0.003]},
    BuyAndHold: {"stop_loss_frac": [0.0, 0.1, 0.2]},
}


@pytest.mark.parametrize("cls", LIBRARY, ids=lambda cls: cls.__name__)
def test_every_library_strategy_is_traced(walk: SymbolBars, cls: type[Strategy]) -> None:
    columns = {name: np.array(values) for name, values in LIBRARY[cls].items()}
    plan = FeaturePlan(cls, walk, tuple(columns), {})
    table = plan.table(columns, 10_000_000)
    assert (plan.way, plan.reason) == ("traced", "")
    for place in range(3):
        values = {name: column[place].item() for name, column in columns.items()}
        plain = compute_features(cls(**values), walk)
        assert plain.names == table.names
        for nth, column in enumerate(plain.columns):
            row = table.matrices[nth][table.index[nth, place]]
            assert row.tobytes() == column.tobytes()


def test_the_memory_of_a_table_is_its_rows_and_the_budget(walk: SymbolBars) -> None:
    columns = grid(range(2, 42), range(43, 83))
    budget = 8 * len(walk) * 20
    plan = FeaturePlan(
        strategy(lambda s, b: {"x": b.close * (s.fast + s.slow)}), walk, ("fast", "slow"), {}
    )
    total = 0
    for part in plan.chunks(columns, budget):
        table = plan.table({name: column[part] for name, column in columns.items()}, budget)
        assert table.matrices[0].nbytes <= budget // 2
        assert plan.memo.bytes <= budget // 2
        total += part.stop - part.start
    assert total == 1600


def test_plans_of_two_threads_do_not_meet(walk: SymbolBars) -> None:
    start = threading.Barrier(2)
    found: dict[str, bool] = {}

    def work(name: str, cls: type[Strategy], seed: int) -> None:
        rng = np.random.default_rng(seed)
        columns = {"fast": rng.integers(2, 40, 300), "slow": rng.integers(5, 80, 300)}
        start.wait()
        same = True
        for _ in range(5):
            plan = FeaturePlan(cls, walk, ("fast", "slow"), {})
            table = plan.table(columns, 200_000)
            for place in range(0, 300, 7):
                n = int(columns["fast"][place])
                expected = indicators.sma(walk.close, n)
                row = table.matrices[0][table.index[0, place]]
                same &= row.tobytes() == expected.tobytes()
        found[name] = same

    branching = strategy(lambda s, b: {"x": indicators.sma(b.close, int(s.fast))})
    threads = [
        threading.Thread(target=work, args=("a", SmaCross, 1)),
        threading.Thread(target=work, args=("b", branching, 2)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": True, "b": True}


def test_fixed_parameters_and_swept_ones_make_the_instance(walk: SymbolBars) -> None:
    table = FeaturePlan(SmaCross, walk, ("fast",), {"slow": 33}).table(
        {"fast": np.array([7, 8])}, 100_000
    )
    for place, fast in enumerate((7, 8)):
        plain = compute_features(SmaCross(fast=fast, slow=33), walk)
        for nth in range(2):
            row = table.matrices[nth][table.index[nth, place]]
            assert row.tobytes() == plain.columns[nth].tobytes()


def test_whole_numbers_serve_a_float_parameter(walk: SymbolBars) -> None:
    seen = []

    def features(self: Any, bars: SymbolBars) -> Any:
        seen.append(repr(self.width))
        return {"x": bars.close * float(self.width)}

    FeaturePlan(strategy(features), walk, ("width",), {}).table({"width": np.array([1, 2])}, 9_999)
    assert set(seen[1:]) == {"1.0", "2.0"}


@pytest.mark.parametrize(
    ("column", "error"),
    [
        (np.array([2, 61]), ParameterOutOfRange),
        (np.array([1, 5]), ParameterOutOfRange),
        (np.array([2.5, 3.0]), ParameterOutOfRange),
        (np.array([True, False]), ParameterOutOfRange),
        (np.array(["2", "3"], dtype=object), ParameterOutOfRange),
        (np.array([], dtype=np.int64), UsageError),
    ],
)
def test_a_value_that_the_strategy_refuses_is_refused(
    walk: SymbolBars, column: np.ndarray[Any, Any], error: type[Exception]
) -> None:
    plan = FeaturePlan(strategy(lambda s, b: {"x": b.close}), walk, ("fast",), {})
    with pytest.raises(error):
        plan.table({"fast": column}, 100_000)


def test_columns_must_be_the_swept_parameters(walk: SymbolBars) -> None:
    plan = FeaturePlan(SmaCross, walk, ("fast",), {})
    with pytest.raises(UsageError, match="needs the columns"):
        plan.table({"slow": np.array([5])}, 100_000)


def test_without_swept_parameters_there_is_one_combination(walk: SymbolBars) -> None:
    table = FeaturePlan(SmaCross, walk, (), {"fast": 9}).table({}, 100_000)
    assert table.index.tolist() == [[0], [0]]
    assert table.matrices[0][0].tobytes() == indicators.sma(walk.close, 9).tobytes()


@pytest.mark.parametrize("way", ["traced", "rerun"])
def test_names_that_differ_by_combination_are_not_compiled(walk: SymbolBars, way: str) -> None:
    class Extra(Strategy):
        n: int = 3
        more: bool = False

        def features(self, bars: SymbolBars) -> Any:
            found = {"x": indicators.sma(bars.close, self.n if way == "traced" else int(self.n))}
            if self.more:
                found["y"] = bars.close
            return found

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    columns = {"n": np.array([3, 3]), "more": np.array([False, True])}
    with pytest.raises(NotCompilable, match="same names"):
        FeaturePlan(Extra, walk, ("n", "more"), {}).table(columns, 100_000)


def test_features_that_roll_dice_run_plainly(walk: SymbolBars) -> None:
    rng = np.random.default_rng(4)
    cls = strategy(lambda s, b: {"x": indicators.sma(rng.normal(size=len(b)), s.fast)})
    plan = FeaturePlan(cls, walk, ("fast",), {})
    table = plan.table({"fast": np.arange(2, 30)}, 1_000_000)
    assert plan.way == "plain"
    assert table.matrices[0].shape == (28, len(walk))


def test_bars_without_rows(make_bars: MakeBars) -> None:
    bars = make_bars([])
    table = FeaturePlan(strategy(lambda s, b: {"x": b.close}), bars, ("fast",), {}).table(
        {"fast": np.array([2, 3])}, 1000
    )
    assert table.matrices[0].shape == (1, 0)
    assert table.first[0].tolist() == [0]
    assert not table.holes
