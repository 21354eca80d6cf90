"""One question to a rule, the numbers to ask with, and what a rule reads."""

from __future__ import annotations

import contextlib
import dis
import math
from collections.abc import Iterable
from types import CodeType
from typing import NamedTuple

import numpy as np

from mqd.risk.declare import Rule, spec_of
from mqd.risk.limits import LimitValues
from mqd.risk.views import OrderView, PortfolioView

NAN, INF = float("nan"), float("inf")
NS_PER_S = 1e9

ORDER = OrderView(qty=1.0, side=1.0, px=100.0, notional=100.0, reducing=0.0, limit_px=0.0)

PORTFOLIO = PortfolioView(
    qty=0.0, equity=100_000.0, cash=100_000.0, gross=0.0, net=0.0, open_qty=0.0, ref_px=100.0,
    ref_age_ns=0.0, now_ns=1.7e18, open_opposite_qty=0.0, open_opposite_px=0.0, gross_held=0.0,
    net_held=0.0, open_notional=0.0, sector_gross=0.0, n_open_symbol=0.0, n_open_account=0.0,
    average_volume=1e6, median_px=100.0, n_prices=20.0, ref_confirmed=0.0, n_replaces=0.0,
    multiplier=1.0, orders_last_s=0.0, orders_last_min=0.0, account_orders_last_min=0.0,
    order_tokens=10.0, fills_last_min=0.0, messages_last_min=0.0, messages_today=0.0,
    orders_today=0.0, fills_today=0.0, day_notional=0.0, day_start_equity=100_000.0,
    high_water_equity=100_000.0, last_same_order_age_ns=INF, seen_before=0.0, tripped=0.0,
    allowed=1.0, denied=0.0, sector_known=1.0,
)  # fmt: skip

LIMITS = LimitValues()

FIELDS = {
    "order": frozenset(OrderView._fields),
    "portfolio": frozenset(PortfolioView._fields),
    "limits": frozenset(LimitValues._fields),
}


class Case(NamedTuple):
    """The three arguments of one call."""

    order: OrderView
    portfolio: PortfolioView
    limits: LimitValues

    def replace(self, where: str, field: str, value: float) -> Case:
        """Return the case with one field of one argument changed."""
        part = getattr(self, where)._replace(**{field: value})
        return self._replace(**{where: part})

    def source(self, number: int) -> str:
        """Return the lines that build this case in a snippet."""
        return "\n".join(
            f"{name}_{number} = {builder}({_different(value, base)})"
            for name, builder, value, base in (
                ("order", "an_order", self.order, ORDER),
                ("portfolio", "a_portfolio", self.portfolio, PORTFOLIO),
                ("limits", "some_limits", self.limits, LIMITS),
            )
        )


def an_order(**fields: float) -> OrderView:
    """Return a buy of one share at 100 USD with ``fields`` changed."""
    return ORDER._replace(**fields)


def a_portfolio(**fields: float) -> PortfolioView:
    """Return a flat account of 100,000 USD with ``fields`` changed."""
    return PORTFOLIO._replace(**fields)


def some_limits(**fields: float) -> LimitValues:
    """Return the catalogue's default limits with ``fields`` changed."""
    return LIMITS._replace(**fields)


def approves(rule: Rule, order: OrderView, portfolio: PortfolioView, limits: LimitValues) -> bool:
    """Say whether the manager would let the order pass this rule.

    True only when the rule answers True, or when it lets reductions pass and the order is one;
    an exception or an answer that is no bool refuses.
    """
    try:
        answer: object = rule(order, portfolio, limits)
    except Exception:  # noqa: BLE001 - whatever fails here refuses
        return False
    if not isinstance(answer, (bool, np.bool_)):
        return False
    return bool(answer) or (spec_of(rule).reducing_passes and order.reducing == 1.0)


def rule_answers(
    rule: Rule, order: OrderView, portfolio: PortfolioView, limits: LimitValues
) -> object:
    """Return a rule's plain answer, or the exception that it raised."""
    try:
        answer: object = rule(order, portfolio, limits)
    except Exception as error:  # noqa: BLE001 - an exception is an answer here
        return error
    return bool(answer) if isinstance(answer, np.bool_) else answer


class Reads(NamedTuple):
    """The fields that a rule reads, and the numbers that its code compares with."""

    order: frozenset[str]
    portfolio: frozenset[str]
    limits: frozenset[str]
    constants: tuple[float, ...]

    def has(self, *fields: str) -> bool:
        """Say whether any of ``fields`` is read from order or portfolio."""
        return any(field in self.order or field in self.portfolio for field in fields)


class Spy:
    """Stands for one argument and notes which fields are read."""

    def __init__(self, values: tuple[float, ...], seen: set[str]) -> None:
        self._values, self._seen = values, seen

    def __getattr__(self, name: str) -> object:
        if name in type(self._values)._fields:  # type: ignore[attr-defined]
            self._seen.add(name)
        return getattr(self._values, name)

    def __iter__(self) -> object:
        self._seen.update(type(self._values)._fields)  # type: ignore[attr-defined]
        return iter(self._values)

    def __getitem__(self, index: int) -> float:
        self._seen.add(type(self._values)._fields[index])  # type: ignore[attr-defined]
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)


def plain(rule: Rule) -> Rule:
    """Return the Python function of a rule, also of one that numba has already compiled."""
    function: Rule = getattr(rule, "py_func", rule)
    return function


def reads_in(rule: Rule, case: Case) -> list[tuple[str, str]]:
    """Return the ``(argument, field)`` pairs that one call reads, sorted."""
    seen: dict[str, set[str]] = {name: set() for name in FIELDS}
    spies = [Spy(value, seen[name]) for name, value in zip(FIELDS, case, strict=True)]
    with contextlib.suppress(Exception):  # what it read before it failed still counts
        plain(rule)(*spies)  # type: ignore[arg-type]
    return sorted((name, field) for name, fields in seen.items() for field in fields)


def reads_of(rule: Rule, tries: Iterable[Case]) -> Reads:
    """Return what a rule reads: seen in calls, and named in its code and what that calls."""
    seen: dict[str, set[str]] = {name: set() for name in FIELDS}
    for case in tries:
        for name, field in reads_in(rule, case):
            seen[name].add(field)
    names, constants = _code_words(plain(rule))
    for name, fields in FIELDS.items():
        seen[name] |= fields & names
    return Reads(
        frozenset(seen["order"]), frozenset(seen["portfolio"]), frozenset(seen["limits"]),
        tuple(sorted(constants)),
    )  # fmt: skip


def _code_words(function: object) -> tuple[set[str], set[float]]:
    names: set[str] = set()
    constants: set[float] = set()
    todo, done = [function], set()
    while todo:
        item = todo.pop()
        code = getattr(item, "__code__", None)
        if not isinstance(code, CodeType) or code in done:
            continue
        done.add(code)
        reachable = getattr(item, "__globals__", {})
        cells = [cell.cell_contents for cell in getattr(item, "__closure__", None) or ()]
        used = [reachable[name] for name in _global_names(code) if name in reachable]
        for value in (*code.co_consts, *cells, *used, *(getattr(item, "__defaults__", None) or ())):
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                constants.add(float(value))
            elif isinstance(value, str) and value.isidentifier():
                names.add(value)
            else:
                todo.append(getattr(value, "py_func", value))
        names.update(code.co_names)
    return names, {value for value in constants if math.isfinite(value)}


def _global_names(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}


def _different(value: NamedTuple, base: NamedTuple) -> str:
    changed = (
        (name, new) for name, new, old in zip(value._fields, value, base, strict=True) if new != old
    )
    return ", ".join(f"{name}={number(new)}" for name, new in changed)


def number(value: float) -> str:
    """Return a float as source text, NaN and infinities too."""
    return repr(value) if math.isfinite(value) else f'float("{value}")'
