"""``mqd kill``: stop a desk now. The latch is on the disk before the command returns."""

from __future__ import annotations

from pathlib import Path

from mqd.cli import output


def kill(folder: Path, /, *, reason: str, json: bool = False) -> int:
    """Set the kill latch of a state folder: no order leaves any more, open ones are cancelled.

    It works while a desk holds the folder, and keeps a desk from starting. Only 'mqd rearm'
    clears it.

    Parameters
    ----------
    folder
        State folder, or the configuration that names it.
    reason
        What was seen; it stays with the latch.
    json
        Print one JSON document to stdout.
    """
    from mqd.core.clock import NS_PER_S, WallClock
    from mqd.live import rearm
    from mqd.live.status import folder_named, holder_of, read_heartbeat, read_latches

    clock = WallClock()
    place = folder_named(folder)
    taken_ns = rearm.kill(place, reason, clock)
    beat, holder = read_heartbeat(place, clock.now_ns()), holder_of(place)
    alive = holder is not None or (beat is not None and beat.alive)
    latch = read_latches(place)[0]
    if json:
        told = {"folder": place, "latch": latch.level.name, "reason": latch.reason}
        output.print_json(told | {"durable_ms": taken_ns / 1e6, "desk_alive": alive})
        return 0
    print(f"KILL is set in {place}, durable after {taken_ns / 1e6:.1f} ms: {latch.reason}")
    if alive:
        who = "A desk" if holder is None else f"Process {holder}"
        print(f"{who} trades there: it cancels its open orders and ends. mqd status tells.")
        if beat is None or not beat.alive:
            said = "never" if beat is None else f"{beat.age_ns / NS_PER_S:.0f} s ago"
            print(
                f"It hangs: it said that it lives {said}. Its watchdog cancels what is open; look"
                " at the broker's own list."
            )
    else:
        print("No desk is alive there. Orders that are open at the broker stay open: cancel them.")
    return 0
