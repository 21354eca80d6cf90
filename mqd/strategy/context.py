"""What an event strategy sees of the desk: a clock, a broker façade, and the past."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from mqd.core.bar import SymbolBars
from mqd.core.order import OrderRequest, OrderStatus
from mqd.core.position import Account, Position
from mqd.core.protocols import Clock


class OrderView(Protocol):
    """One of the strategy's orders as it stands; quantities and prices are Decimal."""

    @property
    def client_order_id(self) -> str:
        """The order's id."""
        ...

    @property
    def status(self) -> OrderStatus:
        """What the venue said last, or DENIED when a control refused the order."""
        ...

    @property
    def symbol(self) -> str:
        """The instrument."""
        ...

    @property
    def filled_qty(self) -> Decimal:
        """Quantity filled so far."""
        ...

    @property
    def leaves_qty(self) -> Decimal:
        """Quantity still working, 0 once the order is done."""
        ...

    @property
    def avg_px(self) -> Decimal:
        """Average price of the fills, 0 when there is none."""
        ...


class StrategyBroker(Protocol):
    """The only way to orders. Each request passes attribution, risk and the intent log."""

    def submit(self, request: OrderRequest) -> str:
        """Ask for an order and return its ``client_order_id``.

        A malformed request raises ``OrderRefused``. An order that a control refuses is DENIED:
        ``order(id).status`` says so and ``on_report`` is told; nothing raises.
        """
        ...

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel; the answer arrives as a report."""
        ...

    def replace(
        self,
        client_order_id: str,
        *,
        qty: Decimal | None = None,
        limit_px: Decimal | None = None,
        stop_px: Decimal | None = None,
    ) -> str:
        """Ask to replace an order's terms and return the new order's id."""
        ...

    def order(self, client_order_id: str) -> OrderView:
        """Return one of the strategy's orders."""
        ...

    def orders(self) -> list[OrderView]:
        """Return the strategy's orders that are not done, in order of sending."""
        ...

    def position(self, symbol: str) -> Position:
        """Return the strategy's own position, flat when there is none."""
        ...

    def account(self) -> Account:
        """Return the account at the last known prices."""
        ...


class DeskView(Protocol):
    """The unified interface of hooks: the same in replay, rehearsal, paper and live."""

    @property
    def clock(self) -> Clock:
        """The only source of time; ``set_timer`` leads to ``on_timer``."""
        ...

    @property
    def broker(self) -> StrategyBroker:
        """The only way to orders."""
        ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the run, in its order."""
        ...

    def history(self, symbol: str, n: int) -> SymbolBars:
        """Return the last ``n`` bars of a symbol that are closed now; never a later one."""
        ...
