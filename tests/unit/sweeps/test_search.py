"""Searches: which combinations come, in which order, whatever the blocks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.errors import UsageError
from mqd.sweeps import optuna_search
from mqd.sweeps.constraint import Constraint
from mqd.sweeps.errors import EmptyGrid, GridTooLarge
from mqd.sweeps.grid import grid_of
from mqd.sweeps.search import permuted, search_of
from tests.unit.sweeps.sweep_support import Cross
from tests.unit.sweeps.test_grid import Wide


def make(name, grid, where=None, n=None, seed=0, cls=Cross, metric="sharpe"):
    """Return a search over a grid."""
    axes = grid_of(cls, grid, ranges=name != "grid")
    return search_of(name, axes, Constraint(where, tuple(grid)), n=n, seed=seed, metric=metric)


def rows(search, size=7, score=None):
    """Return all combinations as tuples; ``score`` tells each block's."""
    found = []
    for block in search.blocks(size):
        listed = list(zip(*(c.tolist() for c in block.columns.values()), strict=True))
        assert block.first == len(found)
        assert 1 <= block.n == len(listed)
        found += listed
        if score is not None:
            search.tell(block, np.array([score(*one) for one in listed], dtype=float))
        assert block.seen <= search.total
    return found


GRID = {"fast": range(1, 13), "slow": range(2, 40, 3)}
LESS = [(a, b) for a in range(1, 13) for b in range(2, 40, 3) if a < b]


@given(st.integers(1, 200))
def test_a_grid_is_run_in_its_order_in_any_blocks(size):
    assert rows(make("grid", GRID, "fast < slow"), size) == LESS


def test_a_grid_longer_than_a_scan(monkeypatch):
    monkeypatch.setattr("mqd.sweeps.search.SCAN", 10)
    search = make("grid", GRID, lambda p: p["fast"] < p["slow"])
    assert rows(search, 1_000) == LESS
    assert [block.seen for block in search.blocks(1_000)][-1] == 156


def test_what_a_grid_does_not_take():
    with pytest.raises(UsageError, match="n is for"):
        make("grid", GRID, n=5)
    with pytest.raises(GridTooLarge):
        make("grid", {"a": range(10**12)}, cls=Wide)
    with pytest.raises(UsageError, match="it must be 'grid', 'random' or 'optuna'"):
        make("bayes", GRID, n=5)


@pytest.mark.parametrize("name", ["random", "optuna"])
@pytest.mark.parametrize("n", [None, 0, 2.5, True])
def test_a_search_needs_a_number(name, n):
    with pytest.raises(UsageError, match="needs n"):
        make(name, GRID, n=n)


NEVER = {"text": "fast > 50", "function": lambda p: p["fast"] > 50}


@pytest.mark.parametrize("where", NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("name", ["grid", "random", "optuna"])
def test_a_constraint_that_leaves_nothing_is_refused(name, where, monkeypatch):
    monkeypatch.setattr(optuna_search, "MISSES_MAX", 20)
    with pytest.raises(EmptyGrid, match="There is nothing to sweep: where"):
        rows(make(name, GRID, where, n=None if name == "grid" else 5))


def test_a_range_that_nothing_of_is_let_through_is_given_up(monkeypatch):
    monkeypatch.setattr("mqd.sweeps.search.MISSES_MAX", 100_000)
    with pytest.raises(EmptyGrid, match="one after another"):
        rows(make("random", {"band": (0.0, 0.5)}, "band > 0.9", n=3))


@given(st.integers(1, 400), st.integers(0, 2**70))
def test_the_permutation_has_every_place_once(size, seed):
    counters = np.arange(4 * size + 4, dtype=np.uint64)
    places = permuted(counters, size, seed)
    assert sorted(places.tolist()) == list(range(size))


def test_the_permutation_is_spread_evenly():
    """The first 1,000 of 10^15 places: chi-square over 20 bins, 19 degrees of freedom."""
    size = 10**15
    first = []
    block = 0
    while len(first) < 1_000:
        counters = np.arange(block, block + 4_096, dtype=np.uint64)
        first += permuted(counters, size, 3).tolist()
        block += 4_096
    counts = np.bincount(np.array(first[:1_000]) * 20 // size, minlength=20)
    assert ((counts - 50) ** 2 / 50).sum() < 43.8  # its 99.9 % quantile
    assert len(set(first)) == len(first)


def test_seeds_draw_differently_and_repeat():
    draws = [rows(make("random", GRID, n=20, seed=seed)) for seed in (0, 0, 1, -1)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


@given(st.integers(1, 90), st.integers(1, 50))
def test_a_draw_is_without_replacement_and_the_same_in_any_blocks(size, n):
    drawn = rows(make("random", GRID, "fast < slow", n=n), size)
    assert len(set(drawn)) == len(drawn) == n
    assert set(drawn) <= set(LESS)
    assert drawn == rows(make("random", GRID, "fast < slow", n=50), 13)[:n]


def test_a_draw_of_more_than_there_is_has_all():
    drawn = rows(make("random", GRID, "fast < slow", n=10**9))
    assert sorted(drawn) == sorted(LESS)
    assert drawn != LESS


def test_a_draw_from_an_enormous_grid():
    search = make("random", {"a": range(10**9), "b": range(10**9)}, n=1_000, cls=Wide)
    drawn = rows(search, 100)
    assert len(set(drawn)) == 1_000
    assert 0.4e9 < np.mean([a for a, _ in drawn]) < 0.6e9
    beyond = make("random", {"a": range(10**12), "b": range(10**12)}, n=100, cls=Wide)
    assert len(set(rows(beyond))) == 100


def test_floats_are_drawn_from_the_whole_range():
    search = make("random", {"band": (0.25, 0.75), "fast": (2, 5)}, n=2_000)
    drawn = rows(search, 333)
    bands = np.array([band for band, _ in drawn])
    assert 0.25 <= bands.min() < 0.251
    assert 0.749 < bands.max() <= 0.75
    counts = np.bincount([fast for _, fast in drawn], minlength=6)
    assert counts[:2].tolist() == [0, 0]
    assert all(420 < count < 580 for count in counts[2:])
    assert abs(np.corrcoef(bands, [fast for _, fast in drawn])[0, 1]) < 0.08


SPACE = {"fast": (1, 40), "band": (0.0, 1.0), "mode": ["mean", "last"], "short": [True, False]}


def hill(fast, band, mode, short):
    """Highest at fast = 30, band = 0.2, last, short."""
    return -((fast - 30) ** 2) / 100 - 4 * (band - 0.2) ** 2 + (mode == "last") + 0.5 * short


def test_optuna_climbs_where_a_draw_does_not():
    asked = rows(make("optuna", SPACE, n=96), score=hill)
    drawn = rows(make("random", SPACE, n=96))
    found = sorted(hill(*one) for one in asked)[-10:]
    by_chance = sorted(hill(*one) for one in drawn)[-10:]
    assert len(asked) == 96
    assert np.mean(found) > np.mean(by_chance) + 0.05
    assert np.mean(found) > 1.4


def test_optuna_asks_the_same_when_it_is_told_the_same():
    first = rows(make("optuna", SPACE, "fast % 2 == 0", n=40), score=hill)
    again = rows(make("optuna", SPACE, "fast % 2 == 0", n=40), size=1, score=hill)
    other = rows(make("optuna", SPACE, "fast % 2 == 0", n=40, seed=1), score=hill)
    assert first == again != other
    assert all(fast % 2 == 0 for fast, *_ in first)


def test_optuna_is_told_of_failures():
    def failing(fast, *rest):
        return float("nan") if fast < 20 else hill(fast, *rest)

    asked = rows(make("optuna", SPACE, n=64), score=failing)
    assert np.isfinite([failing(*one) for one in asked[32:]]).mean() > 0.6


def test_optuna_keeps_steps_and_writes_its_own_journal(tmp_path):
    import optuna

    search = make("optuna", {"slow": range(100, 20, -20), "fast": [3, 8]}, n=20)
    search.write_to(tmp_path / "x.journal")
    asked = rows(search, score=lambda slow, fast: slow + fast)
    assert set(asked) <= set(itertools.product(range(100, 20, -20), [3, 8]))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "x.journal"))
    )
    study = optuna.load_study(study_name="mqd sweep", storage=storage)
    assert [(t.params["slow"], t.params["fast"]) for t in study.trials] == asked
    assert study.best_value == max(slow + fast for slow, fast in asked)


def test_without_optuna_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match="extra 'research'"):
        make("optuna", SPACE, n=5)
