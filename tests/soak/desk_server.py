"""Desks without the second that their imports take: each line asks for one, forked from here.

``python desk_server.py CONFIG ERRORS`` answers a line with the desk's process id, and, when that
process has ended, with its exit code (-9: killed).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from mqd.live import desk_process


def be_desk(config: str, errors: str) -> int:
    """Be what ``python -m mqd.live.desk_process`` is."""
    with Path(errors).open("a", encoding="utf-8") as sys.stderr:
        return desk_process.main(["--config", config])


def warm_up(config: str) -> None:
    """Import and compute, before the first fork, what every desk needs."""
    for name in ("alpaca.trading.client", "alpaca.data.historical", "mqd.live.realtime_run"):
        importlib.import_module(name)
    desk_process.DeskConfig.read(Path(config)).plan()


def serve(config: str, errors: str) -> None:
    warm_up(config)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = be_desk(config, errors)
            finally:
                if code == 1:
                    sys.excepthook(*sys.exc_info())
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
