"""Closed bars for whoever listens beside the desk: values, one way, in order.

The listener is given ``BarRow`` values and nothing that leads back; what it raises, at the history
too, is counted by the bus and passed over. A run with a listener takes every step, and its log is
the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from mqd.core.bar import Bar, SymbolBars, bar_row
from mqd.core.event import PRIORITY, Event, Topic
from mqd.core.protocols import BarListener
from mqd.event_bus import OrderEventBus

Known = Callable[[str], SymbolBars]
NAME: Final = "bar listener"


class BarTeller:
    """Tells a listener each row of each symbol once.

    ``known`` gives a symbol's bars so far. Rows that the desk passed over (history, late bars)
    come before the next bar of their symbol, as past. ``bus`` counts what the listener raises.
    """

    def __init__(self, bus: OrderEventBus, listener: BarListener, known: Known) -> None:
        self._bus, self._listener, self._known = bus, listener, known
        self._told: dict[str, int] = {}

    def history(self, symbols: Iterable[str]) -> None:
        """Tell all rows that are known by now as past."""
        for symbol in symbols:
            bars = self._known(symbol)
            self._tell(bars, len(bars), past=True)

    def on_event(self, event: Event) -> None:
        """Tell the bar of an event, and before it what came since the last one."""
        bar = event.payload
        assert isinstance(bar, Bar), "the topic of bars carries bars"
        bars = self._known(bar.symbol)
        row = int(bars.ts_close.searchsorted(bar.ts_close))
        self._tell(bars, row, past=True)
        self._tell(bars, row + 1, past=False)

    def _tell(self, bars: SymbolBars, end: int, *, past: bool) -> None:
        """Tell the rows up to ``end``. A row counts as told before the listener has it: one that
        raises does not get it again."""
        for row in range(self._told.get(bars.symbol, 0), end):
            self._told[bars.symbol] = row + 1
            try:
                self._listener.on_bar(bar_row(bars, row), past=past)
            except Exception as error:  # noqa: BLE001 - it takes nothing from the desk
                ts_ns = int(bars.ts_close[row])
                event = Event(ts_ns, PRIORITY[Topic.BAR], row, Topic.BAR, bars.bar(row))
                self._bus.count_failure(NAME, event, f"{type(error).__name__}: {error}")


def tell_bars(bus: OrderEventBus, listener: BarListener, known: Known) -> BarTeller:
    """Let ``listener`` hear the bars of the desk that will publish on ``bus``."""
    teller = BarTeller(bus, listener, known)
    bus.subscribe(Topic.BAR, teller.on_event, name=NAME)
    return teller
