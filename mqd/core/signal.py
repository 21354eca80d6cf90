"""What a strategy wants: a target weight, never an order."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

HOLD = -9.0e99
"""Leaves the last target standing. Finite and outside [-1, 1]: neither NaN nor 1/0 is HOLD."""

WEIGHT_STEP = 1e-6
"""Weights are rounded half-even to this step before anything is sized."""


class Direction(StrEnum):
    """The side of the market a signal asks for."""

    LONG = "long"
    SHORT = "short"
    FLAT = "flat"


class Signal(NamedTuple):
    """One strategy's target for one symbol, decided at a bar's close ``ts_ns``.

    ``weight`` is in [-1, 1]: of the symbol's slot for ``decide``, of the strategy's equity for
    ``allocate``. ``source`` names who decided ("decide", "allocate", "protective_stop", ...).
    """

    ts_ns: int
    strategy: str
    symbol: str
    weight: float
    source: str = "decide"

    @property
    def direction(self) -> Direction:
        """LONG, SHORT or FLAT by the sign of the weight."""
        if self.weight > 0:
            return Direction.LONG
        return Direction.SHORT if self.weight < 0 else Direction.FLAT


class PositionView(NamedTuple):
    """A position as ``decide`` sees it at a close; floats, all 0 when flat.

    ``weight`` signed market value / slot; ``qty`` signed shares; ``avg_px``; ``bars_held``
    closes since the entry, its own bar included; ``peak_px`` best high (short: lowest low)
    since the entry, entry price included; ``unrealized_frac`` signed gain / cost.
    """

    weight: float = 0.0
    qty: float = 0.0
    avg_px: float = 0.0
    bars_held: float = 0.0
    peak_px: float = 0.0
    unrealized_frac: float = 0.0
