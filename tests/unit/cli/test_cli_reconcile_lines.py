"""What ``mqd reconcile`` prints of a difference."""

from __future__ import annotations

import pytest

from mqd.cli.reconcile import line_of
from mqd.execution.breaks import Break, BreakKind


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (Break(BreakKind.CASH, "", 8010280070000, 7984537490000, "cash differs by -257.43"),
         "cash: cash differs by -257.43."),
        (Break(BreakKind.FOREIGN_ORDER, "MSFT", 0, 1, "by-hand"), "foreign_order MSFT: by-hand."),
        (Break(BreakKind.POSITION, "MSFT", 78, 79, "no open order explains it"),
         "position MSFT: ours 78 lots, the venue's 79: no open order explains it."),
    ],
)  # fmt: skip
def test_a_line_has_the_units_of_its_kind(one, line):
    assert line_of(one) == line
