"""Compiled code on disk: a later process loads machine code instead of compiling it.

numba's own disk cache looks only at the file of the cached function, and names symbols so that
two cached functions of one qualified name can get each other's code. Here a file is named by all
that decides its code (`fingerprint`), and every function compiled into it carries that name, so
neither a stale nor a foreign answer can be loaded. Files hold their own checksum, are replaced
whole, and can be deleted at any time. What numba writes of its results is a pickle that holds
machine code: a file that another user owns or can write is not read.

The folder is ``MQD_CACHE_DIR``, else ``mqd/code`` in the user's cache folder; without a folder
that can be written, code is compiled in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mqd import logs
from mqd.strategy import fingerprints, reached
from mqd.strategy.fingerprints import Unnameable, exact_text, module_text
from mqd.strategy.reached import NO_BINDINGS
from mqd.strategy.rebuild import rebuild, rebuild_scope

__all__ = ["compile_cached", "fingerprint", "folder", "rebuild"]

BYTES_MAX: Final = 256_000_000
FILES_MAX: Final = 2_000
_MAGIC: Final = b"mqd compiled code 1\n"
_OURS: Final = re.compile(r"mqd_[0-9a-f]{16,64}(\.code|\..*\.tmp)")
_SETTINGS: Final = (
    "OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML",
    "ENABLE_AVX", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS",
)  # fmt: skip

_entries: Final[dict[str, Any]] = {}

Check = Callable[[Mapping[str, object]], None]


def fingerprint(function: Any, bindings: Mapping[str, object] = NO_BINDINGS) -> str:
    """Return a sha256 of all code that ``function`` reaches, and of the versions that compile it.

    Covers code, constants, names, defaults, closures, values of global constants and helpers,
    also those of ``module.helper``, with ``bindings`` as in `rebuild`; Python, numba, llvmlite
    and numpy. File names, line numbers and comments are no part. Equal in every process. The
    text is "" when something reached can only be told by its identity: such code is not kept.
    """
    try:
        return _sha256(_versions(), exact_text(function, bindings))
    except Unnameable:
        return ""


def compile_cached(
    source: str,
    scope: Mapping[str, object],
    signature: tuple[Any, ...],
    key: str = "",
    check: Check | None = None,
) -> Any:
    """Return the compiled function ``entry`` that ``source`` defines over ``scope``.

    ``scope`` holds plain functions, dispatchers of `rebuild`, named tuple classes and
    constants; ``signature`` numba types: scalars, texts, arrays, records and tuples of them.
    The file is named by the source, the signature, ``scope`` (code reached and values), ``key``
    and the versions. Found, it is loaded and nothing is compiled: ``stats.cache_hits`` of the
    dispatcher counts that. Else the functions of ``scope`` are copied under names of their own,
    compiled with ``entry`` (numpy error model, no GIL) and kept.

    ``check`` gets the copied scope after a compile and raises when the code is not to be kept;
    it is not asked about loaded code. Raises numba's error when the code cannot be compiled.
    """
    name = _name(source, scope, signature, key)
    if name in _entries:
        return _entries[name]
    import numba

    unit = _Unit(name, scope, check)
    exec(compile(source, f"<{unit.module.__name__}>", "exec"), unit.module.__dict__)  # noqa: S102
    entry: Any = unit.module.__dict__["entry"]
    entry.__name__ = entry.__qualname__ = f"entry_{unit.short}"
    dispatcher: Any = numba.njit(error_model="numpy", nogil=True)(entry)
    dispatcher._cache = unit  # the seam that numba's own disk cache uses
    warned: Any = numba.core.errors.NumbaWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", warned)
        try:
            dispatcher.compile(signature)
        except Exception:
            unit.ask()
            raise
    dispatcher.disable_compile()
    if name:
        _entries[name] = dispatcher
    return dispatcher


def folder() -> Path | None:
    """Return the folder of compiled code, which need not exist; None for a user without a home.

    It holds machine code that is run as it is: nobody else may write there. When it is made, it
    is made for its owner alone.
    """
    said = os.environ.get("MQD_CACHE_DIR")
    if said:
        return Path(said)
    base = os.environ.get("XDG_CACHE_HOME")
    with suppress(RuntimeError):
        return (Path(base) if base else Path.home() / ".cache") / "mqd" / "code"
    return None


class _Unit:
    """One entry with all that it calls, behind the interface of numba's caches."""

    cache_path = None

    def __init__(self, name: str, scope: Mapping[str, object], check: Check | None) -> None:
        self.short = name[:16] or "memory"
        self.module = ModuleType(f"mqd_{self.short}")
        self._name = name
        self._scope = scope
        self._check = check
        if name:  # loaded code looks its module up
            sys.modules[self.module.__name__] = self.module

    def load_overload(self, _signature: object, target: Any) -> Any:
        """Return the compile result kept on disk, or None and prepare to compile."""
        path = self._path(target)
        payload = _read(path) if path else b""
        if payload:
            with suppress(Exception):  # a file that is whole but cannot be used is replaced
                symbols, reduced = _serializer().loads(payload)
                _prepare(target, symbols)
                return _implementation().rebuild(target, reduced)
        suffix = self.short if self._name else ""
        self.module.__dict__.update(rebuild_scope(self._scope, suffix))
        return None

    def save_overload(self, _signature: object, result: Any) -> None:
        """Keep a compile result, unless it refers to addresses of this process."""
        self.ask()
        path = self._path(result.target_context)
        if path is None or result.library.has_dynamic_globals or result.lifted:
            return
        symbols = _symbols(result.library)
        payload = _serializer().dumps((symbols, _implementation().reduce(result)))
        _write(path, payload)

    def ask(self) -> None:
        """Run the caller's check on the compiled scope."""
        if self._check is not None:
            self._check(self.module.__dict__)

    def _path(self, target: Any) -> Path | None:
        place = folder() if self._name else None
        machine = repr(target.codegen().magic_tuple())
        return place and place / f"mqd_{_sha256(self._name, machine)}.code"


def _name(source: str, scope: Mapping[str, object], signature: tuple[Any, ...], key: str) -> str:
    """Return the sha256 that names the code, or "" when nothing can."""
    if not all(map(_is_data, signature)):
        return ""
    try:
        values = [f"{name}={exact_text(value)}" for name, value in sorted(scope.items())]
    except Unnameable:
        return ""
    return _sha256(_versions(), key, source, *map(repr, signature), *values)


def _is_data(kind: Any) -> bool:
    from numba import types

    if isinstance(kind, types.UniTuple | types.Tuple):
        return all(_is_data(inner) for inner in kind.types)
    if isinstance(kind, types.Array):
        return _is_data(kind.dtype)
    if isinstance(kind, types.FunctionType):
        return all(map(_is_data, kind.signature.args))
    return isinstance(kind, types.Number | types.Boolean | types.UnicodeType | types.Record)


def _implementation() -> Any:
    """Return what takes compile results apart and puts them together; it has no state."""
    from numba.core.caching import CompileResultCacheImpl

    return object.__new__(CompileResultCacheImpl)


def _serializer() -> Any:
    """Return what numba writes compile results with."""
    from numba.core import serialize

    return serialize


def _symbols(library: Any) -> tuple[str, ...]:
    """Return the names of the functions and values that machine code takes from its process."""
    module = library._final_module
    named = (*module.functions, *module.global_variables)
    return tuple(
        item.name for item in named if item.is_declaration and not item.name.startswith("llvm.")
    )


def _prepare(target: Any, symbols: tuple[str, ...]) -> None:
    """Make the process ready for loaded code.

    numba's runtime always; the implementations of its library, which take 0.4 s to import and
    are for compiling, only when they bring a symbol that the code needs.
    """
    from llvmlite import binding
    from numba.core.runtime.nrt import rtsys

    rtsys.initialize(target)
    if any(binding.address_of_symbol(name) is None for name in symbols):
        target.refresh()


@cache
def _versions() -> str:
    """Return what compiles: versions, numba's settings, and mqd's code that prepares functions."""
    import llvmlite
    import numba
    import numpy as np

    settings = {name: getattr(numba.config, name, None) for name in _SETTINGS}
    parts = (rebuild.__module__, fingerprints.__name__, reached.__name__, __name__)
    own = [module_text(sys.modules[name]) for name in parts]
    found = (sys.version, numba.__version__, llvmlite.__version__, np.__version__, settings)
    return _sha256(repr(found), *own)


def _sha256(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    """Return what `_write` kept, or nothing when the file is missing, cut, changed or not ours."""
    try:
        with path.open("rb") as file:
            content = file.read() if _is_own(os.fstat(file.fileno())) else b""
        os.utime(path)  # the oldest files go first
    except OSError:
        return b""
    start = len(_MAGIC) + 32
    payload = content[start:]
    return payload if content[:start] == _head(payload) else b""


def _is_own(file: os.stat_result) -> bool:
    """True when nobody but this user, or root, could have written the file."""
    if os.name == "nt":  # the folder's access list says it there
        return True
    return file.st_uid == os.geteuid() and not file.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _head(payload: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(payload).digest()


def _write(path: Path, payload: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(".tmp", f"{path.stem}.", path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_head(payload) + payload)
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        _note(f"{path.parent}: {error.strerror or error}")
        return
    _drop_oldest(str(path.parent))


@cache
def _note(why: str) -> None:
    """Say once a process why code is not kept."""
    logs.get_logger("strategy").debug("code_not_kept", why=why)


@cache
def _drop_oldest(place: str) -> None:
    """Delete the oldest of our files beyond `FILES_MAX` and `BYTES_MAX`; once a process."""
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    found.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
    found.sort(reverse=True)
    for count, total in enumerate(itertools.accumulate(size for _, size, _ in found)):
        if count >= FILES_MAX or total > BYTES_MAX:
            with suppress(OSError):
                Path(found[count][2]).unlink()
