"""Hand-worked cases of every rule, at and beside each limit; and the closed list of codes."""

import csv
from pathlib import Path

import pytest

from mqd.risk import RefusalCode, rules
from mqd.risk.manager import refusal_of
from mqd.risk.rules import RULES, spec_of
from mqd.testing import a_portfolio, an_order, some_limits

TABLES = Path(__file__).parents[2] / "tables"


def rows(name):
    with (TABLES / name).open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(text):
    return {key: float(value) for key, value in (pair.split("=") for pair in text.split())}


@pytest.mark.parametrize("row", rows("risk_rules.csv"), ids=lambda r: f"{r['rule']}: {r['why']}")
def test_rule(row):
    rule = getattr(rules, row["rule"])
    order = an_order(**numbers(row["order"]))
    portfolio = a_portfolio(**numbers(row["portfolio"]))
    assert rule(order, portfolio, some_limits(**numbers(row["limits"]))) is (row["passes"] == "yes")


def test_every_rule_has_a_case_that_passes_and_one_that_does_not():
    cases = {(row["rule"], row["passes"]) for row in rows("risk_rules.csv")}
    passing = {rule for rule, passes in cases if passes == "yes"} | {"strategy_armed"}
    assert passing == {rule for rule, passes in cases if passes == "no"}
    assert passing == {rule.__name__ for rule in RULES}


def test_codes_are_the_table_in_its_order():
    assert [row["code"] for row in rows("refusals.csv")] == [code.value for code in RefusalCode]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_declares_control_and_binding_as_the_table(rule):
    spec = spec_of(rule)
    (row,) = (row for row in rows("refusals.csv") if row["code"] == spec.code)
    assert spec.control == int(row["control"])
    assert spec.reducing_passes is (row["binds"] == "increasing")


@pytest.mark.parametrize(
    ("inputs", "limit", "observed"),
    [
        ("n_prices=4", "prices_min 5", "4"),
        ("n_prices=0 ref_px=150 median_px=100", "prices_min 5", "0"),
        ("n_prices=nan", "prices_min 5", "nan"),
        ("ref_px=150 median_px=100", "bad_tick_frac_max 0.2", "0.5"),
        ("ref_px=50 median_px=100", "bad_tick_frac_max 0.2", "0.5"),
    ],
)
def test_control_19_prints_the_number_that_it_refused_for(inputs, limit, observed):
    portfolio = a_portfolio(**numbers(inputs))
    limits = some_limits()
    assert not rules.believable_price(an_order(), portfolio, limits)
    refusal = refusal_of(spec_of(rules.believable_price), an_order(), portfolio, limits)
    assert refusal == (RefusalCode.BAD_TICK, limit, observed)
