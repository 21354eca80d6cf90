"""Marked functions: called as they are outside of a memo, computed once inside of one."""

from __future__ import annotations

import inspect
import threading
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import mqd
from mqd import indicators
from mqd.core.bar import SymbolBars
from mqd.errors import StrategyError
from mqd.features import ENTRY_BYTES, memo

N_BARS = 50


class Counted:
    """A marked function that counts its runs."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, ...]] = []

        @mqd.feature
        def scaled(values: Any, by: Any = 2.0, *, plus: Any = 0.0) -> Any:
            """Scale and shift."""
            self.runs.append((by, plus))
            return values * float(by) + float(plus)

        self.function = scaled


@pytest.fixture
def bars() -> SymbolBars:
    close = np.linspace(10.0, 20.0, N_BARS)
    ts = np.arange(N_BARS, dtype=np.int64)
    zeros = np.zeros(N_BARS)
    return SymbolBars(
        "X", Decimal("0.01"), Decimal(1), ts, ts + 1, close, close + 1, close - 1, close,
        zeros + 5.0, ts, zeros, zeros, zeros,
    )  # fmt: skip


def test_outside_of_a_memo_a_marked_function_just_runs(bars: SymbolBars) -> None:
    counted = Counted()
    first, second = counted.function(bars.close), counted.function(bars.close)
    assert len(counted.runs) == 2
    assert first is not second
    first[0] = 1.0
    assert first.flags.writeable


def test_name_docstring_and_signature_stay() -> None:
    assert indicators.sma.__name__ == "sma"
    assert str(inspect.signature(indicators.sma)) == "(values: 'ArrayLike', n: 'int') -> 'Floats'"
    assert (Counted().function.__doc__ or "").startswith("Scale")


def test_each_distinct_call_is_computed_once(bars: SymbolBars) -> None:
    counted = Counted()
    with memo(bars) as kept:
        first = counted.function(bars.close, 3.0)
        assert counted.function(bars.close, 3.0) is first
        assert not first.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            first[0] = 0.0
        counted.function(bars.high, 3.0)
        counted.function(bars.close, 3.0, plus=1.0)
        counted.function(bars.close, 3.0, plus=1.0)
    assert counted.runs == [(3.0, 0.0), (3.0, 0.0), (3.0, 1.0)]
    assert (kept.hits, kept.misses) == (2, 3)


def test_calls_that_could_differ_are_apart(bars: SymbolBars) -> None:
    counted = Counted()
    values = [1, 1.0, True, np.float64(1.0), np.int64(1), 0.0, -0.0, "1", b"1", (1, 2), (1, 2.0)]
    with memo(bars):

        @mqd.feature
        def shown(column: Any, value: Any) -> Any:
            counted.runs.append((value,))
            return column + len(repr(value))

        for value in values:
            shown(bars.close, value)
            assert shown(bars.close, value)[0] == bars.close[0] + len(repr(value))
    assert len(counted.runs) == len(values)


def test_a_result_is_an_argument_like_a_column(bars: SymbolBars) -> None:
    counted = Counted()
    with memo(bars) as kept:
        for _ in range(3):
            twice = counted.function(counted.function(bars.close, 3.0), 5.0)
            bands = indicators.bollinger(bars.close, 5)
            counted.function(bands.lower, 7.0)
            counted.function(bands.upper, 7.0)
    assert counted.runs == [(3.0, 0.0), (5.0, 0.0), (7.0, 0.0), (7.0, 0.0)]
    assert (twice == bars.close * 3.0 * 5.0).all()
    assert isinstance(bands, indicators.Bands)
    assert not any(band.flags.writeable for band in bands)
    assert kept.bytes >= sum(array.nbytes for array in (twice, *bands))


def test_indicators_of_indicators_share_their_parts(
    bars: SymbolBars, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    apply = indicators._apply

    def counting(what: str, *rest: Any) -> Any:
        computed.append(what)
        return apply(what, *rest)

    monkeypatch.setattr(indicators, "_apply", counting)
    with memo(bars):
        for width in (1.0, 2.0, 3.0):
            indicators.bollinger(bars.close, 7, width)
        indicators.zscore(bars.close, 7)
        for n in (3, 4):
            indicators.realised_vol(bars.close, n)
    assert computed == ["sma", "stddev", "log_returns", "stddev", "stddev"]


@pytest.mark.parametrize("given", ["array", "list", "object", "nested"])
def test_what_cannot_be_recognised_is_computed_each_time(bars: SymbolBars, given: str) -> None:
    counted = Counted()
    column = {
        "array": bars.close.copy(),
        "list": bars.close,
        "object": bars.close,
        "nested": bars.close,
    }[given]
    extra: Any = {"array": 0.0, "list": [1], "object": Decimal(1), "nested": (1, [2])}[given]

    @mqd.feature
    def shifted(values: Any, by: Any) -> Any:
        counted.runs.append((by,))
        return values + 1.0

    with memo(bars):
        shifted(column, extra)
        column = column if given != "array" else column.__iadd__(1.0)
        again = shifted(column, extra)
    assert len(counted.runs) == 2
    assert (again == column + 1.0).all()


def test_an_array_of_its_own_that_nobody_can_write_is_recognised() -> None:
    counted = Counted()
    own = np.arange(5.0)
    view = own.view()
    view.setflags(write=False)
    with memo():
        counted.function(view)
        own[0] = 9.0
        assert counted.function(view)[0] == 18.0
        own.setflags(write=False)
        counted.function(own)
        counted.function(own)
    assert len(counted.runs) == 3


def test_an_argument_that_is_returned_stays_writable(bars: SymbolBars) -> None:
    own = np.arange(3.0)

    @mqd.feature
    def same(number: int) -> Any:
        return own

    with memo():
        found = same(1)
        assert found is not own
        assert not found.flags.writeable
    own[0] = 5.0
    assert found[0] == 0.0


def test_functions_of_one_text_are_told_apart_by_what_they_close_over(bars: SymbolBars) -> None:
    runs = []

    def made(shift: int) -> Any:
        @mqd.feature
        def rolled(values: Any) -> Any:
            runs.append(shift)
            return np.roll(values, shift)

        return rolled

    with memo(bars):
        for shift in (1, 2):
            assert (made(shift)(bars.close) == np.roll(bars.close, shift)).all()

        def constant(by: int) -> Any:
            return mqd.feature(lambda values: values * by)

        first = constant(3)(bars.close)
        assert constant(3)(bars.close) is first
        assert constant(4)(bars.close)[0] == bars.close[0] * 4
    assert runs == [1, 2]


def test_bytes_stay_under_the_budget_and_the_least_recently_used_goes(bars: SymbolBars) -> None:
    counted = Counted()
    entry = bars.close.nbytes + ENTRY_BYTES
    with memo(bars, budget_bytes=3 * entry) as kept:
        for by in (1.0, 2.0, 3.0):
            counted.function(bars.close, by)
        counted.function(bars.close, 1.0)
        counted.function(bars.close, 4.0)
        assert (len(kept), kept.bytes) == (3, 3 * entry)
        counted.runs.clear()
        for by in (1.0, 3.0, 4.0):
            counted.function(bars.close, by)
        assert counted.runs == []
        counted.function(bars.close, 2.0)
        assert counted.runs == [(2.0, 0.0)]
        for by in range(100):
            counted.function(bars.close, by)
            assert kept.bytes <= 3 * entry


def test_an_evicted_result_is_still_recognised_while_it_lives(bars: SymbolBars) -> None:
    counted = Counted()
    with memo(bars, budget_bytes=0):
        inner = counted.function(bars.close, 2.0)
        outer = counted.function(inner, 3.0)
        assert (outer == bars.close * 6.0).all()
    with memo(bars, budget_bytes=bars.close.nbytes + ENTRY_BYTES) as kept:
        inner = counted.function(bars.close, 2.0)
        outer = counted.function(inner, 3.0)
        again = counted.function(bars.close, 2.0)
        assert again is not inner
        assert kept.knows(inner)
        assert counted.function(again, 3.0)[0] == outer[0]


def test_a_new_array_in_an_old_ones_place_is_not_taken_for_it(bars: SymbolBars) -> None:
    counted = Counted()
    with memo(bars) as kept:
        for number in range(200):
            own = np.full(8, float(number))
            own.setflags(write=False)
            assert counted.function(own)[0] == 2.0 * number
        assert len(kept._known) < 220 + 15


def test_an_error_is_not_kept(bars: SymbolBars) -> None:
    with memo(bars) as kept:
        for _ in range(2):
            with pytest.raises(StrategyError, match="sma: the window is 0"):
                indicators.sma(bars.close, 0)
        assert len(kept) == 0


def test_a_memo_is_of_its_thread_alone(bars: SymbolBars) -> None:
    counted, ready = Counted(), threading.Barrier(2)
    seen: dict[str, list[Any]] = {"a": [], "b": []}

    def work(name: str) -> None:
        with memo(bars) as kept:
            ready.wait()
            for by in range(200):
                seen[name].append(counted.function(bars.close, by))
                assert counted.function(bars.close, by) is seen[name][-1]
            assert (kept.hits, kept.misses) == (200, 200)

    threads = [threading.Thread(target=work, args=(name,)) for name in seen]
    with memo(bars) as outer:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outer.misses == 0
    assert len(counted.runs) == 400
    for by, (one, other) in enumerate(zip(seen["a"], seen["b"], strict=True)):
        assert one is not other
        assert (one == bars.close * by).all()
        assert (other == one).all()


def test_memos_nest_and_end(bars: SymbolBars) -> None:
    counted = Counted()
    with memo(bars):
        counted.function(bars.close)
        with memo(bars):
            counted.function(bars.close)
        counted.function(bars.close)
        assert len(counted.runs) == 2
    counted.function(bars.close)
    assert len(counted.runs) == 3


def test_session_vwap_is_recognised_by_its_bars(bars: SymbolBars) -> None:
    with memo(bars) as kept:
        assert indicators.session_vwap(bars) is indicators.session_vwap(bars)
    with memo() as unknown:
        indicators.session_vwap(bars)
        assert unknown.misses == 0
    assert kept.hits == 1
