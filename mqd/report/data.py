"""What a report is made from: plain frames and numbers, no stage of the desk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReportData:
    """One run, ready to be shown. Times are zone-aware UTC, money is USD as float64.

    ``title`` names the strategy with its parameters, ``subtitle`` says the rest in a sentence.
    ``metrics`` comes from ``mqd.statistics.metrics``; ``starting_equity`` and
    ``periods_per_year`` are what it was given.
    ``equity`` is indexed by bar close: ``equity, cash, gross, net``. ``positions`` likewise,
    one signed quantity column a symbol. ``orders``, ``fills`` and ``trades`` are a Result's.
    ``prices`` holds ``open, high, low, close, volume`` by symbol, indexed by ``ts_close``.
    ``assumptions`` pairs a sentence with how often it mattered (None: not counted).
    ``costs`` are USD by kind ("fees", "slippage", "borrow": paid, positive; "dividends":
    received, positive). ``per_strategy`` has one row a strategy, columns named as the metrics.
    ``identity`` says what was run: data hash, span, engine, log_sha256, versions.
    """

    title: str
    subtitle: str
    metrics: Mapping[str, float]
    starting_equity: float
    periods_per_year: float
    equity: pd.DataFrame
    orders: pd.DataFrame
    fills: pd.DataFrame
    trades: pd.DataFrame
    positions: pd.DataFrame
    prices: Mapping[str, pd.DataFrame]
    assumptions: Sequence[tuple[str, int | None]] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    per_strategy: pd.DataFrame | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
