"""Target orders from plan to end: sent, followed up, cut short at the close, sent anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mqd.core.clock import RunClock
from mqd.core.event import Topic
from mqd.core.order import TERMINAL, Order, OrderType, Reason, TimeInForce
from mqd.core.signal import HOLD, Signal
from mqd.desk.gate import OrderGate
from mqd.desk.hearing import Hearing
from mqd.desk.journal import Journal
from mqd.desk.market import Market
from mqd.desk.names import OrderNames
from mqd.desk.protection import Protection
from mqd.desk.valuation import Valuation
from mqd.orders.state_machine import OrderStateMachine
from mqd.portfolio.attribution import Allocation
from mqd.portfolio.manager import PortfolioManager
from mqd.portfolio.plan import OrderPlan, Plan
from mqd.portfolio.sizing import round_weight


class Decided(NamedTuple):
    """When a plan was made, and the account's equity then, in quanta."""

    ts_ns: int
    equity: int


Waiting = tuple[OrderPlan, Decided]


class Held(NamedTuple):
    """A planned order that waits for the cancel of what protects its position; ``lots`` is the
    position that it was planned on."""

    plan: OrderPlan
    decided: Decided
    lots: int


class Targets:
    """The orders that bring positions to their targets.

    ``working`` are those that may still fill; ``waiting`` are increases whose reductions have
    not filled yet; crosses wait for the next open. Where a venue takes its time to cancel a
    protective order, orders are held until it is off: both could fill.
    """

    def __init__(
        self,
        clock: RunClock,
        market: Market,
        journal: Journal,
        gate: OrderGate,
        hearing: Hearing,
        machine: OrderStateMachine,
        portfolio: PortfolioManager,
        protection: Protection,
        valuation: Valuation,
        names: OrderNames,
        default_tif: TimeInForce,
        latency_ns: int,
    ) -> None:
        self._clock, self._market, self._journal = clock, market, journal
        self._gate, self._hearing, self._machine = gate, hearing, machine
        self._portfolio, self._protection, self._valuation = portfolio, protection, valuation
        self._names, self._default_tif, self._latency_ns = names, default_tif, latency_ns
        self._alone = len(portfolio.strategies) == 1
        self.working: dict[str, Order] = {}
        self._waiting: list[Waiting] = []
        self._held: list[Held] = []
        self._reductions: set[str] = set()
        self._crosses: list[tuple[str, Allocation]] = []
        self.n_zero_sizes = 0

    @property
    def busy(self) -> bool:
        """True when something waits for the next step."""
        return bool(self._waiting or self._held or self._crosses)

    @property
    def waiting(self) -> set[tuple[str, str]]:
        """The strategies and symbols whose orders wait: for a reduction, or to be sent at all."""
        plans = [plan for plan, _ in self._waiting] + [held.plan for held in self._held]
        return {(name, plan.symbol) for plan in plans for name, _ in plan.allocation}

    def reduces(self, symbol: str) -> bool:
        """Return True when an order that reduces the account's position may still fill."""
        self._prune()
        if any(held.plan.symbol == symbol and held.plan.reducing for held in self._held):
            return True
        return any(order.symbol == symbol and order.reducing for order in self.working.values())

    # --- at a close --------------------------------------------------------------------------

    def clear(self, signals: Sequence[Signal], standing: Sequence[float]) -> None:
        """Give up orders, working and waiting, of the symbols whose target changes."""
        if not (self.working or self._waiting or self._held):
            return
        self._prune()
        changed = {
            signal.symbol
            for signal, before in zip(signals, standing, strict=True)
            if signal.weight != HOLD and round_weight(signal.weight) != before
        }
        self._cancel([order for order in self.working.values() if order.symbol in changed])
        self._reductions &= self.working.keys()
        self._drop(changed)

    def send(self, plan: Plan) -> None:
        """Send a plan: protection makes room first, increases wait for their reductions."""
        self.n_zero_sizes += len(plan.zero_sizes)
        for zero in plan.zero_sizes:
            self._journal.publish(Topic.SIGNAL, zero)
        self._crosses += [(cross.symbol, cross.allocation) for cross in plan.crosses]
        if not plan.orders:
            return
        self._supersede(plan)
        pairs = ((name, order.symbol) for order in plan.orders for name, _ in order.allocation)
        for slot in dict.fromkeys(pairs):
            self._protection.release(*slot, self._clock.now_ns())
        self._hearing.listen()
        decided = Decided(self._clock.now_ns(), self._valuation.equity())
        for order in plan.orders:
            if order.after_reductions:
                self._waiting.append((order, decided))
            elif self._is_covered(order):
                self._held.append(Held(order, decided, self._valuation.lots(order.symbol)))
            else:
                self._send_one(order, decided)
        self._hearing.listen()

    def cancel_remainders(self, rows: Sequence[int]) -> None:
        """Cancel orders that met this bar's volume and are not filled."""
        self._prune()
        row_of = dict(zip(self._market.symbols, rows, strict=True))
        met = []
        for order in self.working.values():
            tape, row = self._market.tapes[order.symbol], row_of[order.symbol]
            if row < 0 or tape.capacity[row] < 0:
                continue
            if order.decided_ns + self._latency_ns <= tape.ts_open[row]:
                met.append(order)
        self._cancel(met)
        self._give_up()

    # --- at an open --------------------------------------------------------------------------

    def follow_up(self) -> bool:
        """Send what was held and is free now, and the increases whose reductions have filled; drop
        these when one cannot fill."""
        self._prune()
        self._give_up()
        sent = self._send_held()
        if self._held or self._reductions or not self._waiting:
            return sent
        waiting, self._waiting = self._waiting, []
        for plan, decided in waiting:
            self._send_one(plan, decided)
        return True

    def take_crosses(self, rows: Sequence[int]) -> list[tuple[str, Allocation, int]]:
        """Return, and forget, the crosses of symbols that have a bar, with its row."""
        if not self._crosses:
            return []
        row_of = dict(zip(self._market.symbols, rows, strict=True))
        taken = [(s, parts, row_of[s]) for s, parts in self._crosses if row_of[s] >= 0]
        self._crosses = [(s, parts) for s, parts in self._crosses if row_of[s] < 0]
        return taken

    def split(self, symbol: str, numerator: int, denominator: int) -> None:
        """Carry the increases that wait through a split, toward zero; one without lots is over.

        An increase that several strategies share is given up and sized anew at the close.
        """
        shared = [p for p in self._waiting if p[0].symbol == symbol and len(p[0].allocation) > 1]
        self._drop_waiting(shared)
        self._drop_held([held for held in self._held if held.plan.symbol == symbol])
        waiting, self._waiting = self._waiting, []
        for plan, decided in waiting:
            if plan.symbol != symbol:
                self._waiting.append((plan, decided))
            elif lots := plan.lots * numerator // denominator:
                alone = ((plan.allocation[0][0], plan.side * lots),)
                self._waiting.append((plan._replace(lots=lots, allocation=alone), decided))

    def reissue(self, order: Order, lots: int) -> None:
        """Send what is left of an order anew, in the units after a split: it is no remainder.

        An order that several strategies share is sized anew at the close instead.
        """
        if len(order.allocation) > 1:
            return
        self._portfolio.resizing.discard((order.strategy, order.symbol))
        self._hearing.unfilled.discard(order.client_order_id)
        self._prune()
        name = self._names(order.strategy, order.symbol, order.side, "split")
        allocation = tuple((party, order.side * lots) for party, _ in order.allocation)
        self._send(order._replace(client_order_id=name, lots=lots, allocation=allocation))

    # --- inside ------------------------------------------------------------------------------

    def _send_one(self, plan: OrderPlan, decided: Decided) -> None:
        name = self._names(plan.strategy, plan.symbol, plan.side, "target")
        self._gate.equity_decided = decided.equity
        self._send(
            Order(
                name, plan.strategy, plan.symbol, plan.side, plan.lots, OrderType.MARKET,
                self._default_tif, decided.ts_ns, self._valuation.scales[plan.symbol],
                Reason.TARGET, plan.reducing,
                allocation=() if self._alone else plan.allocation,
            )
        )  # fmt: skip
        self._gate.equity_decided = None

    def _is_covered(self, plan: OrderPlan) -> bool:
        """Return True while a protective order of a plan's position may still fill."""
        return any(self._protection.covers(name, plan.symbol) for name, _ in plan.allocation)

    def _send_held(self) -> bool:
        """Send held orders whose position is free; one whose position changed meanwhile (its stop
        filled) is given up, with what waits for it, and sized anew."""
        ready = [held for held in self._held if not self._is_covered(held.plan)]
        for held in ready:
            if self._valuation.lots(held.plan.symbol) == held.lots:
                self._held.remove(held)
                self._send_one(held.plan, held.decided)
            else:
                self._drop_held([held])
                self._drop_waiting(list(self._waiting))
        return bool(ready)

    def _send(self, order: Order) -> None:
        name = order.client_order_id
        if order.allocation:
            self._portfolio.attribution.open(name, order.allocation)
        if self._gate.send(order):
            self.working[name] = order
            if order.reducing:
                self._reductions.add(name)
        elif self._gate.is_live:
            parties = [party for party, _ in order.allocation] or [order.strategy]
            self._portfolio.on_remainder(order.symbol, parties)

    def _prune(self) -> None:
        """Forget orders that are over."""
        state = self._machine.state
        over = [name for name in self.working if state(name).status in TERMINAL]
        for name in over:
            del self.working[name]
            if name not in self._hearing.unfilled:
                self._reductions.discard(name)

    def _supersede(self, plan: Plan) -> None:
        """Give up what still works or waits on a plan's symbols: it was sized without it."""
        self._prune()
        symbols = {order.symbol for order in plan.orders}
        self._cancel([order for order in self.working.values() if order.symbol in symbols])
        self._reductions &= self.working.keys()
        self._drop(symbols)
        for order in plan.orders:
            for strategy, _ in order.allocation:
                self._portfolio.resizing.discard((strategy, order.symbol))

    def _give_up(self) -> None:
        """Drop the increases that wait for a reduction which ended before it had filled."""
        if not self._reductions <= self.working.keys():
            self._reductions &= self.working.keys()
            self._drop_waiting(list(self._waiting))

    def _drop(self, symbols: set[str]) -> None:
        """Give up all that waits or is held on some symbols."""
        self._drop_waiting([pair for pair in self._waiting if pair[0].symbol in symbols])
        self._drop_held([held for held in self._held if held.plan.symbol in symbols])

    def _drop_held(self, dropped: Sequence[Held]) -> None:
        for held in dropped:
            self._held.remove(held)
            names = [name for name, _ in held.plan.allocation]
            self._portfolio.on_remainder(held.plan.symbol, names)

    def _drop_waiting(self, pairs: Sequence[Waiting]) -> None:
        for pair in pairs:
            plan = pair[0]
            self._waiting.remove(pair)
            self._portfolio.on_remainder(plan.symbol, [name for name, _ in plan.allocation])

    def _cancel(self, orders: Sequence[Order]) -> None:
        if not orders:
            return
        for order in orders:
            self._gate.cancel(order.client_order_id)
        self._hearing.listen()
        self._prune()
