"""What an event strategy holds: the clock, a broker façade and the past. No raw broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import SymbolBars
from mqd.core.clock import RunClock, StrategyClock
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
        clock: RunClock,
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
        if order.order_class is OrderClass.OCO:
            order, legs = legs[0]._replace(parent=""), (legs[1]._replace(parent=""),)
        self._mine[order.client_order_id] = None
        if self._gate.send(order, legs):
            self._mine.update(dict.fromkeys(leg.client_order_id for leg in legs))
        else:
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
        prices = ("limit_px", limit_px, old.limit_ticks), ("stop_px", stop_px, old.stop_ticks)
        for word, px, before in prices:
            if px is not None and not before:
                raise OrderRefused(old.symbol, f"a {old.type} order has no {word} to replace")
        total = old.lots if qty is None else _lots(old.symbol, scale, qty)
        if total <= state.cum_lots:
            raise OrderRefused(old.symbol, f"{state.filled_qty} of the order has filled already")
        name = self._naming(self._strategy, old.symbol, old.side, "replace")
        new = old._replace(
            client_order_id=name,
            decided_ns=self._clock.now_ns(),
            lots=total - state.cum_lots,
            limit_ticks=_ticks(old.symbol, scale, "limit_px", limit_px) or old.limit_ticks,
            stop_ticks=_ticks(old.symbol, scale, "stop_px", stop_px) or old.stop_ticks,
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

    def _order(self, request: OrderRequest) -> Order:
        symbol, scale = request.symbol, self._scale(request.symbol)
        side = _word(symbol, Side, "side", request.side)
        kind = _word(symbol, OrderType, "type", request.type)
        group = _word(symbol, OrderClass, "order_class", request.order_class)
        lots = _lots(symbol, scale, request.qty)
        limit = _ticks(symbol, scale, "limit_px", request.limit_px)
        stop = _ticks(symbol, scale, "stop_px", request.stop_px)
        trail = _ticks(symbol, scale, "trail_px", request.trail_px)
        trail_units = 0
        if request.trail_frac is not None:
            trail_units = int(_decimal(symbol, "trail_frac", request.trail_frac) * BPS_UNITS)
        _check_prices(request, kind, group, limit, stop, (trail, trail_units))
        tif = self._default_tif
        if request.time_in_force is not None:
            tif = _word(symbol, TimeInForce, "time_in_force", request.time_in_force)
        held = self._books(symbol)[0]
        name = request.client_order_id or self._naming(self._strategy, symbol, side, "event")
        return Order(
            name, self._strategy, symbol, side, lots, kind, tif, self._clock.now_ns(), scale,
            Reason.EVENT, held * side < 0 and lots <= abs(held), limit, stop, trail, trail_units,
            0, group, name if group is not OrderClass.SIMPLE else "",
        )  # fmt: skip

    def _legs(self, request: OrderRequest, order: Order) -> tuple[Order, ...]:
        symbol, scale, group = order.symbol, order.scale, order.order_class
        target = _ticks(symbol, scale, "take_profit_px", request.take_profit_px)
        stop = _ticks(symbol, scale, "stop_loss_px", request.stop_loss_px)
        limit = _ticks(symbol, scale, "stop_loss_limit_px", request.stop_loss_limit_px)
        wanted = {OrderClass.SIMPLE: 0, OrderClass.OTO: 1}.get(group, 2)
        if (target > 0) + (stop > 0) != wanted or (limit and not stop):
            raise OrderRefused(
                symbol, f"a {group} order takes {wanted} of take_profit_px, stop_loss_px"
            )
        oco = group is OrderClass.OCO
        side = order.side if oco else Side(-order.side)
        if wanted == 2 and (target - stop) * side >= 0:
            raise OrderRefused(
                symbol, f"take_profit_px must lie {'above' if side < 0 else 'below'} stop_loss_px"
            )
        plain = order._replace(
            side=side, reducing=True, parent=order.client_order_id, stop_ticks=0, limit_ticks=0,
            trail_ticks=0, trail_units=0,
        )  # fmt: skip
        legs = []
        if target:
            name = f"{order.client_order_id}-tp"
            legs.append(
                plain._replace(client_order_id=name, type=OrderType.LIMIT, limit_ticks=target)
            )
        if stop:
            name = f"{order.client_order_id}-sl"
            kind = OrderType.STOP_LIMIT if limit else OrderType.STOP
            legs.append(
                plain._replace(client_order_id=name, type=kind, stop_ticks=stop, limit_ticks=limit)
            )
        return tuple(legs)


Word = TypeVar("Word", Side, OrderType, TimeInForce, OrderClass)


def _word(symbol: str, kind: type[Word], name: str, value: Any) -> Word:
    """Return a member of ``kind``, or of its value; refuse any other word."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
        raise OrderRefused(symbol, f"{name} = {value!r}; it must be one of {known}") from error


def _decimal(symbol: str, name: str, value: object) -> Decimal:
    """Return a finite amount above zero; refuse a float, which is not exact."""
    exact = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(exact, Decimal) or not exact.is_finite() or exact <= 0:
        raise OrderRefused(symbol, f"{name} = {value!r}; it must be a Decimal above zero")
    return exact


def _lots(symbol: str, scale: Scale, qty: object) -> int:
    try:
        return scale.qty_lots(_decimal(symbol, "qty", qty))
    except MoneyError as error:
        raise OrderRefused(symbol, str(error).rstrip(".")) from error


def _ticks(symbol: str, scale: Scale, name: str, px: object) -> int:
    """Return a price in ticks, 0 for none."""
    if px is None:
        return 0
    try:
        return scale.px_ticks(_decimal(symbol, name, px))
    except MoneyError as error:
        raise OrderRefused(symbol, f"{name}: {str(error).rstrip('.')}") from error


def _check_prices(
    request: OrderRequest,
    kind: OrderType,
    group: OrderClass,
    limit: int,
    stop: int,
    trails: tuple[int, int],
) -> None:
    """Refuse a type whose prices are missing or superfluous."""
    symbol = request.symbol
    if group is OrderClass.OCO:
        if limit or stop or any(trails):
            why = "an oco order takes its prices as take_profit_px and stop_loss_px alone"
            raise OrderRefused(symbol, why)
        return
    needs_limit = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    needs_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
    if (limit > 0) is not needs_limit or (stop > 0) is not needs_stop:
        raise OrderRefused(
            symbol,
            f"a {kind} order takes {'a' if needs_limit else 'no'} limit price and"
            f" {'a' if needs_stop else 'no'} stop price",
        )
    n_trails = (trails[0] > 0) + (0 < trails[1] < BPS_UNITS)
    if n_trails != (kind is OrderType.TRAILING_STOP):
        raise OrderRefused(symbol, "a trailing stop takes trail_px or trail_frac in (0, 1)")


def _copied(column: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy: a view would still hold the bars to come."""
    copy = column.copy()
    copy.setflags(write=False)
    return copy


class StrategyDesk:
    """The unified interface of hooks: the same in replay, rehearsal, paper and live."""

    def __init__(self, clock: RunClock, broker: BrokerFacade, market: Market) -> None:
        self.clock = StrategyClock(clock)
        self.broker = broker
        self.symbols = market.symbols
        self._market = market

    def history(self, symbol: str, n: int) -> SymbolBars:
        """Return the last ``n`` bars of a symbol that are closed now, and the actions by then."""
        if symbol not in self._market.tapes:
            raise UnknownSymbol(symbol, "the run", self.symbols)
        bars, end = self._market.bars[symbol], self._market.row_now(symbol) + 1
        part = slice(max(0, end - n), end)
        cut: dict[str, Any] = {
            field.name: _copied(getattr(bars, field.name)[part])
            for field in fields(bars)
            if isinstance(getattr(bars, field.name), np.ndarray)
        }
        now = self.clock.now_ns()
        known = tuple(action for action in bars.actions if action.ts_ex <= now)
        return replace(bars, **cut, actions=known)
