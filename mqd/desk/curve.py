"""Cash and positions over the steps: kept as changes, spread over all bars when asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mqd.accounting import Ledger
from mqd.core.bar import Ints
from mqd.core.money import MOST_QUANTA


def _within(amount: int) -> int:
    """Return what an int64 holds of it: ``frames.curves`` refuses what is cut here."""
    return min(max(amount, -2 * MOST_QUANTA), 2 * MOST_QUANTA)


class Curve:
    """Notes the ledger after each step that changed it; everything else is derived."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = tuple(symbols)
        self._cash: int | None = None
        self._steps: list[int] = []
        self._cash_points: list[int] = []
        self._lots_points: list[dict[str, int]] = []

    def touch(self) -> None:
        """Make the next ``note`` count although cash may be the same."""
        self._cash = None

    def note(self, step: int, ledger: Ledger) -> None:
        """Keep the ledger as it stands at the end of ``step``, if it changed."""
        if ledger.cash != self._cash:
            self._cash = ledger.cash
            self._steps.append(step)
            self._cash_points.append(ledger.cash)
            self._lots_points.append(dict(ledger.lots))

    def spread(self, n_steps: int, start_cash: int) -> tuple[Ints, Ints]:
        """Return cash (n_steps,) in quanta and lots (n_steps, n_symbols) at each step's end."""
        points = (start_cash, *self._cash_points)
        cash = np.array([_within(amount) for amount in points], dtype=np.int64)
        lots = np.zeros((len(cash), len(self._symbols)), dtype=np.int64)
        for point, held in enumerate(self._lots_points, start=1):
            for place, symbol in enumerate(self._symbols):
                lots[point, place] = _within(held.get(symbol, 0))
        at = np.searchsorted(np.array(self._steps, dtype=np.int64), np.arange(n_steps), "right")
        return cash[at], lots[at]
