"""Structured logging: JSON lines in the run's folder, short lines for a human on stderr.

Bind what a line is about, ``run_id``, ``symbol``, ``order_id``, and it stands in every line:

    log = logs.get_logger("execution").bind(symbol="AAPL", order_id="mq1-...")
    log.warning("late_fill", qty="3")

structlog is imported at the first use, so that ``import mqd`` stays fast.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mqd.core.clock import WallClock, iso

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FILE_NAME: Final = "mqd.jsonl"
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_BOUND_FIRST: Final = ("run_id", "symbol", "order_id")


def is_watched() -> bool:
    """Return whether somebody looks: stderr is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _Sink:
    """The last processor: one JSON line to the file, one short line to the console."""

    def __init__(self) -> None:
        self.fd = -1
        self.level = _LEVELS["warning"]
        self._clock = WallClock()

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        import structlog

        level = str(event.pop("level", method))
        name = event.pop("event", "")
        if self.fd >= 0:
            record = {"time": iso(self._clock.now_ns()), "level": level, "event": name, **event}
            line = json.dumps(record, default=str, ensure_ascii=False) + "\n"
            os.write(self.fd, line.encode("utf-8", "backslashreplace"))
        if _LEVELS.get(level, 0) >= self.level:
            print(_short(level, str(name), event), file=sys.stderr)  # noqa: T201
        raise structlog.DropEvent


def _short(level: str, name: str, event: Mapping[str, Any]) -> str:
    """Return ``WARNING late_fill: symbol=AAPL qty=3``; text cannot break out of its line."""
    keys = [key for key in _BOUND_FIRST if key in event and key != "run_id"]
    keys += [key for key in event if key not in _BOUND_FIRST and key != "exception"]
    pairs = " ".join(f"{key}={event[key]}" for key in keys)
    line = f"{level.upper()} {name}: {pairs}" if pairs else f"{level.upper()} {name}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


_sink: Final = _Sink()
_configured = False


def configure(run_folder: Path | None = None, *, verbosity: int = 0, run_id: str = "") -> None:
    """Send log lines to ``run_folder/mqd.jsonl`` (mode 0600) and to stderr.

    ``verbosity``: -1 errors only, 0 warnings, 1 info, 2 debug on the console; the file holds
    info and above, from 2 on debug too. ``run_id`` is bound to every line of this thread and
    of those started from its context. A second call replaces the first.
    """
    import structlog

    global _configured  # noqa: PLW0603
    close()
    _sink.level = {-1: 40, 0: 30, 1: 20}.get(max(-1, verbosity), 10)
    if run_folder is not None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        _sink.fd = os.open(run_folder / FILE_NAME, flags, 0o600)
    structlog.contextvars.clear_contextvars()
    if run_id:
        structlog.contextvars.bind_contextvars(run_id=run_id)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            _sink,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(10 if verbosity > 1 else 20),
        cache_logger_on_first_use=False,
    )
    _configured = True


def open_run(run_folder: Path) -> None:
    """Send lines to ``run_folder/mqd.jsonl`` too, with the folder's name as ``run_id``.

    The console stays as `configure` set it (warnings when it was not called).
    """
    import structlog

    if not _configured:
        configure()
    close()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    _sink.fd = os.open(run_folder / FILE_NAME, flags, 0o600)
    structlog.contextvars.bind_contextvars(run_id=run_folder.name)


def close() -> None:
    """Close the file; later lines go to the console alone. Idempotent."""
    if _sink.fd >= 0:
        fd, _sink.fd = _sink.fd, -1
        os.close(fd)


def get_logger(component: str) -> FilteringBoundLogger:
    """Return a logger whose lines name ``component``; safe before `configure`."""
    import structlog

    if not _configured:
        configure()
    logger: FilteringBoundLogger = structlog.get_logger(component=component)
    return logger
