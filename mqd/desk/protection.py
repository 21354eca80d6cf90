"""Protective orders: placed after fills, cancelled before a new target, exits remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mqd.core.clock import NS_PER_S
from mqd.core.money import BPS_UNITS, Scale
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce
from mqd.desk.gate import OrderGate
from mqd.desk.slots import Holding
from mqd.execution.protective import protective_ticks

CANCEL_AGAIN_NS = 30 * NS_PER_S
Slot = tuple[str, str]
REASONS = frozenset({Reason.STOP_LOSS, Reason.TAKE_PROFIT, Reason.TRAILING_STOP})
Naming = Callable[[str, str, Side, str], str]


class Exits(NamedTuple):
    """A strategy's protective fractions of the average entry price, 0.0 for none."""

    stop_loss_frac: float
    take_profit_frac: float
    trailing_stop_frac: float

    def __bool__(self) -> bool:
        return any(self)


class _Guard:
    """What protects one strategy's position in one symbol; ``asked`` is the order whose cancel
    was asked for last, and when (ns)."""

    __slots__ = ("asked", "exits", "holding", "ids", "scale", "whole")

    def __init__(self, exits: Exits, holding: Holding, scale: Scale, whole: int) -> None:
        self.exits, self.holding, self.scale = exits, holding, scale
        self.whole = whole
        self.ids: set[str] = set()
        self.asked: tuple[str, int] = "", 0


class Protection:
    """Keeps every protected position covered by one stop, one target, or the pair of them.

    ``whole`` lots make one share: a fractional position gets a simple DAY order each session
    (its stop; its target only when it has no stop), because the venue takes no group for it.
    """

    def __init__(self, gate: OrderGate, naming: Naming, *, all_day: bool) -> None:
        self._gate, self._naming = gate, naming
        self._all_day = all_day
        self._guards: dict[Slot, _Guard] = {}
        self._owner: dict[str, Slot] = {}
        self._bare: set[Slot] = set()
        self.n_fractional_targets = 0

    def guard(
        self, strategy: str, symbol: str, exits: Exits, holding: Holding, scale: Scale
    ) -> None:
        """Watch over one slot from now on."""
        whole = 1 if self._all_day or scale.lot >= 1 else int(1 / scale.lot)
        self._guards[strategy, symbol] = _Guard(exits, holding, scale, whole)

    @property
    def has_bare(self) -> bool:
        """True when a position waits for its protective orders."""
        return bool(self._bare)

    def moved(self, strategy: str, symbol: str) -> None:
        """Note that a position changed: its protection is placed anew."""
        if (strategy, symbol) in self._guards:
            self._bare.add((strategy, symbol))

    def adopt(self, order: Order) -> None:
        """Take back a protective order that the log tells of."""
        slot = order.strategy, order.symbol
        if slot in self._guards:
            self._guards[slot].ids.add(order.client_order_id)
            self._owner[order.client_order_id] = slot

    def memory(self) -> list[Slot]:
        """Return the positions that wait for their protective orders."""
        return sorted(self._bare)

    def remember(self, memory: Iterable[Sequence[str]]) -> None:
        """Take back what `memory` returned."""
        self._bare = {(strategy, symbol) for strategy, symbol in memory} & self._guards.keys()

    def recovered(self) -> None:
        """Leave positions alone whose protection still works; a single one covers all of them."""
        self._bare = {slot for slot in self._bare if not self._guards[slot].ids}

    def covers(self, strategy: str, symbol: str) -> bool:
        """Return True while a protective order of a slot may still fill."""
        guard = self._guards.get((strategy, symbol))
        return guard is not None and bool(guard.ids)

    def release(self, strategy: str, symbol: str, now_ns: int) -> bool:
        """Ask to cancel a slot's protective orders; return True when there were any."""
        guard = self._guards.get((strategy, symbol))
        if guard is None or not guard.ids:
            return False
        self._cancel(guard, now_ns)
        self._bare.add((strategy, symbol))
        return True

    def ended(self, client_order_id: str) -> Slot | None:
        """Forget a protective order that is over; return its slot when it was one of ours."""
        slot = self._owner.pop(client_order_id, None)
        if slot is not None:
            self._guards[slot].ids.discard(client_order_id)
            self._bare.add(slot)
        return slot

    def place(
        self, now_ns: int, peak_row: Callable[[str], int], leaving: Callable[[str], bool]
    ) -> bool:
        """Cover every bare position; ``peak_row`` is a symbol's last closed row.

        ``leaving(symbol)``: a target order that reduces works there, and may not be doubled.
        True when earlier protection was asked to be cancelled first: hear of it, and place again.
        """
        cancelled = False
        bare, self._bare = sorted(self._bare), set()
        for slot in bare:
            guard = self._guards[slot]
            if leaving(slot[1]):
                self._bare.add(slot)
            elif guard.ids:
                self._bare.add(slot)
                cancelled = self._cancel(guard, now_ns) or cancelled
            elif guard.holding.lots:
                self._cover(slot, guard, now_ns, peak_row(slot[1]))
        return cancelled

    def _cancel(self, guard: _Guard, now_ns: int) -> bool:
        """Ask to cancel what protects a slot; False when a venue has 30 s left to say so."""
        name, (last, asked_ns) = min(guard.ids), guard.asked
        if name == last and now_ns - asked_ns < CANCEL_AGAIN_NS:
            return False
        guard.asked = name, now_ns
        self._gate.cancel(name)
        return True

    def _cover(self, slot: Slot, guard: _Guard, now_ns: int, row: int) -> None:
        orders = self._orders(slot, guard, now_ns, row)
        if not orders:
            return
        for order in orders:
            guard.ids.add(order.client_order_id)
            self._owner[order.client_order_id] = slot
        if not self._gate.send(orders[0], orders[1:]):
            for order in orders:
                self._owner.pop(order.client_order_id)
            guard.ids.clear()

    def _orders(self, slot: Slot, guard: _Guard, now_ns: int, row: int) -> tuple[Order, ...]:
        lots, exits, scale = guard.holding.lots, guard.exits, guard.scale
        fractional = bool(abs(lots) % guard.whole)
        stops = exits.stop_loss_frac > 0 or exits.trailing_stop_frac > 0
        plain = self._plain(slot, lots, now_ns, scale, fractional)
        avg_ticks = guard.holding.avg_ticks
        stop = self._stop(plain, guard, avg_ticks, row) if stops else None
        target = None
        if exits.take_profit_frac > 0:
            self.n_fractional_targets += fractional and stops
            if not (fractional and stops):
                target = self._target(plain, exits.take_profit_frac, avg_ticks)
        if stop is None or target is None:
            return tuple(order for order in (stop, target) if order is not None)
        group = target.client_order_id
        return (
            target._replace(order_class=OrderClass.OCO, group=group),
            stop._replace(order_class=OrderClass.OCO, group=group),
        )

    def _plain(self, slot: Slot, lots: int, now_ns: int, scale: Scale, fractional: bool) -> Order:
        side = Side.SELL if lots > 0 else Side.BUY
        day = TimeInForce.DAY if fractional else TimeInForce.GTC
        return Order(
            "", slot[0], slot[1], side, abs(lots), OrderType.STOP, day, now_ns, scale,
            reducing=True,
        )  # fmt: skip

    def _stop(self, plain: Order, guard: _Guard, avg_ticks: float, row: int) -> Order:
        exits, side = guard.exits, plain.side
        level = 0
        if exits.stop_loss_frac > 0:
            level = protective_ticks(avg_ticks, exits.stop_loss_frac, side, side)
        name = self._naming(plain.strategy, plain.symbol, side, "stop")
        if exits.trailing_stop_frac <= 0:
            return plain._replace(client_order_id=name, stop_ticks=level, reason=Reason.STOP_LOSS)
        peak_px = guard.holding.peak_px(row)
        best = round(peak_px / float(guard.scale.tick)) if peak_px else 0
        entry = round(avg_ticks)
        extreme = max(best, entry) if side < 0 else min(best or entry, entry)
        return plain._replace(
            client_order_id=name, type=OrderType.TRAILING_STOP, stop_ticks=level,
            trail_units=round(exits.trailing_stop_frac * BPS_UNITS), extreme_ticks=extreme,
            reason=Reason.TRAILING_STOP,
        )  # fmt: skip

    def _target(self, plain: Order, frac: float, avg_ticks: float) -> Order:
        side = plain.side
        level = protective_ticks(avg_ticks, frac, -side, -side)
        name = self._naming(plain.strategy, plain.symbol, side, "target")
        return plain._replace(
            client_order_id=name, type=OrderType.LIMIT, limit_ticks=level,
            reason=Reason.TAKE_PROFIT,
        )  # fmt: skip


def is_exit(order: Order) -> bool:
    """Return True when an order is a protective one."""
    return order.reason in REASONS
