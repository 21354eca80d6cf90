"""Which code of mqd runs: its version and a hash over every module, an edited one included."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import mqd


@cache
def code_version() -> str:
    """Return ``version+hash``; the hash is of all ``*.py`` of mqd, by name and content."""
    root = Path(mqd.__file__).parent
    sha = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        data = path.read_bytes()
        sha.update(f"{path.relative_to(root).as_posix()}:{len(data)}\n".encode())
        sha.update(data)
    return f"{mqd.__version__}+{sha.hexdigest()[:16]}"
