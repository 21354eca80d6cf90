"""What goes between an engine and a model's process: fixed headers and raw float64.

A request is ``REQUEST`` and ``n * k`` float64, row by row; an answer is ``ANSWER`` and as many
bytes as it says. Nothing is unpickled on either side.
"""

from __future__ import annotations

import os
import struct
from typing import Final

MAGIC: Final = b"mqd1"
REQUEST: Final = struct.Struct("<4sB3xIII")
"""Magic, row by row (0 or 1), number of the request, rows, columns."""
ANSWER: Final = struct.Struct("<4sB3xIQ")
"""Magic, kind, number of the request (0 for the first answer), bytes that follow."""

READY, SCORES, FAILED = 1, 2, 3
"""Kinds of an answer: JSON of facts, float64 scores, JSON of ``cause`` and ``why``."""
TEXT_BYTES_MAX: Final = 1 << 20


def pack_job(job: bytes, model: bytes) -> bytes:
    """Return what the child reads first: the length of ``job``, ``job``, then the model file."""
    return struct.pack("<Q", len(job)) + job + model


def unpack_job(data: bytes) -> tuple[bytes, bytes]:
    """Return ``(job, model)`` of what `pack_job` made."""
    (length,) = struct.unpack_from("<Q", data)
    return data[8 : 8 + length], data[8 + length :]


def read_exactly(fd: int, n_bytes: int) -> bytes:
    """Return ``n_bytes`` from a pipe, fewer only when its other end was closed."""
    parts, left = [], n_bytes
    while left:
        part = os.read(fd, min(left, 1 << 20))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` to a pipe."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
