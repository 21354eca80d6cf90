"""``WalkForwardResult``: what chosen parameters brought on unseen bars, window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mqd.report.tables import document, format_metric, label, text_table
from mqd.sweeps.segments import Segment, metrics_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TIMES: Final = ("train_first", "train_last", "test_first", "test_last")


@dataclass(frozen=True, eq=False, repr=False)
class WalkForwardResult:
    """The windows of a walk-forward and the one equity curve that their tests make.

    ``windows``: one row a window: ``train_first, train_last, test_first, test_last`` (open of the
    first and close of the last bar, UTC), the chosen parameters, ``in_sample`` and
    ``out_of_sample`` (the ``metric`` in train and test span), ``return_frac`` of the test,
    ``n_fills``, ``n_closed`` (positions that the window's end closed) and ``combinations`` tried.
    ``notes``: windows that were not traded, bars left over, what the runs had to say.
    """

    strategy: str
    scheme: str
    metric: str
    parameters: tuple[str, ...]
    windows: pd.DataFrame
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]

    @cached_property
    def equity(self) -> pd.DataFrame:
        """``equity, cash, gross, net`` at every tested bar's close, window after window.

        Each window begins with the money that the one before it left.
        """
        return pd.concat([one.equity for one in self.segments])

    @cached_property
    def fills(self) -> pd.DataFrame:
        """The fills of all windows, closings included; ``window`` says whose."""
        return self._joined("fills")

    @cached_property
    def trades(self) -> pd.DataFrame:
        """The closed round trips of all windows; ``window`` says whose."""
        return self._joined("trades")

    def _joined(self, name: str) -> pd.DataFrame:
        frames: list[pd.DataFrame] = [getattr(one, name) for one in self.segments]
        parts = [frame.assign(window=number) for number, frame in enumerate(frames)]
        return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)

    @cached_property
    def metrics(self) -> pd.Series:
        """The metrics of ``mqd.statistics`` over all tested bars, as of one run."""
        return pd.Series(metrics_of(self.segments), name="metrics")

    @property
    def starting_equity(self) -> float:
        """The cash that the first window began with."""
        return self.segments[0].starting_equity

    @property
    def trials(self) -> int:
        """The combinations tried, over all windows."""
        return int(self.windows["combinations"].sum())

    @property
    def efficiency(self) -> float:
        """Mean of the metric out of sample / mean in sample, over windows that have both.

        1 means that the unseen bars paid as well as those the choice was made on. NaN when the
        mean in sample is not above 0, and without such a window.
        """
        both = self.windows[["in_sample", "out_of_sample"]].to_numpy(dtype=np.float64)
        both = both[np.isfinite(both).all(axis=1)]
        if not len(both) or not both[:, 0].mean() > 0:
            return math.nan
        return float(both[:, 1].mean() / both[:, 0].mean())

    @property
    def assumptions(self) -> tuple[tuple[str, int | None], ...]:
        """What was taken for granted, each with how often it mattered, over all windows."""
        closed = sum(one.n_closed for one in self.segments)
        cost = sum(one.closing_usd for one in self.segments)
        said: dict[str, int | None] = {
            "Parameters are chosen on the train span alone; features begin with it.": None,
            "Decided from the first tested close on, flat and with fresh state.": None,
            f"Positions held at a window's end are closed at its last close, for {cost:,.2f} USD"
            " of slippage and fees.": closed,
        }
        for one in self.segments:
            for text, count in one.assumptions:
                before = said.get(text)
                said[text] = count if before is None or count is None else before + count
        return tuple(said.items())

    def plot(self) -> Figure:
        """Return one figure: the tested equity with its windows, and the metric in and out."""
        from mqd.report.walk_forward_plot import walk_forward_figure

        return walk_forward_figure(
            self.equity["equity"], self.windows, label(self.metric), self.parameters
        )

    def summary(self) -> dict[str, Any]:
        """Return everything as one JSON-ready document."""
        rows = self.windows.to_dict("records")
        for row in rows:
            row |= {name: row[name].isoformat() for name in TIMES}
        return {
            "strategy": self.strategy,
            "scheme": self.scheme,
            "metric": self.metric,
            "efficiency": self.efficiency,
            "trials": self.trials,
            "metrics": document(dict(self.metrics)),
            "windows": [{str(name): value for name, value in row.items()} for row in rows],
            "notes": list(self.notes),
        }

    @property
    def title(self) -> str:
        """What was walked, in one line."""
        return f"{self.strategy}, {len(self.windows)} windows, {self.scheme}"

    def _shown(self) -> pd.DataFrame:
        shown = self.windows.drop(columns=["n_fills", "n_closed", "combinations"])
        days = {name: shown[name].dt.strftime("%Y-%m-%d") for name in TIMES}
        metric = {
            name: [format_metric(self.metric, float(value)) for value in shown[name]]
            for name in ("in_sample", "out_of_sample")
        }
        returns = [format_metric("total_return_frac", float(v)) for v in shown["return_frac"]]
        return shown.assign(**days, **metric, return_frac=returns)

    def __repr__(self) -> str:
        lines = [self.title, self._shown().to_string(), self._verdict()]
        figures = {str(name): float(value) for name, value in self.metrics.items()}
        return "\n".join([*lines, text_table(figures), *self.notes])

    def _verdict(self) -> str:
        kept = "no number" if math.isnan(self.efficiency) else f"{self.efficiency:.2f}"
        return f"Efficiency ({label(self.metric)} out of sample / in sample): {kept}"

    def _repr_html_(self) -> str:
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        table = self._shown().to_html(border=0)
        return f"<b>{escape(self.title)}</b>{table}<div>{escape(self._verdict())}</div>{notes}"
