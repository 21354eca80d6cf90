"""The desk of a rehearsal as a process of its own: it can be killed, and goes on when started anew.

``python -m mqd.live.desk_process --config FILE.json`` runs the desk against a venue that runs
already; on a state folder with a log it resumes. The file (its owner's alone, mode 0600):

  strategy, parameters      as on the command line: a name or path.py:Class, and its values
  data, words               a file of bars and the words of ``load_bars``, for the plan alone
  cash, multiplier          as in ``backtest``
  port, control_token       the venue's
  keys                      a key file (key_id, secret)
  state                     the state folder
  patience_s                how long a silent stream is waited for

At its end it writes ``result.json`` into the state folder: the counts of ``summary_of``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from mqd.adapters.alpaca.keys import read_keys
from mqd.backtesting import name_strategies
from mqd.errors import UsageError
from mqd.kernel.settings import settings_of
from mqd.live.builder import DeskPlan
from mqd.live.control import Control
from mqd.live.errors import StateFolderUnsafe
from mqd.live.folder import StateFolder, account_sha256, write_atomically
from mqd.live.link import VenueAddress
from mqd.live.paced import PATIENCE_S
from mqd.live.paced_run import PacedDone
from mqd.live.rehearsal import DataSpec, Pace, plan_desk, run_desk
from mqd.live.venue_process import ACCOUNT_ID
from mqd.strategy.loading import resolve

RESULT_FILE: Final = "result.json"
_NEEDED: Final = ("strategy", "data", "port", "control_token", "keys", "state")
_MORE: Final = ("parameters", "words", "cash", "multiplier", "patience_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConfig:
    """What a configuration file says; see the module's docstring."""

    strategy: str
    data: str
    port: int
    control_token: str
    keys: str
    state: str
    parameters: Mapping[str, Any]
    words: Mapping[str, Any]
    cash: Decimal
    multiplier: int
    patience_s: float

    @staticmethod
    def read(file: Path) -> DeskConfig:
        """Return a file's configuration; raise ``UsageError`` for one that others may read, that
        is no JSON object, or that lacks a word or has one too many."""
        try:
            if file.stat().st_mode & 0o077:
                raise UsageError(f"{file} holds a token, and others can read it: chmod 600.")
            given = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read as JSON ({error}).") from error
        if not isinstance(given, dict):
            raise UsageError(f"{file} holds no JSON object.")
        missing = [name for name in _NEEDED if name not in given]
        unknown = sorted(set(given) - {*_NEEDED, *_MORE})
        if missing or unknown:
            raise UsageError(f"{file}: missing {missing}, unknown {unknown}.")
        return DeskConfig(
            strategy=given["strategy"], data=given["data"], port=int(given["port"]),
            control_token=given["control_token"], keys=given["keys"], state=given["state"],
            parameters=given.get("parameters", {}), words=given.get("words", {}),
            cash=Decimal(str(given.get("cash", "100000"))),
            multiplier=int(given.get("multiplier", 1)),
            patience_s=float(given.get("patience_s", PATIENCE_S)),
        )  # fmt: skip

    def plan(self) -> DeskPlan:
        """Return what the desk trades; no price of the data goes with it."""
        bars = DataSpec(Path(self.data), self.words).load()
        settings = settings_of(bars, cash=self.cash, multiplier=self.multiplier)
        strategy = resolve(self.strategy)(**self.parameters)
        return plan_desk(name_strategies(strategy), bars, settings)


def run(file: Path) -> PacedDone:
    """Run the desk of a configuration to its end, and write its counts beside its log.

    Raises what a rehearsal raises; the log then says "failed", and the next start resumes.
    """
    config = DeskConfig.read(file)
    address = VenueAddress.local(config.port, read_keys(Path(config.keys)))
    account = account_sha256(ACCOUNT_ID)
    plan = config.plan()
    with StateFolder.open(config.state, account=account, mode="rehearsal") as folder:
        control = Control(config.port, config.control_token)
        done, log_sha256 = run_desk(plan, address, control, folder, Pace(), config.patience_s)
        said = {**summary_of(done), "log_sha256": log_sha256}
        write_atomically(folder.path / RESULT_FILE, json.dumps(said).encode(), durable=True)
    return done


def summary_of(done: PacedDone) -> dict[str, Any]:
    """Return the counts of a run as one JSON-ready document."""
    closing, parts = done.closing, done.desk.parts
    return {
        "orders": len(parts.machine.states()), "breaks": list(closing.breaks),
        "duplicates": closing.duplicates, "lost_fills": closing.lost_fills,
        "anomalies": list(parts.hearing.anomalies), "killed": done.killed,
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run the desk of ``--config FILE``; return 0, or 2 when its words or its folder are wrong."""
    if len(arguments) != 2 or arguments[0] != "--config":
        sys.stderr.write("usage: python -m mqd.live.desk_process --config FILE.json\n")
        return 2
    try:
        run(Path(arguments[1]))
    except (UsageError, StateFolderUnsafe) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
