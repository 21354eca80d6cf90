"""Reading a skops file, in the sandbox alone: sizes, the exact list of types, then the object."""

from __future__ import annotations

import codecs
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

from mqd.errors import ModelRefused
from mqd.ml.sandbox.trusted_types import LOADERS, MODELS, TRUSTED

UNPACKED_BYTES_MAX: Final = 256 << 20
MEMBERS_MAX: Final = 50_000
SCHEMA: Final = "schema.json"
_NOT_NEEDED: Final = ("pandas", "dask", "pytest", "matplotlib")
_MARKS: Final = ("__class__", "__module__", "__loader__")


def import_what_files_need() -> None:
    """Import skops and every module of the list: behind the filter nothing can be imported.

    What these libraries would use if it were there, and a model never does, is kept away: that
    is a third of the time and of the modules.
    """
    sys.modules.update(dict.fromkeys(_NOT_NEEDED))  # type: ignore[arg-type]
    import_module("skops.io")
    for encoding in ("ascii", "cp437", "latin-1", "utf-8"):  # of names in a zip, heads of arrays
        codecs.lookup(encoding)
    for name in sorted(MODELS):
        import_module(name.rpartition(".")[0])
    for name in _NOT_NEEDED:
        del sys.modules[name]
    # The engine asks with finite rows alone; looking again costs half of a single row's time.
    import_module("sklearn").set_config(assume_finite=True, skip_parameter_validation=True)


def load_skops(data: bytes) -> tuple[Any, list[str]]:
    """Return ``(object, types that the file holds)``; raises ``ModelRefused``.

    Refused: no zip, members whose unpacked sizes are too much, a node with a type or a loader
    that is not on the list, and whatever skops itself refuses.
    """
    found = types_of(data)
    skops = import_module("skops.io")
    foreign = skops.get_untrusted_types(data=data)
    trusted = [name for name in foreign if name in TRUSTED]
    return skops.loads(data, trusted=trusted), found


def types_of(data: bytes) -> list[str]:
    """Return the sorted names of all types in a skops file; raises ``ModelRefused``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive)
            schema = json.loads(archive.read(SCHEMA))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, EOFError) as error:
        raise ModelRefused("skops file", f"damaged or no skops file ({error})") from error
    found = set()
    for name, loader in _nodes(schema):
        if name not in TRUSTED or loader not in LOADERS:
            raise ModelRefused(
                "skops file",
                f"it holds {name} (built by {loader}), which is not on the list of types that a"
                " model may be made of (mqd.ml.sandbox.trusted_types)",
            )
        found.add(name)
    return sorted(found)


def _check_sizes(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MEMBERS_MAX or len(set(names)) < len(names):
        raise ModelRefused("skops file", f"{len(members)} members, or the same name twice")
    unpacked = sum(member.file_size for member in members)
    if unpacked > UNPACKED_BYTES_MAX:
        raise ModelRefused(
            "skops file",
            f"{unpacked:,} bytes when unpacked; at most {UNPACKED_BYTES_MAX:,} are read",
        )


def _nodes(part: Any) -> Iterator[tuple[str, str]]:
    """Yield ``(module.Class, loader)`` of every node of a schema; a half-marked one is refused."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            marks = [part.get(mark) for mark in _MARKS]
            if any(mark is not None for mark in marks):
                name, module, loader = marks
                yield f"{module}.{name}", str(loader)
            waiting += part.values()
