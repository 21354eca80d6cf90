"""A strategy through every scenario: figures equal a backtest's, errors and gaps are told."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mqd
from mqd.cli import output
from mqd.errors import EmptyBars, UsageError
from mqd.scenarios import StressReport, scenarios
from mqd.strategy.library.buy_and_hold import BuyAndHold
from mqd.strategy.library.sma_cross import SmaCross

ROOT = Path(__file__).parents[2]
DAILY = ROOT / "datasets" / "us_equity_daily_raw.parquet"
NAMES = ["gaps down x2", "gaps up x2", "volatility x2", "costs x5", "volume / 10", "flash crash"]


class FailsWhenCheap(mqd.Strategy):
    """Holds, and returns a weight outside the range below 8.50."""

    def decide(self, now, position):
        return 7.0 if now.close < 8.5 else 1.0


class StoppedOut(mqd.Strategy):
    """Holds with a stop ten hundredths below the entry."""

    stop_loss_frac: float = mqd.param(0.1, low=0.01, high=0.5)

    def decide(self, now, position):
        return 1.0


@pytest.fixture(scope="module")
def ibm():
    """IBM from 2007 to the end of 2009: one bear market and a warm-up."""
    return mqd.load_bars(DAILY, symbols=["IBM"], start="2007-01-03", end="2009-12-31")


@pytest.fixture(scope="module")
def held(ibm):
    return mqd.stress(BuyAndHold(), ibm)


@pytest.fixture(scope="module")
def flat():
    """Forty closes that rise by a cent a day: no bear market, no gap down."""
    closes = 10 + np.arange(40) / 100
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), closes))
    days = pd.bdate_range("2021-03-01", periods=40).difference(pd.to_datetime(["2021-04-02"]))
    frame = frame.iloc[: len(days)].assign(
        symbol="AAA", volume=1e6, timestamp=days.tz_localize("America/New_York")
    )
    return mqd.Bars.from_pandas(frame, tick="0.01", timeframe="1day")


def row(report, name):
    (place,) = np.flatnonzero(report.table["scenario"].str.startswith(name))
    return report.table.iloc[int(place)]


def test_every_kind_of_stress_is_there_once(ibm):
    names = [scenario.name for scenario in scenarios(ibm)]
    assert names[0] == "bear market 2008-07-22 to 2008-11-20"
    rest = [name for name in names if not name.startswith("bear market")]
    assert [name[: len(kind)] for name, kind in zip(rest, NAMES, strict=True)] == NAMES
    factors = {scenario.name: scenario.costs_factor for scenario in scenarios(ibm)}
    assert factors.pop("costs x5") == 5.0
    assert set(factors.values()) == {1.0}


def test_the_unstressed_row_is_the_backtest(ibm, held):
    metrics = mqd.backtest(BuyAndHold(), ibm).metrics
    plain = row(held, "as loaded")
    for name in ("total_return_frac", "max_drawdown_frac", "sharpe", "n_trades", "fees_usd"):
        assert plain[name] == pytest.approx(metrics[name], rel=1e-12)
    assert plain["bars"] == ibm.n_bars
    assert plain["status"] == "ran"


def test_a_bear_market_is_measured_from_its_peak(ibm, held):
    bear = row(held, "bear market 2008-07-22")
    # 130.00 fell to 71.74; dividends and a little cash soften it.
    assert bear["total_return_frac"] == pytest.approx(71.74 / 130 - 1, abs=0.02)
    cut = scenarios(ibm)[0].bars
    equity = mqd.backtest(BuyAndHold(), cut).equity["equity"]
    assert bear["total_return_frac"] == pytest.approx(
        equity.iloc[-1] / equity.loc["2008-07-22"].item() - 1, rel=1e-9
    )
    assert bear["max_drawdown_frac"] == pytest.approx(bear["total_return_frac"])
    # Sessions from the peak on: 8 in July, 21, 21 and 23, then 14 in November.
    assert bear["bars"] == 250 + 8 + 21 + 21 + 23 + 14
    assert bear["worst_bar"] > pd.Timestamp("2008-07-22", tz="UTC")
    assert bear["worst_bar_frac"] < -0.04
    assert held.worst["scenario"].startswith("bear market 2008-07-22")


def test_shocks_change_what_they_say(held):
    plain = row(held, "as loaded")
    assert row(held, "gaps down")["total_return_frac"] < plain["total_return_frac"]
    assert row(held, "gaps up")["total_return_frac"] > plain["total_return_frac"]
    assert row(held, "volatility")["max_drawdown_frac"] < plain["max_drawdown_frac"]
    assert row(held, "costs")["total_return_frac"] < plain["total_return_frac"]


def test_costs_are_five_times_the_callers(ibm):
    costs = mqd.Costs(fee_bps=4, fee_per_share=0.01, slippage_bps=2, borrow_bps_per_year=10)
    charged = mqd.stress(SmaCross(), ibm, costs=costs)
    by_hand = mqd.Costs(fee_bps=20, fee_per_share=0.05, slippage_bps=10, borrow_bps_per_year=50)
    metrics = mqd.backtest(SmaCross(), ibm, costs=by_hand).metrics
    assert row(charged, "costs x5")["fees_usd"] == metrics["fees_usd"]
    assert row(charged, "costs x5")["total_return_frac"] == pytest.approx(
        metrics["total_return_frac"], rel=1e-12
    )


@pytest.mark.parametrize(
    ("costs", "why"),
    [(mqd.Costs(), "zero"), (mqd.Costs(fee_bps=3000), "fee_bps = 15000")],
)
def test_costs_that_cannot_be_raised_are_told(flat, costs, why):
    raised = row(mqd.stress(BuyAndHold(), flat, costs=costs), "costs x5")
    assert raised["status"] == "does not apply"
    assert why in raised["error"]
    assert math.isnan(raised["total_return_frac"])


def test_the_crash_hits_a_stop_that_the_plain_data_do_not(flat):
    report = mqd.stress(StoppedOut(), flat)
    assert row(report, "as loaded")["n_trades"] == 0
    assert row(report, "flash crash")["n_trades"] == 1


def test_a_drought_caps_the_fills():
    bars = mqd.load_bars(DAILY, symbols=["IBM"], start="2010-01-04", end="2010-06-30")
    report = mqd.stress(BuyAndHold(), bars, cash=50_000_000)
    assert (
        row(report, "volume")["total_return_frac"] != row(report, "as loaded")["total_return_frac"]
    )


def test_what_does_not_apply_says_why(flat):
    report = mqd.stress(BuyAndHold(), flat)
    bear = row(report, "bear market")
    assert (bear["status"], bear["bars"]) == ("does not apply", 0)
    assert bear["error"] == "AAA fell 0.0 % at most; a bear market is a fall of 20 %."
    assert row(report, "gaps down")["status"] == "does not apply"
    assert row(report, "gaps up")["status"] == "ran"
    assert "bear market: does not apply. AAA fell" in repr(report)


def test_data_of_closes_only_have_no_crash():
    frame = pd.DataFrame(
        {"symbol": "AAA", "close": [10.0, 7, 9], "volume": 1e6,
         "timestamp": pd.to_datetime(["2021-03-01", "2021-03-02", "2021-03-03"]).tz_localize(
             "America/New_York")}
    )  # fmt: skip
    bars = mqd.Bars.from_pandas(frame, timeframe="1day", tick="0.01")
    assert bars.close_only
    fills = mqd.FillModel(close_only=True)
    report = mqd.stress(BuyAndHold(), bars, fills=fills)
    assert row(report, "flash crash")["status"] == "does not apply"
    assert row(report, "volatility")["status"] == "ran"


def test_an_error_in_one_scenario_is_a_row_and_the_others_run():
    bars = mqd.load_bars(DAILY, symbols=["AAPL"], start="2002-01-02", end="2003-12-31")
    report = mqd.stress(FailsWhenCheap(), bars)
    failed = report.table[report.table["status"] == "failed"]
    assert failed["scenario"].tolist() == ["volatility x2"]
    assert "FailsWhenCheap returned 7.0" in failed["error"].item()
    assert "FailsWhenCheap returned 7.0" in repr(report)
    assert (report.table["status"] == "ran").sum() >= 6


def test_a_wrong_setting_raises_at_once(flat, tmp_path):
    with pytest.raises(UsageError, match="cash"):
        mqd.stress(BuyAndHold(), flat, cash=-1)
    with pytest.raises(UsageError, match="out="):
        mqd.stress(BuyAndHold(), flat, out=tmp_path / "run")
    with pytest.raises(UsageError, match="not Bars"):
        mqd.stress(BuyAndHold(), [1, 2])
    with pytest.raises(EmptyBars):
        scenarios(mqd.Bars({}, "XNYS", 1))


def test_several_strategies_run_together(flat):
    pairs = [(BuyAndHold(), 0.5), (SmaCross(fast=3, slow=5), 0.5)]
    report = mqd.stress(pairs, flat)
    assert report.title == f"{BuyAndHold()!r} + {SmaCross(fast=3, slow=5)!r}"
    metrics = mqd.backtest(pairs, flat).metrics
    assert row(report, "as loaded")["fees_usd"] == metrics["fees_usd"]


def test_the_report_is_json_and_html(held):
    records = json.loads(json.dumps(output.plain(held.records()), allow_nan=False))
    assert [record["scenario"] for record in records] == held.table["scenario"].tolist()
    assert records[1]["worst_bar"].startswith("2008-")
    html = held._repr_html_()
    assert html.count("<tr>") == len(held.table) + 1
    assert "&lt;i&gt; under stress" in StressReport("<i>", held.table)._repr_html_()
    assert records[0]["what"] == "The bars and costs as they are."


def test_one_bar_is_enough_to_be_told_so():
    frame = pd.DataFrame(
        {"symbol": "AAA", "open": [10.0], "high": [10.0], "low": [10.0], "close": [10.0],
         "volume": 1e6, "timestamp": pd.to_datetime(["2021-03-01T14:30Z"])}
    )  # fmt: skip
    report = mqd.stress(BuyAndHold(), mqd.Bars.from_pandas(frame, timeframe="1min"))
    assert report.table["status"].tolist().count("does not apply") == 3
    assert report.worst["total_return_frac"] == 0.0
