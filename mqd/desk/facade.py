"""What an event strategy holds: the clock, a broker façade and the past. No raw broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal

import numpy as np

from mqd.core.bar import SymbolBars
from mqd.core.clock import SimulatedClock
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import (
    Order,
    OrderClass,
    OrderRequest,
    OrderStatus,
    OrderType,
    Reason,
    Side,
    TimeInForce,
)
from mqd.core.position import Account, Position
from mqd.desk.gate import OrderGate
from mqd.desk.market import Market
from mqd.desk.valuation import Valuation
from mqd.errors import MoneyError, OrderRefused, UnknownSymbol
from mqd.orders.state import OrderState
from mqd.orders.state_machine import OrderStateMachine

Naming = Callable[[str, str, Side, str], str]


class OrderHandle:
    """One of the strategy's orders as it stands when it is read."""

    def __init__(self, machine: OrderStateMachine, client_order_id: str) -> None:
        self._machine = machine
        self.client_order_id = client_order_id

    def _state(self) -> OrderState:
        return self._machine.state(self.client_order_id)

    @property
    def status(self) -> OrderStatus:
        """What the venue said last, or DENIED when a control refused the order."""
        return self._state().status

    @property
    def symbol(self) -> str:
        """The instrument."""
        return self._state().order.symbol

    @property
    def filled_qty(self) -> Decimal:
        """Quantity filled so far."""
        return self._state().filled_qty

    @property
    def leaves_qty(self) -> Decimal:
        """Quantity still working, 0 once the order is done."""
        state = self._state()
        return state.leaves_lots * state.order.scale.lot

    @property
    def avg_px(self) -> Decimal:
        """Average price of the fills, 0 when there is none."""
        return self._state().avg_px or Decimal(0)


class BrokerFacade:
    """Each request passes attribution, risk and the intent log; then it is an order."""

    def __init__(
        self,
        strategy: str,
        gate: OrderGate,
        machine: OrderStateMachine,
        valuation: Valuation,
        clock: SimulatedClock,
        naming: Naming,
        books: Callable[[str], tuple[int, int]],
        default_tif: TimeInForce,
    ) -> None:
        self._strategy, self._gate, self._machine = strategy, gate, machine
        self._valuation, self._clock, self._naming = valuation, clock, naming
        self._books, self._default_tif = books, default_tif
        self._mine: dict[str, None] = {}
        self.denied: list[OrderState] = []

    def submit(self, request: OrderRequest) -> str:
        """Ask for an order and return its ``client_order_id``; ``OrderRefused`` when malformed."""
        order = self._order(request)
        known = order.client_order_id in self._mine
        if known:
            return order.client_order_id
        legs = self._legs(request, order)
        if request.order_class is OrderClass.OCO:
            order, legs = legs[0]._replace(parent=""), (legs[1]._replace(parent=""),)
        for each in (order, *legs):
            self._mine[each.client_order_id] = None
        if not self._gate.send(order, legs):
            self.denied.append(self._machine.state(order.client_order_id))
        return order.client_order_id

    def cancel(self, client_order_id: str) -> None:
        """Ask for a cancel; the answer arrives as a report."""
        self._own(client_order_id)
        self._gate.cancel(client_order_id)

    def replace(
        self,
        client_order_id: str,
        *,
        qty: Decimal | None = None,
        limit_px: Decimal | None = None,
        stop_px: Decimal | None = None,
    ) -> str:
        """Ask to replace an order's terms and return the new order's id.

        ``qty`` is the new total, what has filled included; by default it stays.
        """
        state = self._own(client_order_id)
        old = state.order
        scale = old.scale
        total = old.lots if qty is None else self._lots(old.symbol, scale, qty)
        if total <= state.cum_lots:
            raise OrderRefused(old.symbol, f"{state.filled_qty} of the order has filled already")
        name = self._naming(self._strategy, old.symbol, old.side, "replace")
        new = old._replace(
            client_order_id=name,
            decided_ns=self._clock.now_ns(),
            lots=total - state.cum_lots,
            limit_ticks=old.limit_ticks if limit_px is None else scale.px_ticks(limit_px),
            stop_ticks=old.stop_ticks if stop_px is None else scale.px_ticks(stop_px),
        )
        self._mine[name] = None
        if not self._gate.replace(client_order_id, new):
            self.denied.append(self._machine.state(name))
        return name

    def order(self, client_order_id: str) -> OrderHandle:
        """Return one of the strategy's orders."""
        self._own(client_order_id)
        return OrderHandle(self._machine, client_order_id)

    def orders(self) -> list[OrderHandle]:
        """Return the strategy's orders that are not done, in order of sending."""
        states = (self._machine.state(name) for name in self._mine)
        return [
            OrderHandle(self._machine, state.order.client_order_id)
            for state in states
            if not state.is_terminal
        ]

    def position(self, symbol: str) -> Position:
        """Return the strategy's own position, flat when there is none."""
        lots, cost = self._books(symbol)
        return Position(symbol, lots, cost, self._scale(symbol))

    def account(self) -> Account:
        """Return the account at the last known closes."""
        return self._valuation.account()

    def _own(self, client_order_id: str) -> OrderState:
        if client_order_id not in self._mine:
            raise OrderRefused(client_order_id, f"{self._strategy} has sent no such order")
        return self._machine.state(client_order_id)

    def _scale(self, symbol: str) -> Scale:
        scales = self._valuation.scales
        if symbol not in scales:
            raise UnknownSymbol(symbol, "the run", scales)
        return scales[symbol]

    def _lots(self, symbol: str, scale: Scale, qty: Decimal) -> int:
        lots = scale.qty_lots(qty)
        if lots <= 0:
            raise OrderRefused(symbol, f"quantity {qty} must be above zero")
        return lots

    def _order(self, request: OrderRequest) -> Order:
        symbol, scale = request.symbol, self._scale(request.symbol)
        try:
            lots = self._lots(symbol, scale, request.qty)
            limit = scale.px_ticks(request.limit_px) if request.limit_px is not None else 0
            stop = scale.px_ticks(request.stop_px) if request.stop_px is not None else 0
            trail = scale.px_ticks(request.trail_px) if request.trail_px is not None else 0
        except MoneyError as error:
            raise OrderRefused(symbol, str(error)) from error
        _check_prices(request, limit, stop, trail)
        held = self._books(symbol)[0]
        name = request.client_order_id or self._naming(
            self._strategy, symbol, request.side, "event"
        )
        return Order(
            name, self._strategy, symbol, request.side, lots, request.type,
            request.time_in_force or self._default_tif, self._clock.now_ns(), scale, Reason.EVENT,
            held * request.side < 0 and lots <= abs(held), limit, stop, trail,
            int(request.trail_frac * BPS_UNITS) if request.trail_frac is not None else 0, 0,
            request.order_class,
            name if request.order_class is not OrderClass.SIMPLE else "",
        )  # fmt: skip

    def _legs(self, request: OrderRequest, order: Order) -> tuple[Order, ...]:
        if request.order_class is OrderClass.SIMPLE:
            return ()
        scale, legs = order.scale, []
        oco = request.order_class is OrderClass.OCO
        plain = order._replace(
            side=order.side if oco else Side(-order.side), reducing=True,
            parent=order.client_order_id, stop_ticks=0, limit_ticks=0, trail_ticks=0, trail_units=0,
        )  # fmt: skip
        if request.take_profit_px is not None:
            legs.append(
                plain._replace(
                    client_order_id=f"{order.client_order_id}-tp", type=OrderType.LIMIT,
                    limit_ticks=scale.px_ticks(request.take_profit_px),
                )
            )  # fmt: skip
        if request.stop_loss_px is not None:
            limit = request.stop_loss_limit_px
            legs.append(
                plain._replace(
                    client_order_id=f"{order.client_order_id}-sl",
                    type=OrderType.STOP if limit is None else OrderType.STOP_LIMIT,
                    stop_ticks=scale.px_ticks(request.stop_loss_px),
                    limit_ticks=0 if limit is None else scale.px_ticks(limit),
                )
            )
        wanted = 1 if request.order_class is OrderClass.OTO else 2
        if len(legs) != wanted:
            raise OrderRefused(
                order.symbol,
                f"a {request.order_class} order needs {wanted} of take_profit_px, stop_loss_px",
            )
        return tuple(legs)


def _check_prices(request: OrderRequest, limit: int, stop: int, trail: int) -> None:
    """Refuse a type whose prices are missing, superfluous or not positive."""
    kind = request.type
    needs_limit = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    needs_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    trails = (trail > 0) + (request.trail_frac is not None and 0 < request.trail_frac < 1)
    if request.order_class is OrderClass.OCO:
        return
    if (limit > 0) is not needs_limit or (stop > 0) is not needs_stop:
        raise OrderRefused(
            request.symbol,
            f"a {kind} order takes {'a' if needs_limit else 'no'} limit price and"
            f" {'a' if needs_stop else 'no'} stop price",
        )
    if trails != (kind is OrderType.TRAILING_STOP):
        raise OrderRefused(request.symbol, "a trailing stop takes trail_px or trail_frac in (0, 1)")


class StrategyDesk:
    """The unified interface of hooks: the same in replay, rehearsal, paper and live."""

    def __init__(self, clock: SimulatedClock, broker: BrokerFacade, market: Market) -> None:
        self.clock = clock
        self.broker = broker
        self.symbols = market.symbols
        self._market = market

    def history(self, symbol: str, n: int) -> SymbolBars:
        """Return the last ``n`` bars of a symbol that are closed now; never a later one."""
        if symbol not in self._market.tapes:
            raise UnknownSymbol(symbol, "the run", self.symbols)
        bars, end = self._market.bars[symbol], self._market.row_now(symbol) + 1
        part = slice(max(0, end - n), end)
        cut = {
            field.name: getattr(bars, field.name)[part]
            for field in fields(bars)
            if isinstance(getattr(bars, field.name), np.ndarray)
        }
        return replace(bars, **cut)
