"""A line that was cut off when a process died: kept beside the file, and out of its way."""

from __future__ import annotations

import os
from pathlib import Path


def cut_torn(file: Path) -> None:
    """Move a last line that was never finished to ``STEM.torn-N`` beside ``file``, which is made
    when it is missing."""
    if not file.exists():
        file.touch(0o600)
        return
    with file.open("r+b") as log:
        size = log.seek(0, os.SEEK_END)
        start = size
        while start > 0:
            begin = max(start - (1 << 16), 0)
            log.seek(begin)
            newline = log.read(start - begin).rfind(b"\n")
            start = begin
            if newline >= 0:
                start = begin + newline + 1
                break
        if start == size:
            return
        log.seek(start)
        torn = log.read()
        number = 1
        while (side := file.with_name(f"{file.stem}.torn-{number}")).exists():
            number += 1
        side.write_bytes(torn)
        log.truncate(start)
