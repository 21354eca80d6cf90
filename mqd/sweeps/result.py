"""``Sweep``: what came of many combinations; a table, its luck, its pictures, and a proof."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd import significance
from mqd.backtesting import backtest
from mqd.errors import UsageError
from mqd.market_data.bars import Bars
from mqd.report.tables import format_metric, label
from mqd.result import Result
from mqd.significance import PboResult
from mqd.strategy.strategy import Strategy
from mqd.sweeps.assembly import moments_of, sharpes_of, table_of
from mqd.sweeps.evaluate import Job
from mqd.sweeps.metrics import LOW_IS_BETTER, check_metric, scores
from mqd.sweeps.parts import Layout
from mqd.sweeps.progress import rate_text
from mqd.sweeps.settings import Engine
from mqd.sweeps.store import Store
from mqd.sweeps.verify import Verification, verify

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Floats = NDArray[np.float64]
Row = int | np.integer[Any] | pd.Series
SHOWN = ("total_return_frac", "sharpe", "max_drawdown_frac", "n_trades")


@dataclass(frozen=True, eq=False, kw_only=True)
class Ran:
    """What a sweep leaves behind for ``Sweep`` to show."""

    jobs: tuple[Job, ...]
    layout: Layout
    parameters: tuple[str, ...]
    store: Store
    n_combinations: int
    engine: str
    seconds: float
    bar_evaluations_per_s: float
    peak_mb: float
    n_trials: int
    is_whole: bool
    notes: tuple[str, ...]


class Sweep:
    """The results of a sweep; made by ``mqd.sweep``.

    ``table``: one row a combination, and symbol when apart, and dataset when there are several:
    the parameters, ``dataset``, ``symbol``, the metrics of ``mqd.statistics`` by name and
    ``failed`` ("" or why the row has no numbers: NaN, counts 0). Rows are ordered by dataset,
    combination (the grid's order, last parameter fastest; else the order of the search), symbol.
    ``moments``: float64 (rows, 16, 5), see ``mqd.significance``. ``trials``: how many were tried,
    by the study's count when there is one, else the rows. ``is_whole``: False after Ctrl-C.
    ``bar_evaluations_per_s``, ``seconds`` (all of the call), ``peak_mb`` (of the process, MiB),
    ``engine`` ("compiled" or "event").
    """

    def __init__(self, ran: Ran) -> None:
        self._ran = ran
        self.parameters = ran.parameters
        self.n_combinations = ran.n_combinations
        self.is_whole = ran.is_whole
        self.engine = ran.engine
        self.trials = ran.n_trials
        self.bar_evaluations_per_s = ran.bar_evaluations_per_s
        self.seconds = ran.seconds
        self.peak_mb = ran.peak_mb

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a combination (and symbol, and dataset); see the class."""
        return table_of(self._ran.store, self._ran.layout, self.parameters, self.n_combinations)

    @cached_property
    def moments(self) -> Floats:
        """Per row and time block n and the sums of r, r^2, r^3, r^4: (rows, 16, 5), read-only.

        Larger than a quarter of ``memory_mb`` they are a memory-mapped temporary file.
        """
        ran = self._ran
        budget = ran.jobs[0].settings.memory_mb * 2**20 // 4
        return moments_of(ran.store, ran.layout, self.n_combinations, budget)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: an engine that was not compiled, failed rows, an early end."""
        failed = self.table["failed"]
        rows = np.flatnonzero((failed != "").to_numpy())
        if not len(rows):
            return self._ran.notes
        first = f"the first, row {rows[0]}: {failed.iloc[rows[0]]}"
        return (*self._ran.notes, f"{len(rows):,} of {len(failed):,} rows failed; {first}")

    def best(self, metric: str = "sharpe", n: int | None = None) -> Any:
        """Return the row (a Series) with the best ``metric``, or the ``n`` best rows (a frame).

        Best is highest, but lowest for volatility, turnover, fees, refusals and counted
        assumptions. Rows without a number are left out; ties keep the table's order. Raises
        ``UsageError`` when no row has one.
        """
        order = self._ordered(metric)
        if n is None:
            return self.table.iloc[order[0]]
        if type(n) is not int or n < 1:
            raise UsageError(f"best: n = {n!r}; it must be a number of rows.")
        return self.table.iloc[order[:n]]

    def _ordered(self, metric: str) -> NDArray[np.int64]:
        found = scores(check_metric(metric), self.table[metric].to_numpy())
        order = np.argsort(-found, kind="stable")
        order = order[np.isfinite(found[order])]
        if not len(order):
            why = self.notes[-1] if self.notes else "nothing was traded."
            raise UsageError(f"No row of this sweep has a {metric}. {why}")
        return order

    def strategy(self, row: Row) -> Strategy:
        """Return the strategy of a row (its label, or the row itself) as an instance."""
        place = self._place(row)
        values = {name: self.table[name].iloc[place] for name in self.parameters}
        return self._ran.jobs[0].strategy_cls(**{k: _plain(v) for k, v in values.items()})

    def bars(self, row: Row) -> Bars:
        """Return the bars that a row was run on: its dataset's, its symbol's when apart."""
        place = self._place(row)
        dataset = 0
        if self._ran.layout.datasets:
            dataset = self._ran.layout.datasets.index(str(self.table["dataset"].iloc[place]))
        bars = self._ran.jobs[dataset].data
        if self._ran.layout.symbols[dataset]:
            return bars.select([str(self.table["symbol"].iloc[place])])
        return bars

    def result(self, row: Row, engine: Engine = "auto") -> Result:
        """Return the backtest of a row, with orders, fills and equity."""
        words = self._ran.jobs[0].settings.backtest_words()
        return backtest(self.strategy(row), self.bars(row), engine=engine, **words)

    def _place(self, row: Row) -> int:
        label_ = row.name if isinstance(row, pd.Series) else row
        if not isinstance(label_, int | np.integer) or not 0 <= label_ < len(self.table):
            raise UsageError(
                f"{row!r} is no row of this sweep: rows are 0 to {len(self.table) - 1}."
            )
        return int(label_)

    def to_vectorbt(self, rows: Any) -> Any:
        """Return a ``vbt.Portfolio`` for a row, or a dict of them by row label for several.

        ``rows``: a row, a list of rows, or a frame such as ``best(n=3)``. Built from the fills
        of each row's backtest; needs the extra ``research``.
        """
        if isinstance(rows, int | np.integer | pd.Series):
            return self.result(rows).to_vectorbt()
        labels = list(rows.index) if isinstance(rows, pd.DataFrame) else list(rows)
        return {self._place(row): self.result(row).to_vectorbt() for row in labels}

    def deflated_sharpe(self, row: Row | None = None, n_trials: int | None = None) -> float:
        """Return the probability that a row's Sharpe ratio is more than the best of luck.

        ``row`` defaults to the best by Sharpe. ``n_trials`` defaults to ``trials``; pass fewer
        when many of them are near copies. See ``significance.deflated_sharpe_ratio``.
        """
        place = self._ordered("sharpe")[0] if row is None else self._place(row)
        moments = np.array(self.moments[place])
        sharpes = self._sharpes[np.isfinite(self._sharpes)]
        variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
        return float(
            significance.deflated_sharpe_ratio(
                float(significance.sharpe_of(moments)),
                int(significance.n_returns_of(moments)),
                float(significance.skew_of(moments)),
                float(significance.kurtosis_of(moments)),
                variance,
                self.trials if n_trials is None else n_trials,
            )
        )

    @cached_property
    def _sharpes(self) -> Floats:
        """Sharpe ratios a period, one a row."""
        return sharpes_of(self._ran.store, self._ran.layout, self.n_combinations)

    def pbo(self, dataset: str | None = None, symbol: str | None = None) -> PboResult:
        """Return the probability of backtest overfitting (CSCV) of one symbol and dataset.

        Combinations are compared over the same bars, so a sweep of several symbols apart, or
        of several datasets, must be told which; ``pbo_by_unit`` has all. See
        ``significance.pbo``.
        """
        chosen = np.ones(len(self.table), dtype=np.bool_)
        for name, value in (("dataset", dataset), ("symbol", symbol)):
            known = list(self.table[name].unique()) if name in self.table else []
            if value is None and len(known) > 1:
                raise UsageError(f"pbo compares rows over the same bars: say {name}={known[0]!r}.")
            if value is not None:
                if value not in known:
                    raise UsageError(f"There is no {name} {value!r} in this sweep: {known}.")
                chosen &= (self.table[name] == value).to_numpy()
        return significance.pbo(self.moments if chosen.all() else self.moments[chosen])

    def pbo_by_unit(self) -> dict[str, float]:
        """Return PBO by unit: "AAPL", "train", "train AAPL", or "all" when there is but one."""
        names = [name for name in ("dataset", "symbol") if name in self.table]
        units = self.table[names].drop_duplicates().astype(str)
        if not names or len(units) < 2:
            return {"all": self.pbo().pbo}
        found = {}
        for unit in units.to_dict("records"):
            found[" ".join(unit.values())] = self.pbo(**{str(k): v for k, v in unit.items()}).pbo
        return found

    def verify(self, n: int = 20, seed: int = 0) -> Verification:
        """Run the best row and ``n`` random ones again in the desk and compare.

        Of a compiled sweep the rows are also run alone in the compiled loop: orders, fills,
        trades, equity and positions must equal the desk's in every value but ids. The row's
        metrics must too: counts and final equity exactly, the others to 1e-9. The answer prints
        "equal: 21 combinations ...", or the first difference; ``ok`` says which.
        """
        return verify(self, n, seed)

    def heatmap(self, x: str, y: str, metric: str = "sharpe", **fixed: object) -> Figure:
        """Return a metric over two parameters; ``fixed`` names values of other columns.

        Each cell is the best of its rows: ``heatmap("fast", "slow", "sharpe", symbol="AAPL")``.
        """
        from mqd.report import sweep_plots

        good = _good(metric)
        return sweep_plots.heatmap_figure(self.table, x, y, metric, fixed=fixed, best=good)

    def parallel(self, metric: str = "sharpe") -> Figure:
        """Return parallel coordinates: a line a combination, an axis a parameter."""
        from mqd.report import sweep_plots

        good = _good(metric)
        return sweep_plots.parallel_figure(self.table, self.parameters, metric, best=good)

    def stability(
        self, metric: str = "sharpe", x: str | None = None, y: str | None = None
    ) -> Figure:
        """Return the metric averaged with its neighbours: plateaus, not spikes.

        ``mqd.robustness.neighbour_stability`` has the numbers.
        """
        from mqd.report import sweep_plots

        return sweep_plots.stability_figure(
            self.table, self.parameters, metric, x=x, y=y, best=_good(metric)
        )

    def sharpe_distribution(self, n_trials: int | None = None) -> Figure:
        """Return the histogram of Sharpe ratios, with what the best of ``trials`` by luck has."""
        from mqd.report import sweep_plots

        n_trials = self.trials if n_trials is None else n_trials
        return sweep_plots.sharpe_distribution_figure(self.table, n_trials)

    def equity_fan(self, n: int = 20, metric: str = "sharpe") -> Figure:
        """Return the equity of the ``n`` best rows, run again, over the bars of the best one."""
        from mqd.report import sweep_plots

        return sweep_plots.equity_fan_figure(self.equity_curves(n, metric))

    def equity_curves(self, n: int = 20, metric: str = "sharpe") -> pd.DataFrame:
        """Return the equity at each close of the ``n`` best rows on the best row's bars.

        One column a row, the best first, named by its parameters; USD.
        """
        best = self.best(metric)
        rows = self.best(metric, n=len(self.table))
        for name in ("dataset", "symbol"):
            if name in rows:
                rows = rows[rows[name] == best[name]]
        curves = {}
        for row in rows.index[:n]:
            values = ", ".join(f"{name}={self.table[name].iloc[row]}" for name in self.parameters)
            curves[values] = self.result(int(row)).equity["equity"]
        return pd.DataFrame(curves)

    def report(self, path: str | os.PathLike[str], metric: str = "sharpe") -> Path:
        """Write one self-contained HTML page: best rows, luck, pictures; return its path."""
        from mqd.report import sweep_page

        jobs = self._ran.jobs
        data = {
            f"bars {name}".strip(): f"{', '.join(job.bars.symbols)}, {job.bars.sha256[:16]}"
            for name, job in zip(self._ran.layout.datasets or ("",), jobs, strict=True)
        }
        pbo = ", ".join(f"{value:.2f}" for value in self.pbo_by_unit().values())
        ranked = bool(np.isfinite(self.table[check_metric(metric)].to_numpy()).any())
        curves = self.equity_curves(metric=metric) if ranked else None
        deflated = f"{self.deflated_sharpe():.4f}" if ranked else "none"
        return sweep_page.write(
            sweep_page.SweepData(
                title=self.title, subtitle=self.speed, table=self.table,
                parameters=self.parameters, n_trials=self.trials, metric=metric,
                best=_good(metric), notes=self.notes, identity=data, curves=curves,
                luck={"Deflated Sharpe": deflated, "PBO": pbo, "Trials": f"{self.trials:,}"},
            ),
            Path(path),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.table)

    @property
    def title(self) -> str:
        """What was swept, in one line."""
        name = self._ran.jobs[0].strategy_cls.__name__
        return (
            f"{name} over {', '.join(self.parameters)}: {self.n_combinations:,} combinations,"
            f" {len(self.table):,} rows, {self.engine} engine"
        )

    @property
    def speed(self) -> str:
        """How fast it was, in one line."""
        rate = rate_text(self.bar_evaluations_per_s)
        return f"{self.seconds:,.2f} s, {rate}, peak {self.peak_mb:,.0f} MB"

    def _best_shown(self) -> pd.DataFrame:
        if not np.isfinite(self.table["sharpe"].to_numpy()).any():
            return self.table.iloc[:0]
        names = [n for n in ("dataset", "symbol") if n in self.table]
        best: pd.DataFrame = self.best(n=5)[[*self.parameters, *names, *SHOWN]]
        for name in SHOWN:
            best = best.assign(**{name: [format_metric(name, float(v)) for v in best[name]]})
        return best.rename(columns={name: label(name) for name in SHOWN})

    def __repr__(self) -> str:
        best = self._best_shown()
        lines = [self.title, self.speed]
        lines += [best.to_string()] if len(best) else ["No row has a Sharpe ratio."]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        from html import escape

        best = self._best_shown()
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return f"<b>{escape(self.title)}</b><br>{escape(self.speed)}{best.to_html(border=0)}{notes}"


def _good(metric: str) -> Literal["max", "min"]:
    return "min" if check_metric(metric) in LOW_IS_BETTER else "max"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
