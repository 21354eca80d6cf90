"""What a restart must know and no order says: the bases of loss limits, and unreached targets.

A trading desk writes them to its log when they change; a replay, whose log ends with it, does not.

- ``risk.base``: the session, its start-of-day equity, the high water, and how often HALT had been
  rearmed by hand: a rearm after the record lets the high water start anew.
- ``bars.taken``: the close of the last step whose bars were taken in, 0 before the first. A fill
  that is heard while the next bars are late falls on them, whatever the clock says by then.
- ``targets.open``: the strategies and symbols whose target was not reached: an increase that
  waits for a reduction, a remainder that the next close sizes anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mqd.core.money import to_units
from mqd.desk.loop import Desk
from mqd.desk.records import text
from mqd.risk.history import Bases
from mqd.risk.kill_switch import LatchLevel

Payload = dict[str, Any]
BASE, OPEN, TAKEN = "risk.base", "targets.open", "bars.taken"


class CarryOver:
    """Writes what changed since it last looked."""

    def __init__(self) -> None:
        self._bases: Bases | None = None
        self._open: list[list[str]] = []
        self._taken_ns = -1

    def note_bars(self, desk: Desk, taken_ns: int) -> None:
        """Write, before anything is heard, which step's bars are the last that are in."""
        if taken_ns != self._taken_ns:
            self._taken_ns = taken_ns
            desk.parts.journal.write(TAKEN, {"ts_close": taken_ns})

    def note(self, desk: Desk) -> None:
        """Write the bases and the unreached targets of a desk, where they changed."""
        bases, unreached = desk.parts.risk.bases, open_targets(desk)
        if bases is not None and bases != self._bases:
            self._bases = bases
            desk.parts.journal.write(BASE, base_of(desk, bases))
        if unreached != self._open:
            self._open = unreached
            desk.parts.journal.write(OPEN, {"open": unreached})


def open_targets(desk: Desk) -> list[list[str]]:
    """Return the (strategy, symbol) pairs whose target is not reached and has no order working."""
    parts = desk.parts
    return [list(pair) for pair in sorted(parts.portfolio.resizing | parts.targets.waiting)]


def base_of(desk: Desk, bases: Bases) -> Payload:
    """Return the bases as a record says them."""
    quantum, high = desk.parts.valuation.quantum, bases.high_water_quanta
    return {
        "day": bases.day, "day_start": text(bases.day_start_quanta, quantum),
        "high_water": None if high is None else text(high, quantum),
        "halt_rearms": desk.parts.risk.kill_switch.n_resets(LatchLevel.HALT),
    }  # fmt: skip


def take_base(desk: Desk, payload: Mapping[str, Any]) -> None:
    """Give a rebuilt desk the bases of a record."""
    risk, quantum = desk.parts.risk, desk.parts.valuation.quantum
    high, rearms = payload["high_water"], risk.kill_switch.n_resets(LatchLevel.HALT)
    if high is not None and rearms == payload["halt_rearms"]:
        high = to_units(Decimal(high), quantum, "high_water")
    else:
        high = None
    start = to_units(Decimal(payload["day_start"]), quantum, "day_start")
    risk.restore(Bases(payload["day"], start, high))


def take_open(desk: Desk, payload: Mapping[str, Any]) -> None:
    """Let a rebuilt desk size the targets of a record anew at its next close."""
    resizing = desk.parts.portfolio.resizing
    resizing.clear()
    known = {(name, symbol) for name, symbol in desk.parts.holdings}
    resizing.update(known & {(name, symbol) for name, symbol in payload["open"]})
