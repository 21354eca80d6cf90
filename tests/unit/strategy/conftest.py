"""Bars made by hand for the tests of strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import pytest

from mqd.core.bar import SymbolBars

DAY_NS = 86_400_000_000_000
MakeBars = Callable[..., SymbolBars]


def _make(
    close: Sequence[float],
    *,
    symbol: str = "X",
    high: Sequence[float] | None = None,
    low: Sequence[float] | None = None,
    volume: Sequence[float] | None = None,
    session: Sequence[int] | None = None,
    minutes_to_close: Sequence[float] | None = None,
) -> SymbolBars:
    n = len(close)
    px = np.array(close, dtype=np.float64)
    days = np.arange(n) if session is None else np.array(session)
    ts = np.arange(n, dtype=np.int64) * DAY_NS
    return SymbolBars(
        symbol, Decimal("0.0001"), Decimal(1), ts, ts + DAY_NS, px,
        px if high is None else np.array(high, dtype=np.float64),
        px if low is None else np.array(low, dtype=np.float64),
        px, np.full(n, 1000.0) if volume is None else np.array(volume, dtype=np.float64),
        days, (days - days[0]).astype(np.float64) if n else np.zeros(0), np.zeros(n),
        np.zeros(n) if minutes_to_close is None else np.array(minutes_to_close, dtype=np.float64),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_bars() -> MakeBars:
    return _make


@pytest.fixture(scope="session")
def walk() -> SymbolBars:
    """200 bars of a random walk."""
    rng = np.random.default_rng(11)
    return _make(np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 200))), 4).tolist())
