"""Grids: every kind of values, the order of combinations, and what is refused."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mqd
from mqd.errors import ParameterOutOfRange, UnknownParameter, UsageError
from mqd.sweeps.errors import EmptyGrid, GridTooLarge
from mqd.sweeps.grid import COMBINATIONS_MAX, Continuous, grid_of
from tests.unit.sweeps.sweep_support import Cross


def combinations(grid):
    """Return all combinations of a grid as tuples, asked for in one call."""
    columns = grid.at(np.arange(grid.size))
    return list(zip(*(column.tolist() for column in columns.values()), strict=True))


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=4, unique=True),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 7),
)
def test_the_order_is_that_of_nested_loops(fast, band, start, stop, step):
    slow = range(start, max(stop, start) + 1, step)
    grid = grid_of(Cross, {"fast": fast, "slow": slow, "band": band}, ranges=False)
    expected = list(itertools.product(fast, slow, band))
    assert grid.size == len(expected)
    assert combinations(grid) == expected
    some = np.arange(grid.size)[::-3]
    picked = grid.at(some)
    assert picked["slow"].tolist() == [expected[place][1] for place in some]


VALUES = {
    "range": ({"fast": range(5, 9)}, [5, 6, 7, 8]),
    "range down": ({"fast": range(8, 5, -1)}, [8, 7, 6]),
    "list": ({"fast": [9, 2]}, [9, 2]),
    "tuple of three": ({"fast": (9, 2, 4)}, [9, 2, 4]),
    "array": ({"fast": np.arange(5, 8)}, [5, 6, 7]),
    "small ints": ({"fast": np.array([5, 6], dtype=np.int8)}, [5, 6]),
    "series": ({"fast": pd.Series([5, 6])}, [5, 6]),
    "index": ({"fast": pd.Index([5, 6])}, [5, 6]),
    "one": ({"fast": 7}, [7]),
    "numpy one": ({"fast": np.int64(7)}, [7]),
    "whole numbers for a float": ({"band": [0, 1]}, [0.0, 1.0]),
    "range for a float": ({"band": range(2)}, [0.0, 1.0]),
    "linspace": ({"band": np.linspace(0, 1, 3)}, [0.0, 0.5, 1.0]),
    "switch": ({"short": [True, False]}, [True, False]),
    "pair of switches": ({"short": (True, False)}, [True, False]),
    "text": ({"mode": "last"}, ["last"]),
    "texts": ({"mode": ["last", "mean"]}, ["last", "mean"]),
    "choices": ({"mode": mqd.param("mean", choices=["mean", "last"])}, ["mean", "last"]),
    "protective": ({"stop_loss_frac": [0.1, 0.2]}, [0.1, 0.2]),
}


@pytest.mark.parametrize(("grid", "expected"), VALUES.values(), ids=VALUES)
def test_all_kinds_of_values_are_read(grid, expected):
    (column,) = grid_of(Cross, grid, ranges=False).at(np.arange(len(expected))).values()
    assert column.tolist() == expected
    kinds = {"fast": "i", "band": "f", "short": "b", "mode": "U", "stop_loss_frac": "f"}
    assert column.dtype.kind == kinds[next(iter(grid))]


REFUSED = {
    "empty": ({}, EmptyGrid, "names no parameter"),
    "no values": ({"fast": []}, EmptyGrid, "fast has no values"),
    "empty range": ({"fast": range(9, 5)}, EmptyGrid, "range(9, 5) is empty"),
    "unknown": ({"fasst": [5]}, UnknownParameter, "Did you mean 'fast'?"),
    "too high": ({"fast": [5, 41]}, ParameterOutOfRange, "fast = 41, but it must be a whole"),
    "range too high": ({"fast": range(5, 60)}, ParameterOutOfRange, "fast = 59"),
    "range too low": ({"fast": range(5)}, ParameterOutOfRange, "fast = 0"),
    "float for int": ({"fast": [5, 6.0]}, ParameterOutOfRange, "fast = 6.0"),
    "float array for int": ({"fast": np.linspace(5, 6, 2)}, ParameterOutOfRange, "5.0"),
    "switch for int": ({"fast": [True]}, ParameterOutOfRange, "fast = True"),
    "not a number": ({"band": [0.5, np.nan]}, ParameterOutOfRange, "band = nan"),
    "not a choice": ({"mode": ["first"]}, ParameterOutOfRange, "mode = 'first'"),
    "text for int": ({"fast": "5"}, ParameterOutOfRange, "fast = '5'"),
    "none": ({"fast": None}, ParameterOutOfRange, "fast = None"),
    "twice": ({"fast": [5, 6, 5]}, UsageError, "5 is listed twice"),
    "twice once read": ({"band": [0, 0.0]}, UsageError, "0.0 is listed twice"),
    "set": ({"fast": {5, 6}}, UsageError, "set is no list of values"),
    "dict": ({"fast": {"low": 5}}, UsageError, "dict is no list of values"),
    "generator": ({"fast": (x for x in [5])}, UsageError, "generator is no list of values"),
    "matrix": ({"fast": np.ones((2, 2), int)}, UsageError, "ndarray is no list of values"),
    "pair": ({"fast": (5, 9)}, UsageError, "written [5, 9]"),
    "param": ({"fast": mqd.param(5, low=2, high=9)}, UsageError, "list the values"),
}


@pytest.mark.parametrize(("grid", "error", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_swept_is_refused_by_name(grid, error, says):
    with pytest.raises(error) as caught:
        grid_of(Cross, grid, ranges=False)
    assert says in str(caught.value)


@pytest.mark.parametrize("strategy", [Cross(), "sma_cross", int])
def test_a_class_is_wanted(strategy):
    with pytest.raises(UsageError, match="strategy class"):
        grid_of(strategy, {"fast": [5]}, ranges=False)


def test_a_grid_is_a_mapping():
    with pytest.raises(UsageError, match="not a mapping"):
        grid_of(Cross, [{"fast": 5}], ranges=False)


class Wide(mqd.Strategy):
    """Parameters without bounds."""

    a: int = 1
    b: int = 1

    def decide(self, now, position):
        """Stay out."""
        return 0.0


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        ({"a": range(10**6), "b": range(10**6)}, "1,000,000,000,000"),
        ({"a": range(10**12)}, "1,000,000,000,000"),
        ({"a": range(10**20)}, "100,000,000,000,000,000,000"),
        ({"a": range(COMBINATIONS_MAX + 1)}, "100,000,001"),
    ],
)
def test_a_grid_of_far_too_many_is_refused_with_its_count(grid, count):
    read = grid_of(Wide, grid, ranges=False)
    with pytest.raises(GridTooLarge) as caught:
        read.check_size()
    assert f"{count} combinations" in str(caught.value)
    assert "search='random'" in str(caught.value)


def test_the_largest_grid_is_let_through():
    grid = grid_of(Wide, {"a": range(COMBINATIONS_MAX)}, ranges=False)
    grid.check_size()
    assert grid.size == COMBINATIONS_MAX


def test_ranges_of_a_search():
    read = grid_of(
        Cross, {"fast": (5, 9), "band": (0, 0.5), "slow": mqd.param(7, low=3, high=4)}, ranges=True
    )
    assert read.axes["fast"].take(np.arange(5)).tolist() == [5, 6, 7, 8, 9]
    assert read.axes["slow"].take(np.arange(2)).tolist() == [3, 4]
    assert read.axes["band"] == Continuous(0.0, 0.5)
    assert read.size == 0


@pytest.mark.parametrize(
    ("values", "says"),
    [((9, 5), "upside down"), ((5, 41), "fast = 41"), (mqd.param(5), "needs low and high")],
)
def test_wrong_ranges_are_refused(values, says):
    with pytest.raises((UsageError, ParameterOutOfRange)) as caught:
        grid_of(Cross, {"fast": values}, ranges=True)
    assert says in str(caught.value)


def test_axes_that_differ_have_other_texts():
    long = list(range(1, 30))
    changed = [*long[:10], 40, *long[11:]]
    texts = [
        grid_of(Cross, {"fast": values}, ranges=False).axes["fast"].text
        for values in (long, changed, long[::-1], range(1, 30), range(1, 31), [1, 2])
    ]
    assert len(set(texts)) == len(texts)
