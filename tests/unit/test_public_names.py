"""`import mqd` is light, and every public name is there when it is used."""

import subprocess
import sys

import pytest

import mqd

HEAVY = {"pandas", "numpy", "numba", "pyarrow", "talib", "plotly", "exchange_calendars", "pydantic"}
PROMISED = {
    "Strategy", "param", "HOLD", "rule", "load_bars", "Bars", "backtest", "Costs", "FillModel",
    "FractionOfEquity", "FixedQuantity", "FixedNotional", "VolatilityTarget", "Kelly", "Limits",
    "indicators", "testing", "errors", "OrderRequest", "Side", "OrderType", "OrderClass",
    "TimeInForce", "stress",
}  # fmt: skip


def test_import_mqd_imports_nothing_heavy():
    code = (
        f"import sys, mqd; dir(mqd); print(sorted({HEAVY!r} & set(sys.modules)), len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, count = done.stdout.rsplit(" ", 1)
    assert heavy == "[]"
    assert int(count) < 120


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_promised_name_is_there(name):
    assert getattr(mqd, name) is getattr(mqd, name)
    assert name in dir(mqd)
    assert name in mqd.__all__


def test_a_wrong_name_gets_the_near_one():
    with pytest.raises(AttributeError, match="Did you mean 'backtest'"):
        mqd.backtset


def test_absent_names_are_absent():
    assert not hasattr(mqd, "__wrapped__")
    assert not hasattr(mqd, "no_such_name")
