"""One strategy's position in one symbol: since when, how far it has been, what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mqd.core.bar import SymbolBars
from mqd.core.money import Scale
from mqd.strategy.position import position_view


class Holding:
    """Tracks an entry from fills; ``books`` gives the slot's ``(lots, cost)`` in quanta."""

    __slots__ = (
        "_bars", "_books", "_lot_value", "_peak", "_peak_row", "_symbol", "_units", "entry_row",
    )  # fmt: skip

    def __init__(
        self,
        bars: Mapping[str, SymbolBars],
        symbol: str,
        scale: Scale,
        books: Callable[[], tuple[int, int]],
    ) -> None:
        self._bars, self._symbol, self._books = bars, symbol, books
        self._lot_value = scale.tick_lot_quanta
        self._units = (float(1 / scale.lot), float(1 / scale.quantum))
        self.entry_row = -1
        self._peak = 0.0
        self._peak_row = -1

    @property
    def lots(self) -> int:
        """Signed position in lots."""
        return self._books()[0]

    @property
    def avg_ticks(self) -> float:
        """Average entry price in ticks, 0.0 when flat."""
        lots, cost = self._books()
        return float(cost) / float(lots * self._lot_value) if lots else 0.0

    def moved(self, lots_before: int, row: int, px: float) -> None:
        """Note a fill on the bar ``row``; an entry starts from flat or from the other side."""
        lots = self._books()[0]
        if not lots:
            self.entry_row = -1
        elif lots_before * lots <= 0:
            self.entry_row = row
            self._peak, self._peak_row = px, row - 1

    @property
    def entry(self) -> tuple[int, float, int]:
        """The bar of the entry (-1: none), the best price since, and the bars up to its own."""
        return self.entry_row, self._peak, self._peak_row - self.entry_row

    def remember(self, row: int, peak_px: float, bars: int) -> None:
        """Take back what `entry` was; ``row`` is the entry's bar in the history of now."""
        self.entry_row, self._peak, self._peak_row = row, peak_px, row + bars

    def split(self, ratio: float, row: int) -> None:
        """Carry the peak price up to ``row``, the last before, through a split of ``ratio``."""
        self.peak_px(row)
        self._peak /= ratio

    def peak_px(self, row: int) -> float:
        """Return the best price since the entry up to the bar ``row``."""
        lots = self._books()[0]
        if not lots:
            return 0.0
        start = max(self._peak_row + 1, self.entry_row)
        if start <= row:
            bars = self._bars[self._symbol]
            if lots > 0:
                self._peak = max(self._peak, float(bars.high[start : row + 1].max()))
            else:
                self._peak = min(self._peak, float(bars.low[start : row + 1].min()))
            self._peak_row = row
        return self._peak

    def view(self, row: int, close_ticks: int, slot: float) -> tuple[float, ...]:
        """Return the fields of ``PositionView`` at the close of ``row``; ``slot`` in quanta."""
        lots, cost = self._books()
        if not lots:
            return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        value = lots * close_ticks * self._lot_value
        held = row - self.entry_row + 1
        return position_view(lots, cost, value, slot, self._units, held, self.peak_px(row))
