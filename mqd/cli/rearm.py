"""``mqd rearm``: clear a latch by hand, with a reason and the typed account id."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from mqd.cli import output
from mqd.errors import UsageError

Level = Literal["all", "kill", "halt", "reduce_only"]


def rearm(
    folder: Path,
    /,
    *,
    reason: str,
    account: str | None = None,
    level: Level = "all",
    json: bool = False,
) -> int:
    """Clear the latches of a state folder, so that a desk may trade again.

    The desk must be stopped, and no order of ours may be open.

    Parameters
    ----------
    folder
        State folder, or the configuration that names it.
    reason
        Why trading may go on; it is kept with the latch.
    account
        The account's id, typed in full; asked for at a terminal when left out.
    level
        Which latch; all that are set when left out.
    json
        Print one JSON document to stdout.
    """
    from mqd.core.clock import WallClock
    from mqd.live.rearm import rearm as clear
    from mqd.live.status import folder_named
    from mqd.risk.kill_switch import LEVELS, LatchLevel

    place = folder_named(folder)
    levels = LEVELS if level == "all" else (LatchLevel[level.upper()],)
    typed = asked() if account is None else account
    cleared = clear(place, levels, reason=reason, account=typed, now_ns=WallClock().now_ns())
    names = [latch.level.name for latch in cleared]
    if json:
        output.print_json({"folder": place, "cleared": names})
    elif names:
        print(f"Cleared in {place}: {', '.join(names)}. A desk may start.")
    else:
        print(f"No such latch is set in {place}.")
    return 0


def asked() -> str:
    """Return the account id that a person types at the terminal; raise ``UsageError`` without."""
    if not sys.stdin.isatty():
        raise UsageError("Type the account id: --account ID.")
    print("Account id: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
