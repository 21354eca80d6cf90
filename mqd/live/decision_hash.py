"""One hash of what a desk decided and what came of it, equal for equal runs.

``log_sha256`` names one log: it covers every report as it came, and whether a call's answer or
the stream's word about the same order comes first, or at all before the desk listens, is the
sockets' doing. This hash covers what two runs must agree on: decisions, refusals, orders,
executions and cash, each with its instant; not the venue's names for executions.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from mqd.log_reader import read

KINDS: Final = ("decision", "denied", "intent", "fill", "cash")
_LEFT_OUT: Final = {"fill": frozenset({"exec_id"})}


def decision_sha256(folder: Path) -> str:
    """Return the hash of a run folder's log; raise what ``mqd.log_reader.read`` raises.

    Records of one kind count in their order; how kinds are interleaved does not matter.
    """
    hashes = {kind: hashlib.sha256(kind.encode()) for kind in KINDS}
    for record in read(folder):
        if record.kind in hashes:
            left_out = _LEFT_OUT.get(record.kind, frozenset())
            said = {name: v for name, v in record.payload.items() if name not in left_out}
            line = json.dumps([record.ts_ns, said], sort_keys=True)
            hashes[record.kind].update(line.encode() + b"\n")
    whole = hashlib.sha256(b"".join(hashes[kind].digest() for kind in KINDS))
    return whole.hexdigest()
