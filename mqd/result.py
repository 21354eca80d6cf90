"""What a run leaves: frames, metrics, pictures and a report, each made when it is first read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mqd import statistics
from mqd.desk import frames
from mqd.desk.assumptions import assumptions
from mqd.desk.harvest import harvest
from mqd.desk.loop import Desk
from mqd.desk.source import Source, Terms
from mqd.errors import UsageError
from mqd.execution.costs import Costs
from mqd.execution.simulated_broker import SLIPPED
from mqd.kernel.settings import Settings
from mqd.market_data.bars import Bars
from mqd.report.data import ReportData
from mqd.report.trades import trades
from mqd.strategy.strategy import Strategy

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Named = Sequence[tuple[str, Strategy, float]]


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One run. Frames are pandas, times zone-aware UTC, money USD.

    ``orders, fills, trades, equity, positions``: the columns of docs in ``mqd.report.data``.
    ``metrics``: a Series of floats (``mqd.statistics``). ``assumptions``: what the replay took
    for granted, each with how often it mattered. ``log_sha256`` covers decisions, orders,
    reports, fills and ledger; ``run`` is the run folder or None. Frames and numbers are made
    when first read; changing a frame changes nothing else here.
    """

    strategies: Named
    bars: Bars
    engine: str
    log_sha256: str | None
    run: Path | None
    terms: Terms
    source: Source

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be made again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def orders(self) -> pd.DataFrame:
        """Every order, in the order of decision."""
        return self.source.orders.copy(deep=False)

    @cached_property
    def fills(self) -> pd.DataFrame:
        """Every execution, in the order of the log."""
        return self.source.fills.copy(deep=False)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The closed round trips, in the order in which they closed."""
        return self._trips.copy(deep=False)

    @cached_property
    def equity(self) -> pd.DataFrame:
        """``equity, cash, gross, net`` at every bar's close."""
        return self.source.equity.copy(deep=False)

    @cached_property
    def positions(self) -> pd.DataFrame:
        """Signed quantities at every bar's close, one column a symbol."""
        return self.source.positions.copy(deep=False)

    @cached_property
    def _trips(self) -> pd.DataFrame:
        closes = {symbol: self.bars[symbol].ts_close for symbol in self.bars.symbols}
        return trades(self.source.owned_fills, closes, self.source.splits)

    @cached_property
    def metrics(self) -> pd.Series:
        """The run's numbers by name, each defined by its function in ``mqd.statistics``."""
        source, counts = self.source, self.source.counts
        equity, fills = source.equity, source.fills
        metrics = statistics.metrics(
            equity["equity"].to_numpy(), starting_equity=self.starting_equity,
            periods_per_year=self.periods_per_year, gross=equity["gross"].to_numpy(),
            fill_notional=(fills["qty"] * fills["px"]).to_numpy(dtype=np.float64),
            trade_pnl=self._trips["pnl_usd"].to_numpy(dtype=np.float64),
            fees_usd=counts.fees_quanta * self.terms.unit,
            n_orders=int((source.orders["status"] != "denied").sum()), n_denied=counts.denied,
            ambiguous_bars=counts.ambiguous_bars,
            capped_fills=counts.capped_fills, trimmed_fills=counts.trimmed_fills,
        )  # fmt: skip
        return pd.Series(metrics, name="metrics")

    @cached_property
    def per_strategy(self) -> pd.DataFrame:
        """One row a strategy: its share, profit, fees, trades and win rate."""
        return _per_strategy(self.strategies, self.source.totals, self._trips, self.terms)

    @cached_property
    def assumptions(self) -> tuple[tuple[str, int | None], ...]:
        """What the replay took for granted, each with how often it mattered."""
        return assumptions(self.source, self.terms, self.bars)

    @cached_property
    def costs(self) -> dict[str, float]:
        """USD by kind: fees, slippage and borrow paid, dividends received."""
        counts, unit = self.source.counts, self.terms.unit
        slippage = _slippage(self.source.orders, self.source.fills, self.terms.costs)
        return {
            "fees": counts.fees_quanta * unit, "slippage": slippage,
            "borrow": counts.borrow_quanta * unit, "dividends": -counts.dividends_quanta * unit,
        }  # fmt: skip

    @property
    def notes(self) -> tuple[str, ...]:
        """Why a strategy did not run compiled, what was refused first, what looked wrong."""
        return self.source.notes

    @property
    def starting_equity(self) -> float:
        """The cash that the run began with."""
        return self.terms.starting_equity

    @cached_property
    def periods_per_year(self) -> float:
        """Bars a session x sessions a year of the calendar."""
        return self.bars.bars_per_session * self.bars.sessions_per_year

    @property
    def figures(self) -> dict[str, float]:
        """The metrics as plain floats by name."""
        return {str(name): float(value) for name, value in self.metrics.items()}

    @property
    def title(self) -> str:
        """The strategies with their parameters."""
        return " + ".join(repr(one) for _, one, _ in self.strategies)

    @cached_property
    def data(self) -> ReportData:
        """Everything a report shows."""
        bars = self.bars
        prices = {symbol: _prices(bars, symbol) for symbol in bars.symbols}
        span = f"{_day(bars.first)} to {_day(bars.last)}"
        return ReportData(
            title=self.title,
            subtitle=f"{', '.join(bars.symbols)}, {bars.timeframe} bars, {span}",
            metrics=self.figures,
            starting_equity=self.starting_equity,
            periods_per_year=self.periods_per_year,
            equity=self.equity,
            orders=self.orders,
            fills=self.fills,
            trades=self.trades,
            positions=self.positions,
            prices=prices,
            assumptions=self.assumptions,
            costs=self.costs,
            per_strategy=self.per_strategy if len(self.strategies) > 1 else None,
            identity={
                "data": f"{bars.source}, {bars.feed}, adjust={bars.adjust}, {bars.sha256[:16]}",
                "span": span,
                "engine": self.engine,
                "log_sha256": self.log_sha256 or "none",
            },
        )

    def plot(self) -> Figure:
        """Return one plotly figure: equity, drawdown, and trades on the first symbol's price."""
        from mqd.report.plots import plot

        return plot(self.data)

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write one self-contained HTML file and return its path.

        Without ``path`` it goes into the run folder.
        """
        from mqd.report.tearsheet import write

        if path is not None:
            return write(self.data, Path(path))
        if self.run is None:
            raise UsageError("report() needs a path: this run has no folder (backtest(out=...)).")
        return write(self.data, self.run / "report.html")

    def to_vectorbt(self) -> Any:
        """Return a ``vbt.Portfolio`` built from these fills (needs the extra ``research``)."""
        from mqd.report.vectorbt import to_vectorbt

        return to_vectorbt(self.data)

    def summary(self) -> dict[str, Any]:
        """Return the run as one JSON-ready document."""
        from mqd.report.tables import document

        bars = self.bars
        one = len(self.strategies) == 1
        return {
            "strategy": self.strategies[0][0] if one else [name for name, _, _ in self.strategies],
            "parameters": (
                dict(self.strategies[0][1].parameters)
                if one
                else {name: dict(s.parameters) for name, s, _ in self.strategies}
            ),
            "data": {
                "source": bars.source, "symbols": list(bars.symbols), "feed": bars.feed,
                "timeframe": bars.timeframe, "adjust": bars.adjust, "sha256": bars.sha256,
                "first": _day(bars.first), "last": _day(bars.last),
            },
            "engine": self.engine,
            "metrics": document(self.figures),
            "log_sha256": self.log_sha256,
            "run": str(self.run) if self.run else None,
        }  # fmt: skip

    def __repr__(self) -> str:
        from mqd.report.tables import text_table

        return f"{self.title}, {self.engine} engine\n{text_table(self.figures)}"

    def _repr_html_(self) -> str:
        from mqd.report.repr import summary_html

        return summary_html(self.title, self.figures, self.equity["equity"].to_numpy())


def _day(ts_ns: int) -> str:
    return str(pd.Timestamp(ts_ns, tz="UTC").date())


def _prices(bars: Bars, symbol: str) -> pd.DataFrame:
    one = bars[symbol]
    columns = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame({name: getattr(one, name) for name in columns})
    frame.index = frames.stamps(one.ts_close)
    frame.index.name = "ts_close"
    return frame


def collect(
    desk: Desk,
    named: Named,
    bars: Bars,
    settings: Settings,
    folder: Path | None,
    log_sha256: str,
) -> Result:
    """Derive a ``Result`` from a desk that has run; the desk itself is let go."""
    terms = Terms.of(settings, desk.parts.valuation.quantum)
    return Result(named, bars, "event", log_sha256, folder, terms, harvest(desk, terms))


def _slippage(orders: pd.DataFrame, fills: pd.DataFrame, costs: Costs) -> float:
    """Return what slippage cost in USD: the part of each slipped price that was against us."""
    frac = costs.slippage_bps / 10_000
    worsened = orders.loc[orders["type"].isin(SLIPPED), "id"]
    slipped = fills[fills["order_id"].isin(worsened)]
    side = np.where(slipped["side"] == "buy", 1.0, -1.0)
    notional = (slipped["qty"] * slipped["px"]).to_numpy(dtype=np.float64)
    return float((notional * frac / (1.0 + side * frac)).sum())


def _per_strategy(
    named: Named, totals: Mapping[str, tuple[float, float]], trips: pd.DataFrame, terms: Terms
) -> pd.DataFrame:
    """Return one row a strategy: its share, profit, fees, trades and win rate."""
    rows = {}
    for name, _, share in named:
        pnl = trips.loc[trips["strategy"] == name, "pnl_usd"].to_numpy(dtype=np.float64)
        total, fees = totals[name]
        rows[name] = {
            "allocation": share,
            "pnl_usd": total,
            "total_return_frac": total / (terms.starting_equity * share),
            "fees_usd": fees,
            "n_trades": float(len(pnl)),
            "win_rate_frac": statistics.win_rate_frac(pnl),
            "profit_factor": statistics.profit_factor(pnl),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
