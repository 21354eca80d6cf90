"""Every known leak is caught, and no clean strategy raises an alarm."""

import pytest

import mqd
from tests.zoo.clean import CLEAN
from tests.zoo.data import bars
from tests.zoo.kept import KEPT, fill_tables
from tests.zoo.leaks import LEAKS


@pytest.mark.parametrize("kind", [*LEAKS, *KEPT], ids=lambda kind: kind.__name__)
def test_a_leak_is_caught(kind):
    data = bars(kind.data)
    fill_tables(data)
    report = mqd.check(kind(), data, engine="event")
    assert not report.ok, report
    assert {one.kind for one in report.findings if one.severity == "finding"} <= {
        "lookahead", "impurity",
    }, report  # fmt: skip


@pytest.mark.parametrize("kind", CLEAN, ids=lambda kind: kind.__name__)
def test_a_clean_strategy_raises_no_alarm(kind):
    report = mqd.check(kind(), bars(getattr(kind, "data", "daily")), engine="event")
    assert report.ok, report


def test_the_zoo_is_as_large_as_promised():
    assert len(LEAKS) + len(KEPT) >= 24
    assert len(CLEAN) >= 24
