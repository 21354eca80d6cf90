"""The seams: Clock, Broker, Feed, Ledger, Predictor and BarListener. Replay, rehearsal, paper
and live differ in what stands behind these, and in nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mqd.core.bar import Bar, BarRow, Floats, Quote, SymbolBars, Trade
from mqd.core.execution_report import ExecutionReport
from mqd.core.order import Order
from mqd.core.position import Account, Position


class Clock(Protocol):
    """The only source of time."""

    def now_ns(self) -> int:
        """Return the instant, nanoseconds UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return time that never goes back."""
        ...

    def set_timer(self, at_ns: int, name: str) -> None:
        """Ask for ``on_timer(desk, name)`` at ``at_ns``."""
        ...

    def due(self) -> list[tuple[int, str]]:
        """Return and forget the timers that are due."""
        ...


class Broker(Protocol):
    """Where orders go. Nothing is returned by a command: the venue's answer is a report."""

    def submit(self, order: Order, legs: Sequence[Order] = ()) -> None:
        """Send an order, with the legs of a bracket, oco or oto."""
        ...

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel; CANCELED, a fill or CANCEL_REJECTED follows."""
        ...

    def replace(self, client_order_id: str, order: Order) -> None:
        """Ask to replace an order by ``order``; REPLACED or REPLACE_REJECTED follows."""
        ...

    def reports(self) -> list[ExecutionReport]:
        """Return and forget the reports that have arrived, in order of arrival."""
        ...

    def open_orders(self) -> list[Order]:
        """Return the orders that the venue holds as working, in order of arrival."""
        ...

    def positions(self) -> dict[str, Position]:
        """Return the venue's non-flat positions by symbol."""
        ...

    def account(self) -> Account:
        """Return the venue's view of the account at the last known prices."""
        ...


class Feed(Protocol):
    """Market data in the one total order; ties follow ``(ts, symbol order)``."""

    def __iter__(self) -> Iterator[Bar | Quote | Trade]: ...


class Ledger(Protocol):
    """What the risk manager and the strategies may read of positions and money."""

    def position(self, symbol: str) -> Position:
        """Return the position, flat when there is none."""
        ...

    def account(self) -> Account:
        """Return the account at the last known prices."""
        ...


class Predictor(Protocol):
    """A champion model handed in by the command line; a strategy reads its scores as a feature."""

    def scores(self, bars: SymbolBars) -> Floats:
        """Return the model's output as of each bar's close, NaN where it has none; causal."""
        ...


class BarListener(Protocol):
    """What hears each closed bar beside the desk. It returns nothing and is handed nothing else:
    no desk, no broker, no account."""

    def on_bar(self, row: BarRow, *, past: bool) -> None:
        """Take a closed bar; called in order of time, by the desk's thread: do not wait.

        ``past``: the desk knows it but did not decide on it, as history and late bars.
        """
        ...
