"""A sweep's figures against pandas' own pivots, and tables of every awkward kind."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mqd.errors import UsageError
from mqd.report import levels, sweep_page, sweep_plots
from mqd.report.sweep_page import SweepData
from mqd.significance import expected_max_sharpe
from tests.unit.report.made_up import NASTY

GRID = list(itertools.product((5, 10, 20, 50), (1.0, 2.0, 3.0), ("long", "both"), (True, False)))


def _table() -> pd.DataFrame:
    table = pd.DataFrame(GRID, columns=["window", "entry_z", "side", "trail"])
    chance = np.random.default_rng(4)
    table["sharpe"] = table["window"] / 25 + chance.normal(0.0, 0.3, len(table))
    table["volatility_frac"] = 0.1 + table["entry_z"] / 50 + chance.random(len(table)) / 100
    table["failed"] = ""
    table.loc[table["window"] == 10, "sharpe"] = math.nan
    return table


def _random(n: int) -> pd.DataFrame:
    chance = np.random.default_rng(1)
    table = pd.DataFrame({"a": chance.random(n), "b": 10 ** chance.uniform(-3, 1, n)})
    table["c"] = chance.integers(1, 400, n)
    table["sharpe"] = 1.0 - (table["a"] - 0.4) ** 2 + chance.normal(0.0, 0.1, n)
    return table


def _one_row() -> pd.DataFrame:
    return pd.DataFrame({"window": [5], "sharpe": [0.7]})


AWKWARD = {
    "three and more": (_table(), ["window", "entry_z", "side", "trail"]),
    "one parameter": (_table().groupby("window", as_index=False)["sharpe"].max(), ["window"]),
    "one row": (_one_row(), ["window"]),
    "no number": (_table().assign(sharpe=math.nan), ["window", "entry_z"]),
    "infinite": (_table().assign(sharpe=math.inf), ["window", "entry_z"]),
    "texts": (_table(), ["side", "trail"]),
    "random": (_random(300), ["a", "b", "c"]),
    "all equal": (_table().assign(sharpe=1.0), ["window", "entry_z"]),
    "nasty": (_table().assign(side=NASTY), ["window", "side"]),
    "shuffled index": (_table().sample(frac=1.0, random_state=2), ["window", "entry_z"]),
}


@pytest.mark.parametrize("best", ["max", "min"])
def test_cells_equal_a_pivot_and_the_best_is_marked(best: str) -> None:
    table = _table()
    figure = sweep_plots.heatmap_figure(table, "window", "entry_z", "sharpe", best=best)
    cells, mark = figure.data
    pivot = table.pivot_table(
        index="entry_z", columns="window", values="sharpe", aggfunc=best, dropna=False
    )
    np.testing.assert_allclose(np.array(cells.z, dtype=float), pivot.to_numpy())
    assert list(cells.x) == ["5", "10", "20", "50"]  # uneven: names, not a scale
    assert list(cells.y) == [1.0, 2.0, 3.0]
    row = table.loc[table["sharpe"].idxmax() if best == "max" else table["sharpe"].idxmin()]
    assert (list(mark.x), list(mark.y)) == ([str(row["window"])], [row["entry_z"]])
    assert f"window {row['window']}, entry_z {row['entry_z']:g}" in figure.layout.title.text


def test_fixed_values_choose_rows() -> None:
    table = _table()
    fixed = {"side": "both", "trail": True}
    figure = sweep_plots.heatmap_figure(table, "window", "entry_z", fixed=fixed)
    rows = table[(table["side"] == "both") & table["trail"]]
    pivot = rows.pivot_table(index="entry_z", columns="window", values="sharpe", dropna=False)
    np.testing.assert_allclose(np.array(figure.data[0].z, dtype=float), pivot.to_numpy())
    with pytest.raises(UsageError, match="No row of the sweep has side='short'"):
        sweep_plots.heatmap_figure(table, "window", "entry_z", fixed={"side": "short"})
    with pytest.raises(UsageError, match=r"no column 'windw'\. Did you mean 'window'"):
        sweep_plots.heatmap_figure(table, "windw", "entry_z")


def test_stability_shows_the_mean_with_the_neighbours() -> None:
    cells = list(itertools.product(range(6), range(6)))
    table = pd.DataFrame(cells, columns=["a", "b"])
    table["sharpe"] = [3.0 if cell == (1, 4) else float(cell[0] in (3, 4)) for cell in cells]
    figure = sweep_plots.stability_figure(table, ["a", "b"], x="a", y="b")
    surface, plateau, best = figure.data
    assert surface.type == "contour"
    shown = np.array(surface.z, dtype=float)
    assert shown[4, 1] == pytest.approx(3.0 / 5.0)  # the lone spike with four zeros
    assert shown[2, 3] == pytest.approx(4.0 / 5.0)
    assert (best.x[0], best.y[0]) == (1, 4)
    assert plateau.x[0] in (3, 4)
    assert figure.layout.title.text == "Neighbours keep 0 % of the best"


def test_stability_of_one_parameter_is_a_curve() -> None:
    table = pd.DataFrame({"a": [1, 2, 3, 4], "sharpe": [1.0, 2.0, 6.0, 1.0]})
    figure = sweep_plots.stability_figure(table, ["a"])
    np.testing.assert_allclose(figure.data[0].y, [1.5, 3.0, 3.0, 3.5])
    assert figure.layout.title.text == "Neighbours keep 25 % of the best"


def test_the_threshold_of_luck_is_drawn_in() -> None:
    table = _table()
    figure = sweep_plots.sharpe_distribution_figure(table, 5_000)
    known = table["sharpe"].dropna()
    lines = {trace.name.split(":")[0]: trace.x[0] for trace in figure.data[1:]}
    luck = expected_max_sharpe(float(known.var()), 5_000)
    assert lines == pytest.approx(
        {"Best": known.max(), "Median": known.median(), "Luck alone, best of 5,000": luck}
    )
    assert sum(figure.data[0].y) == len(known)


def test_parallel_lines_are_rows_scaled_to_their_axes() -> None:
    table = _table()
    figure = sweep_plots.parallel_figure(table, ["window", "entry_z", "side"])
    known = table.dropna(subset=["sharpe"])
    drawn = sum(int(np.isnan(np.array(trace.y, dtype=float)).sum()) for trace in figure.data)
    assert drawn == len(known)  # each line ends in a gap
    best = known.loc[known["sharpe"].idxmax()]
    ys = np.array(figure.data[-1].y, dtype=float)[-5:-1]
    assert ys[3] == 1.0
    assert ys[0] == [5, 20, 50].index(best["window"]) / 2
    assert ys[1] == (best["entry_z"] - 1.0) / 2.0
    assert list(figure.layout.xaxis.ticktext) == ["window", "entry_z", "side", "Sharpe"]


def test_the_fan_holds_its_share_of_the_curves() -> None:
    index = pd.bdate_range("2020-01-01", periods=400, tz="UTC")
    moves = np.random.default_rng(0).normal(0.0, 0.01, (400, 30))
    curves = pd.DataFrame(1e5 * np.exp(np.cumsum(moves, axis=0)), index=index)
    curves.columns = [f"n={n}" for n in range(30)]
    curves["n=7"] = math.nan
    figure = sweep_plots.equity_fan_figure(curves)
    whole = curves.drop(columns="n=7").to_numpy()
    np.testing.assert_allclose(figure.data[0].y, np.quantile(whole, 0.05, axis=1))
    np.testing.assert_allclose(figure.data[3].y, np.quantile(whole, 0.75, axis=1))
    assert figure.data[-1].name == "n=0"
    np.testing.assert_allclose(figure.data[-1].y, curves["n=0"])
    assert len(figure.data) == 4 + 1 + 12


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_tables_are_drawn(kind: str) -> None:
    table, parameters = AWKWARD[kind]
    page = sweep_page.html(
        SweepData(
            title=f"Sweep {NASTY}",
            subtitle=NASTY,
            table=table,
            parameters=parameters,
            n_trials=len(table),
            luck={NASTY: NASTY},
            notes=(NASTY,),
            identity={NASTY: NASTY},
        )
    )
    assert "<script>alert" not in page
    known = np.isfinite(table["sharpe"]).any()
    for chart in ("chart-sharpe", "chart-map-0", "chart-stability", "chart-parallel"):
        assert (f'id="{chart}"' in page) == known
    assert ("No row has a number" in page) != known


def test_a_million_rows_become_few_points() -> None:
    table = pd.concat([_random(200_000)] * 5, ignore_index=True)
    points = 0
    for figure in (
        sweep_plots.heatmap_figure(table, "a", "b"),
        sweep_plots.stability_figure(table, ["a", "b", "c"]),
        sweep_plots.parallel_figure(table, ["a", "b", "c"]),
        sweep_plots.sharpe_distribution_figure(table, len(table)),
    ):
        assert isinstance(figure, go.Figure)
        points += len(figure.to_json())
    assert points < 2_000_000


def test_the_page_lists_the_best_rows_first_and_failures_by_name(tmp_path) -> None:
    table = _table()
    worst = table["sharpe"].idxmin()
    table.loc[worst, "failed"] = "weight 3.0 at 2020-01-03"
    data = SweepData(
        title="s", subtitle="t", table=table, parameters=["window"], n_trials=48,
        metric="volatility_frac", best="min", rows_shown=48,
    )  # fmt: skip
    body = sweep_page.html(data).split("<tbody>")[1].split("</tbody>")[0]
    first = table.loc[table["volatility_frac"].idxmin(), "volatility_frac"]
    assert f"{first * 100:,.2f} %" in body.split("</tr>")[0]
    assert "weight 3.0 at 2020-01-03" in body
    written = sweep_page.write(data, tmp_path / "sweep.html")
    assert written.read_text(encoding="utf-8") == sweep_page.html(data)  # the same bytes again
    with pytest.raises(UsageError, match="cannot be written"):
        sweep_page.write(data, tmp_path / "missing" / "sweep.html")


def test_the_page_names_symbols_where_there_are_several() -> None:
    for symbols, shown in ((["AAPL", "AAPL"], False), (["AAPL", "IBM"], True)):
        table = pd.DataFrame({"window": [5, 5], "symbol": symbols, "sharpe": [1.0, 2.0]})
        data = SweepData(
            title="s", subtitle="t", table=table, parameters=["window"], n_trials=2, metric="sharpe"
        )
        assert ("AAPL" in sweep_page.html(data).split("<tbody>")[1].split("</tbody>")[0]) is shown


def test_long_names_and_many_levels_are_cut() -> None:
    texts = [f"a rather long name of a thing, number {n}" for n in range(300)]
    table = pd.DataFrame({"name": texts, "n": np.arange(300) ** 2, "sharpe": np.arange(300.0)})
    named = levels.levels(table, "name")
    assert len(named.shown) == levels.LEVELS_MAX
    assert len(set(named.shown)) == levels.LEVELS_MAX
    assert max(map(len, named.shown)) < 30
    numbered = levels.levels(table, "n")
    assert len(numbered.shown) == len(set(numbered.shown)) == levels.LEVELS_MAX
    assert not numbered.exact
    assert numbered.of.tolist() == sorted(numbered.of.tolist())


def test_parameters_are_ranked_by_what_they_explain() -> None:
    table = _table()
    table["sharpe"] = table["entry_z"] + 0.1 * table["window"] / 50
    assert levels.by_weight(table, ["window", "entry_z", "trail"], "sharpe")[:2] == [
        "entry_z", "window",
    ]  # fmt: skip
    assert levels.explained_frac(table, "trail", "sharpe") == pytest.approx(0.0, abs=1e-12)
    both = levels.explained_frac(table, "window", "sharpe") + levels.explained_frac(
        table, "entry_z", "sharpe"
    )
    assert both == pytest.approx(1.0)
