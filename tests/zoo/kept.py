"""Strategies whose leak is kept outside of their features: tables, caches, modules' arrays."""

from decimal import Decimal

import numpy as np

import mqd
from tests.zoo.base import Signal, animals

MEAN_OF: dict[str, float] = {}
NEXT_RETURN: dict[int, float] = {}
ALL_CLOSES = np.zeros(1)


class CacheOfAll(Signal):
    """Statistics kept by symbol the first time that all data pass by."""

    def signal(self, bars):
        if bars.symbol not in MEAN_OF:
            MEAN_OF[bars.symbol] = float(bars.close.mean())
        return MEAN_OF[bars.symbol] - bars.close


class CacheOnItsClass(Signal):
    kept = {}  # noqa: RUF012 - the leak itself

    def signal(self, bars):
        kept = self.kept
        kept.setdefault(bars.symbol, float(bars.close.mean()))
        return kept[bars.symbol] - bars.close


class TableByTime(Signal):
    """A table of next returns built before the run, looked up by the bar's own time."""

    def signal(self, bars):
        return np.array([NEXT_RETURN.get(int(ts), 0.0) for ts in bars.ts_close])


class DecidesFromATable(mqd.Strategy):
    """No feature leaks: ``decide`` itself reads tomorrow's close from a module's array."""

    data = "daily"

    def features(self, bars):
        return {"row": np.arange(len(bars), dtype=float)}

    def decide(self, now, position):
        row = int(now.row) + 1
        return 1.0 if row < len(ALL_CLOSES) and ALL_CLOSES[row] > now.close else 0.0


class OrdersFromATable(mqd.Strategy):
    """An event strategy that reads tomorrow's close from a module's array."""

    data = "daily"

    def on_start(self, desk):
        self.row = 0

    def on_bar(self, desk, bar):
        self.row += 1
        held = desk.broker.position(bar.symbol).qty > 0
        rises = self.row < len(ALL_CLOSES) and ALL_CLOSES[self.row] > bar.close
        if rises != held:
            side = mqd.Side.BUY if rises else mqd.Side.SELL
            desk.broker.submit(mqd.OrderRequest(symbol=bar.symbol, side=side, qty=Decimal(10)))


KEPT = animals(globals())


def fill_tables(bars):
    """Build what the strategies with tables were built with: data of the whole sample."""
    global ALL_CLOSES  # noqa: PLW0603 - the leak itself
    one = bars[bars.symbols[0]]
    ALL_CLOSES = np.array(one.close)
    ahead = np.append(np.diff(one.close), 0.0)
    NEXT_RETURN.update(zip(one.ts_close.tolist(), ahead.tolist(), strict=True))
    MEAN_OF[one.symbol] = float(one.close.mean())
