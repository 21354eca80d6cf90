"""Order lives after the FIX 4.4 specification, appendix D (groups A to L).

Letters are the groups of the specification. tests/tables/fix_matrices.csv retells its scenes as
far as they concern one order (a replacement is an order of its own). J.1.a was compared with the
published table (references C to H); the others were not, and some numbers and suffixes are ours.
"""

import csv
from itertools import groupby
from pathlib import Path

import pytest

from mqd.core.execution_report import OrderCommand
from mqd.errors import IllegalTransition
from mqd.orders.state_machine import OrderStateMachine
from tests.unit.orders.life import order, report

ROWS = list(csv.DictReader(Path("tests/tables/fix_matrices.csv").read_text().splitlines()))
SCENES = [(name, list(rows)) for name, rows in groupby(ROWS, key=lambda row: row["matrix"])]
COMMANDS = {command.value for command in OrderCommand}


def play(machine, row):
    """Give the machine one line of a scene."""
    event = row["event"]
    if event in COMMANDS:
        return machine.command("o1", OrderCommand(event))
    if event == "illegal replace":
        with pytest.raises(IllegalTransition):
            machine.command("o1", OrderCommand.REPLACE)
        return None
    return machine.apply(
        report(
            event,
            execution_id=row["execution"],
            last_lots=int(row["lots"] or 0),
            last_ticks=int(row["ticks"] or 0),
            cum_lots=int(row["cum_said"] or -1),
            ref_execution_id=row["ref"],
            status=row["word"],
        )
    )


def test_every_group_of_the_specification_is_told():
    assert {name[0] for name, _ in SCENES} == set("ABCDEFGHIJKL")
    assert len({name for name, _ in SCENES}) == len(SCENES)


@pytest.mark.parametrize(("name", "rows"), SCENES, ids=[name for name, _ in SCENES])
def test_matrix(name, rows):
    machine = OrderStateMachine()
    machine.open(order(lots=10_000))
    for line, row in enumerate(rows, 1):
        play(machine, row)
        state = machine.state("o1")
        found = state.status, state.pending, state.cum_lots, state.leaves_lots
        wanted = row["status"], row["pending"], int(row["cum"]), int(row["leaves"])
        assert found == wanted, f"{name} line {line}: {row['event']}"


def test_the_average_price_of_j_1_a_is_the_specifications():
    """Appendix D gives AvgPx 102 after line 7 and 120 after line 8."""
    rows = dict(SCENES)["J.1.a"]
    machine = OrderStateMachine()
    machine.open(order(lots=10_000))
    averages = []
    for row in rows:
        play(machine, row)
        averages.append(machine.state("o1").avg_px)
    assert [None if px is None else px * 100 for px in averages][2:8] == [
        100,
        109,
        110,
        100,
        102,
        120,
    ]
