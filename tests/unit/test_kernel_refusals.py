"""Which rules share a core or a refusal: those of the same code and the same words, no others."""

from collections import OrderedDict
from decimal import Decimal

import pytest

import mqd
from mqd.errors import NotCompilable
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.kernel import controls
from mqd.kernel.settings import Settings
from mqd.portfolio.sizing import FractionOfEquity
from mqd.risk.limits import Limits
from mqd.strategy.code_cache import fingerprint


class Desk:
    """An object of the user's, which no other process knows."""

    qty_max = 10.0


def bound(desk, name="bound"):
    """Return a rule that reaches an object, so that nothing but its identity tells it."""

    def rule(order, portfolio, limits):
        return order.qty < desk.qty_max

    rule.__name__ = name
    return rule


def small(order, portfolio, limits):
    """The same code and name in every process."""
    return order.qty < 10.0


def settings(*rules, limits=None):
    return Settings(
        cash=Decimal(100), sizer=FractionOfEquity(), costs=Costs(), fills=FillModel(),
        limits=limits or Limits.research(), rules=rules, account="margin", multiplier=1,
        rebalance_band_frac=None,
    )  # fmt: skip


@pytest.fixture
def built(monkeypatch):
    """Cores that are only counted: the first is refused, the others are numbers."""
    asked = []

    class Counted(int):
        def turn(self):
            """Compile nothing."""

    def cores(_bindings, _handed, _check):
        asked.append(len(asked))
        if not asked[-1]:
            raise NotCompilable("The first is refused.")
        return Counted(asked[-1])

    monkeypatch.setattr(controls.core, "Cores", cores)
    monkeypatch.setattr(controls, "_MADE", OrderedDict())
    monkeypatch.setattr(controls, "_REFUSED", OrderedDict())
    return asked


def test_a_refusal_of_a_rule_without_a_fingerprint_holds_for_it_alone(built):
    assert not fingerprint(bound(Desk()))
    with pytest.raises(NotCompilable, match="The first is refused"):
        controls.core_of(settings(bound(Desk())))
    assert controls.core_of(settings(bound(Desk()))) == 1
    assert controls.core_of(settings(small, bound(Desk()))) == 2


def test_a_refusal_is_kept_for_the_same_rules_and_kind_of_limits(built):
    for _ in range(2):
        with pytest.raises(NotCompilable, match="The first is refused"):
            controls.core_of(settings(small))
    assert len(built) == 1
    assert controls.core_of(settings(small, limits=Limits())) == 1
    assert controls.core_of(settings(small, limits=Limits())) == 1


def test_rules_of_one_code_that_differ_in_what_may_pass_share_no_core(built):
    def marked(**words):
        def rule(order, portfolio, limits):
            return order.qty < 10.0

        return mqd.rule(**words)(rule)

    built.append(0)
    first = controls.core_of(settings(marked()))
    assert controls.core_of(settings(marked(reducing_passes=True))) != first
    assert controls.core_of(settings(marked())) == first


def numbered(n):
    """Return a rule that no other number gives."""

    def rule(order, portfolio, limits):
        return order.qty < n

    return rule


def test_only_the_cores_that_were_asked_for_last_are_kept(built, monkeypatch):
    monkeypatch.setattr(controls, "KEPT_MAX", 3)
    built.append(0)
    for n in (1, 2, 3, 1, 4):
        controls.core_of(settings(numbered(n)))
    n_built = len(built)
    controls.core_of(settings(numbered(1)))
    assert len(built) == n_built
    controls.core_of(settings(numbered(2)))
    assert len(built) == n_built + 1
    assert len(controls._MADE) == 3


def test_only_the_last_refusals_are_kept(built, monkeypatch):
    monkeypatch.setattr(controls, "KEPT_MAX", 2)
    for n in range(4):
        built.clear()
        with pytest.raises(NotCompilable):
            controls.core_of(settings(numbered(n)))
    assert len(controls._REFUSED) == 2
