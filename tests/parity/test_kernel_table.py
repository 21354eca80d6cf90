"""Whole runs worked by hand, through the compiled loop: prices in cents, ten shares a target.

``bars``: ``open/high/low/close:weight[:volume]`` a day; ``H`` holds. ``fills``: ``1o`` and ``1c``
are the open and the close of day 1. ``cash`` is what is left at the end.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mqd
from tests.parity.interpreted import interpreted
from tests.parity.twin_cases import bars_of

TABLE = Path(__file__).parents[1] / "tables" / "kernel_runs.csv"
with TABLE.open(encoding="utf-8") as lines:
    CASES = list(csv.DictReader(lines))

CODES = {"H": 0, "1": 1, "-1": 2, "0": 3}
EXITS = {"stop": "stop_loss_frac", "target": "take_profit_frac", "trail": "trailing_stop_frac"}
COSTS = {"slippage_bps": "slippage_bps", "fee_bps": "fee_bps", "fee_per_share": "fee_per_share",
         "borrow_bps": "borrow_bps_per_year"}  # fmt: skip
MODES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "compiled": nullcontext, "python": interpreted,
}  # fmt: skip


class Written(mqd.Strategy):
    """Weights that the table writes down, told by the tenths of a share traded."""

    def features(self, bars: Any) -> Any:
        """Return the weight of each bar: the code is in the fraction of its volume."""
        codes = np.round(bars.volume % 1.0 * 10.0).astype(int)
        return {"w": np.array([mqd.HOLD, 1.0, -1.0, 0.0])[codes]}

    def decide(self, now: Any, position: Any) -> float:
        """Return the weight that is written down."""
        return now.w


def words_of(text: str) -> dict[str, Any]:
    """Return ``stop=0.05 touch_fills ...`` as a dict; a bare word is True."""
    pairs = (word.partition("=") for word in text.split())
    return {name: value if sign else True for name, sign, value in pairs}


def play(case: dict[str, str]) -> mqd.Result:
    """Run one row of the table."""
    given = words_of(case["given"])
    rows: list[tuple[Any, ...]] = []
    for place, text in enumerate(case["bars"].split()):
        prices, weight, volume = (*text.split(":"), "1000000")[:3]
        rows.append((place, *(int(px) / 100 for px in prices.split("/")),
                     int(volume) + CODES[weight] / 10))  # fmt: skip
    actions = []
    if "action" in given:
        day, kind, number = given["action"].split(":")
        is_split = kind == "split"
        actions = [("A", int(day), kind, float(number) if is_split else None,
                    None if is_split else float(number))]  # fmt: skip
    bars = bars_of({"A": rows}, actions, tick="0.01")
    return mqd.backtest(
        Written(**{EXITS[name]: float(given[name]) for name in EXITS if name in given}), bars,
        engine="compiled", cash=given.get("cash", "100000"), sizer=mqd.FixedQuantity(10),
        multiplier=int(given.get("multiplier", 1)),
        costs=mqd.Costs(**{COSTS[name]: float(given[name]) for name in COSTS if name in given}),
        fills=mqd.FillModel(
            participation_frac=float(given.get("frac", 1.0)), touch_fills="touch_fills" in given,
            latency_ns=int(given.get("latency_ns", 0)),
        ),
    )  # fmt: skip


def told(result: mqd.Result) -> list[str]:
    """Return the fills in the words of the table."""
    bars = result.bars["A"]
    out = []
    for fill in result.fills.itertuples():
        at_open = fill.ts_fill.value in bars.ts_open
        times = bars.ts_open if at_open else bars.ts_close
        day = int(np.searchsorted(times, fill.ts_fill.value))
        cents = round(fill.px * 100)
        out.append(f"{fill.side} {fill.qty:g}@{cents} {day}{'o' if at_open else 'c'}")
    return out


def name_of(case: dict[str, str], mode: str) -> str:
    """Return a test's name: letters and underscores."""
    return "_".join([*re.findall(r"\w+", case["case"]), mode])


@pytest.mark.parametrize(
    ("case", "mode"),
    [pytest.param(case, mode, id=name_of(case, mode)) for mode in MODES for case in CASES],
)
def test_a_run_worked_by_hand(case: dict[str, str], mode: str) -> None:
    with MODES[mode]():
        result = play(case)
    assert told(result) == [part.strip() for part in case["fills"].split(";") if part.strip()]
    counts = result.source.counts
    found = {
        "ambiguous": counts.ambiguous_bars, "capped": counts.capped_fills,
        "trimmed": counts.trimmed_fills, "gaps": counts.gap_fills,
        "follow_ups": counts.follow_ups, "denied": counts.denied,
    }  # fmt: skip
    wanted = dict.fromkeys(found, 0)
    wanted |= {name: int(n) for name, n in (w.split("=") for w in case["counts"].split())}
    assert found == wanted
    assert result.equity["cash"].iloc[-1] == float(case["cash"])
