"""Errors of risk alone.

MqdError
└── LatchNotDurable
"""

from __future__ import annotations

from mqd.errors import MqdError


class LatchNotDurable(MqdError):
    """A kill latch is set in memory but the disk refused it; the run stops at once."""

    def __init__(self, file: str, cause: OSError) -> None:
        self.file = file
        super().__init__(
            f"{file}: the latch is set, but not on disk ({cause.strerror or cause})."
            " No order is sent. Repair the disk and set the latch again before a restart."
        )
