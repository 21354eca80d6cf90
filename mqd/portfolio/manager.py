"""From signals to order plans: standing targets, sizing, netting across strategies.

All amounts in and out are integers (ticks, lots, quanta). A plan says what to send; ids, risk
and the log are the desk's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from mqd.core.clock import iso
from mqd.core.money import MOST_QUANTA, Scale
from mqd.core.signal import HOLD, Signal
from mqd.errors import AmountTooLarge, BadWeight, UsageError
from mqd.portfolio.attribution import Attribution
from mqd.portfolio.plan import (
    NOTHING,
    CrossPlan,
    OrderPlan,
    Plan,
    ZeroSize,
    net,
    order_plan,
)
from mqd.portfolio.sizing import (
    Sizer,
    SlotView,
    no_closes,
    position_weight,
    round_weight,
    whole_short,
    whole_step,
)

SUM_SLACK = 1e-9
"""How far the sum of |weights| of ``allocate`` may exceed the multiplier."""


_LOST = "the size rounds to no lots"
_UNKNOWN = "the sizer needs more closes than are known"


class _Slot:
    """One strategy's standing target on one symbol."""

    __slots__ = (
        "blocked", "closes", "goal", "key", "lot_quanta", "order", "raw", "share", "size",
        "step", "strategy", "symbol", "weight",
    )  # fmt: skip

    def __init__(self, strategy: str, symbol: str, order: int, share: float) -> None:
        self.strategy, self.symbol, self.order, self.share = strategy, symbol, order, share
        self.key = strategy, symbol
        self.weight = 0.0  # the last target, rounded
        self.raw = 0.0  # the same before rounding, for the sum of |weights|
        self.goal: int | None = 0  # the lots it was sized to; None: not sized yet
        self.blocked = HOLD  # after an exit: the weight that may not re-enter
        self.size = 0.0
        self.lot_quanta = 1
        self.step = 1
        self.closes: Callable[[int], Sequence[float]] = no_closes


class PortfolioManager:
    """Keeps every strategy's last target and turns changed ones into order plans.

    ``strategies`` are ``(name, allocation)``, allocations above 0 with a sum of at most 1;
    ``symbols`` the run's, in the order of ``Bars``; ``scales`` of each symbol. ``allocating``
    names the strategies whose weights are of equity x allocation (``allocate``), not of a slot.
    ``closes(symbol, n)`` gives the last ``n`` closes up to the decision's (for sizers that read
    them), ``bars_per_year`` annualises them. ``whole_shorts`` are the symbols that are sold
    short in whole units only; None means all.

    The desk calls at a close when a weight differs from the last one, for every member
    ``(strategy, symbol)`` of ``resizing`` (with what the strategy returned, HOLD included), and
    always when ``band`` is set. Before planning for a symbol, its working target orders must be
    over: what is still open of them is not subtracted here.
    """

    def __init__(
        self,
        strategies: Sequence[tuple[str, float]],
        symbols: Sequence[str],
        sizer: Sizer,
        scales: Mapping[str, Scale],
        *,
        multiplier: float = 1.0,
        rebalance_band_frac: float | None = None,
        allocating: Collection[str] = (),
        closes: Callable[[str, int], Sequence[float]] | None = None,
        bars_per_year: float = 252.0,
        whole_shorts: Collection[str] | None = None,
    ) -> None:
        _check_allocations(strategies)
        if sizer.closes_needed and closes is None:
            raise UsageError(f"{sizer!r} reads closes: hand a window of closes to the manager.")
        if rebalance_band_frac is not None and not rebalance_band_frac > 0.0:
            raise UsageError(f"rebalance_band_frac = {rebalance_band_frac!r} must be above 0.")
        self.symbols = tuple(symbols)
        self.strategies = tuple(name for name, _ in strategies)
        self.attribution = Attribution(self.strategies)
        self.band = rebalance_band_frac
        self._multiplier = float(multiplier)
        self._sizer = sizer
        self._closes_needed = sizer.closes_needed
        self._bars_per_year = bars_per_year
        self._alone = len(strategies) == 1
        self._most = float(MOST_QUANTA * scales[self.symbols[0]].quantum)
        self.resizing: set[tuple[str, str]] = set()
        self._zeros: list[ZeroSize] = []
        self._slots: dict[tuple[str, str], _Slot] = {}
        for order, (name, allocation) in enumerate(strategies):
            share = allocation if name in allocating else allocation / len(self.symbols)
            for symbol in self.symbols:
                slot = _Slot(name, symbol, order, share)
                slot.lot_quanta = scales[symbol].tick_lot_quanta
                slot.size = sizer.size(scales[symbol])
                if whole_shorts is None or symbol in whole_shorts:
                    slot.step = whole_step(scales[symbol])
                if closes is not None:
                    slot.closes = _window(closes, symbol)
                self._slots[name, symbol] = slot

    # ---- decisions -------------------------------------------------------------------------

    def on_signal(
        self, signal: Signal, close_ticks: int, equity_quanta: int, account_lots: int
    ) -> Plan:
        """Return the plan for one signal.

        ``close_ticks`` of the symbol and ``equity_quanta`` of the account at the decision's
        close; ``account_lots`` the account's signed position in the symbol.
        """
        if not self._alone:
            symbol = signal.symbol
            closes, positions = {symbol: close_ticks}, {symbol: account_lots}
            return self.on_signals((signal,), closes, equity_quanta, positions)
        slot = self._slots[signal.strategy, signal.symbol]
        self._check(signal, close_ticks)
        goal = self._goal(slot, signal.weight, close_ticks, equity_quanta, account_lots)
        self._check_size(slot, goal, close_ticks, signal.ts_ns)
        if goal is None or goal == account_lots:
            return Plan((), (), self._drain()) if self._zeros else NOTHING
        delta = goal - account_lots
        if goal * account_lots < 0:
            orders = net(slot.symbol, ((slot.strategy, delta),), account_lots)
            return Plan(tuple(orders), (), self._drain())
        reducing = abs(goal) < abs(account_lots)
        order = order_plan(slot.symbol, delta, reducing, False, ((slot.strategy, delta),))
        return Plan((order,), (), self._drain())

    def on_signals(
        self,
        signals: Iterable[Signal],
        closes: Mapping[str, int],
        equity_quanta: int,
        positions: Mapping[str, int],
    ) -> Plan:
        """Return the plan for all signals of one close, netted by symbol.

        ``closes`` in ticks by symbol (a symbol without a bar is absent), ``positions`` the
        account's signed lots by symbol. The order of ``signals`` does not matter.
        """
        signals = tuple(signals)
        for signal in signals:
            self._check(signal, closes.get(signal.symbol, 0))
        deltas: dict[str, dict[int, int]] = {}
        for signal in signals:
            symbol = signal.symbol
            slot = self._slots[signal.strategy, symbol]
            lots = self._lots(slot, positions)
            close_ticks = closes.get(symbol, 0)
            goal = self._goal(slot, signal.weight, close_ticks, equity_quanta, lots)
            self._check_size(slot, goal, close_ticks, signal.ts_ns)
            if goal is not None and goal != lots:
                deltas.setdefault(symbol, {})[slot.order] = goal - lots
        orders: list[OrderPlan] = []
        crosses: list[CrossPlan] = []
        for symbol in self.symbols:
            if symbol in deltas:
                moves = tuple(
                    (self.strategies[i], deltas[symbol][i]) for i in sorted(deltas[symbol])
                )
                if sum(lots for _, lots in moves):
                    orders.extend(net(symbol, moves, positions.get(symbol, 0)))
                else:
                    crosses.append(CrossPlan(symbol, moves))
        reductions = [order for order in orders if order.reducing]
        waits = bool(reductions)
        increases = [o._replace(after_reductions=waits) for o in orders if not o.reducing]
        return Plan((*reductions, *increases), tuple(crosses), self._drain())

    def check_allocation(
        self, strategy: str, ts_ns: int, weights: Sequence[float], tradable: Sequence[bool]
    ) -> None:
        """Raise ``BadWeight`` unless ``weights`` of ``allocate`` may stand.

        Both arrays follow ``symbols``. A masked symbol's weight is 0 or HOLD; the sum of
        |weights| before rounding, HOLD counted as the standing target, is at most the multiplier
        (with 1e-9 of slack).
        """
        bar = iso(ts_ns)
        total = 0.0
        for symbol, weight, known in zip(self.symbols, weights, tradable, strict=True):
            if weight == HOLD:
                total += abs(self._slots[strategy, symbol].raw)
                continue
            _check_range(strategy, symbol, ts_ns, weight)
            if not known and weight != 0.0:
                raise BadWeight(strategy, symbol, bar, weight, "the symbol is masked there")
            total += abs(weight)
        if total > self._multiplier + SUM_SLACK:
            why = f"the sum of |weights| is above the account's multiplier of {self._multiplier:g}"
            raise BadWeight(strategy, "all symbols", bar, total, why)

    # ---- what happened to them -------------------------------------------------------------

    def standing(self, strategy: str, symbol: str) -> float:
        """Return the last target (rounded weight), 0.0 before the first."""
        return self._slots[strategy, symbol].weight

    def restore(self, strategy: str, symbol: str, weight: float) -> None:
        """Set the standing target to one that the log tells of; it is sized when that is due."""
        slot = self._slots[strategy, symbol]
        slot.weight = slot.raw = weight
        slot.blocked, slot.goal = HOLD, None

    def memory(self) -> list[tuple[object, ...]]:
        """Return each standing target: strategy, symbol, weight, raw, blocked weight, goal."""
        return [(*s.key, s.weight, s.raw, s.blocked, s.goal) for s in self._slots.values()]

    def remember(self, memory: Iterable[Sequence[Any]]) -> None:
        """Take back what `memory` returned."""
        for strategy, symbol, *standing in memory:
            slot = self._slots[strategy, symbol]
            slot.weight, slot.raw, slot.blocked, slot.goal = standing

    def on_remainder(self, symbol: str, strategies: Iterable[str]) -> None:
        """Note that orders of ``strategies`` were capped or expired: resized at the next plan.

        A trimmed fill counts as reached and is not reported here.
        """
        for strategy in strategies:
            self.resizing.add(self._slots[strategy, symbol].key)

    def on_exit(self, strategy: str, symbol: str) -> None:
        """Note a protective exit: the target is 0 until a weight other than the last comes."""
        slot = self._slots[strategy, symbol]
        if slot.weight != 0.0:
            slot.blocked = slot.weight
        slot.weight = slot.raw = 0.0
        slot.goal = 0
        self.resizing.discard(slot.key)

    def on_split(self, symbol: str, numerator: int, denominator: int) -> None:
        """Carry the sized targets of ``symbol`` through a split, toward zero."""
        for name in self.strategies:
            slot = self._slots[name, symbol]
            if slot.goal is not None:
                sign = -1 if slot.goal < 0 else 1
                slot.goal = sign * (abs(slot.goal) * numerator // denominator)

    # ---- inside ----------------------------------------------------------------------------

    def _lots(self, slot: _Slot, positions: Mapping[str, int]) -> int:
        if self._alone:
            return positions.get(slot.symbol, 0)
        return self.attribution.lots(slot.strategy, slot.symbol)

    def _check(self, signal: Signal, close_ticks: int) -> None:
        weight = signal.weight
        if weight == HOLD:
            return
        if not -1.0 <= weight <= 1.0:
            _check_range(signal.strategy, signal.symbol, signal.ts_ns, weight)
        if close_ticks <= 0 and weight != 0.0:
            why = "the symbol has no price there"
            raise BadWeight(signal.strategy, signal.symbol, iso(signal.ts_ns), weight, why)

    def _goal(
        self, slot: _Slot, weight: float, close_ticks: int, equity_quanta: int, lots: int
    ) -> int | None:
        """Return the lots to go to, None when nothing is to be sent."""
        rounded = HOLD if weight == HOLD else round_weight(weight)
        if rounded in (HOLD, slot.blocked):
            if slot.key not in self.resizing or (slot.goal is None and close_ticks <= 0):
                return None
            self.resizing.discard(slot.key)
            if slot.goal is None:
                slot.goal = self._size(slot, slot.weight, close_ticks, equity_quanta)
            return slot.goal
        slot.blocked = HOLD
        slot.raw = weight
        due = rounded != slot.weight or slot.key in self.resizing
        if not due and not self._drifted(slot, close_ticks, equity_quanta, lots):
            return None
        slot.weight = rounded
        self.resizing.discard(slot.key)
        slot.goal = self._size(slot, rounded, close_ticks, equity_quanta)
        return slot.goal

    def _size(self, slot: _Slot, weight: float, close_ticks: int, equity_quanta: int) -> int | None:
        if weight == 0.0:
            return 0
        if self._closes_needed and len(slot.closes(self._closes_needed)) < self._closes_needed:
            self.resizing.add(slot.key)
            self._zeros.append(ZeroSize(slot.strategy, slot.symbol, weight, _UNKNOWN))
            return None
        view = self._view(slot, close_ticks, equity_quanta)
        lots = whole_short(self._sizer.lots(weight, view), slot.step)
        if not lots:
            self._zeros.append(ZeroSize(slot.strategy, slot.symbol, weight, _LOST))
        return lots

    def _check_size(self, slot: _Slot, goal: int | None, close_ticks: int, ts_ns: int) -> None:
        """Raise ``AmountTooLarge`` for a target that the columns of a result cannot hold."""
        if goal and abs(float(goal)) * float(close_ticks * slot.lot_quanta) > MOST_QUANTA:
            what = f"the target of {slot.strategy} in {slot.symbol}"
            raise AmountTooLarge(what, iso(ts_ns), self._most)

    def _view(self, slot: _Slot, close_ticks: int, equity_quanta: int) -> SlotView:
        return SlotView(
            float(equity_quanta),
            slot.share,
            float(close_ticks * slot.lot_quanta),
            slot.size,
            slot.closes,
            self._bars_per_year,
        )

    def _drifted(self, slot: _Slot, close_ticks: int, equity_quanta: int, lots: int) -> bool:
        if close_ticks <= 0 or self.band is None:
            return False
        if self._closes_needed and len(slot.closes(self._closes_needed)) < self._closes_needed:
            return False
        base = self._sizer.base(slot.weight, self._view(slot, close_ticks, equity_quanta))
        return abs(position_weight(lots, base) - slot.weight) > self.band

    def _drain(self) -> tuple[ZeroSize, ...]:
        if not self._zeros:
            return ()
        zeros = tuple(self._zeros)
        self._zeros.clear()
        return zeros


def _window(
    closes: Callable[[str, int], Sequence[float]], symbol: str
) -> Callable[[int], Sequence[float]]:
    return lambda count: closes(symbol, count)


def _check_range(strategy: str, symbol: str, ts_ns: int, weight: float) -> None:
    if not isfinite(weight):
        raise BadWeight(strategy, symbol, iso(ts_ns), weight, "it is not finite")
    if not -1.0 <= weight <= 1.0:
        raise BadWeight(strategy, symbol, iso(ts_ns), weight, "it is outside [-1, 1]")


def _check_allocations(strategies: Sequence[tuple[str, float]]) -> None:
    names = [name for name, _ in strategies]
    if not names:
        raise UsageError("A run needs at least one strategy.")
    if len(set(names)) != len(names):
        raise UsageError(f"Two strategies of a run have one name: {', '.join(names)}.")
    for name, allocation in strategies:
        if not (isfinite(allocation) and 0.0 < allocation <= 1.0):
            raise UsageError(f"{name}: allocation = {allocation!r}, but it must be in (0, 1].")
    total = sum(allocation for _, allocation in strategies)
    if total > 1.0 + SUM_SLACK:
        raise UsageError(f"The allocations of a run sum to {total:g}, but at most 1 is there.")
