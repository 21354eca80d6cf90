"""The long log of ``make bench-live`` is one that a desk could have written."""

import json
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

from mqd.log_reader import read
from mqd.positions.store import PositionStore

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "bench/live_records.py"


def test_the_store_of_a_made_log_is_flat_and_its_cash_is_the_deposit(tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path, "3", "400"],
        capture_output=True, text=True, cwd=ROOT, check=True, timeout=60,
    )  # fmt: skip
    made = json.loads(done.stdout)
    counted = Counter(record.kind for record in read(tmp_path / "state"))
    assert counted["intent"] == counted["fill"] + counted["command"]
    assert counted["report"] == counted["intent"] + counted["command"]
    assert sum(counted.values()) == made["records"] + 1  # the closing record
    assert made["records"] >= 400
    store = PositionStore.rebuild(tmp_path / "state")
    try:
        held = [one for one in store.positions().values() if one.qty]
        assert held == []
        assert store.balances()["cash"] == Decimal(100_000)
    finally:
        store.close()
