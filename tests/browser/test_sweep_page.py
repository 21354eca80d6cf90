"""The page of a sweep in a real browser, wide and narrow: drawn, offline, inside its width."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mqd.report import sweep_page
from tests.browser.test_tearsheet_page import _see

CHARTS = {
    "chart-sharpe",
    "chart-map-0",
    "chart-map-1",
    "chart-map-2",
    "chart-stability",
    "chart-parallel",
    "chart-fan",
}


@pytest.fixture(scope="module")
def page() -> str:
    grid = itertools.product(range(5, 40, 5), (0.5, 1.0, 2.0), ("long", "long and short <b>"))
    table = pd.DataFrame(list(grid), columns=["window", "entry_z", "side"])
    chance = np.random.default_rng(0)
    table["sharpe"] = table["window"] / 30 + chance.normal(0.0, 0.2, len(table))
    index = pd.bdate_range("2020-01-01", periods=300, tz="UTC")
    moves = chance.normal(0.0, 0.01, (300, 8))
    curves = pd.DataFrame(1e5 * np.exp(np.cumsum(moves, axis=0)), index=index)
    return sweep_page.html(
        sweep_page.SweepData(
            title="A sweep",
            subtitle="made up",
            table=table,
            n_trials=42,
            curves=curves,
            parameters=["window", "entry_z", "side"],
            luck={"PBO": "0.40"},
        )
    )


@pytest.mark.parametrize("width", [1200, 500])
def test_sweep_page_draws_every_chart_and_stays_offline(
    page: str, tmp_path: Path, width: int
) -> None:
    seen = _see(page, tmp_path, width)
    assert seen["errors"] == []
    assert seen["fetched"] == []
    assert set(seen["paths"]) == CHARTS
    assert seen["wider"] <= 0
    for chart in ("chart-sharpe", "chart-stability", "chart-parallel", "chart-fan"):
        assert seen["paths"][chart] >= 1, chart
