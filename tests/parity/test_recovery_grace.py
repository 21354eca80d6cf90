"""Fills that are heard while their bar is late fall on that bar, live and after a restart."""

from __future__ import annotations

import pytest

import mqd
from mqd.core.clock import NS_PER_S, iso
from mqd.live.carry_over import CarryOver
from mqd.live.recovery import Recovery
from mqd.log_reader import read
from mqd.transaction_log import new_run_folder
from tests.parity.stepwise import build_stepwise
from tests.parity.test_stepwise_desk import DATASETS, Exits

LATE_NS = 2 * NS_PER_S


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-20"
    )


def heard_late(minutes, folder, n_fills):
    """Return a desk that hears its fills after their bar's close and before the bar comes.

    It is killed right after its n-th fill: the bar never comes.
    """
    new_run_folder(folder)
    built = build_stepwise(Exits(), minutes, folder)
    desk, growing, carry = built.desk, built.growing, CarryOver()
    desk.start()
    while True:
        carry.note_bars(desk, growing.taken_ns)
        step = growing.announce(built.broker.next_step())
        desk.begin(step)
        desk.parts.journal.now_ns = growing.ts_close[step] + LATE_NS
        carry.note_bars(desk, growing.taken_ns)
        desk.hear()
        if len(desk.parts.hearing.fills) >= n_fills:
            break
        desk.parts.journal.now_ns = growing.ts_close[step]
        desk.end(step)
    desk.parts.journal.log.close("killed")
    return built


def rebuilt(minutes, records, until_ns):
    built = build_stepwise(Exits(), minutes)
    built.growing.preload(minutes.between(None, iso(until_ns)))
    built.desk.parts.clock.advance(until_ns + LATE_NS)
    Recovery(built.desk, built.growing).take(records)
    return built


@pytest.mark.parametrize("n_fills", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n_missed", [0, 1, 5])
def test_a_kill_in_the_grace_holds_a_position_as_long_as_the_desk_would(
    n_fills, n_missed, minutes, tmp_path
):
    first = heard_late(minutes, tmp_path / "run", n_fills)
    closes = minutes["MSFT"].ts_close
    under_way = first.growing.n_rows["MSFT"]
    assert closes[under_way] == first.growing.ts_close[-1]
    second = rebuilt(minutes, read(tmp_path / "run"), int(closes[under_way + n_missed]))
    for slot, holding in first.desk.parts.holdings.items():
        again = second.desk.parts.holdings[slot]
        assert holding.entry_row == again.entry_row
        assert n_fills > 2 or holding.entry_row == under_way
        assert holding.lots == again.lots
    assert second.growing.present_row("MSFT") == under_way + n_missed + 1


def test_what_a_restarted_desk_hears_before_its_first_step_falls_on_the_bar_under_way(
    minutes, tmp_path
):
    """The order of the entry fills while the desk is down for three bars."""
    first = heard_late(minutes, tmp_path / "run", 1)
    under_way = first.growing.n_rows["MSFT"]
    ((report, order),) = first.desk.parts.hearing.fills
    until_ns = int(minutes["MSFT"].ts_close[under_way + 3])
    known = [record for record in read(tmp_path / "run") if record.kind != "fill"]
    second = rebuilt(minutes, known, until_ns)
    assert second.desk.parts.machine.working()
    second.desk.parts.hearing.take([report])
    holding = second.desk.parts.holdings[order.strategy, "MSFT"]
    assert (holding.lots, holding.entry_row) == (order.side * order.lots, under_way + 4)
