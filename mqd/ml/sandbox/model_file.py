"""A model file as bytes: read once, told by its first bytes, hashed. It is parsed elsewhere.

Nothing here, and nothing else in this process, parses a model (`mqd.ml.sandbox.child`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from mqd.errors import ModelRefused

MODEL_BYTES_MAX: Final = 64 << 20
_ZIP: Final = b"PK\x03\x04"
_PICKLES: Final = (
    b"\x80", b"(", b"c", b"]", b"}", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00", b"\x78",
    b"\x04\x22\x4d\x18", b"ZF",
)  # fmt: skip


class ModelFile(NamedTuple):
    """The bytes of a model, their digest, and "skops" or "onnx"."""

    data: bytes
    sha256: str
    format: str


def read_once(path: Path, bytes_max: int = MODEL_BYTES_MAX) -> bytes:
    """Return the bytes of a regular file that is no link; raises ``ModelRefused``.

    What is checked is the open file: a path that is exchanged meanwhile changes nothing.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        link = path.is_symlink()
        why = "it is a symbolic link" if link else f"it cannot be read ({error.strerror})"
        raise ModelRefused(str(path), why) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ModelRefused(str(path), "it is not a regular file")
    with os.fdopen(fd, "rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ModelRefused(str(path), f"it is larger than {bytes_max:,} bytes")
    return data


def model_file(path: Path) -> ModelFile:
    """Read a file that is offered as a model; raises ``ModelRefused`` for a pickle and the like.

    A skops file is a zip; an ONNX file is called ``*.onnx``.
    """
    data = read_once(path)
    return ModelFile(data, sha256_of(data), _format(path, data))


def sha256_of(data: bytes) -> str:
    """Return the sha256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _format(path: Path, data: bytes) -> str:
    if not data:
        raise ModelRefused(str(path), "it is empty")
    if data.startswith(_ZIP):
        return "skops"
    if path.suffix == ".onnx" and not data.startswith(b"\x80"):
        return "onnx"
    kind = "it looks like a pickle" if data.startswith(_PICKLES) else "it is neither"
    raise ModelRefused(
        str(path),
        f"a model is a skops file or a file *.onnx; {kind}. Pickle and joblib files run code when"
        " they are read, so mqd reads none. Save it with ModelRegistry.save(estimator) or"
        " skops.io.dump.",
    )
