"""Backtests of a study are counted in its folder."""

from __future__ import annotations

import mqd
from mqd import trials
from mqd.strategy.library.sma_cross import SmaCross


def test_a_backtest_of_a_study_counts_once_and_another_one_counts_too(tmp_path):
    bars = mqd.load_bars(
        "datasets/us_equity_daily_raw.parquet", symbols=["AAPL"], start="2012-01-01"
    )
    for slow in (50, 50, 60):
        mqd.backtest(SmaCross(slow=slow), bars, study=tmp_path / "one")
    assert trials.count(tmp_path / "one") == 2
    mqd.backtest(SmaCross(slow=60), bars, cash=5_000, study=tmp_path / "one")
    assert trials.count(tmp_path / "one") == 3
    mqd.sweep(SmaCross, bars, {"slow": [50, 60]}, study=tmp_path / "one")
    assert trials.count(tmp_path / "one") == 5
