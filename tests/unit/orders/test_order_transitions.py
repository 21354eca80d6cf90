"""Every cell of (status x pending x event) is as tests/tables/order_transitions.csv writes it.

The csv was encoded a second time, column by column, from the prose table of the reliability
reference; it was not made from the code's table.
"""

import csv
import itertools
from pathlib import Path

import pytest

from mqd.core.execution_report import OrderCommand, ReportKind
from mqd.core.order import TERMINAL, OrderStatus, Pending
from mqd.errors import IllegalTransition
from mqd.orders.transitions import CANCEL_DEFERRED, LIVE, TABLE
from tests.unit.orders.life import at, fill, report

TABLE_FILE = Path("tests/tables/order_transitions.csv")
ROWS = list(csv.DictReader(TABLE_FILE.read_text().splitlines()))
EVENTS = {event.value: event for event in (*OrderCommand, *ReportKind)}


def key(row):
    return OrderStatus(row["status"]), Pending(row["pending"]), EVENTS[row["event"]]


def test_the_file_has_one_row_for_each_cell_and_the_table_too():
    product = set(itertools.product(OrderStatus, Pending, [*OrderCommand, *ReportKind]))
    assert len(ROWS) == len(product) == 12 * 3 * 25
    assert {key(row) for row in ROWS} == product
    assert set(TABLE) == product


def test_every_cell_is_as_written():
    wrong = []
    for row in ROWS:
        cell = TABLE[key(row)]
        fixed = not cell.illegal and not cell.merge
        outcome = "keep" if cell.status is None else "move"
        outcome = "illegal" if cell.illegal else "merge" if cell.merge else outcome
        found = {
            "outcome": outcome,
            "next_status": (cell.status or row["status"]) if fixed else "",
            "next_pending": cell.pending if fixed else "",
            "query": str(int(cell.query)),
            "quarantine": str(int(cell.quarantine)),
            "cancel": str(int(cell.cancel)),
            "defer": str(int(bool(cell.set_flags & CANCEL_DEFERRED))),
        }
        wrong += [(*key(row), name) for name in found if found[name] != row[name]]
    assert wrong == []


def test_no_cell_leaves_a_pending_request_beside_a_status_that_cannot_have_one():
    for (status, _, _), cell in TABLE.items():
        after = cell.status or status
        assert cell.pending is Pending.NONE or after in LIVE


def test_a_confirmed_end_is_left_by_a_fill_or_a_bust_only():
    ours = {OrderStatus.DENIED, OrderStatus.ABANDONED}
    for (status, _, event), cell in TABLE.items():
        if status in TERMINAL - ours and cell.status is not None:
            assert event in (ReportKind.FILL, ReportKind.BUST)
            assert cell.status in TERMINAL


def test_no_command_of_ours_reaches_a_status_of_the_venue():
    for (status, _, event), cell in TABLE.items():
        if event in list(OrderCommand) and cell.status is not None:
            never_sent = status is OrderStatus.INTENT and event is OrderCommand.CANCEL
            assert cell.status is OrderStatus.SUBMITTED or never_sent


REACHABLE = [
    row
    for row in ROWS
    if (row["pending"] == "none" or row["status"] in ("accepted", "partially_filled"))
    and row["outcome"] != "merge"
]


QUANTITY_DECIDES = {
    ("partially_filled", "bust"): "accepted",  # its only execution is taken back
    ("accepted", "correct"): "partially_filled",  # the correction comes before its execution
}


def event_for(row, held):
    """Return a report that fits the row: fills complete or add, busts name what is booked."""
    kind = ReportKind(row["event"])
    if kind is ReportKind.PARTIAL_FILL:
        return fill("new", 1)
    if kind is ReportKind.FILL:
        return fill("new", 10 - held.cum_lots or 1, whole=True)
    if kind in (ReportKind.BUST, ReportKind.CORRECT):
        fields = {"execution_id": "c1", "last_lots": 4, "last_ticks": 99}
        return report(kind, ref_execution_id="e1", **(fields if kind == "correct" else {}))
    return report(kind, status="suspended" if kind is ReportKind.STATUS else "")


@pytest.mark.parametrize("status", [*OrderStatus])
def test_the_machine_does_what_the_file_says(status):
    """Drive an order into each state by real events, then apply each event to it."""
    for row in (row for row in REACHABLE if row["status"] == status):
        machine = at(*key(row)[:2])
        before = machine.state("o1")
        event = key(row)[2]
        told = f"{row['status']}, {row['pending']}, {row['event']}"
        if isinstance(event, OrderCommand):
            if row["outcome"] == "illegal":
                with pytest.raises(IllegalTransition) as caught:
                    machine.command("o1", event)
                for word in ("o1", row["status"], row["pending"], row["event"]):
                    assert word in str(caught.value), told
                assert machine.state("o1") is before, told
                continue
            step = machine.command("o1", event)
        else:
            step = machine.apply(event_for(row, before))
        after = step.after
        expected = QUANTITY_DECIDES.get((row["status"], row["event"]), row["next_status"])
        if row["event"] == "partial_fill" and expected == "filled":
            assert step.anomaly, told  # one lot more than the order had
        elif row["quarantine"] == "0" and row["event"] != "fill":
            assert not step.anomaly, told
        if row["event"] == "fill" and row["status"] == "filled":
            assert step.anomaly, told
        assert after.status == expected, told
        assert after.pending == row["next_pending"], told
        if row["quarantine"] == "1":
            assert step.anomaly, told
            assert "AAPL" in machine.quarantined, told
        if row["query"] == "1":
            assert step.query, told
        assert step.cancel == (row["cancel"] == "1" and after.status in LIVE), told
