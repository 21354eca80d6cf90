"""A restart goes on from the day's start, the high water and the targets that were not reached."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

import mqd
from mqd.core.clock import iso
from mqd.live import carry_over
from mqd.live.carry_over import CarryOver, open_targets
from mqd.live.recovery import Recovery
from mqd.log_reader import read
from mqd.risk.kill_switch import KillSwitch, LatchLevel
from mqd.transaction_log import new_run_folder
from tests.parity.stepwise import build_stepwise
from tests.parity.test_stepwise_desk import DATASETS, Exits

SIZES = {"sizer": mqd.FixedQuantity(150)}
THIN = SIZES | {"fills": mqd.FillModel(participation_frac=0.0005)}


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-24"
    )


def limits(folder):
    path = Path(folder) / "limits.toml"
    path.write_text(
        "[account]\nnotional_usd_max = 1e9\nnotional_frac_max = 1.0\nposition_frac_max = 1.0\n"
        "concentration_frac_max = 1.0\ngross_frac_max = 2.0\nnet_frac_max = 2.0\n"
        "daily_loss_frac_max = 0.2\ndrawdown_frac_max = 0.3\nturnover_frac_max = 100.0\n"
        "orders_min_max = 100\n[sectors]\nMSFT = 'technology'\n[universe]\nallow = ['MSFT']\n"
    )
    return mqd.Limits.from_toml(path)


def driven(minutes, folder, steps, words=SIZES):
    """Return a desk that carried over what it must for ``steps`` bars, its log in ``folder``."""
    new_run_folder(folder)
    built = build_stepwise(Exits(), minutes, folder, limits=limits(folder.parent), **words)
    built.desk.start()
    carry = CarryOver()
    for _ in range(steps):
        step = built.growing.announce(built.broker.next_step())
        built.desk.begin(step)
        carry.note(built.desk)
        built.desk.parts.clock.advance(built.broker.opens_ns)
        built.desk.hear()
        built.desk.end(step)
        carry.note(built.desk)
    built.desk.parts.journal.log.close("stopped")
    return built


def rebuilt(minutes, folder, until_ns, words=SIZES):
    built = build_stepwise(Exits(), minutes, limits=limits(folder.parent), **words)
    built.growing.preload(minutes.between(None, iso(until_ns)))
    Recovery(built.desk, built.growing).take(read(folder))
    built.desk.resume()
    return built


@pytest.mark.parametrize("steps", [5, 300, 391, 500, 800])
def test_bases_and_unreached_targets_come_back(minutes, tmp_path, steps):
    folder = tmp_path / "run"
    first = driven(minutes, folder, steps)
    second = rebuilt(minutes, folder, first.growing.ts_close[-1])
    one, two = first.desk.parts.risk, second.desk.parts.risk
    assert one.bases == two.bases
    assert open_targets(first.desk) == open_targets(second.desk)
    counts = ("_orders_today", "_fills_today", "_day_notional_quanta")
    for name in counts:
        assert getattr(one._history, name) == getattr(two._history, name), name


@pytest.mark.parametrize("steps", [24, 42, 51, 150])
def test_an_increase_that_waited_is_sized_anew_after_the_restart(minutes, tmp_path, steps):
    """A flip in a thin market: the reduction fills over several bars, the increase waits."""
    folder = tmp_path / "run"
    first = driven(minutes, folder, steps, THIN)
    assert first.desk.parts.targets.waiting == {("Exits", "MSFT")}
    second = rebuilt(minutes, folder, first.growing.ts_close[-1], THIN)
    assert open_targets(second.desk) == [["Exits", "MSFT"]]
    assert ("Exits", "MSFT") in second.desk.parts.portfolio.resizing


def test_what_waits_for_a_reduction_under_way_is_written(minutes, tmp_path):
    """The reduction may fill while the desk is down: nothing else would tell of the increase."""
    first = driven(minutes, tmp_path / "run", 24, THIN)
    first.desk.parts.portfolio.resizing.clear()
    assert open_targets(first.desk) == [["Exits", "MSFT"]]


def test_a_loss_before_the_restart_still_counts(minutes, tmp_path):
    """The day began at 100,000; half of it was lost before the restart: the gate must shut."""
    folder = tmp_path / "run"
    first = driven(minutes, folder, 20)
    second = rebuilt(minutes, folder, first.growing.ts_close[-1])
    risk = second.desk.parts.risk
    start = first.desk.parts.risk.bases.day_start_quanta
    risk.mark(first.growing.ts_close[-1] + 1, start * 79 // 100)
    assert risk.kill_switch.level is LatchLevel.REDUCE_ONLY
    risk.mark(first.growing.ts_close[-1] + 2, start * 69 // 100)
    assert risk.kill_switch.level is LatchLevel.HALT


def test_a_day_that_began_while_the_desk_was_down_starts_at_the_close_before(minutes, tmp_path):
    folder = tmp_path / "run"
    first = driven(minutes, folder, 60)
    assert first.desk.parts.valuation.ledger.lots["MSFT"], "flat books would prove nothing"
    second = rebuilt(minutes, folder, int(minutes["MSFT"].ts_close[420]))
    bases = second.desk.parts.risk.bases
    market, parts = second.growing, second.desk.parts
    last_of_first = max(k for k in range(market.n_steps) if market.day[k] == market.day[0])
    market.enter(last_of_first)
    assert bases.day == market.day[-1] != first.desk.parts.risk.bases.day
    assert bases.day_start_quanta == parts.valuation.equity()
    assert bases.high_water_quanta == first.desk.parts.risk.bases.high_water_quanta


def test_after_a_rearm_of_halt_the_high_water_starts_anew(minutes, tmp_path):
    switch = KillSwitch(tmp_path / "latches", account="A1")
    built = build_stepwise(Exits(), minutes, limits=limits(tmp_path))
    built.desk.parts.risk.kill_switch = switch
    base = {"day": 19131, "day_start": "100000", "high_water": "120000.5", "halt_rearms": 0}
    carry_over.take_base(built.desk, base)
    quantum = built.desk.parts.valuation.quantum
    assert built.desk.parts.risk.bases.high_water_quanta * quantum == Decimal("120000.5")
    switch.trip("drawdown", 1, LatchLevel.HALT)
    switch.reset(LatchLevel.HALT, reason="seen", account="A1", now_ns=2, n_open_orders=0)
    carry_over.take_base(built.desk, base)
    assert built.desk.parts.risk.bases.high_water_quanta is None
    carry_over.take_base(built.desk, base | {"halt_rearms": 1})
    assert built.desk.parts.risk.bases.high_water_quanta * quantum == Decimal("120000.5")


def test_nothing_is_written_twice(minutes, tmp_path):
    built = driven(minutes, tmp_path / "run", 50)
    records = list(read(tmp_path / "run"))
    bases = [one.payload for one in records if one.kind == carry_over.BASE]
    assert bases
    assert all(one != other for one, other in pairwise(bases))
    highs = [one["high_water"] for one in bases]
    assert float(highs[-1]) == max(float(high) for high in highs)
    assert {float(one["day_start"]) for one in bases} == {100_000.0}
    assert built.desk.parts.risk.bases is not None
