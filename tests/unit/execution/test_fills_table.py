"""Every row of design 5.4 as cases worked by hand: what is reported, at which price and when."""

import csv
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.unit.execution.replayed import Replayed

TABLE = Path(__file__).parents[2] / "tables" / "fills.csv"
with TABLE.open(encoding="utf-8") as lines:
    CASES = list(csv.DictReader(lines))


def options(text):
    """Return the keyword arguments of ``slippage_bps=1 touch_fills halt=A:0.1o-0.2o ...``."""
    out, halts = {}, []
    for word in text.split():
        name, _, value = word.partition("=")
        if name == "halt":
            symbol, _, span = value.partition(":")
            halts.append((symbol, *span.split("-")))
        elif name in ("kind", "cash"):
            out[name] = value
        elif name in ("latency_ns", "multiplier"):
            out[name] = int(value)
        else:
            out[name] = float(value) if value else True
    return {**out, "halts": halts} if halts else out


def play(case):
    """Run one row of the table."""
    words = [word for word in case["given"].split() if not word.startswith("hold=")]
    held = [word[5:] for word in case["given"].split() if word.startswith("hold=")]
    venue = Replayed(case["bars"], **options(" ".join(words)))
    for text in held:
        lots, _, ticks = text.partition("@")
        venue.hold("A", int(lots), int(ticks))
    commands = defaultdict(list)
    for text in filter(None, (part.strip() for part in case["commands"].split(";"))):
        when, _, command = text.partition(" ")
        commands[when].append(command)
    return venue.run(commands)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['row']}: {case['case']}")
def test_fills_table(case):
    venue = play(case)
    wanted = [part.strip() for part in case["reports"].split(";") if part.strip()]
    assert venue.told() == wanted
    counts = dict.fromkeys(asdict(venue.broker.counts), 0)
    for word in case["counts"].split():
        name, _, number = word.partition("=")
        counts[name] = int(number)
    assert asdict(venue.broker.counts) == counts
    assert venue.account.ledger.imbalance() == 0


def test_every_row_of_the_contract_has_cases():
    rows = defaultdict(int)
    for case in CASES:
        rows[case["row"]] += 1
    assert set(rows) == {
        "market", "limit buy", "limit sell", "stop buy", "stop sell", "stop limit", "trailing stop",
        "on open", "on close", "protective pair", "participation", "ioc fok", "halt", "latency",
        "lifetime", "bracket", "oto", "cancel", "replace",
    }  # fmt: skip
    assert min(rows.values()) >= 2
    assert len({(case["row"], case["case"]) for case in CASES}) == len(CASES)
