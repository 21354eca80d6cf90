"""``Sweep``: the best, the luck, the pictures, and the proof that rows equal the desk."""

import math

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd import significance
from mqd.errors import UsageError
from mqd.sweeps import verify as verify_module
from tests.unit.sweeps.sweep_support import LARGE, Broken, Cross, less, marked, small_bars

GRID = {"fast": [2, 3, 5], "slow": [4, 8], "short": [False, True]}


@pytest.fixture(scope="module")
def bars():
    """Two symbols of 60 days."""
    return small_bars()


@pytest.fixture(scope="module")
def swept(bars):
    """A sweep by the desk, both symbols apart."""
    return mqd.sweep(Cross, bars, GRID, where=less, engine="event")


@pytest.fixture
def large(bars, monkeypatch):
    """Many rows of made-up numbers."""
    marked(monkeypatch)
    return mqd.sweep(Cross, bars, LARGE, where=less)


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["sharpe", "final_equity", "max_drawdown_frac"])
def test_the_best_is_the_highest(large, metric):
    best = large.best(metric, n=7)
    expected = large.table.sort_values(metric, ascending=False, kind="stable")[:7]
    pd.testing.assert_frame_equal(best, expected)
    pd.testing.assert_series_equal(large.best(metric), expected.iloc[0])


@pytest.mark.parametrize("metric", ["fees_usd", "volatility_frac", "turnover_frac", "n_denied"])
def test_less_is_better_for_costs_and_risk(large, metric):
    expected = large.table.sort_values(metric, kind="stable")[:3]
    pd.testing.assert_frame_equal(large.best(metric, n=3), expected)


def test_rows_without_a_number_are_never_best(bars):
    found = mqd.sweep(Broken, bars, {"level": [9.0, 0.5, 0.1]}, engine="event")
    best = found.best("sharpe", n=100)
    assert len(best) == 4
    assert not best["sharpe"].isna().any()


def test_wrong_questions_are_refused(swept):
    with pytest.raises(UsageError, match="Did you mean 'sharpe'"):
        swept.best("sharp")
    for n in (0, -1, 2.0, True):
        with pytest.raises(UsageError, match="must be a number of rows"):
            swept.best(n=n)
    for row in (-1, 20, "x", None, 1.0):
        with pytest.raises(UsageError, match="rows are 0 to 19"):
            swept.strategy(row)


def test_a_row_gives_its_strategy_bars_and_result(swept, bars):
    row = swept.best()
    strategy = swept.strategy(row)
    assert strategy.parameters == {
        "band": 0.0, "mode": "mean", **{name: row[name] for name in GRID},
    }  # fmt: skip
    assert type(strategy.fast) is int
    assert type(strategy.short) is bool
    assert swept.bars(row) == bars.select([row["symbol"]])
    result = swept.result(row, engine="event")
    assert result.metrics["sharpe"] == row["sharpe"]
    assert len(result.fills) == row["n_fills"]


@pytest.mark.slow
def test_chosen_rows_go_to_vectorbt(bars):
    costs = mqd.Costs(fee_bps=5)
    swept = mqd.sweep(Cross, bars, GRID, where=less, engine="event", costs=costs)
    portfolios = swept.to_vectorbt(swept.best(n=2))
    assert list(portfolios) == list(swept.best(n=2).index)
    row = swept.best()
    one = swept.to_vectorbt(row)
    assert float(one.final_value()) == pytest.approx(row["final_equity"], rel=1e-9)
    assert list(swept.to_vectorbt([3])) == [3]


# --- luck ---------------------------------------------------------------------------------------


def test_deflated_sharpe_is_that_of_the_paper(swept):
    row = int(swept.best().name)
    result = swept.result(row, engine="event")
    equity = np.concatenate(([100_000.0], result.equity["equity"].to_numpy()))
    returns = equity[1:] / equity[:-1] - 1
    centred = returns - returns.mean()
    sharpe = returns.mean() / returns.std(ddof=1)
    skew = (centred**3).mean() / (centred**2).mean() ** 1.5
    kurtosis = (centred**4).mean() / (centred**2).mean() ** 2
    ratios = swept.table["sharpe"].dropna().to_numpy() / math.sqrt(result.periods_per_year)
    for n_trials in (len(swept.table), 1_000):
        expected = significance.deflated_sharpe_ratio(
            sharpe, len(returns), skew, kurtosis, ratios.var(ddof=1), n_trials
        )
        found = swept.deflated_sharpe(n_trials=n_trials)
        assert found == pytest.approx(expected, rel=1e-9)
    assert swept.deflated_sharpe() == swept.deflated_sharpe(row, len(swept.table))


def test_pbo_compares_rows_over_the_same_bars(swept):
    with pytest.raises(UsageError, match="say symbol='AAA'"):
        swept.pbo()
    chosen = (swept.table["symbol"] == "BBB").to_numpy()
    expected = significance.pbo(swept.moments[chosen])
    found = swept.pbo(symbol="BBB")
    assert found.pbo == expected.pbo
    assert found.n_rows == chosen.sum()
    assert swept.pbo_by_unit()["BBB"] == expected.pbo
    with pytest.raises(UsageError, match="no symbol 'CCC'"):
        swept.pbo(symbol="CCC")


def test_pbo_of_one_unit_needs_no_name(bars):
    found = mqd.sweep(Cross, bars, GRID, symbols="pooled", engine="event")
    assert found.pbo_by_unit() == {"all": found.pbo().pbo}


# --- pictures -----------------------------------------------------------------------------------


def test_every_picture_is_a_plotly_figure(swept):
    from plotly.graph_objects import Figure

    figures = [
        swept.heatmap("fast", "slow", symbol="AAA"),
        swept.heatmap("fast", "slow", "fees_usd"),
        swept.parallel(),
        swept.stability(),
        swept.sharpe_distribution(),
        swept.equity_fan(3),
    ]
    assert all(isinstance(figure, Figure) and figure.data for figure in figures)


def test_the_heat_map_shows_the_best_of_each_cell(swept):
    figure = swept.heatmap("fast", "slow", "sharpe", symbol="BBB")
    rows = swept.table[swept.table["symbol"] == "BBB"]
    expected = rows.groupby(["slow", "fast"])["sharpe"].max()
    z = np.asarray(figure.data[0].z, dtype=float)
    assert sorted(z[np.isfinite(z)]) == pytest.approx(sorted(expected))


def test_equity_curves_are_those_of_the_best_rows(swept):
    curves = swept.equity_curves(2)
    symbol = swept.best()["symbol"]
    rows = swept.best(n=20)
    rows = rows[rows["symbol"] == symbol][:2]
    assert list(curves.iloc[-1]) == list(rows["final_equity"])
    assert curves.columns[0].startswith(f"fast={rows['fast'].iloc[0]}, ")


def test_the_page_is_written_whole(swept, tmp_path):
    path = swept.report(tmp_path / "sweep.html")
    text = path.read_text()
    assert "Cross over fast, slow, short" in text
    assert "Deflated Sharpe" in text
    assert "PBO" in text


def test_the_page_of_a_sweep_that_failed(bars, tmp_path):
    found = mqd.sweep(Broken, bars, {"level": [2.0, 3.0]}, engine="event")
    assert "4 of 4 rows failed" in found.report(tmp_path / "sweep.html").read_text()


def test_a_sweep_shows_itself(swept):
    text = repr(swept)
    assert text.startswith("Cross over fast, slow, short: 10 combinations, 20 rows, event engine")
    assert "bar-evaluations/s" in text
    assert "Sharpe" in swept._repr_html_()
    assert len(swept) == 20


# --- the proof ----------------------------------------------------------------------------------


def test_a_sweep_equals_the_desk(swept):
    found = swept.verify(5)
    assert found.ok
    assert found.rows[0] == swept.best().name
    assert len(set(found.rows)) == 6
    assert found.n_fills == sum(swept.table["n_fills"][row] for row in found.rows)
    assert repr(found).startswith("equal: 6 combinations, ")
    assert swept.verify(100).rows[0] == found.rows[0]
    assert len(swept.verify(100).rows) == 20
    assert swept.verify(5, seed=1).rows != found.rows
    with pytest.raises(UsageError, match="n = -1"):
        swept.verify(-1)


def test_a_changed_metric_is_found(bars):
    found = mqd.sweep(Cross, bars, GRID, where=less, engine="event")
    row = 7
    for name, value in (
        ("final_equity", np.nextafter(found.table["final_equity"][row], 0)),
        ("n_fills", found.table["n_fills"][row] + 1),
        ("sharpe", found.table["sharpe"][row] * (1 + 2e-9)),
        ("calmar", math.nan if found.table["calmar"][row] == found.table["calmar"][row] else 1.0),
        ("failed", "it failed"),
    ):
        before = found.table.loc[row, name]
        found.table.loc[row, name] = value
        verified = found.verify(100)
        assert not verified.ok
        assert (verified.difference.row, verified.difference.column) == (row, name)
        assert repr(verified).startswith("different: row 7 of the sweep differs from the desk")
        found.table.loc[row, name] = before
    assert found.verify(100).ok


@pytest.mark.parametrize("fee_bps", [0, 1])
def test_rows_of_a_compiled_sweep_are_compared_frame_by_frame(bars, monkeypatch, fee_bps):
    """The compiled run is played by the desk, once with the sweep's costs and once with others."""
    words = {"engine": "event", "costs": mqd.Costs()}
    found = mqd.sweep(Cross, bars, GRID, where=less, **words)
    other = mqd.sweep(
        Cross, bars, GRID, where=less, **words | {"costs": mqd.Costs(fee_bps=fee_bps)}
    )
    found.engine = "compiled"
    asked = []

    def result(row, engine="auto"):
        asked.append(engine)
        chosen = other if engine == "compiled" else found
        return mqd.Sweep.result(chosen, row, engine="event")

    monkeypatch.setattr(found, "result", result, raising=False)
    verified = found.verify(3)
    assert verified.ok == (fee_bps == 0)
    assert asked[:2] == ["event", "compiled"]
    if fee_bps:
        assert (verified.difference.frame, verified.difference.column) == ("orders", "qty")
    else:
        assert "compiled loop and desk, all frames" in repr(verified)


class Two:
    """Two results, of which one may be changed before they are compared."""

    def __init__(self, swept, row):
        self.mine = swept.result(row, engine="event")
        self.desk = swept.result(row, engine="event")

    def difference(self):
        """Return the first difference of the frames."""
        return verify_module._frames_difference(0, self.mine, self.desk)


CHANGES = {
    "a price": ("fills", "px", 1, lambda v: v + 0.0001),
    "a side": ("fills", "side", 0, lambda v: "sell" if v == "buy" else "buy"),
    "a fee": ("fills", "fee_usd", 0, lambda v: v + 1e-8),
    "a quantity": ("orders", "qty", 2, lambda v: v + 1),
    "a time": ("orders", "decided", 0, lambda v: v + pd.Timedelta(1, "ns")),
    "a status": ("orders", "status", 1, lambda v: "expired"),
    "equity": ("equity", "equity", 30, lambda v: v + 1e-4),
    "a position": ("positions", None, 30, lambda v: v + 1),
    "a profit": ("trades", "pnl_usd", 0, lambda v: v + 1e-4),
    "a NaN": ("orders", "avg_px", 0, lambda v: math.nan),
}


@pytest.mark.parametrize(("frame", "column", "place", "change"), CHANGES.values(), ids=CHANGES)
def test_the_first_difference_of_two_runs_is_shown(swept, frame, column, place, change):
    two = Two(swept, int(swept.best("n_trades").name))
    assert two.difference() is None
    table = getattr(two.mine, frame).copy()
    at = table.columns.get_loc(column) if column else 0
    table.iloc[place, at] = change(table.iloc[place, at])
    object.__setattr__(two.mine, frame, table)
    found = two.difference()
    assert (found.frame, found.place) == (frame, place)
    assert found.column == (column or table.columns[0])
    assert found.found != found.desk


def test_a_missing_row_is_a_difference_and_ids_are_none(swept):
    two = Two(swept, int(swept.best("n_trades").name))
    object.__setattr__(two.mine, "orders", two.mine.orders.assign(id="x" + two.mine.orders["id"]))
    fills = two.mine.fills.assign(order_id="x" + two.mine.fills["order_id"], execution_id="y")
    object.__setattr__(two.mine, "fills", fills)
    assert two.difference() is None
    swapped = fills.assign(order_id=fills["order_id"].iloc[0])
    object.__setattr__(two.mine, "fills", swapped)
    assert two.difference().column == "order"
    object.__setattr__(two.mine, "fills", fills[:-1])
    assert two.difference().column == "rows"
    object.__setattr__(two.mine, "fills", fills.drop(columns="px"))
    assert two.difference().column == "columns"
