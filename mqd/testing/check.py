"""``check_risk_rule``: runs the laws against any rule and says which ran."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from mqd.risk.declare import Rule
from mqd.testing.cases import LIMITS, ORDER, PORTFOLIO, Case, reads_of
from mqd.testing.finding import Finding, snippet
from mqd.testing.laws import LAWS, Law, Subject, subject_of
from mqd.testing.manager_laws import (
    MANAGER_LAWS,
    ManagerLaw,
    Scenario,
    judge_scenario,
    rate_scenarios,
    scenarios,
)
from mqd.testing.search import Judge, search
from mqd.testing.strategies import cases, wild_cases


class LawRun(NamedTuple):
    """One law: ``held`` True or False, or None when it did not run, and why."""

    law: str
    title: str
    held: bool | None
    why: str = ""

    def __str__(self) -> str:
        words = {True: "holds", False: "BROKEN", None: "did not run"}[self.held]
        return f"{self.law:<9}{words:<12}{self.title}{f' ({self.why})' if self.why else ''}"


class RuleReport(NamedTuple):
    """What ``check_risk_rule`` found: one row a law, and the number of calls tried for each."""

    rule: str
    examples: int
    runs: tuple[LawRun, ...]

    @property
    def ran(self) -> tuple[str, ...]:
        """The laws that ran."""
        return tuple(run.law for run in self.runs if run.held is not None)

    @property
    def broken(self) -> tuple[str, ...]:
        """The laws that do not hold."""
        return tuple(run.law for run in self.runs if run.held is False)

    def __str__(self) -> str:
        rows = "\n".join(f"  {run}" for run in self.runs)
        return f"risk rule {self.rule}, {self.examples} examples a law\n{rows}"


class RuleLawBroken(AssertionError):
    """A rule breaks a law; carries the report and a program that shows it for each."""

    def __init__(self, report: RuleReport, findings: list[Finding], snippets: list[str]) -> None:
        self.report = report
        self.findings = tuple(findings)
        self.snippets = tuple(snippets)
        shown = "\n\n".join(
            f"{finding.law}: {finding.text}. Run this to see it:\n\n{text}"
            for finding, text in zip(findings, snippets, strict=True)
        )
        super().__init__(f"{report}\n\n{shown}")


def check_risk_rule(rule: Rule, *, examples: int = 200) -> RuleReport:
    """Run the laws P1-P17 against a rule; print and return which ran, and why others did not.

    The rule is asked as plain Python and, where numba takes it, compiled, ``examples`` times a
    law, with floats only: coherent accounts, and (P1 and compiled) any float, NaN and infinities
    included. P9, P11, P12, P13, P16 and P17 ask a ``RiskManager`` that holds the rule. What a rule
    reads and declares decides which laws apply. The same calls are made every time.

    Raises ``RuleLawBroken`` (an ``AssertionError``) with a shrunk counterexample for each broken
    law, as a program that fails when it is run.

    A rule that passes, and how it is tested::

        @mqd.rule(limit="position_qty_max", observes=lambda order, portfolio: order.qty)
        def position_size(order, portfolio, limits):
            worst = portfolio.qty + order.side * (portfolio.open_qty + order.qty)
            return abs(worst) <= limits.position_qty_max

        mqd.testing.check_risk_rule(position_size)

    A wrong one, caught by P12: it forgets the orders that are still working::

        def forgets_open_orders(order, portfolio, limits):
            return abs(portfolio.qty + order.side * order.qty) <= limits.position_qty_max
    """
    subject = _subject(rule)
    found = _look(subject, examples)
    laws: list[Law | ManagerLaw] = [*LAWS, *MANAGER_LAWS]
    rows = [_row(law, subject, found) for law in laws]
    report = RuleReport(subject.spec.name, examples, tuple(sorted(rows, key=_place)))
    print(report)  # noqa: T201 - the report is what the user runs this for
    if found:
        findings = list(found.values())
        raise RuleLawBroken(report, findings, [snippet(rule, finding) for finding in findings])
    return report


def _look(subject: Subject, examples: int) -> dict[str, Finding]:
    """Return the findings by title of law, most telling kind of question first."""
    calm: dict[str, Judge[Case]] = {}
    wild: dict[str, Judge[Case]] = {}
    played: dict[str, Judge[Scenario]] = {}
    timed: dict[str, Judge[Scenario]] = {}
    for law in LAWS:
        if not law.applies(subject):
            (wild if law.is_wild else calm)[law.title] = partial(law.judge, subject)
    for long in MANAGER_LAWS:
        if not long.applies(subject):
            (timed if long.name == "P16" else played)[long.title] = partial(
                judge_scenario, long, subject.rule
            )
    return {
        **search(cases(subject.reads), calm, examples),
        **search(scenarios(subject), played, examples),
        **search(rate_scenarios(), timed, examples),
        **search(wild_cases(subject.reads), wild, examples),
    }


def _row(law: Law | ManagerLaw, subject: Subject, found: dict[str, Finding]) -> LawRun:
    why_not = law.applies(subject)
    if why_not:
        return LawRun(law.name, law.title, None, why_not)
    if law.title in found:
        return LawRun(law.name, law.title, False, found[law.title].text)
    return LawRun(law.name, law.title, True)


def _place(run: LawRun) -> tuple[int, str]:
    return (int(run.law[1:]) if run.law[1:].isdigit() else 99, run.title)


def _subject(rule: Rule) -> Subject:
    calm = Case(ORDER, PORTFOLIO, LIMITS)
    tries = [
        calm,
        calm.replace("order", "side", -1.0),
        calm.replace("order", "reducing", 1.0),
        calm.replace("portfolio", "qty", 10.0),
        calm.replace("portfolio", "qty", -10.0),
        calm.replace("portfolio", "open_qty", 10.0),
        calm.replace("order", "limit_px", 100.0),
    ]
    return subject_of(rule, reads_of(rule, tries))
