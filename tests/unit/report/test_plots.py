"""Figures: what they draw, how much of it, and that hostile names stay text."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mqd.report import plots
from tests.unit.report.made_up import NASTY, closes_of, prices_of, report_data

FIGURES = {
    "equity": plots.equity_figure,
    "trades": lambda data: plots.trades_figure(data, "AAA"),
    "exposure": plots.exposure_figure,
    "rolling sharpe": plots.rolling_sharpe_figure,
    "returns": plots.returns_figure,
    "costs": plots.costs_figure,
    "monthly": plots.monthly_figure,
    "all": plots.plot,
}


@pytest.mark.parametrize("name", FIGURES)
def test_plain_figures_with_nothing_hostile(name: str) -> None:
    figure = FIGURES[name](report_data(120))
    assert type(figure) is go.Figure
    assert len(figure.data) >= 1
    for text in ([trace.text for trace in figure.data], figure.layout.title.text):
        assert "<script" not in str(text)


@pytest.mark.parametrize("name", FIGURES)
def test_one_bar_without_a_trade_still_draws(name: str) -> None:
    data = report_data(60)
    data = dataclasses.replace(
        data, equity=data.equity.iloc[:1], fills=data.fills.iloc[:0], trades=data.trades.iloc[:0],
        prices={"AAA": data.prices["AAA"].iloc[:1]}, costs={},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(FIGURES[name](data)) is go.Figure


def test_equity_and_drawdown_are_ours() -> None:
    data = report_data(120)
    money, below = plots.equity_figure(data).data
    np.testing.assert_array_equal(money.y, data.equity["equity"])
    assert min(below.y) == pytest.approx(data.metrics["max_drawdown_frac"])


def test_fills_and_trades_of_the_symbol_alone_are_marked() -> None:
    data = report_data(120)
    traces = {trace.name: trace for trace in plots.trades_figure(data, "BBB").data}
    fills = data.fills[data.fills["symbol"] == "BBB"]
    for name, side in (("Buy", "buy"), ("Sell", "sell")):
        chosen = fills[fills["side"] == side]
        np.testing.assert_array_equal(traces[name].y, chosen["px"])
        assert len(traces[name].x) == len(chosen)
    trades = data.trades[data.trades["symbol"] == "BBB"]
    drawn = sum(len(traces[name].x) // 3 for name in ("Gain", "Loss") if name in traces)
    assert drawn == len(trades)
    assert isinstance(traces["BBB"], go.Candlestick)


def test_long_runs_become_thin_lines() -> None:
    data = report_data(60)
    index = pd.date_range("2024-01-01", periods=20_000, freq="min", tz="UTC")
    prices = prices_of(9, index)
    equity = pd.DataFrame(
        {"equity": prices["close"] * 1000, "cash": 0.0, "gross": 1.0, "net": 1.0}, index=index
    )
    long = dataclasses.replace(data, equity=equity, prices={"AAA": prices})
    price = plots.trades_figure(long, "AAA").data[0]
    assert isinstance(price, go.Scatter)
    money = plots.equity_figure(long).data[0]
    for line, whole in ((price, prices["close"]), (money, equity["equity"])):
        assert len(line.x) <= plots.POINTS_MAX
        assert (max(line.y), min(line.y)) == (whole.max(), whole.min())


def test_nights_and_weekends_without_bars_are_cut_out() -> None:
    sessions = pd.bdate_range("2024-01-02", periods=5, tz="UTC")
    minutes = [day + pd.Timedelta(minutes=m) for day in sessions for m in range(871, 1261)]
    breaks = plots.gaps(pd.DatetimeIndex(minutes))
    assert breaks[0]["bounds"] == ["sat", "mon"]
    assert breaks[1]["pattern"] == "hour"
    assert breaks[1]["bounds"] == pytest.approx([21.0, 14.52], abs=0.03)
    assert [b["bounds"] for b in plots.gaps(closes_of(50))] == [["sat", "mon"]]
    always = pd.date_range("2024-01-01", periods=14 * 1440, freq="min", tz="UTC")
    assert plots.gaps(always) == []


def test_monthly_returns_compound_to_the_total() -> None:
    data = report_data(400)
    table = plots.monthly_returns(data)
    assert list(table.columns) == [*range(1, 13), "year"]
    total = data.metrics["total_return_frac"]
    assert (1 + table["year"]).prod() - 1 == pytest.approx(total)
    inner = (1 + table.drop(columns="year")).prod(axis=1, skipna=True) - 1
    np.testing.assert_allclose(inner, table["year"])
    january = data.equity["equity"].loc["2020-01"].iloc[-1] / data.starting_equity - 1
    assert table.loc[2020, 1] == pytest.approx(january)


def test_bins_do_not_mix_gains_and_losses() -> None:
    data = report_data(300)
    bars = plots.returns_figure(data).data[0]
    gains = sum(n for x, n in zip(bars.x, bars.y, strict=True) if x > 0)
    assert gains == (data.trades["return_frac"] >= 0).sum()
    assert sum(bars.y) == len(data.trades)


def test_hostile_reason_is_escaped_in_hover() -> None:
    texts = [
        t for trace in plots.trades_figure(report_data(60), "AAA").data for t in trace.text or ()
    ]
    assert texts
    assert all(NASTY not in text for text in texts)
    assert any("&lt;script&gt;" in text for text in texts)
