"""RiskManager: every order is judged by every control; only it can make an ``Approved``.

It fails closed: a missing number, an exception, an answer that is no bool, or a rule that did
not run refuses the order with a code. There is no switch that leaves a rule out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from mqd.core.order import Order, OrderClass, Side
from mqd.core.verdict import Approved, approve
from mqd.risk.declare import Rule, RuleSpec, spec_of
from mqd.risk.history import Bases, History, Lists
from mqd.risk.integer_checks import Power, buying_power, malformed
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.risk.limits import INF, Limits, LimitValues
from mqd.risk.live_controls import LiveProvider, fill_breaches, judge_live
from mqd.risk.live_state import LiveLimits, LiveState
from mqd.risk.rules import RULES
from mqd.risk.verdict import PRECEDENCE, Refusal, RefusalCode, Refused
from mqd.risk.views import (
    OrderView,
    PortfolioView,
    Snapshot,
    is_reducing,
    order_view,
    portfolio_view,
)


class _Bound:
    """What binds one strategy in one symbol, looked up once."""

    __slots__ = ("limits", "lists", "power")

    def __init__(self, limits: Limits, strategy: str, symbol: str) -> None:
        self.limits = limits.values(strategy, symbol)
        self.lists: Lists = (
            float(limits.is_allowed(symbol)),
            float(symbol in limits.deny),
            float(symbol in limits.sectors),
        )
        self.power = Power.of(self.limits)


class RiskManager:
    """Judges orders against ``limits``, the project's rules and the user's ``rules``.

    With research limits two controls bind: well-formed orders and buying power, on exact
    integers. A limits file adds all of ``mqd.risk.rules.RULES``. ``rules`` come on top in both
    cases and cannot replace any. The desk tells it what happened through ``sent``, ``filled``,
    ``session``, ``mark``, ``message`` and ``flow``; time is always
    handed in, there as monotonic time.

    ``live`` is asked once an order on a running desk; the live controls then judge every order
    beside the rules, by ``live_limits``, and what it does not know refuses. None: a replay.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        rules: Sequence[Rule] | None = None,
        kill_switch: KillSwitch | None = None,
        live: LiveProvider | None = None,
        live_limits: LiveLimits | None = None,
    ) -> None:
        self.live = live
        self.live_limits = LiveLimits() if live_limits is None else live_limits
        own = () if limits.is_research else RULES
        self._rules: tuple[tuple[Rule, RuleSpec], ...] = tuple(
            (rule, spec_of(rule)) for rule in (*own, *(rules or ()))
        )
        self._n_rules = len(self._rules)
        self._limits = limits
        self.kill_switch = KillSwitch() if kill_switch is None else kill_switch
        account = limits.values("", "")
        self._history = History(account)
        self._loss, self._drawdown = _fractions(account)
        self._counts = self._n_rules > 0
        self._bound: dict[tuple[str, str], _Bound] = {}

    @property
    def runs_rules(self) -> bool:
        """Whether rules read the full view: a limits file, or rules of the user's."""
        return self._counts

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._limits

    def tighten(self, limits: Limits) -> None:
        """Take over tighter limits; ``UsageError`` names what would loosen."""
        self._limits = self._limits.tightened(limits)
        account = limits.values("", "")
        self._history.tighten(account)
        self._loss, self._drawdown = _fractions(account)
        self._bound.clear()

    def check(self, order: Order, legs: Sequence[Order], snapshot: Snapshot) -> Approved | Refused:
        """Judge an order with its protective legs; touches no state.

        A leg must only reduce what the entry opens (or, in an OCO, what is held); it is bound by
        the rules that bind every order.
        """
        now = self._live_now()
        refusals = self._judge(order, snapshot, now)
        for leg in legs:
            refusals += self._judge_leg(order, leg, snapshot, now)
        if refusals:
            unique = dict.fromkeys(refusals)
            ranked = sorted(unique, key=lambda refusal: (PRECEDENCE[refusal.code], refusal))
            return Refused(order, tuple(ranked))
        return approve(order, tuple(legs))

    def sent(self, order: Order, now_ns: int) -> None:
        """Count an order (a leg too) that goes to the venue, and its message."""
        if self._counts:
            self._history.sent(order, now_ns)

    def filled(
        self, symbol: str, side: Side, lots: int, parent_lots: int, notional_quanta: int,
        now_ns: int, *, strategy: str = "",
    ) -> None:  # fmt: skip
        """Count an execution. ``lots`` is the order's cumulative quantity after it.

        More filled than the ``parent_lots`` ordered, or too many fills a minute, trips
        ``strategy``: it may only reduce until ``rearm``. ``notional_quanta`` is this execution's.
        """
        if self._counts:
            self._history.filled(symbol, side, lots, parent_lots, notional_quanta, now_ns, strategy)

    def post_trade(
        self, order: Order, last_ticks: int, cum_lots: int, lots_after: int, now_ns: int
    ) -> list[str]:
        """Hold an execution against the order and the limits at once (control 30).

        ``last_ticks`` is its price, ``cum_lots`` what the order has filled with it, ``lots_after``
        the signed position. What it broke is returned, and sets the REDUCE_ONLY latch.
        """
        qty_max = self._bound_of(order).limits.position_qty_max
        breaches = fill_breaches(order, last_ticks, cum_lots, lots_after, qty_max)
        if breaches:
            self.kill_switch.trip("; ".join(breaches), now_ns, LatchLevel.REDUCE_ONLY)
        return breaches

    def message(self, now_ns: int) -> None:
        """Count a call to the venue that is no new order: a cancel, a replace, a query."""
        if self._counts:
            self._history.message(now_ns)

    def session(self, day: int, equity_quanta: int) -> None:
        """Begin session ``day`` with its start-of-day equity; a repeat changes nothing."""
        self._history.start_session(day, equity_quanta)

    @property
    def bases(self) -> Bases | None:
        """What daily loss and drawdown are measured from, None before the first session."""
        return self._history.bases

    def restore(self, bases: Bases) -> None:
        """Take over the bases that a log tells of; counts of the day begin anew with its day."""
        self._history.restore(bases)

    def memory(self) -> dict[str, object]:
        """Return the counters and bases that a checkpoint keeps."""
        return self._history.memory()

    def remember(self, memory: Mapping[str, Any], ids: Iterable[str]) -> None:
        """Take back what `memory` returned; ``ids`` are those of all orders sent."""
        self._history.remember(memory, ids if self._counts else ())

    def flow(self, quanta: int) -> None:
        """Take a deposit (+) or withdrawal (-) out of daily loss and drawdown."""
        self._history.flow(quanta)

    def mark(self, now_ns: int, equity_quanta: int) -> None:
        """Mark equity: raises the high water, sets the REDUCE_ONLY and HALT latches."""
        history = self._history
        history.mark(equity_quanta)
        self._trip_if(
            self._loss, history.day_start_quanta, equity_quanta, now_ns, LatchLevel.REDUCE_ONLY
        )
        self._trip_if(
            self._drawdown, history.high_water_quanta, equity_quanta, now_ns, LatchLevel.HALT
        )

    def rearm(self, strategy: str) -> None:
        """Let a strategy that repeated executions tripped open positions again."""
        self._history.rearm(strategy)

    def reset(
        self, level: LatchLevel, *, reason: str, account: str, now_ns: int, n_open_orders: int
    ) -> None:
        """Clear a latch by hand (see ``KillSwitch.reset``).

        After HALT the high water starts anew. A loss that still stands sets REDUCE_ONLY again at
        the next mark of the same session.
        """
        self.kill_switch.reset(
            level, reason=reason, account=account, now_ns=now_ns, n_open_orders=n_open_orders
        )
        if level is LatchLevel.HALT:
            self._history.high_water_quanta = None

    def _trip_if(
        self, frac: tuple[int, int] | None, top: int | None, equity: int, now_ns: int,
        level: LatchLevel,
    ) -> None:  # fmt: skip
        if frac is None or top is None:
            return
        numerator, denominator = frac
        if (top - equity) * denominator >= top * numerator:
            lost_bps = (top - equity) * 10_000 // (abs(top) or 1)
            since = "its high" if level is LatchLevel.HALT else "the session's start"
            self.kill_switch.trip(f"equity is {lost_bps} bp below {since}", now_ns, level)

    def _live_now(self) -> LiveState | None:
        """Return what is known of the venue now, nothing at all when that cannot be said; None
        in a replay."""
        if self.live is None:
            return None
        try:
            return self.live() or LiveState()
        except Exception:  # noqa: BLE001 - with nothing known every control refuses
            return LiveState()

    def _judge(self, order: Order, snapshot: Snapshot, now: LiveState | None) -> list[Refusal]:
        try:
            reducing = is_reducing(order.side, order.lots, snapshot)
            refusals = self._gate(reducing)
            if now is not None:
                refusals += judge_live(order, now, reducing, self.live_limits)
            wrong = malformed(order, snapshot)
            if wrong:
                return [*refusals, Refusal(RefusalCode.MALFORMED, "well-formed order", wrong)]
            bound = self._bound_of(order)
            poor = buying_power(order, snapshot, bound.power)
            if poor is not None:
                refusals.append(poor)
            if self._n_rules:
                refusals += self._run_rules(order, snapshot, reducing, bound)
        except Exception as error:  # noqa: BLE001 - whatever fails here refuses
            return [_missing(error)]
        return refusals

    def _judge_leg(
        self, order: Order, leg: Order, snapshot: Snapshot, now: LiveState | None
    ) -> list[Refusal]:
        try:
            after = snapshot
            if order.order_class is not OrderClass.OCO:
                after = snapshot._replace(lots=snapshot.lots + order.side * order.lots)
            refusals = self._judge(leg, after, now)
            if not is_reducing(leg.side, leg.lots, after):
                text = f"{leg.side.name} {leg.lots} lots on {after.lots}"
                refusals.append(Refusal(RefusalCode.MALFORMED, "a leg only reduces", text))
        except Exception as error:  # noqa: BLE001 - whatever fails here refuses
            return [_missing(error)]
        return refusals

    def _gate(self, reducing: bool) -> list[Refusal]:
        level = self.kill_switch.level
        if level is LatchLevel.CLEAR:
            return []
        if level is LatchLevel.KILL:
            return [Refusal(RefusalCode.KILL_SWITCH, "latch", self._why(level))]
        if reducing:
            return []
        code = RefusalCode.HALTED if level is LatchLevel.HALT else RefusalCode.REDUCE_ONLY
        return [Refusal(code, "latch", self._why(level))]

    def _why(self, level: LatchLevel) -> str:
        return self.kill_switch.reasons.get(level, level.name)

    def _bound_of(self, order: Order) -> _Bound:
        key = (order.strategy, order.symbol)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = _Bound(self._limits, *key)
        return bound

    def _run_rules(
        self, order: Order, snapshot: Snapshot, reducing: bool, bound: _Bound
    ) -> list[Refusal]:
        at_ns = snapshot.now_ns if snapshot.monotonic_ns < 0 else snapshot.monotonic_ns
        counters = self._history.counters(order, at_ns, snapshot.scale, bound.lists)
        o = order_view(order, snapshot.ref_ticks, reducing)
        p = portfolio_view(snapshot, order.side, counters)
        limits = bound.limits
        refusals: list[Refusal] = []
        n_run = 0
        for rule, spec in self._rules:
            try:
                answer: object = rule(o, p, limits)
            except Exception as error:  # noqa: BLE001 - whatever fails here refuses
                answer = error
            n_run += 1
            if answer is True:
                continue
            refusal = _refusal_for(answer, spec, reducing, (o, p, limits))
            if refusal is not None:
                refusals.append(refusal)
        if n_run != self._n_rules:
            text = f"{n_run} of {self._n_rules}"
            refusals.append(Refusal(RefusalCode.RULES_NOT_RUN, "all rules run", text))
        return refusals


def refusal_of(
    spec: RuleSpec, order: OrderView, portfolio: PortfolioView, limits: LimitValues
) -> Refusal:
    """Return what a rule's refusal prints; all inputs when it was not declared."""
    if spec.needs is not None:
        least, counted = spec.needs
        if not counted(order, portfolio) >= getattr(limits, least):
            text = f"{counted(order, portfolio):.10g}"
            return Refusal(spec.code, f"{least} {getattr(limits, least):.10g}", text)
    named = [limit for limit in (spec.limit, *spec.also) if limit]
    values = [f"{limit} {getattr(limits, limit, float('nan')):.10g}" for limit in named]
    name = ", ".join(values) or spec.name
    if spec.observes is None:
        return Refusal(spec.code, name, f"{order} {portfolio} {limits}")
    try:
        observed = f"{spec.observes(order, portfolio):.10g}"
    except Exception as error:  # noqa: BLE001 - whatever fails here refuses
        observed = f"not known ({type(error).__name__})"
    return Refusal(spec.code, name, observed)


def _refusal_for(
    answer: object,
    spec: RuleSpec,
    reducing: bool,
    inputs: tuple[OrderView, PortfolioView, LimitValues],
) -> Refusal | None:
    """Return why an answer other than plain True refuses, None when it does not."""
    if isinstance(answer, Exception):
        return _failed(spec, f"raised {type(answer).__name__}: {answer}")
    if not isinstance(answer, (bool, np.bool_)):
        return _failed(spec, f"answered {answer!r}, which is no bool")
    if answer or (reducing and spec.reducing_passes):
        return None
    return refusal_of(spec, *inputs)


def _failed(spec: RuleSpec, what: str) -> Refusal:
    return Refusal(RefusalCode.RULE_FAILED, spec.name, what)


def _missing(error: Exception) -> Refusal:
    return Refusal(
        RefusalCode.MISSING_INPUT, "all inputs known", f"{type(error).__name__}: {error}"
    )


def _fractions(limits: LimitValues) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return daily loss and drawdown as exact fractions, None where they do not bind."""

    def exact(frac: float) -> tuple[int, int] | None:
        return None if frac == INF else Fraction(repr(frac)).as_integer_ratio()

    return exact(limits.daily_loss_frac_max), exact(limits.drawdown_frac_max)
