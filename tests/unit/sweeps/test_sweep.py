"""``mqd.sweep`` from end to end: rows, order, several symbols and datasets, stops and starts."""

import math

import numpy as np
import pandas.testing as pt
import pytest

import mqd
from mqd import trials
from mqd.errors import ConfigError, ParameterOutOfRange, UnknownParameter, UsageError
from mqd.significance import block_moments
from mqd.statistics import returns_from_equity
from mqd.sweeps.errors import EmptyGrid
from mqd.sweeps.evaluate import COUNTS, METRICS
from mqd.sweeps.progress import rate_text
from tests.unit.sweeps.sweep_support import (
    LARGE,
    Broken,
    Cross,
    chunked,
    less,
    marked,
    small_bars,
)

GRID = {"fast": [2, 3, 5], "slow": [4, 8], "short": [False, True]}


@pytest.fixture(scope="module")
def bars():
    """Two symbols of 60 days."""
    return small_bars()


@pytest.fixture(scope="module")
def swept(bars):
    """A sweep by the desk, both symbols apart."""
    return mqd.sweep(Cross, bars, GRID, where=less, engine="event")


def test_each_row_is_the_backtest_of_its_parameters_and_symbol(swept, bars):
    assert len(swept.table) == 5 * 2 * 2
    for row, values in swept.table.iterrows():
        one = Cross(**{name: values[name] for name in GRID})
        result = mqd.backtest(one, bars.select([values["symbol"]]), engine="event")
        for name in METRICS:
            np.testing.assert_equal(float(values[name]), float(result.metrics[name]))
        returns = returns_from_equity(result.equity["equity"].to_numpy(), 100_000)
        np.testing.assert_array_equal(swept.moments[row], block_moments(returns))
    assert (swept.table["n_fills"] > 0).any()


def test_rows_are_ordered_by_combination_then_symbol(swept):
    expected = [
        (fast, slow, short, symbol)
        for fast in (2, 3, 5) for slow in (4, 8) for short in (False, True)
        for symbol in ("AAA", "BBB") if fast < slow
    ]  # fmt: skip
    columns = [*GRID, "symbol"]
    assert list(swept.table[columns].itertuples(index=False, name=None)) == expected
    assert list(swept.table) == [*columns, *METRICS, "failed"]
    for name in METRICS:
        assert swept.table[name].dtype == (np.int64 if name in COUNTS else np.float64)


def test_pooled_symbols_share_one_account(bars):
    found = mqd.sweep(Cross, bars, {"fast": [2, 3]}, symbols="pooled", engine="event")
    assert len(found.table) == 2
    assert "symbol" not in found.table
    for row in (0, 1):
        result = mqd.backtest(Cross(fast=2 + row), bars, engine="event")
        assert found.table["final_equity"][row] == result.metrics["final_equity"]


def test_several_datasets_come_one_after_the_other(bars):
    parts = {"late": small_bars(("BBB", "CCC"), seed=5), "early": bars.select(["AAA"])}
    found = mqd.sweep(Cross, parts, {"fast": [2, 3]}, engine="event")
    told = found.table[["fast", "dataset", "symbol"]].astype(str).agg(" ".join, axis=1)
    assert list(told) == [
        "2 late BBB", "2 late CCC", "3 late BBB", "3 late CCC", "2 early AAA", "3 early AAA",
    ]  # fmt: skip
    result = mqd.backtest(Cross(fast=3), parts["late"].select(["CCC"]), engine="event")
    assert found.table["final_equity"][3] == result.metrics["final_equity"]
    assert found.strategy(5) == Cross(fast=3)
    assert found.bars(5).symbols == ("AAA",)
    assert set(found.pbo_by_unit()) == {"late BBB", "late CCC", "early AAA"}
    both = mqd.sweep(Cross, parts, {"fast": [2, 3]}, symbols="pooled", engine="event")
    assert list(both.table["dataset"]) == ["late", "late", "early", "early"]


def test_settings_reach_every_row(bars):
    words = {
        "cash": 5_000, "costs": mqd.Costs(fee_bps=20), "sizer": mqd.FixedQuantity(3),
        "fills": mqd.FillModel(participation_frac=0.5), "multiplier": 2,
    }  # fmt: skip
    found = mqd.sweep(Cross, bars, {"fast": [2], "short": True}, engine="event", **words)
    one = mqd.backtest(Cross(fast=2, short=True), bars.select(["BBB"]), **words)
    assert found.table["fees_usd"][1] == one.metrics["fees_usd"] > 0
    assert found.table["final_equity"][1] == one.metrics["final_equity"]
    assert found.result(1).metrics["final_equity"] == one.metrics["final_equity"]


def test_a_weight_that_is_none_fails_its_row_alone(bars):
    found = mqd.sweep(Broken, bars, {"level": [0.5, 3.0, -1.0]}, engine="event")
    assert (found.table["failed"] != "").tolist() == [False, False, True, True, False, False]
    assert "3.0" in found.table["failed"][2]
    assert "AAA" in found.table["failed"][2]
    assert found.table.loc[2, ["sharpe", "final_equity", "fees_usd"]].isna().all()
    assert found.table.loc[2, ["n_fills", "n_orders"]].tolist() == [0, 0]
    assert not found.moments[2].any()
    assert found.notes[-1].startswith("2 of 6 rows failed; the first, row 2: Broken returned 3.0")
    assert found.best("final_equity").name not in (2, 3)
    assert found.verify(5).ok


def test_a_rule_that_raises_fails_its_row(bars):
    class Raises(mqd.Strategy):
        """Divides by the level in plain Python."""

        level: int = 1

        def decide(self, now, position):
            return {1: 0.5}[self.level]

    found = mqd.sweep(Raises, bars.select(["AAA"]), {"level": [1, 2]})
    assert "KeyError" in found.table["failed"][1]
    assert found.table["failed"][0] == ""


def test_all_rows_failed(bars):
    found = mqd.sweep(Broken, bars, {"level": [2.0, 3.0]}, engine="event")
    with pytest.raises(UsageError, match=r"has a sharpe\. 4 of 4 rows failed"):
        found.best()
    assert "No row has a Sharpe ratio" in repr(found)
    assert all(math.isnan(pbo) for pbo in found.pbo_by_unit().values())
    assert found.verify(2).ok


class Plain(mqd.Strategy):
    """A rule that numba cannot compile."""

    level: float = 0.5

    def decide(self, now, position):
        """Return the level through a dict of texts and lists."""
        return {"a": [self.level], 3: None}["a"][0]


def test_what_cannot_be_compiled_runs_in_the_desk_and_says_so(bars, monkeypatch):
    monkeypatch.setattr("mqd.sweeps.sweep.COMPILED_EVALUATIONS", 0)
    found = mqd.sweep(Plain, bars, {"level": [0.5, 1.0]})
    assert found.engine == "event"
    (note,) = found.notes
    assert note.startswith("Plain is swept by the event engine: ")
    assert "times slower" in note
    assert note in repr(found)
    assert "Plain is swept" in found._repr_html_()


WRONG = {
    "unknown": ({"fasst": [2]}, {}, UnknownParameter, "Did you mean 'fast'?"),
    "empty": ({}, {}, EmptyGrid, "names no parameter"),
    "value": ({"fast": [99]}, {}, ParameterOutOfRange, "fast = 99"),
    "nothing left": (GRID, {"where": "fast > slow * 9"}, EmptyGrid, "leaves none"),
    "symbols": (GRID, {"symbols": "both"}, UsageError, "'apart' or 'pooled'"),
    "engine": (GRID, {"engine": "fast"}, UsageError, "engine = 'fast'"),
    "memory": (GRID, {"memory_mb": 1}, UsageError, "memory_mb = 1"),
    "memory text": (GRID, {"memory_mb": "1"}, UsageError, "memory_mb = '1'"),
    "workers": (GRID, {"workers": 0}, UsageError, "workers = 0"),
    "metric": (GRID, {"metric": "sharp"}, UsageError, "Did you mean 'sharpe'?"),
    "cash": (GRID, {"cash": -1, "engine": "event"}, UsageError, "cash = -1"),
    "rules": (GRID, {"rules": "none"}, UsageError, "rules = 'none'"),
    "file": (GRID, {"resume": "x.csv"}, UsageError, "kept in a .parquet file"),
    "trillion": ({"slow": range(1, 2_001), "fast": [1]} | {"band": np.arange(10**5) / 10**5}, {},
                 ConfigError, "200,000,000 combinations"),
}  # fmt: skip


@pytest.mark.parametrize(("grid", "words", "error", "says"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_refused_with_a_sentence(bars, grid, words, error, says):
    with pytest.raises(error) as caught:
        mqd.sweep(Cross, bars, grid, **words)
    assert says in str(caught.value)


class Named(mqd.Strategy):
    """Has a parameter that is named like a column."""

    sharpe: float = 0.5

    def decide(self, now, position):
        """Return it."""
        return self.sharpe


@pytest.mark.parametrize(
    ("bars_", "says"),
    [
        (None, "give Bars"),
        ({}, "give Bars"),
        ({"a": 3}, "names go with Bars"),
        ([1], "give Bars"),
    ],
)
def test_wrong_bars_are_refused(bars_, says):
    with pytest.raises(UsageError, match=says):
        mqd.sweep(Cross, bars_, GRID)


def test_a_parameter_named_like_a_column_is_refused(bars):
    with pytest.raises(UsageError, match="'sharpe' is named like a column"):
        mqd.sweep(Named, bars, {"sharpe": [0.1]})


# --- many rows: the numbers come from a stand-in that is a function of the parameters ------------


@pytest.fixture
def reference(bars, monkeypatch):
    """The table and moments of an uninterrupted sweep in memory."""
    marked(monkeypatch)
    found = mqd.sweep(Cross, bars, LARGE, where=less)
    return found.table, found.moments


@pytest.mark.parametrize("n", [1, 7, 1_000, 10**6])
def test_chunks_do_not_matter(bars, monkeypatch, reference, n):
    fresh = marked(monkeypatch)
    chunked(monkeypatch, n)
    small = {"fast": range(1, 41), "slow": range(95, 101)}
    found = mqd.sweep(Cross, bars, small, where=less)
    assert max(fresh.lengths) == min(n, 240)
    kept = reference[0]["slow"].between(95, 100).to_numpy()
    pt.assert_frame_equal(found.table, reference[0][kept].reset_index(drop=True))
    np.testing.assert_array_equal(found.moments, reference[1][kept])


def test_chunks_respect_memory_and_time(bars, monkeypatch):
    marked(monkeypatch)
    plans = []
    monkeypatch.setattr("mqd.sweeps.sweep._run", lambda plan, *_: plans.append(plan))
    for words in ({"memory_mb": 32}, {"memory_mb": 4_000}, {"memory_mb": 90_000, "workers": 1}):
        mqd.sweep(Cross, bars, LARGE, **words)
    tight, wide, single = (plan.chunk for plan in plans)
    assert tight * 2 * (640 + 20 * 8) < 32 * 2**20 / 8
    assert wide > tight
    assert single == int(50e6 / bars.n_bars)


def test_results_beyond_the_budget_wait_on_disk(bars, monkeypatch):
    marked(monkeypatch)
    chunked(monkeypatch, 5_000)
    grid = {"slow": range(1, 1_001), "fast": range(1, 9)}
    wide = mqd.sweep(Cross, bars, grid, memory_mb=1_000)
    tight = mqd.sweep(Cross, bars, grid, memory_mb=32)
    assert tight._ran.store._folder is not None
    assert wide._ran.store._folder is None
    pt.assert_frame_equal(tight.table, wide.table)
    assert isinstance(tight.moments, np.memmap)
    assert not isinstance(wide.moments, np.memmap)
    np.testing.assert_array_equal(tight.moments, wide.moments)
    assert tight.deflated_sharpe() == wide.deflated_sharpe()


def test_moments_cannot_be_changed(swept):
    with pytest.raises(ValueError, match="read-only"):
        swept.moments[0, 0, 0] = 1.0


# --- counting -----------------------------------------------------------------------------------


def test_trials_are_counted_in_the_studys_folder(bars, monkeypatch, tmp_path):
    marked(monkeypatch)
    study = tmp_path / "study"
    first = mqd.sweep(Cross, bars, {"fast": [2, 3, 4]}, study=study)
    assert first.trials == trials.count(study) == 6
    assert mqd.sweep(Cross, bars, {"fast": [2, 3, 4]}, study=study).trials == 6
    second = mqd.sweep(Cross, bars, {"fast": [2, 3, 4]}, study=study, cash=1)
    assert second.trials == trials.count(study) == 12
    assert second.deflated_sharpe() < second.deflated_sharpe(n_trials=2)
    assert mqd.sweep(Cross, bars, {"fast": [2, 3, 4]}).trials == 6


def test_an_interrupted_sweep_counts_what_was_tried(bars, monkeypatch, tmp_path):
    marked(monkeypatch, stop_at=3)
    chunked(monkeypatch, 10)
    mqd.sweep(Cross, bars, LARGE, study=tmp_path)
    assert trials.count(tmp_path) == 40


# --- progress -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_s", "said"),
    [
        (0.0, "0 "), (3.4, "3 "), (999.0, "999 "), (1e3, "1.0 k "), (48_200.0, "48.2 k "),
        (949_999.0, "950.0 k "), (1e6, "1.0 M "), (362_400_000.0, "362.4 M "), (2e9, "2,000.0 M "),
    ],
)  # fmt: skip
def test_a_rate_is_told_in_a_unit_of_its_size(per_s, said):
    assert rate_text(per_s) == f"{said}bar-evaluations/s"


def test_progress_goes_to_stderr_with_rate_and_time_left(bars, monkeypatch, capsys):
    marked(monkeypatch)
    chunked(monkeypatch, 500)
    mqd.sweep(Cross, bars, LARGE, where=less, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.split("\r")[-1]
    assert last.startswith("sweep: |")
    assert "| 4000/4000 [" in last
    assert "bar-evaluations/s" in last
    assert "<00:00" in last


@pytest.mark.parametrize("progress", [None, False])
def test_nobody_looks(bars, monkeypatch, capsys, progress):
    marked(monkeypatch)
    mqd.sweep(Cross, bars, LARGE, progress=progress)
    assert capsys.readouterr() == ("", "")


def test_the_bar_tells_at_once_that_the_desk_runs(bars, capsys, monkeypatch):
    monkeypatch.setattr("mqd.sweeps.sweep.COMPILED_EVALUATIONS", 0)
    mqd.sweep(Plain, bars, {"level": [0.5, 1.0]}, progress=True)
    assert capsys.readouterr().err.count("Plain is swept by the event engine") == 1


def test_figures_about_the_run(bars, swept):
    assert swept.seconds > 0
    expected = swept.n_combinations * bars.n_bars / swept.seconds
    assert swept.bar_evaluations_per_s == pytest.approx(expected)
    assert swept.peak_mb > 50
    assert swept.engine == "event"
    assert swept.is_whole
