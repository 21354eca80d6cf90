"""What users import in their own tests: data to draw, laws of a risk rule, a failing disk.

Needs hypothesis, which the extra ``dev`` brings.
"""

from mqd.testing.cases import a_portfolio, an_order, approves, rule_answers, some_limits
from mqd.testing.check import LawRun, RuleLawBroken, RuleReport, check_risk_rule
from mqd.testing.disk import MemoryDisk
from mqd.testing.manager_laws import run_scenario
from mqd.testing.scene import Step
from mqd.testing.strategies import bars, limits, orders, portfolios, reports

__all__ = [
    "LawRun",
    "MemoryDisk",
    "RuleLawBroken",
    "RuleReport",
    "Step",
    "a_portfolio",
    "an_order",
    "approves",
    "bars",
    "check_risk_rule",
    "limits",
    "orders",
    "portfolios",
    "reports",
    "rule_answers",
    "run_scenario",
    "some_limits",
]
