"""Laws over many calls, against a ``RiskManager`` that holds the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from mqd.core.clock import NS_PER_S
from mqd.core.verdict import Approved
from mqd.risk.declare import Rule
from mqd.risk.kill_switch import KillSwitch
from mqd.risk.limits import LimitValues
from mqd.risk.rules import order_qty
from mqd.risk.views import OrderView, PortfolioView
from mqd.testing.cases import some_limits
from mqd.testing.disk import MemoryDisk
from mqd.testing.finding import Finding
from mqd.testing.laws import Subject, always
from mqd.testing.scene import REF_TICKS, Scene, Step
from mqd.testing.strategies import SIZES, limit_pool

Scenario = tuple[LimitValues, tuple[Step, ...]]
Run = Callable[[Rule, LimitValues, Sequence[Step]], str]


class ManagerLaw(NamedTuple):
    """One law over a scenario: ``run`` returns what went wrong, or an empty text."""

    name: str
    title: str
    applies: Callable[[Subject], str]
    run: Run


def run_scenario(law: str, rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> None:
    """Play ``steps`` and raise ``AssertionError`` when the law named ``law`` does not hold."""
    for one in MANAGER_LAWS:
        if one.name == law:
            wrong = one.run(rule, limits, steps)
            assert not wrong, f"{law}: {wrong}"


def _order_of_rules(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    first, last = Scene((rule, order_qty), limits), Scene((order_qty, rule), limits)
    for step in steps:
        if step.what != "order":
            continue
        answers = [_codes(scene, step) for scene in (first, last)]
        if answers[0] != answers[1]:
            return f"{answers[0]} when the rule runs first, {answers[1]} when it runs last"
    return ""


def _codes(scene: Scene, step: Step) -> tuple[str, ...]:
    verdict = scene.ask(scene.order(step.side, step.lots))
    return ("approved",) if isinstance(verdict, Approved) else tuple(map(str, verdict.codes))


ROUNDS = 6
"""How often orders are opened and ended before a reservation that stays must show."""


def _released(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    scene = Scene((rule,), limits)
    probes = [step for step in steps if step.what == "order"]
    before = [scene.passes(scene.order(step.side, step.lots)) for step in probes]
    for _ in range(ROUNDS):
        for step in probes:
            order = scene.order(step.side, step.lots)
            if scene.passes(order):
                scene.open.append(order)
        scene.open.clear()
        now = [scene.passes(scene.order(step.side, step.lots)) for step in probes]
        if now != before:
            return f"with every order ended the verdicts are {now}, at first they were {before}"
    return ""


def _worst_case(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    scene = Scene((rule,), limits)
    for step in steps:
        if step.what == "fill":
            scene.fill(step.pick, step.lots)
        elif step.what == "cancel":
            scene.cancel(step.pick)
        elif step.what == "order":
            order = scene.order(step.side, step.lots)
            if not scene.passes(order):
                continue
            if not _passes_once_filled(rule, limits, scene, step):
                held = scene.lots + step.side * scene.open_lots(step.side)
                return (
                    f"an order of {step.side * step.lots} passes while {scene.lots} are held and"
                    f" {len(scene.open)} orders are open; once those of its side have filled"
                    f" ({held} held) it is refused: open orders do not count as filled"
                )
            scene.open.append(order)
    return ""


def _passes_once_filled(rule: Rule, limits: LimitValues, scene: Scene, step: Step) -> bool:
    """Ask again in a desk where every open order of this side has filled a while ago."""
    twin = Scene((rule,), limits, lots=scene.lots + step.side * scene.open_lots(step.side))
    same_side = [order for order in scene.open if order.side == step.side]
    twin.open = [order for order in scene.open if order.side != step.side]
    traded = scene.traded_quanta // (REF_TICKS * 10**6) + sum(o.lots for o in same_side)
    if traded:
        twin.now_ns -= 120 * NS_PER_S
        twin.tell_fill(twin.order(step.side, 1).side, traded)
    twin.now_ns = scene.now_ns
    return twin.passes(twin.order(step.side, step.lots))


def _latched(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    disk = MemoryDisk()
    KillSwitch("latches", account="A1", io=disk).trip("operator", 1)
    disk.lose_power()
    for lots in (0, 50, -50):
        switch = KillSwitch("latches", account="A1", io=disk)
        scene = Scene((rule,), limits, lots=lots, kill_switch=switch)
        for step in steps:
            scene.now_ns += int((step.seconds - step.back_s) * NS_PER_S)
            if step.what == "order" and scene.passes(scene.order(step.side, step.lots)):
                return f"an order of {step.lots} passes a kill switch that was set before"
    return ""


def _one_more_rule(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    alone, both = Scene((rule,), limits), Scene((rule, _lets_pass), limits)
    for step in steps:
        if step.what != "order":
            continue
        refused = not alone.passes(alone.order(step.side, step.lots))
        if refused and both.passes(both.order(step.side, step.lots)):
            return f"an order of {step.lots} passes only when one more rule is enabled"
    return ""


def _lets_pass(order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    return order.qty > 0.0 and portfolio.qty == portfolio.qty and limits.qty_max >= 0.0


def _rate(rule: Rule, limits: LimitValues, steps: Sequence[Step]) -> str:
    scene = Scene((rule,), limits)
    true_ns = scene.now_ns
    sent_ns: list[int] = []
    for number, step in enumerate(steps):
        true_ns += int(step.seconds * NS_PER_S)
        scene.now_ns += int((step.seconds - step.back_s) * NS_PER_S)
        for burst in range(step.lots if step.what == "order" else 0):
            order = scene.order(1, 1 + burst + 1_000 * number)
            if scene.passes(order):
                scene.manager.sent(order, scene.now_ns)
                sent_ns.append(true_ns)
    return _too_fast(sent_ns, limits, _per_minute(rule, limits))


def _per_minute(rule: Rule, limits: LimitValues) -> float | None:
    limit = getattr(getattr(rule, "risk_rule", None), "limit", "")
    return getattr(limits, limit) if limit.endswith("orders_min_max") else None


def _too_fast(sent_ns: list[int], limits: LimitValues, per_minute: float | None) -> str:
    for i, first in enumerate(sent_ns):
        for j in range(i, len(sent_ns)):
            seconds, count = (sent_ns[j] - first) / NS_PER_S, j - i + 1
            if per_minute is not None:
                if seconds < 60 and count > per_minute:
                    return f"{count} orders in {seconds:g} s at {per_minute:g} a minute"
            elif count > limits.orders_s_max * seconds + limits.orders_burst_max + 1e-9:
                return (
                    f"{count} orders in {seconds:g} s at a rate of {limits.orders_s_max:g} a second"
                    f" and a burst of {limits.orders_burst_max:g}"
                )
    return ""


RATE_LIMITS = ("orders_s_max", "orders_burst_max", "orders_min_max", "account_orders_min_max")


def _rate_applies(subject: Subject) -> str:
    declared = subject.control == 11 or subject.spec.limit in RATE_LIMITS
    if declared or subject.reads.limits & set(RATE_LIMITS[:2]):
        return ""
    return "the rule declares no limit on the order rate and reads none"


MANAGER_LAWS: tuple[ManagerLaw, ...] = (
    ManagerLaw("P9", "the order of rules changes nothing", always, _order_of_rules),
    ManagerLaw("P11", "ended orders reserve nothing", always, _released),
    ManagerLaw("P12", "open orders count as filled", always, _worst_case),
    ManagerLaw("P13", "a latch survives restart and clock", always, _latched),
    ManagerLaw("P16", "approvals keep to the rate", _rate_applies, _rate),
    ManagerLaw("P17", "one more rule never helps", always, _one_more_rule),
)


def scenarios(subject: Subject) -> st.SearchStrategy[Scenario]:
    """Return limits and steps, near the numbers that the rule compares with."""
    near = [int(abs(c)) for c in subject.reads.constants if 1 <= abs(c) < 1e6]
    sizes = sorted({*map(int, SIZES[:8]), *near, *(max(1, c // 100) for c in near)})
    step = st.builds(
        Step, st.sampled_from(("order", "order", "order", "fill", "cancel", "unknown")),
        side=st.sampled_from((1, -1)), lots=st.sampled_from(sizes), pick=st.integers(0, 3),
        seconds=st.sampled_from((0.0, 1.0, 3600.0)), back_s=st.sampled_from((0.0, 7200.0)),
    )  # fmt: skip
    pools = {name: st.sampled_from(limit_pool(name)) for name in sorted(subject.reads.limits)}
    return st.tuples(st.builds(some_limits, **pools), _some(step))


def rate_scenarios() -> st.SearchStrategy[Scenario]:
    """Return rates and bursts of orders, with waits and clocks that go back."""
    step = st.builds(
        Step, st.just("order"), lots=st.integers(0, 12),
        seconds=st.sampled_from((0.0, 0.1, 0.5, 1.0, 3.0, 30.0, 61.0)),
        back_s=st.sampled_from((0.0, 0.0, 0.0, 5.0, 3600.0)),
    )  # fmt: skip
    return st.tuples(st.builds(_rates, *(st.sampled_from((1.0, 2.0, 5.0)),) * 4), _some(step))


def _some(step: st.SearchStrategy[Step]) -> st.SearchStrategy[tuple[Step, ...]]:
    return st.lists(step, min_size=1, max_size=6).map(tuple)


def _rates(a_second: float, more: float, minute: float, account: float) -> LimitValues:
    return some_limits(
        orders_s_max=a_second, orders_burst_max=a_second + more, orders_min_max=minute,
        account_orders_min_max=account,
    )  # fmt: skip


def judge_scenario(law: ManagerLaw, rule: Rule, scenario: Scenario) -> Finding | None:
    """Return the finding of one scenario, None when the law held."""
    values, steps = scenario
    text = law.run(rule, values, steps)
    if not text:
        return None
    base = some_limits()
    changed = ", ".join(
        f"{name}={value!r}" for name, value in values._asdict().items()
        if value != getattr(base, name)
    )  # fmt: skip
    lines = ["steps = ["] + [f"    {_source(step)}," for step in steps] + ["]"]
    lines.append(f"run_scenario({law.name!r}, rule, some_limits({changed}), steps)")
    return Finding(law.name, text, "from mqd.testing import Step\n" + "\n".join(lines))


def _source(step: Step) -> str:
    base = Step(step.what)
    changed = "".join(
        f", {name}={value!r}" for name, value in step._asdict().items()
        if value != getattr(base, name)
    )  # fmt: skip
    return f"Step({step.what!r}{changed})"
