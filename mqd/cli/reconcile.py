"""``mqd reconcile``: our books against the venue's; nothing is sent."""

from __future__ import annotations

import getpass
from pathlib import Path

from mqd.cli import output
from mqd.execution.breaks import Break, BreakKind


def reconcile(
    config: Path,
    /,
    *,
    adopt: str | None = None,
    account: str | None = None,
    by: str | None = None,
    rehearsal: bool = False,
    json: bool = False,
) -> int:
    """Compare a desk's log with its account: positions, orders, cash, fills.

    Each difference is named: a missed fill, a trade by hand, an order that is not ours, a split.
    Nothing is traded to mend it. Exit code 1 when anything differs. With --adopt a person takes the
    account for right: positions and cash become the venue's in the log, which says who and why.

    Parameters
    ----------
    config
        Configuration of the desk; its state folder and keys are read.
    adopt
        Why the account is right. The desk must be stopped, and no order of ours open.
    account
        With --adopt: the account's id, typed in full; asked for at a terminal when left out.
    by
        With --adopt: who takes it on; the user's name when left out.
    rehearsal
        The endpoint is a venue on this machine.
    json
        Print one JSON document to stdout.
    """
    if adopt is not None:
        return _adopt(config, adopt, account, by, rehearsal=rehearsal, json=json)
    from mqd.live.config import read_config
    from mqd.live.reconciling import reconcile as compare
    from mqd.live.status import holder_of

    read = read_config(config, rehearsal=rehearsal)
    found = compare(read, rehearsal=rehearsal)
    holder = holder_of(read.state)
    told = {
        "equal": found.ok, "halt": found.halt, "frozen": list(found.frozen_symbols),
        "desk_runs": holder is not None,
        "breaks": [{**one._asdict(), "kind": str(one.kind)} for one in found.breaks],
    }  # fmt: skip
    if json:
        output.print_json(told)
        return 0 if found.ok else 1
    if found.ok:
        print("Our books and the venue's agree: positions, orders, cash and fills.")
        return 0
    for one in found.breaks:
        print(line_of(one))
    if holder is not None:
        print(f"Process {holder} trades there: what is under way differs; compare again.")
    elif found.halt:
        print("A desk would halt on this. Find out why before anything else.")
    return 1


def _adopt(
    config: Path, reason: str, account: str | None, by: str | None, *, rehearsal: bool, json: bool
) -> int:
    """Take the account for right, and say what was taken over."""
    from mqd.cli.rearm import asked
    from mqd.live.adopting import Signed, adopt
    from mqd.live.config import read_config

    read = read_config(config, rehearsal=rehearsal)
    typed = asked() if account is None else account
    signed = Signed(getpass.getuser() if by is None else by, reason)
    adopted = adopt(read, rehearsal=rehearsal, account=typed, signed=signed)
    if json:
        output.print_json(
            {"adopted": [{**one._asdict(), "kind": str(one.kind)} for one in adopted]}
        )
        return 0
    for one in adopted:
        print(f"Adopted: {line_of(one)}")
    print("The log says so. 'mqd reconcile' compares again; a latch that is set stays set.")
    return 0


def line_of(one: Break) -> str:
    """Return a difference in a line: positions in lots, cash and orders by their own words."""
    if one.kind in (BreakKind.CASH, BreakKind.FOREIGN_ORDER, BreakKind.MISSING_ORDER):
        return " ".join(filter(None, (f"{one.kind}", one.symbol))) + f": {one.what}."
    return f"{one.kind} {one.symbol}: ours {one.ours} lots, the venue's {one.theirs}: {one.what}."
