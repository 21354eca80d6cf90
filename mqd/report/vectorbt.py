"""Hand-over to vectorbt: a real ``vbt.Portfolio`` made of our own fills.

vectorbt is optional (extra ``research``; Apache-2.0 with the Commons Clause) and is imported
when this is called. The route is its public constructor with order records, which keeps every
fill, several a bar included; nothing is simulated again.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mqd.errors import UsageError
from mqd.report.data import ReportData

_NOT_CARRIED = ("dividends", "borrow")
_CENT = 0.01


def _import_vectorbt() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import vectorbt
    except ImportError as cause:
        raise UsageError(
            "vectorbt is not installed. 'make test' installs it; elsewhere: pip install vectorbt."
        ) from cause
    return vectorbt


def _closes(data: ReportData) -> pd.DataFrame:
    """Return closes on the equity's index, the last known one where a symbol has no bar."""
    index = data.equity.index
    columns = {symbol: frame["close"].reindex(index) for symbol, frame in data.prices.items()}
    return pd.DataFrame(columns, index=index).astype("float64").ffill().bfill()


def _records(
    fills: pd.DataFrame, index: pd.DatetimeIndex, symbols: list[str], dtype: Any
) -> NDArray[Any]:
    """Return vectorbt's order records, sorted by column, then in the order of the fills."""
    known = pd.DatetimeIndex(fills["ts_known"]).as_unit("ns").asi8
    records = np.zeros(len(fills), dtype=dtype)
    records["col"] = fills["symbol"].map({name: col for col, name in enumerate(symbols)})
    records["idx"] = np.searchsorted(index.as_unit("ns").asi8, known)
    records["size"] = fills["qty"].astype(float)
    records["price"] = fills["px"].astype(float)
    records["fees"] = fills["fee_usd"].astype(float)
    records["side"] = (fills["side"] == "sell").astype(int)
    records = records[np.argsort(records["col"], kind="stable")]
    records["id"] = np.arange(len(records))
    return records


def _left_out(data: ReportData) -> str:
    """Return what moved our cash without being a fill, with its amounts; empty when nothing did."""
    amounts = {name: data.costs[name] for name in _NOT_CARRIED if data.costs.get(name)}
    daily = data.costs.get("fees", 0.0) - float(data.fills["fee_usd"].astype(float).sum())
    if abs(daily) >= _CENT / 2:
        amounts["fees charged by the day"] = daily
    return ", ".join(f"{name} {amount:,.2f} USD" for name, amount in amounts.items())


def _portfolio_class(year: pd.Timedelta) -> Any:
    """Return a ``vbt.Portfolio`` with this run's year and plain figures.

    vectorbt keeps both as global settings; they are the user's and stay as they are.
    """
    import vectorbt as vbt

    class DeskPortfolio(vbt.Portfolio):  # type: ignore[misc]
        """A ``vbt.Portfolio`` made from the fills of a run of mqd."""

        def get_returns_acc(self, *args: Any, year_freq: Any = None, **more: Any) -> Any:
            """Return vectorbt's returns accessor, annualised by the run's own year."""
            chosen = year if year_freq is None else year_freq
            return super().get_returns_acc(*args, year_freq=chosen, **more)

        @property
        def stats_defaults(self) -> Any:
            """Return the defaults of ``stats`` with the run's own year."""
            defaults = super().stats_defaults
            return {**defaults, "settings": {**defaults["settings"], "year_freq": year}}

        @property
        def plots_defaults(self) -> Any:
            """Return the defaults of ``plot`` with the run's own year."""
            defaults = super().plots_defaults
            return {**defaults, "settings": {**defaults["settings"], "year_freq": year}}

        def plots(self, *args: Any, **more: Any) -> Any:
            """Return a plain plotly figure: a widget would put megabytes into a notebook."""
            plotting = vbt.settings["plotting"]
            before = plotting["use_widgets"]
            plotting["use_widgets"] = False
            try:
                return super().plots(*args, **more)
            finally:
                plotting["use_widgets"] = before

        plot = plots

    return DeskPortfolio


def to_vectorbt(data: ReportData) -> Any:
    """Return a ``vectorbt.Portfolio`` whose ``value()`` is our equity at every bar close.

    All symbols share one cash account. ``sharpe_ratio()``, ``stats()`` and the like use
    ``periods_per_year`` bars as a year, not vectorbt's 365 days, and ``plot()`` returns a plain
    ``Figure``; vectorbt's global settings are left alone.

    Order records hold trades only, so dividends, borrow and fees that are charged by the day
    cannot be carried: when the run had them a warning names the amounts left out. Splits applied
    to a position in the run (``adjust="none"``) cannot be either; adjust on read instead.

    Raises ``UsageError`` without vectorbt, with fewer than two bars, or when a fill lies on no
    bar or on a symbol without prices.
    """
    vbt = _import_vectorbt()
    from vectorbt.portfolio.enums import log_dt, order_dt

    symbols = list(data.prices)
    index = pd.DatetimeIndex(data.equity.index)
    if len(index) < 2:
        raise UsageError("vectorbt needs at least two bars to know their distance.")
    unknown = sorted(set(data.fills["symbol"]) - set(symbols))
    if unknown:
        raise UsageError(f"No prices for {', '.join(unknown)}: its fills cannot be marked.")
    if len(data.fills) and data.fills["ts_known"].max() > index[-1]:
        raise UsageError("A fill is later than the last bar of the equity.")
    left_out = _left_out(data)
    if left_out:
        warnings.warn(
            f"vectorbt cannot carry {left_out}: its equity leaves them out.", stacklevel=2
        )
    step = pd.Timedelta(np.median(np.diff(index.as_unit("ns").asi8)), unit="ns")
    wrapper = vbt.ArrayWrapper(index, symbols, 2, freq=step, group_by=True)
    return _portfolio_class(step * data.periods_per_year)(
        wrapper, _closes(data), _records(data.fills, index, symbols, order_dt),
        np.empty(0, dtype=log_dt), data.starting_equity, True,
    )  # fmt: skip
