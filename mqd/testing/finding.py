"""What a law found, and the snippet that shows it again."""

from __future__ import annotations

import importlib.util
import inspect
import textwrap
from typing import NamedTuple

from mqd.risk.declare import Rule
from mqd.testing.cases import Case, plain


class Finding(NamedTuple):
    """A broken law: what happened, and the lines after the imports that show it."""

    law: str
    text: str
    body: str


def after(law: str, first: Case, then: Case, text: str) -> Finding:
    """Return the finding "the rule must answer ``then`` at least as ``first``, and refuses"."""
    lines = [
        first.source(1),
        then.source(2),
        "assert approves(rule, order_1, portfolio_1, limits_1), 'the first call passes'",
        f"assert approves(rule, order_2, portfolio_2, limits_2), {law + ': ' + text!r}",
    ]
    return Finding(law, text, "\n".join(lines))


def snippet(rule: Rule, finding: Finding) -> str:
    """Return a program that fails with the finding's law when it is run."""
    words = "an_order, a_portfolio, approves, rule_answers, run_scenario, some_limits"
    return "\n".join(
        [
            f"from mqd.testing import {words}",
            _rule_source(rule),
            "",
            finding.body,
            "",
        ]
    )


def _rule_source(rule: Rule) -> str:
    function = plain(rule)
    name = getattr(function, "__qualname__", "rule")
    module = getattr(function, "__module__", "__main__")
    if name.isidentifier() and module != "__main__" and _importable(module):
        return f"from {module} import {name} as rule"
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return f"# Define your rule {name!r} here as `rule`."
    lines = ["import mqd", "from mqd import risk", "from mqd.risk import rule", "", source.rstrip()]
    return "\n".join([*lines, "", f"rule = {getattr(function, '__name__', 'rule')}"])


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
