"""``mqd status``: what a state folder says, read beside a running desk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mqd.cli import output

if TYPE_CHECKING:
    from mqd.live.status import FolderStatus

COUNTERS = (
    ("bars", "steps"), ("n_passed", "passed as history"), ("late_bars", "bars late"),
    ("n_late_taken", "taken late"), ("n_backfilled", "back-filled"),
)  # fmt: skip


def status(folder: Path, /, *, json: bool = False) -> int:
    """Show positions, open orders, latches, heartbeat and the last records of a state folder.

    Nothing is changed and no lock is taken. Exit code 1 when a latch is set or the log is
    damaged, else 0.

    Parameters
    ----------
    folder
        State folder, or the configuration that names it; a run folder will do.
    json
        Print one JSON document to stdout.
    """
    from mqd.core.clock import WallClock
    from mqd.live.status import folder_named, read_status

    found = read_status(folder_named(folder), WallClock().now_ns())
    if json:
        output.print_json(found.document())
    else:
        print("\n".join(_lines(found)))
    return 1 if found.latches or found.notes else 0


def _lines(found: FolderStatus) -> Iterator[str]:
    from mqd.core.clock import NS_PER_S, iso

    yield f"{found.folder}: {found.mode or 'unknown mode'}, record {found.seq:,}"
    for latch in found.latches:
        since = iso(latch.since_ns) if latch.since_ns else "an unknown instant"
        yield f"! {latch.level.name} since {since}: {latch.reason}"
    for note in found.notes:
        yield f"! {note}"
    yield "Held by: " + ("nobody" if found.holder is None else f"process {found.holder}")
    beat = found.heartbeat
    if beat is None:
        yield "Heartbeat: none"
    else:
        state = "alive" if beat.alive else "the desk has ended" if beat.stopped else "NOT alive"
        yield f"Heartbeat: {beat.age_ns / NS_PER_S:.1f} s ago, {state} (pid {beat.said.get('pid')})"
        counted = [(words, beat.counted(name)) for name, words in COUNTERS]
        told = [f"{words} {n:,}" for words, n in counted if n is not None]
        if told:
            yield f"Session: {', '.join(told)}"
    yield f"Positions: {len(found.positions)}"
    for symbol, held in found.positions.items():
        yield f"  {symbol:<8} {held['qty']:>12}  cost {held['cost']}  realized {held['realized']}"
    yield f"Open orders: {len(found.open_orders)}"
    for order in found.open_orders:
        terms = f"{order['side']} {order['qty']} {order['symbol']} {order['type']}"
        yield f"  {order['id']}  {terms}, filled {order['filled_qty']}, {order['fate']}"
    yield "Last records:"
    for record in found.records:
        yield f"  {record['seq']:>8,}  {iso(record['ts_ns'])}  {record['kind']}"
