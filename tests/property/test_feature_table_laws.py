"""The table of a sweep's features equals `features` of each combination, to the bit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

import mqd
from mqd import indicators
from mqd.core.bar import SymbolBars
from mqd.errors import MqdError
from mqd.strategy.feature_columns import compute_features
from mqd.strategy.feature_table import FeaturePlan, FeatureTable
from mqd.strategy.strategy import Strategy

DAY_NS = 86_400_000_000_000


@mqd.feature
def mean_of_two(values: Any, n: int, m: int) -> Any:
    return indicators.sma(indicators.sma(values, n), m)


@mqd.feature
def tilted(values: Any, weight: float) -> Any:
    return values * weight + 1.0 / np.float64(weight) if weight else np.copysign(values, weight)


@mqd.feature
def gappy(values: Any, n: int) -> Any:
    out = np.roll(values, 1).copy()
    out[::n] = np.inf if n % 2 else np.nan
    return out


class Base(Strategy):
    """Five parameters of every kind; subclasses say what they do with them."""

    n: int = 3
    m: int = 5
    width: float = 2.0
    flag: bool = False
    mean: str = "sma"

    def decide(self, now: Any, position: Any) -> float:
        return 0.0


class Straight(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": indicators.sma(bars.close, self.n), "b": indicators.sma(bars.close, self.m)}


class Several(Base):
    def features(self, bars: SymbolBars) -> Any:
        bands = indicators.bollinger(bars.close, self.m, self.width)
        upper, lower = indicators.donchian(bars.high, bars.low, n=self.n)
        return {"below": bands.lower, "middle": bands[1], "upper": upper, "under": lower}


class Nested(Base):
    def features(self, bars: SymbolBars) -> Any:
        inner = indicators.momentum(bars.close, self.n)
        return {
            "a": mean_of_two(bars.close, self.n, self.m),
            "b": indicators.zscore(inner, self.m),
            "c": tilted(bars.close, self.width),
            "d": indicators.realised_vol(bars.close, self.m),
        }


class Gaps(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"gap": gappy(bars.close, self.n), "never": np.full(len(bars), np.nan)}


class Arithmetic(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": bars.close / indicators.sma(bars.close, self.n) - self.width}


class Branches(Base):
    def features(self, bars: SymbolBars) -> Any:
        if self.n > self.m:
            return {"a": indicators.ema(bars.close, self.n)}
        return {"a": indicators.sma(bars.close, self.m) * self.width}


class Loops(Base):
    def features(self, bars: SymbolBars) -> Any:
        total = np.zeros(len(bars))
        for step in range(2, 2 + self.n):
            total += indicators.sma(bars.close, step)
        return {"a": total, "b": np.roll(bars.close, self.m), "c": bars.close > self.width}


class Told(Base):
    def features(self, bars: SymbolBars) -> Any:
        mean = {"sma": indicators.sma, "ema": indicators.ema}[self.mean]
        source = bars.high if self.flag is True else bars.close
        return {"a": mean(source, self.m), "b": indicators.sma(source, self.n)}


class Unread(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": np.log(bars.close), "b": pd.Series(bars.close).rolling(4).mean()}


class Mutating(Base):
    def features(self, bars: SymbolBars) -> Any:
        own = bars.close.copy()
        first = indicators.sma(own, self.n)
        own[:] = own[::-1].copy()
        return {"a": first, "b": indicators.sma(own, self.m)}


class WritesResults(Base):
    def features(self, bars: SymbolBars) -> Any:
        mean = indicators.sma(bars.close, self.n)
        mean[:7] = 0.0
        return {"a": mean}


class Closure(Base):
    def features(self, bars: SymbolBars) -> Any:
        shift = self.n

        @mqd.feature
        def shifted(values: Any, scale: float) -> Any:
            return np.roll(values, shift) * scale

        return {"a": shifted(bars.close, self.width), "b": shifted(bars.close, 2.0)}


class Listed(Base):
    def features(self, bars: SymbolBars) -> Any:
        weights = [1.0, self.width]
        return {"a": tilted(bars.close, weights[1]), "b": indicators.rsi(bars.close, self.m)}


class Swallows(Base):
    def features(self, bars: SymbolBars) -> Any:
        try:
            scale = float(self.n)
        except Exception:  # noqa: BLE001 - as a user may write it
            scale = 0.0
        return {"a": bars.close * scale, "b": indicators.sma(bars.close, self.n)}


class LooksAtType(Base):
    def features(self, bars: SymbolBars) -> Any:
        n = self.n if type(self.n) is int else 2
        return {"a": indicators.sma(bars.close, n)}


class LooksAtSelf(Base):
    def features(self, bars: SymbolBars) -> Any:
        n = self.n if type(self) is LooksAtSelf else 2
        return {"a": indicators.sma(bars.close, n) * 1.0}


class ReadsAll(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": bars.close * float(sum(map(ord, f"{self.parameters}")))}


class ByDict(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": bars.close + vars(self)["n"]}


class Featureless(Base):
    pass


class Deep(Base):
    def features(self, bars: SymbolBars) -> Any:
        if not self.flag:
            return {"a": bars.close}
        if self.n < 4:
            return {"a": bars.close * self.n}
        return {"a": bars.close * self.width}


CLASSES = [
    Straight, Several, Nested, Gaps, Arithmetic, Branches, Loops, Told, Unread, Mutating,
    WritesResults, Closure, Listed, Swallows, LooksAtType, LooksAtSelf, ReadsAll, ByDict,
    Featureless, Deep,
]  # fmt: skip
VALUES: dict[str, Any] = {
    "n": st.integers(2, 6),
    "m": st.integers(2, 9),
    "width": st.sampled_from([-0.0, 0.0, 0.5, 2.0, 3.25]),
    "flag": st.booleans(),
    "mean": st.sampled_from(["sma", "ema"]),
}
DTYPES: dict[str, Any] = {"n": int, "m": int, "width": float, "flag": bool, "mean": object}


def a_walk(n_bars: int, seed: int) -> SymbolBars:
    rng = np.random.default_rng(seed)
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, n_bars))), 4)
    high, low = close * 1.01, close * 0.99
    ts = np.arange(n_bars, dtype=np.int64) * DAY_NS
    zeros = np.zeros(n_bars)
    return SymbolBars(
        "X", Decimal("0.0001"), Decimal(1), ts, ts + DAY_NS, close, high, low, close,
        np.full(n_bars, 1000.0), np.arange(n_bars), zeros, zeros, zeros,
    )  # fmt: skip


@st.composite
def grids(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    swept = draw(st.lists(st.sampled_from(list(VALUES)), unique=True, min_size=1))
    count = draw(st.integers(1, 25))
    return {
        name: np.array([draw(VALUES[name]) for _ in range(count)], dtype=DTYPES[name])
        for name in swept
    }


def assert_equal_to_features(
    cls: type[Strategy], bars: SymbolBars, columns: dict[str, Any], table: FeatureTable
) -> None:
    count = len(next(iter(columns.values())))
    assert table.index.shape == (len(table.names), count)
    for place in range(count):
        values = {name: column[place : place + 1].tolist()[0] for name, column in columns.items()}
        plain = compute_features(cls(**values), bars)
        assert set(plain.names) == set(table.names)
        for name, column in zip(plain.names, plain.columns, strict=True):
            nth = table.names.index(name)
            row = table.matrices[nth][table.index[nth, place]]
            assert row.tobytes() == column.tobytes(), (cls.__name__, values, name)


@settings(max_examples=150)
@given(cls=st.sampled_from(CLASSES), columns=grids(), n_bars=st.integers(12, 40), data=st.data())
def test_each_combination_reads_its_own_features(
    cls: type[Strategy], columns: dict[str, Any], n_bars: int, data: st.DataObject
) -> None:
    bars = a_walk(n_bars, 5)
    budget = data.draw(st.sampled_from([0, 3_000, 20_000, 10_000_000]))
    plan = FeaturePlan(cls, bars, tuple(columns), {})
    count, covered = len(next(iter(columns.values()))), 0
    for part in plan.chunks(columns, budget):
        assert part.start == covered
        assert part.stop > part.start
        covered = part.stop
        chunk = {name: column[part] for name, column in columns.items()}
        assert_equal_to_features(cls, bars, chunk, plan.table(chunk, budget))
    assert covered == count
    event(f"{cls.__name__} {plan.way}")


EXPECTED = {
    Straight: "traced", Several: "traced", Nested: "traced", Gaps: "traced", Told: "traced",
    Unread: "traced", Mutating: "traced", Listed: "traced", Featureless: "traced",
    Arithmetic: "rerun", Branches: "rerun", Loops: "rerun", Closure: "rerun", Swallows: "rerun",
    LooksAtType: "rerun", ReadsAll: "rerun", ByDict: "rerun", Deep: "rerun",
    WritesResults: "plain", LooksAtSelf: "plain",
}  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_fastest_way_that_holds_is_taken(cls: type[Strategy]) -> None:
    bars = a_walk(40, 9)
    shape = (4, 3, 2, 2, 2)
    grid = np.indices(shape).reshape(5, -1)
    columns = {
        "n": grid[0] + 3, "m": grid[1] + 4, "width": grid[2] + 0.5, "flag": grid[3] == 1,
        "mean": np.array(["sma", "ema"], dtype=object)[grid[4]],
    }  # fmt: skip
    plan = FeaturePlan(cls, bars, tuple(columns), {})
    table = plan.table(columns, 10_000_000)
    assert plan.way == EXPECTED[cls], plan.reason
    assert (plan.reason == "") == (plan.way == "traced")
    assert_equal_to_features(cls, bars, columns, table)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    value = st.sampled_from([1.0, -2.0, np.nan, np.inf, -np.inf])
    rows, length = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    return np.array([[draw(value) for _ in range(length)] for _ in range(rows)])


@settings(max_examples=100)
@given(matrix=matrices())
@example(matrix=np.array([[np.nan, np.nan]]))
@example(matrix=np.array([[np.nan, 1.0], [1.0, np.inf]]))
def test_first_and_holes_are_what_a_loop_finds(matrix: np.ndarray[Any, Any]) -> None:
    class Rows(Strategy):
        row: int = 0

        def features(self, bars: SymbolBars) -> Any:
            return {"x": matrix[int(self.row)]}

        def decide(self, now: Any, position: Any) -> float:
            return 0.0

    count, length = matrix.shape
    table = FeaturePlan(Rows, a_walk(length, 1), ("row",), {}).table(
        {"row": np.arange(count)}, 1_000_000
    )
    holes = False
    for place in range(count):
        ends = [k for k in range(length + 1) if np.isfinite(matrix[place, k:]).all()]
        assert table.first[0][table.index[0, place]] == min(ends)
        finite = np.isfinite(matrix[place])
        holes |= any(finite[a] and not finite[b] for a in range(length) for b in range(a, length))
    assert table.holes == holes


class Refused(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": indicators.sma(bars.close, self.n - 4)}


class Short(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": bars.close[self.n :]}


class BadName(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"close": indicators.sma(bars.close, self.n)}


class NoDict(Base):
    def features(self, bars: SymbolBars) -> Any:
        return indicators.sma(bars.close, self.n)


class Whole(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": indicators.bollinger(bars.close, self.n), "b": self.m}


class Texts(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": np.array(["x"] * len(bars))}


class Late(Base):
    def features(self, bars: SymbolBars) -> Any:
        return {"a": indicators.sma(bars.close, self.n), "b": mean_of_two(bars.close, 2, self.m)}


@pytest.mark.parametrize("cls", [Refused, Short, BadName, NoDict, Whole, Texts, Late])
def test_what_a_backtest_refuses_is_refused_with_its_words(cls: type[Strategy]) -> None:
    bars = a_walk(30, 3)
    columns = {"n": np.array([5, 4]), "m": np.array([3, 0])}
    plan = FeaturePlan(cls, bars, ("n", "m"), {})
    sentences = []
    for n, m in ((5, 3), (4, 0)):
        try:
            compute_features(cls(n=n, m=m), bars)
        except MqdError as error:
            sentences.append((type(error), str(error)))
    with pytest.raises(MqdError) as caught:
        plan.table(columns, 1_000_000)
    assert (type(caught.value), str(caught.value)) == sentences[0]
