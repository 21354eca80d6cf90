"""A position as a rule sees it, against hand-worked numbers."""

from __future__ import annotations

import pytest

from mqd.core.signal import PositionView
from mqd.strategy.position import position_view

UNITS = (100.0, 10_000.0)  # lots of 0.01 share, quanta of 0.0001


@pytest.mark.parametrize(
    ("lots", "cost", "value", "expected"),
    [
        # 10 shares bought at 20, now 25; slot 500
        (1000, 2_000_000, 2_500_000, (0.5, 10.0, 20.0, 3.0, 26.0, 0.25)),
        # 10 shares sold short at 20, now 25: a loss of a quarter
        (-1000, -2_000_000, -2_500_000, (-0.5, -10.0, 20.0, 3.0, 26.0, -0.25)),
        (-1000, -2_000_000, -1_500_000, (-0.3, -10.0, 20.0, 3.0, 26.0, 0.25)),
        (0, 0, 0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_fields_by_hand(lots: int, cost: int, value: int, expected: tuple[float, ...]) -> None:
    assert position_view(lots, cost, value, 5_000_000.0, UNITS, 3, 26.0) == expected
    assert len(PositionView(*expected)) == 6


def test_an_empty_slot_gives_no_finite_weight() -> None:
    view = PositionView(*position_view(1000, 2_000_000, 2_500_000, 0.0, UNITS, 1, 26.0))
    assert view.weight == float("inf")
    assert view.qty == 10.0
