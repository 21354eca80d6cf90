"""Figures of a run: plain ``plotly.graph_objects.Figure``, never a widget.

plotly is imported when the first figure is made. Every word that comes from a user is escaped,
because plotly reads a subset of HTML in texts. A line of more than ``POINTS_MAX`` points is
thinned so that every peak and trough stays (``downsample.keep_extremes``).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd import statistics
from mqd.report.data import ReportData
from mqd.report.downsample import keep_extremes
from mqd.report.tables import format_usd

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

POINTS_MAX = 5_000
CANDLES_MAX = 2_000
MARKERS_MAX = 2_000

INK, GRID, BLUE, RED = "#1d2733", "#e4e8ee", "#2458a6", "#b3402e"
TEAL, ORANGE, GREY = "#12756b", "#c4662d", "#8a95a3"
_HOUR_NS = 3_600_000_000_000


def stamps(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return UTC times without a zone, which plotly draws as they are."""
    return index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index


def gaps(index: pd.DatetimeIndex) -> list[dict[str, Any]]:
    """Return plotly range breaks for the weekends and nights in which there is no bar."""
    utc = stamps(index)
    if len(utc) < 2:
        return []
    breaks: list[dict[str, Any]] = []
    if not np.isin(utc.day_of_week, (5, 6)).any():
        breaks.append({"bounds": ["sat", "mon"]})
    minute_of_day = np.asarray(utc.hour * 60 + utc.minute)
    steps = np.diff(utc.as_unit("ns").asi8)
    first, last = int(minute_of_day.min()), int(minute_of_day.max())
    if np.median(steps) < 6 * _HOUR_NS and last - first < 20 * 60:
        breaks.append({"bounds": [last / 60 + 0.02, first / 60 - 0.02], "pattern": "hour"})
    return breaks


def style(figure: Figure, height: int, title: str = "", *, legend: bool = False) -> Figure:
    """Give a figure the house's colours, margins and font; return it."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 14}} if title else None,
        height=height,
        margin={"l": 64, "r": 16, "t": 36, "b": 66 if legend else 44},
        showlegend=legend,
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        colorway=[BLUE, ORANGE, TEAL, RED, GREY],
    )
    figure.update_xaxes(gridcolor=GRID, rangeslider_visible=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    return figure


def _line(
    index: pd.DatetimeIndex, values: NDArray[np.float64], name: str, colour: str, **more: Any
) -> Any:
    from plotly import graph_objects as go

    rows = keep_extremes(values, POINTS_MAX)
    line = {"color": colour, "width": 1.4}
    return go.Scatter(
        x=stamps(index)[rows], y=values[rows], name=name, mode="lines", line=line, **more
    )


def _index(frame: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(frame.index)


def _column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return frame[name].to_numpy(dtype=np.float64)


def _returns(data: ReportData) -> NDArray[np.float64]:
    return statistics.returns_from_equity(_column(data.equity, "equity"), data.starting_equity)


def _equity_traces(data: ReportData) -> tuple[Any, Any]:
    index, equity = _index(data.equity), _column(data.equity, "equity")
    money = _line(index, equity, "Equity", BLUE, hovertemplate="%{x}<br>%{y:,.2f} USD")
    below = _line(
        index, statistics.drawdown_series(_returns(data)), "Drawdown", RED,
        fill="tozeroy", fillcolor="rgba(179,64,46,0.15)", hovertemplate="%{x}<br>%{y:.2%}",
    )  # fmt: skip
    return money, below


def equity_figure(data: ReportData) -> Figure:
    """Return equity in USD with the drawdown from its running peak below, one time axis."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.04
    )
    money, below = _equity_traces(data)
    figure.add_trace(money, row=1, col=1)
    figure.add_trace(below, row=2, col=1)
    style(figure, 440)
    figure.update_yaxes(title_text="USD", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown", tickformat=".2~%", row=2, col=1)
    figure.update_xaxes(rangebreaks=gaps(_index(data.equity)))
    return figure


def _price_trace(prices: pd.DataFrame, symbol: str) -> Any:
    from plotly import graph_objects as go

    index = _index(prices)
    if len(prices) > CANDLES_MAX:
        return _line(index, _column(prices, "close"), f"{escape(symbol)} close", GREY)
    return go.Candlestick(
        x=stamps(index), open=_column(prices, "open"), high=_column(prices, "high"),
        low=_column(prices, "low"), close=_column(prices, "close"), name=escape(symbol),
        increasing={"line": {"color": GREY, "width": 1}, "fillcolor": "#ffffff"},
        decreasing={"line": {"color": GREY, "width": 1}, "fillcolor": GREY},
    )  # fmt: skip


def _fill_traces(fills: pd.DataFrame) -> list[Any]:
    from plotly import graph_objects as go

    traces = []
    for side, name, colour, mark in (
        ("buy", "Buy", TEAL, "triangle-up"),
        ("sell", "Sell", ORANGE, "triangle-down"),
    ):
        chosen = fills[fills["side"] == side].tail(MARKERS_MAX)
        if chosen.empty:
            continue
        texts = [
            f"{name} {qty:g} at {px:,.4f}<br>{escape(str(strategy))}: {escape(str(reason))}"
            for qty, px, strategy, reason in zip(
                chosen["qty"].astype(float), chosen["px"].astype(float), chosen["strategy"],
                chosen["reason"], strict=True,
            )
        ]  # fmt: skip
        traces.append(
            go.Scatter(
                x=stamps(pd.DatetimeIndex(chosen["ts_known"])), y=_column(chosen, "px"),
                name=name, mode="markers", text=texts,
                hovertemplate="%{x}<br>%{text}<extra></extra>",
                marker={"symbol": mark, "size": 10, "color": colour,
                        "line": {"color": "#ffffff", "width": 1}},
            )
        )  # fmt: skip
    return traces


def _trip_traces(trades: pd.DataFrame) -> list[Any]:
    """Return one dotted line an outcome, from the entry to the exit of each closed trade."""
    from plotly import graph_objects as go

    traces = []
    for name, colour, rows in (
        ("Gain", TEAL, trades["pnl_usd"] > 0),
        ("Loss", RED, trades["pnl_usd"] <= 0),
    ):
        chosen = trades[rows].tail(MARKERS_MAX)
        if chosen.empty:
            continue
        entries = stamps(pd.DatetimeIndex(chosen["entry_ts"]))
        exits = stamps(pd.DatetimeIndex(chosen["exit_ts"]))
        xs: list[Any] = []
        ys: list[float | None] = []
        for entry, leave, entry_px, exit_px in zip(
            entries, exits, chosen["entry_px"], chosen["exit_px"], strict=True
        ):
            xs += [entry, leave, None]
            ys += [entry_px, exit_px, None]
        line = {"color": colour, "width": 1.5, "dash": "dot"}
        traces.append(go.Scatter(x=xs, y=ys, name=name, mode="lines", line=line, hoverinfo="skip"))
    return traces


def _price_traces(data: ReportData, symbol: str) -> list[Any]:
    fills = data.fills[data.fills["symbol"] == symbol]
    trades = data.trades[data.trades["symbol"] == symbol]
    price = _price_trace(data.prices[symbol], symbol)
    return [price, *_trip_traces(trades), *_fill_traces(fills)]


def trades_figure(data: ReportData, symbol: str) -> Figure:
    """Return a symbol's price (candles up to 2,000 bars, else closes) with its fills and trades.

    Triangles are fills at the close at which they were known; dotted lines join the average
    entry and exit of closed trades. The newest 2,000 fills a side and trades an outcome are
    drawn.
    """
    from plotly import graph_objects as go

    figure = go.Figure(_price_traces(data, symbol))
    style(figure, 380, escape(symbol), legend=True)
    figure.update_yaxes(title_text="Price")
    figure.update_xaxes(rangebreaks=gaps(_index(data.prices[symbol])))
    return figure


def exposure_figure(data: ReportData) -> Figure:
    """Return gross and net market value over equity at each close (1.0 is fully invested)."""
    from plotly import graph_objects as go

    index, equity = _index(data.equity), _column(data.equity, "equity")
    figure = go.Figure()
    for name, colour, more in (
        ("gross", GREY, {"fill": "tozeroy", "fillcolor": "rgba(138,149,163,0.18)"}),
        ("net", BLUE, {}),
    ):
        held = np.full(len(equity), np.nan)
        np.divide(_column(data.equity, name), equity, out=held, where=equity > 0)
        shown = {"hovertemplate": "%{x}<br>%{y:.1%}", "line_shape": "hv", **more}
        figure.add_trace(_line(index, held, name.capitalize(), colour, **shown))
    figure.update_yaxes(tickformat=".2~%", title_text="Of equity")
    figure.update_xaxes(rangebreaks=gaps(index))
    return style(figure, 260, legend=True)


def rolling_sharpe_figure(data: ReportData) -> Figure:
    """Return the Sharpe ratio of the last half year of bars (at most a quarter of the run)."""
    from plotly import graph_objects as go

    returns = _returns(data)
    window = max(2, min(round(data.periods_per_year / 2), len(returns) // 4))
    values = statistics.rolling_sharpe(returns, window, data.periods_per_year)
    figure = go.Figure(_line(_index(data.equity), values, "Sharpe", BLUE))
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    figure.update_yaxes(title_text=f"Sharpe, last {window:,} bars")
    figure.update_xaxes(rangebreaks=gaps(_index(data.equity)))
    return style(figure, 260)


def returns_figure(data: ReportData) -> Figure:
    """Return the histogram of closed trades by ``return_frac``; no bin mixes gains and losses."""
    from plotly import graph_objects as go

    values = _column(data.trades, "return_frac")
    figure = go.Figure()
    if len(values):
        widest = float(np.abs(values).max()) or 1.0
        width = widest / min(40, max(8, round(len(values) ** 0.5)))
        bins, counts = np.unique(np.floor(values / width), return_counts=True)
        colours = [TEAL if number >= 0 else RED for number in bins]
        shown = {"color": colours, "opacity": 0.75}
        figure.add_trace(
            go.Bar(x=(bins + 0.5) * width, y=counts, width=width * 0.94, marker=shown,
                   hovertemplate="about %{x:.2%}: %{y} trades<extra></extra>")
        )  # fmt: skip
    figure.update_xaxes(tickformat=".1%", title_text="Return of a trade, net of fees")
    figure.update_yaxes(title_text="Trades")
    return style(figure, 260)


def costs_figure(data: ReportData) -> Figure:
    """Return what was paid and received, USD by kind; dividends count as received."""
    from plotly import graph_objects as go

    kinds = list(data.costs)
    amounts = [data.costs[kind] if kind == "dividends" else -data.costs[kind] for kind in kinds]
    figure = go.Figure(
        go.Bar(
            y=[escape(kind.capitalize()) for kind in kinds], x=amounts, orientation="h",
            marker={"color": [TEAL if amount > 0 else RED for amount in amounts], "opacity": 0.75},
            text=[format_usd(amount) for amount in amounts], hoverinfo="skip",
            textposition="outside",
        )
    )  # fmt: skip
    low, high = min(0.0, *amounts, 0.0), max(0.0, *amounts, 0.0)
    room = 0.22 * (high - low) or 1.0  # for the amounts beside their bars
    shown = [low - room if low < 0 else 0.0, high + room]
    figure.update_xaxes(title_text="USD (negative: paid)", tickformat=",.0f", range=shown)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return style(figure, 120 + 36 * len(kinds))


def monthly_returns(data: ReportData) -> pd.DataFrame:
    """Return compounded returns by calendar month in UTC: a row a year, columns 1 to 12 and "year".

    A month without bars is NaN. The first month starts from the starting equity.
    """
    index = stamps(_index(data.equity))
    growth = pd.Series(1.0 + _returns(data), index=index)
    months = growth.groupby([index.year, index.month]).prod().unstack() - 1.0
    table = months.reindex(columns=range(1, 13))
    table["year"] = growth.groupby(index.year).prod() - 1.0
    return table


def monthly_figure(data: ReportData) -> Figure:
    """Return monthly returns as a heat map: years down, months across."""
    from plotly import graph_objects as go

    table = monthly_returns(data).drop(columns="year")
    values = table.to_numpy(dtype=np.float64)
    bound = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    names = [pd.Timestamp(2000, month, 1).strftime("%b") for month in range(1, 13)]
    figure = go.Figure(
        go.Heatmap(
            z=values, x=names, y=[str(year) for year in table.index], zmin=-bound, zmax=bound,
            colorscale=[[0, RED], [0.5, "#ffffff"], [1, TEAL]], texttemplate="%{z:.1%}",
            hovertemplate="%{x} %{y}: %{z:.2%}<extra></extra>", xgap=2, ygap=2, showscale=False,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    return style(figure, 100 + 28 * len(table))


def plot(data: ReportData) -> Figure:
    """Return one figure: equity, drawdown, and the first symbol's price with its trades."""
    from plotly.subplots import make_subplots

    symbol = next(iter(data.prices), None)
    rows, heights = (3, [0.4, 0.2, 0.4]) if symbol is not None else (2, [0.7, 0.3])
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.04
    )
    for row, trace in enumerate(_equity_traces(data), start=1):
        figure.add_trace(trace, row=row, col=1)
    for trace in _price_traces(data, symbol) if symbol is not None else ():
        figure.add_trace(trace, row=3, col=1)
    style(figure, 720 if symbol is not None else 440, escape(data.title))
    figure.update_yaxes(title_text="USD", tickformat=",.0f", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown", tickformat=".2~%", row=2, col=1)
    if symbol is not None:
        figure.update_yaxes(title_text=f"{escape(symbol)}, USD", row=3, col=1)
    figure.update_xaxes(rangebreaks=gaps(_index(data.equity)))
    return figure
