"""Scales, quanta and rates: exact, or refused with a sentence."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqd.core.money import INT64_MAX, Scale, check_room, rate_units, run_quantum, to_units
from mqd.errors import OffGrid, ScaleTooFine

D = Decimal
POWERS = st.integers(-9, 2).map(lambda n: D(1).scaleb(n))


@pytest.mark.parametrize(
    ("tick_lots", "quantum"),
    [
        ([("0.0001", "1")], "1e-8"),
        ([("0.01", "1")], "1e-8"),
        ([("0.01", "0.000001")], "1e-8"),
        ([("0.0001", "0.000001")], "1e-10"),
        ([("0.01", "0.000000001")], "1e-11"),
        ([("0.00000001", "1"), ("0.01", "0.0001")], "1e-8"),
        ([("0.0001", "1"), ("0.0001", "0.00001")], "1e-9"),
        ([("0.25", "0.00000001")], "1e-10"),
    ],
)
def test_the_quantum_divides_every_tick_times_lot(tick_lots, quantum):
    assert run_quantum([(D(t), D(n)) for t, n in tick_lots]) == D(quantum)


@given(st.lists(st.tuples(POWERS, POWERS), min_size=1, max_size=4))
def test_the_quantum_is_the_largest_that_divides(tick_lots):
    quantum = run_quantum(tick_lots)
    assert quantum <= D("1e-8")
    assert all((tick * lot) % quantum == 0 for tick, lot in tick_lots)
    larger = quantum.scaleb(1)
    assert larger > D("1e-8") or any((tick * lot) % larger for tick, lot in tick_lots)


def test_room_for_a_hundred_times_the_equity():
    most = D(INT64_MAX) * D("1e-8") / 100  # 922,337,203.68...
    check_room(D("922337203"), D("1e-8"))
    assert D("922337203") < most < D("922337204")
    with pytest.raises(ScaleTooFine, match="100 x the starting equity of 922337204"):
        check_room(D("922337204"), D("1e-8"))


def test_a_scale_there_and_back():
    scale = Scale.of(D("0.01"), D("0.001"), D("1e-8"))
    assert scale.tick_lot_quanta == 1000
    assert scale.px_ticks(D("12.34")) == 1234
    assert scale.qty_lots(D("-1.5")) == -1500
    assert (scale.px(1234), scale.qty(-1500)) == (D("12.34"), D("-1.5"))
    # 12.34 x 1.5 = 18.51
    assert scale.money(1234 * 1500 * scale.tick_lot_quanta) == D("18.51")


@pytest.mark.parametrize(("value", "unit"), [("12.345", "0.01"), ("0.0005", "0.001"), ("1", "3")])
def test_a_value_between_two_steps_is_refused(value, unit):
    with pytest.raises(OffGrid) as refused:
        to_units(D(value), D(unit), "price")
    assert value in str(refused.value)
    assert unit in str(refused.value)


def test_a_quantum_that_does_not_divide_is_refused():
    with pytest.raises(OffGrid):
        Scale.of(D("0.0001"), D("0.000001"), D("1e-8"))


@pytest.mark.parametrize(
    ("bps", "units"),
    [(1, 10_000), (0.5, 5_000), ("0.0001", 1), ("0.00005", 0), ("0.00015", 2), ("0.00025", 2)],
)
def test_rates_are_rounded_half_even(bps, units):
    assert rate_units(D(bps) if isinstance(bps, str) else bps) == units
