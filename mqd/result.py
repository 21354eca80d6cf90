"""What a run leaves: frames, metrics, pictures and a report, derived from the desk's records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mqd import statistics
from mqd.desk import frames
from mqd.desk.loop import Desk
from mqd.desk.market import unknown_volume
from mqd.desk.wiring import Settings
from mqd.errors import UsageError
from mqd.execution.simulated_broker import SLIPPED
from mqd.market_data.bars import Bars
from mqd.report.data import ReportData
from mqd.report.trades import SplitApplied, trades
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
    reports, fills and ledger; ``run`` is the run folder or None.
    """

    strategies: Named
    bars: Bars
    engine: str
    log_sha256: str | None
    run: Path | None
    metrics: pd.Series
    orders: pd.DataFrame
    fills: pd.DataFrame
    trades: pd.DataFrame
    equity: pd.DataFrame
    positions: pd.DataFrame
    per_strategy: pd.DataFrame
    assumptions: tuple[tuple[str, int | None], ...]
    costs: dict[str, float]
    notes: tuple[str, ...] = field(default=())
    starting_equity: float = 0.0
    periods_per_year: float = 252.0

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
            "metrics": self.figures,
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
    """Derive a ``Result`` from a desk that has run."""
    ppy = bars.bars_per_session * bars.sessions_per_year
    unit = float(desk.parts.valuation.quantum)
    equity, positions = frames.curves(desk, int(settings.cash / desk.parts.valuation.quantum))
    orders, fills = frames.orders(desk), frames.fills(desk)
    owned = frames.owned_fills(desk, fills)
    closes = {symbol: bars[symbol].ts_close for symbol in bars.symbols}
    trips = trades(owned, closes, _splits(desk))
    counts = desk.parts.broker.counts
    ledger = desk.parts.valuation.ledger
    start = float(settings.cash)
    metrics = statistics.metrics(
        equity["equity"].to_numpy(), starting_equity=start, periods_per_year=ppy,
        gross=equity["gross"].to_numpy(),
        fill_notional=(fills["qty"] * fills["px"]).to_numpy(dtype=np.float64),
        trade_pnl=trips["pnl_usd"].to_numpy(dtype=np.float64), fees_usd=ledger.fees * unit,
        n_orders=int((orders["status"] != "denied").sum()), n_denied=desk.parts.gate.n_denied,
        ambiguous_bars=counts.ambiguous_bars,
        capped_fills=counts.capped_fills, trimmed_fills=counts.trimmed_fills,
    )  # fmt: skip
    slippage = _slippage(orders, fills, settings)
    return Result(
        named, bars, "event", log_sha256, folder, pd.Series(metrics, name="metrics"),
        orders, fills, trips, equity, positions,
        _per_strategy(desk, named, trips, start),
        _assumptions(
            desk, settings, bars, shorts=bool((positions < 0).any(axis=None)),
            rejected=int((orders["status"] == "rejected").sum()),
            lost=int((equity["equity"] <= 0).sum()),
        ),
        {
            "fees": ledger.fees * unit, "slippage": slippage, "borrow": ledger.borrow * unit,
            "dividends": -ledger.dividends * unit,
        },
        _notes(desk), start, ppy,
    )  # fmt: skip


def _splits(desk: Desk) -> list[SplitApplied]:
    out = []
    for action, done in desk.split_log:
        unit = float(desk.parts.valuation.quantum)
        ratio = done.lots_after / done.lots_before
        out.append(SplitApplied(action.ts_ex, action.symbol, ratio, done.cash * unit))
    return out


def _slippage(orders: pd.DataFrame, fills: pd.DataFrame, settings: Settings) -> float:
    """Return what slippage cost in USD: the part of each slipped price that was against us."""
    frac = settings.costs.slippage_bps / 10_000
    worsened = orders.loc[orders["type"].isin(SLIPPED), "id"]
    slipped = fills[fills["order_id"].isin(worsened)]
    side = np.where(slipped["side"] == "buy", 1.0, -1.0)
    notional = (slipped["qty"] * slipped["px"]).to_numpy(dtype=np.float64)
    return float((notional * frac / (1.0 + side * frac)).sum())


def _per_strategy(desk: Desk, named: Named, trips: pd.DataFrame, start: float) -> pd.DataFrame:
    """Return one row a strategy: its share, profit, fees, trades and win rate."""
    rows = {}
    unit = float(desk.parts.valuation.quantum)
    valuation, attribution = desk.parts.valuation, desk.parts.portfolio.attribution
    marks = desk.parts.market.marks()
    values = {s: ticks * valuation.scales[s].tick_lot_quanta for s, ticks in marks.items()}
    for name, _, share in named:
        mine = trips[trips["strategy"] == name]
        pnl = mine["pnl_usd"].to_numpy(dtype=np.float64)
        if len(named) > 1:
            book = attribution.books[name]
            total, fees = book.pnl(values) * unit, book.fees * unit
        else:
            total = valuation.equity() * unit - start
            fees = valuation.ledger.fees * unit
        rows[name] = {
            "allocation": share,
            "pnl_usd": total,
            "total_return_frac": total / (start * share),
            "fees_usd": fees,
            "n_trades": float(len(pnl)),
            "win_rate_frac": statistics.win_rate_frac(pnl),
            "profit_factor": statistics.profit_factor(pnl),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _assumptions(
    desk: Desk, settings: Settings, bars: Bars, *, shorts: bool, rejected: int, lost: int
) -> tuple[tuple[str, int | None], ...]:
    """Return what the replay took for granted, and how often each assumption mattered."""
    counts, model = desk.parts.broker.counts, settings.fills
    said: list[tuple[str, int | None]] = [
        ("Decided at a close, filled at the next open with volume.", None),
        (f"Costs: {settings.costs!r}.", None),
        (
            f"Fills take at most {model.participation_frac:g} of a bar's volume: so many were cut.",
            counts.capped_fills,
        ),
        ("Market fills cut to what buying power paid at the open.", counts.trimmed_fills),
        (
            "Limits fill when the price touches them."
            if model.touch_fills
            else "A limit fills only when the price trades through it.",
            None,
        ),
        ("Stop and target inside one bar: the stop is taken first.", counts.ambiguous_bars),
        ("Stops that filled at an open beyond their level.", counts.gap_fills),
        ("Follow-ups of a decision at the same open.", counts.follow_ups),
        ("Targets whose size rounded to no lots.", desk.parts.targets.n_zero_sizes),
        ("Orders that a control refused.", desk.parts.gate.n_denied),
        ("Orders that the venue rejected.", rejected),
        ("Bars that the calendar has and the data have not.", sum(bars.gaps.values())),
    ]
    if not model.latency_ns:
        said.append(("Orders reach the venue at once: optimistic.", None))
    if bars.close_only:
        said.append(("The data hold closes only: opens, highs and lows are the close.", None))
    if any(unknown_volume(bars, symbol) for symbol in bars.symbols):
        said.append(("The data hold no volume: fills are not capped by it.", None))
    if not (settings.costs.fee_bps or settings.costs.fee_per_share or settings.costs.regulatory):
        said.append(("No fee is charged: name your venue's with mqd.Costs(fee_bps=...).", None))
    if lost:
        said.append(("Closes with no equity left: no margin call was simulated.", lost))
    if shorts:
        said.append(("Shortability assumed: no locate file was given.", None))
    if desk.parts.protection.n_fractional_targets:
        said.append(
            (
                "Take-profit left out beside a stop on a fractional position.",
                desk.parts.protection.n_fractional_targets,
            )
        )
    if settings.limits.is_research:
        said.append(("Research limits: well-formed orders and buying power only.", None))
    return tuple(said)


def _notes(desk: Desk) -> tuple[str, ...]:
    """Return why a strategy did not run compiled, what was refused first, what looked wrong."""
    notes = [
        f"{trader.name} runs as plain Python: {trader.runner.program.reason}"
        for trader in desk.traders
        if trader.runner is not None and not trader.runner.program.compiled
    ]
    gate = desk.parts.gate
    if gate.n_denied:
        notes.append(f"{gate.n_denied} orders were refused; the first: {gate.first_denial}.")
    return (*notes, *desk.parts.hearing.anomalies)
