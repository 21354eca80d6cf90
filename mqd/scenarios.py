"""Stress scenarios: the same strategy through bear markets, gaps, shocks and a flash crash."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mqd.backtesting import Strategies, backtest
from mqd.errors import ConfigError, MqdError, UsageError
from mqd.execution.costs import Costs
from mqd.market_data import shocks
from mqd.market_data.bars import Bars
from mqd.report.tables import DASH, format_frac, format_metric, label
from mqd.statistics import max_drawdown_frac, returns_from_equity, sharpe, total_return_frac

if TYPE_CHECKING:
    from mqd.result import Result

COST_FACTOR: Final = 5.0
UNSTRESSED: Final = "as loaded"
RAN, FAILED, SKIPPED = "ran", "failed", "does not apply"
RATES: Final = ("fee_bps", "fee_per_share", "slippage_bps", "borrow_bps_per_year")
FIGURES: Final = (
    "total_return_frac", "max_drawdown_frac", "sharpe", "n_trades", "fees_usd",
)  # fmt: skip
SHOWN: Final = ("bars", *FIGURES, "worst_bar", "worst_bar_frac")
HEADER: Final = ("Scenario", "Bars", *(label(name) for name in FIGURES), "Worst bar", "Its return")


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """One stress: bars to replay and what multiplies the rates of the costs.

    ``bars`` is None where the scenario does not apply to the data; ``what`` then says why.
    Returns are measured after ``since_ns`` (UTC), the end of the warm-up; 0 is from the start.
    """

    name: str
    what: str
    bars: Bars | None
    costs_factor: float = 1.0
    since_ns: int = 0


def scenarios(bars: Bars) -> list[Scenario]:
    """Return every stress of ``bars``, always the same ones for the same bars.

    Bear markets are falls of at least 20 % of the equal weight of all symbols (of one symbol:
    itself), close to close, the five deepest at most, each after up to 250 bars of warm-up and
    ending at its trough. The others keep the whole span: the five largest overnight gaps of each
    symbol twice as wide (falling, then rising), log returns twice as far from their mean, costs
    times five, a tenth of the volume, and one bar whose low is 15 % below its open. The rules
    are those of ``mqd.market_data.shocks``. Raises ``EmptyBars`` and ``UsageError``.
    """
    if not isinstance(bars, Bars):
        raise UsageError(f"bars is {type(bars).__name__}, not Bars: use mqd.load_bars(path).")
    path = shocks.equal_weight(bars)
    listed = [
        *_bear_markets(bars, path),
        *_gap_days(bars),
        Scenario(
            "volatility x2",
            "Log returns, within and between bars, twice as far from their mean;"
            " the first and last close of each symbol stay.",
            shocks.doubled_volatility(bars),
        ),
        Scenario(
            f"costs x{COST_FACTOR:g}",
            "Fees, slippage and borrow rates times five; the regulatory table stays.",
            bars,
            COST_FACTOR,
        ),
        Scenario(
            f"volume / {shocks.DROUGHT:g}",
            "A tenth of the volume: fills are cut by participation.",
            shocks.drought(bars),
        ),
        _flash_crash(bars, path),
    ]
    return [_named(one, bars) for one in listed]


def _named(scenario: Scenario, loaded: Bars) -> Scenario:
    """Return the scenario with its name in the bars' source, so that errors tell which one."""
    if scenario.bars is None or scenario.bars is loaded:
        return scenario
    source = f"{loaded.source} ({scenario.name})"
    return replace(scenario, bars=replace(scenario.bars, source=source))


def _bear_markets(bars: Bars, path: shocks.Path) -> list[Scenario]:
    found = []
    whose = f"The equal weight of {len(bars)} symbols" if len(bars) > 1 else bars.symbols[0]
    for fall in shocks.falls(path.value):
        peak, trough = (shocks.day_text(bars, path, step) for step in (fall.peak, fall.trough))
        found.append(
            Scenario(
                f"bear market {peak} to {trough}",
                f"{whose} fell {format_frac(-fall.frac, 1)}, after"
                f" {min(fall.peak, shocks.N_WARM_UP)} bars of warm-up.",
                shocks.cut(bars, path, fall),
                since_ns=int(path.ts_close[fall.peak]),
            )
        )
    if found:
        return found
    deepest = shocks.falls(path.value, frac_min=0.0, n_max=1)
    most = abs(deepest[0].frac) if deepest else 0.0
    reason = f"{whose} fell {format_frac(most, 1)} at most; a bear market is a fall of 20 %."
    return [Scenario("bear market", reason, None)]


def _gap_days(bars: Bars) -> list[Scenario]:
    found = []
    for sign, way in ((-1, "down"), (1, "up")):
        wider = shocks.magnified_gaps(bars, sign)
        what = (
            f"No symbol opens a session {way} from the close before it."
            if wider is None
            else f"The {shocks.N_GAPS} largest overnight gaps {way} of each symbol, twice as wide."
        )
        found.append(Scenario(f"gaps {way} x2", what, wider))
    return found


def _flash_crash(bars: Bars, path: shocks.Path) -> Scenario:
    if bars.close_only:
        return Scenario("flash crash", "The data hold closes only: no bar has a low.", None)
    step = shocks.crash_step(path)
    return Scenario(
        f"flash crash {shocks.day_text(bars, path, step)}",
        f"One bar's low is {format_frac(shocks.CRASH_FRAC, 0)} below its open, its close stays:"
        " at the highest close of the data's later half.",
        shocks.flash_crash(bars, int(path.ts_close[step])),
    )


def stress(
    strategy: Strategies, bars: Bars, *, costs: Costs | None = None, **settings: Any
) -> StressReport:
    """Replay ``strategy`` through every scenario of ``bars`` and return what came of each.

    ``costs`` and ``settings`` are those of ``mqd.backtest``, without ``out`` and ``bus``. What a
    run raises about data, strategy or money becomes the row's ``error``; a wrong setting
    raises (``ConfigError``), as in ``mqd.backtest``.
    """
    for word in ("out", "bus"):
        if settings.pop(word, None) is not None:
            raise UsageError(f"stress() takes no {word}=: it makes many runs, and keeps no folder.")
    rates = costs or Costs.alpaca()
    listed = [Scenario(UNSTRESSED, "The bars and costs as they are.", bars), *scenarios(bars)]
    rows = [_row(scenario, strategy, rates, settings) for scenario in listed]
    pairs = [(strategy, 1.0)] if not isinstance(strategy, list | tuple) else strategy
    title = " + ".join(repr(one) for one, _ in pairs)
    return StressReport(title, pd.DataFrame(rows))


def _row(
    scenario: Scenario, strategy: Strategies, costs: Costs, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return a row of the table: figures, or NaN with the reason."""
    if scenario.bars is None:
        return _blank(scenario, SKIPPED, scenario.what)
    charged = _raised(costs, scenario.costs_factor)
    if isinstance(charged, str):
        return _blank(scenario, SKIPPED, charged)
    try:
        result = backtest(strategy, scenario.bars, costs=charged, **settings)
    except ConfigError:
        raise
    except MqdError as error:
        return _blank(scenario, FAILED, str(error))
    return _blank(scenario, RAN, "") | _figures(result, scenario.since_ns)


def _raised(costs: Costs, factor: float) -> Costs | str:
    """Return the costs with their rates multiplied, or why that cannot be."""
    if factor == 1.0:
        return costs
    try:
        raised = replace(costs, **{name: getattr(costs, name) * factor for name in RATES})
    except UsageError as error:
        return str(error)
    return "Every rate of the costs is zero." if raised == costs else raised


def _blank(scenario: Scenario, status: str, error: str) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "bars": 0 if scenario.bars is None else scenario.bars.n_bars,
        **dict.fromkeys(FIGURES, math.nan),
        "worst_bar": pd.NaT,
        "worst_bar_frac": math.nan,
        "status": status,
        "error": error,
        "what": scenario.what,
    }


def _figures(result: Result, since_ns: int) -> dict[str, Any]:
    closes = pd.DatetimeIndex(result.equity.index).as_unit("ns").asi8
    equity = result.equity["equity"].to_numpy()
    first = int(np.searchsorted(closes, since_ns, side="right"))
    start = float(equity[first - 1]) if first else result.starting_equity
    returns = returns_from_equity(equity[first:], start)
    figures = {
        "total_return_frac": total_return_frac(returns),
        "max_drawdown_frac": max_drawdown_frac(returns),
        "sharpe": sharpe(returns, result.periods_per_year),
        "n_trades": float(result.metrics["n_trades"]),
        "fees_usd": float(result.metrics["fees_usd"]),
    }
    if not np.isfinite(returns).any():
        return figures
    row = int(np.nanargmin(returns))
    worst = {"worst_bar": result.equity.index[first + row], "worst_bar_frac": float(returns[row])}
    return figures | worst


def _cell(row: dict[str, Any], name: str) -> str:
    """Return a figure of a row as a person reads it."""
    value = row[name]
    if name == "bars":
        return f"{value:,}"
    if name == "worst_bar":
        return DASH if value is None else str(value)[:16]
    return format_metric(name, value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StressReport:
    """What came of a strategy under stress.

    ``table``: one row a scenario, the unstressed run first: ``scenario``, ``bars`` (over all
    symbols), ``total_return_frac, max_drawdown_frac, sharpe, n_trades, fees_usd`` as in
    ``mqd.statistics``, ``worst_bar`` (its close, UTC) and ``worst_bar_frac`` (equity's return in
    it), ``status`` ("ran", "failed", "does not apply"), ``error`` (why it did not run) and
    ``what`` (the stress in words). NaN and NaT where there is no figure. A bear market's returns
    are measured from its peak; its trades and fees are those of its warm-up too.
    """

    title: str
    table: pd.DataFrame

    @property
    def worst(self) -> pd.Series | None:
        """The scenario's row with the lowest total return; None when none ran."""
        ran = self.table[
            (self.table["status"] == RAN) & (self.table["scenario"] != UNSTRESSED)
        ].dropna(subset="total_return_frac")
        if ran.empty:
            return None
        return ran.iloc[int(np.argmin(ran["total_return_frac"].to_numpy()))]

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as JSON-ready dicts; the worst bar as ISO text or None."""
        rows = self.table.to_dict("records")
        for row in rows:
            row["worst_bar"] = None if pd.isna(row["worst_bar"]) else row["worst_bar"].isoformat()
        return [{str(name): value for name, value in row.items()} for row in rows]

    def _cells(self) -> list[list[str]]:
        return [[row["scenario"], *(_cell(row, name) for name in SHOWN)] for row in self.records()]

    def _remarks(self) -> list[str]:
        return [
            f"{row['scenario']}: {row['status']}. {row['error']}"
            for row in self.records()
            if row["status"] != RAN
        ]

    def __repr__(self) -> str:
        rows = [list(HEADER), *self._cells()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([f"{self.title} under stress", *lines, *self._remarks()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEADER)
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._cells()
        )
        remarks = "".join(f"<div>{escape(remark)}</div>" for remark in self._remarks())
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<b>{escape(self.title)} under stress</b>{table}{remarks}"
