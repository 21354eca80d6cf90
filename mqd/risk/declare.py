"""What the ``rule`` decorator says of a rule; the rules themselves are in ``mqd.risk.rules``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from mqd.risk.limits import LimitValues
from mqd.risk.verdict import RefusalCode
from mqd.risk.views import OrderView, PortfolioView

Rule = Callable[[OrderView, PortfolioView, LimitValues], bool]
Observer = Callable[[OrderView, PortfolioView], float]
R = TypeVar("R", bound=Callable[..., object])


class RuleSpec(NamedTuple):
    """What the decorator knows of a rule; ``control`` is its number in the catalogue, or 0.

    ``also``: further limits that the rule compares with; a refusal prints them beside ``limit``.
    ``needs``: a limit, and the input that must reach it before the rule can compare anything.
    """

    name: str
    limit: str = ""
    observes: Observer | None = None
    control: int = 0
    reducing_passes: bool = False
    code: RefusalCode = RefusalCode.USER_RULE
    also: tuple[str, ...] = ()
    needs: tuple[str, Observer] | None = None


def rule(
    *,
    limit: str = "",
    observes: Observer | None = None,
    control: int = 0,
    reducing_passes: bool = False,
    code: RefusalCode = RefusalCode.USER_RULE,
    also: tuple[str, ...] = (),
    needs: tuple[str, Observer] | None = None,
) -> Callable[[R], R]:
    """Name what a rule's refusal prints.

    ``limit`` is the field of ``Limits`` that it compares with, ``observes(order, portfolio)`` the
    number that it compares; ``also`` names further limits to print. ``control`` is the
    catalogue's number if the rule implements one of its controls. ``reducing_passes=True`` lets
    orders that only reduce risk pass. ``needs`` names a limit with the input that must reach it
    first; where that does not, a refusal prints these two.
    Without the decorator a refusal prints all inputs, and every order is bound.
    """

    def mark(function: R) -> R:
        name = getattr(function, "__name__", "rule")
        spec = RuleSpec(name, limit, observes, control, reducing_passes, code, also, needs)
        function.risk_rule = spec  # type: ignore[attr-defined]
        return function

    return mark


def spec_of(function: Rule) -> RuleSpec:
    """Return what the decorator said of a rule; an undecorated one binds every order."""
    spec = getattr(function, "risk_rule", None)
    return spec if isinstance(spec, RuleSpec) else RuleSpec(getattr(function, "__name__", "rule"))
