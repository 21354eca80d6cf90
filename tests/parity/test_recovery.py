"""A desk rebuilt from its log holds what the desk held that wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

import mqd
from mqd.core.clock import iso
from mqd.core.order import OrderStatus
from mqd.live.errors import DeskRefused
from mqd.live.recovery import Recovery
from mqd.log_reader import read
from mqd.transaction_log import new_run_folder
from tests.parity.stepwise import build_stepwise, drive
from tests.parity.test_stepwise_desk import DATASETS, Armed, Exits


@pytest.fixture(scope="module")
def minutes():
    return mqd.load_bars(
        DATASETS / "equity_minute.parquet", symbols=["MSFT"], start="2022-05-19", end="2022-05-24"
    )


def both(strategy, minutes, folder, steps, *, one_venue=False):
    """Return the desk that wrote a log over ``steps`` bars, and one rebuilt from that log."""
    new_run_folder(folder)
    first = build_stepwise(strategy, minutes, folder)
    first.desk.start()
    assert drive(first, steps) == steps
    first.desk.parts.journal.log.close("stopped")
    second = build_stepwise(strategy, minutes, broker=first.broker if one_venue else None)
    second.growing.preload(minutes.between(None, iso(first.growing.ts_close[-1])))
    Recovery(second.desk, second.growing).take(read(folder))
    return first, second


def orders_of(desk):
    return {
        state.order.client_order_id: (state.status, state.pending, state.cum_lots, state.fills)
        for state in desk.parts.machine.states()
        if state.status is not OrderStatus.DENIED
    }


@pytest.mark.parametrize("steps", [3, 40, 391, 700])
@pytest.mark.parametrize(
    "strategy", [Exits(), Exits(trailing_stop_frac=0.005), Armed()], ids=["exits", "trail", "state"]
)
def test_books_orders_positions_and_protection_come_back(strategy, steps, minutes, tmp_path):
    first, second = both(strategy, minutes, Path(tmp_path) / "run", steps)
    one, two = first.desk.parts, second.desk.parts
    for name in ("lots", "cost", "cash", "fees", "dividends", "borrow"):
        assert getattr(one.valuation.ledger, name) == getattr(two.valuation.ledger, name), name
    assert orders_of(first.desk) == orders_of(second.desk)
    assert [s.order.client_order_id for s in one.blotter.open_orders()] == [
        s.order.client_order_id for s in two.blotter.open_orders()
    ]
    assert one.valuation.equity() == two.valuation.equity()
    row = first.growing.n_rows["MSFT"] - 1
    for slot, holding in one.holdings.items():
        assert holding.entry_row == two.holdings[slot].entry_row
        assert holding.peak_px(row) == two.holdings[slot].peak_px(row)
        assert one.portfolio.standing(*slot) == two.portfolio.standing(*slot)


def test_a_rebuilt_desk_goes_on_as_the_first_one_would(minutes, tmp_path):
    strategy = Exits()
    _, second = both(strategy, minutes, Path(tmp_path) / "run", 500, one_venue=True)
    before = len(second.desk.parts.hearing.fills)
    drive(second, 200)
    fills = second.desk.parts.hearing.fills
    assert len(fills) > before
    whole = build_stepwise(strategy, minutes)
    whole.desk.start()
    drive(whole, 700)
    assert whole.desk.parts.valuation.ledger.lots == second.desk.parts.valuation.ledger.lots
    wanted = [(r.last_lots, r.last_ticks, r.ts_fill) for r, _ in whole.desk.parts.hearing.fills]
    assert [(r.last_lots, r.last_ticks, r.ts_fill) for r, _ in fills] == wanted


def test_an_execution_that_was_told_twice_comes_back_once(minutes, tmp_path):
    folder = tmp_path / "run"
    new_run_folder(folder)
    first = build_stepwise(Exits(), minutes, folder)
    first.desk.start()
    drive(first, 40)
    hearing = first.desk.parts.hearing
    told = list(hearing.fills)
    assert told
    hearing.take([report for report, _ in told])
    assert len(hearing.fills) == len(told)
    first.desk.parts.journal.log.close("stopped")
    written = [one.kind for one in read(folder) if "fill" in str(one.payload.get("kind"))]
    assert (written.count("fill"), written.count("report")) == (len(told), len(told))
    second = build_stepwise(Exits(), minutes)
    second.growing.preload(minutes.between(None, iso(first.growing.ts_close[-1])))
    Recovery(second.desk, second.growing).take(read(folder))
    again = second.desk.parts.hearing.fills
    assert [(r.execution_id, r.last_lots) for r, _ in again] == [
        (r.execution_id, r.last_lots) for r, _ in told
    ]


def test_a_symbol_that_the_configuration_dropped_is_a_sentence(minutes, tmp_path):
    folder = tmp_path / "run"
    new_run_folder(folder)
    first = build_stepwise(Exits(), minutes, folder)
    first.desk.start()
    drive(first, 40)
    first.desk.parts.journal.log.close("stopped")
    other = mqd.load_bars(
        DATASETS / "us_equity_daily_raw.parquet", symbols=["IBM"], start="2001-01-02",
        end="2001-06-29",
    )  # fmt: skip
    second = build_stepwise(Exits(), other)
    with pytest.raises(DeskRefused, match="the log holds orders of MSFT"):
        Recovery(second.desk, second.growing).take(read(folder))
