"""Every law catches its planted wrong rule; right rules and the project's own pass."""

import pytest
import rule_zoo

from mqd import risk
from mqd.risk.rules import RULES
from mqd.testing import RuleLawBroken, check_risk_rule

LAWS = {*(f"P{number}" for number in range(1, 18)), "compiled"}


def broken_by(rule, examples):
    with pytest.raises(RuleLawBroken) as caught:
        check_risk_rule(rule, examples=examples)
    return caught.value


@pytest.mark.parametrize(("law", "rule"), rule_zoo.WRONG, ids=lambda x: getattr(x, "__name__", x))
def test_a_wrong_rule_is_caught_by_its_law_and_the_snippet_shows_it(law, rule):
    rule_zoo.forget()
    error = broken_by(rule, 40)
    assert law in error.report.broken
    for finding, snippet in zip(error.findings, error.snippets, strict=True):
        assert snippet in str(error)
        if finding.law == law:
            rule_zoo.forget()
            with pytest.raises(AssertionError, match=law):
                exec(compile(snippet, "snippet", "exec"), {})


def test_every_law_has_a_wrong_rule():
    assert {law for law, _ in rule_zoo.WRONG} == LAWS


@pytest.mark.parametrize("rule", rule_zoo.RIGHT, ids=lambda rule: rule.__name__)
def test_a_right_rule_passes(rule):
    assert check_risk_rule(rule, examples=40).broken == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_projects_own_rules_keep_every_law(rule):
    assert check_risk_rule(rule, examples=12).broken == ()


def test_the_report_says_which_laws_ran_and_why_others_did_not(capsys):
    report = check_risk_rule(rule_zoo.calm_notional, examples=10)
    why = {run.law: run.why for run in report.runs if run.held is None}
    assert set(report.ran) | set(why) == LAWS
    assert why["P3"] == "the rule reads no limit"
    assert why["P7"] == "the rule declares none of the controls 9, 10, 28, 29"
    assert why["P15"] == "the rule declares no notional limit"
    assert "did not run" in capsys.readouterr().out


def test_a_rule_that_numba_refuses_is_still_checked():
    report = check_risk_rule(rule_zoo.not_compiled, examples=10)
    (row,) = (run for run in report.runs if run.law == "compiled")
    assert row.held is None
    assert row.why.startswith("numba: ")


def test_the_counterexample_is_shrunk_to_what_matters():
    error = broken_by(rule_zoo.p12_forgets_open_orders, 40)
    (snippet,) = (s for f, s in zip(error.findings, error.snippets, strict=True) if f.law == "P12")
    assert snippet.count("Step('order'") == 2


def test_a_rule_that_lives_in_a_test_function_gets_a_snippet_with_its_source():
    @risk.rule(limit="notional_usd_max")
    def local(order, portfolio, limits):
        return not order.notional > limits.notional_usd_max

    error = broken_by(local, 20)
    with pytest.raises(AssertionError, match="P1"):
        exec(compile(error.snippets[0], "snippet", "exec"), {})
