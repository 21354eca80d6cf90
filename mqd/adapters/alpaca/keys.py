"""API keys: read once, from a private file or the environment, and shown by nothing.

A key file is TOML with ``key_id`` and ``secret``, owned by us, no link, mode 0600 or tighter.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from mqd.adapters.alpaca.errors import KeysRefused

KEY_NAMES: Final = ("key_id", "secret")
SHOWN: Final = "***"
FILE_BYTES_MAX: Final = 65_536
PLAIN: Final = re.compile(r"[A-Za-z0-9+/=_.-]+")


class Secret:
    """A text that ``reveal`` alone shows: not repr, str, format, pickle, copy or JSON."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text; call it where it is sent, and keep it nowhere."""
        return self._text

    @property
    def is_plain(self) -> bool:
        """True when the text has only signs that a key may have."""
        return PLAIN.fullmatch(self._text) is not None

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, _spec: str) -> str:
        return SHOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled; read the keys again where they are needed.")

    def __getstate__(self) -> NoReturn:
        raise TypeError("A secret is not pickled; read the keys again where they are needed.")


class Keys(NamedTuple):
    """The two halves of an API key."""

    key_id: Secret
    secret: Secret


def read_keys(file: Path | None = None, environment: tuple[str, str] | None = None) -> Keys:
    """Return keys from ``file``, or from two variables of the environment (key id, secret).

    The variables are removed once they are read, so that no child process inherits them.
    Raises ``KeysRefused`` when they are missing or others could read them.
    """
    if file is not None:
        return _from_file(file)
    if environment is None:
        raise KeysRefused("nowhere", "name a key file or two variables of the environment")
    found = {name: Secret(os.environ.pop(name, "").strip()) for name in environment}
    _check_texts("the environment", found, "is not set")
    return Keys(*(found[name] for name in environment))


def _from_file(file: Path) -> Keys:
    where = str(file)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KeysRefused(where, f"the file cannot be opened ({error.strerror})") from None
    try:
        _check_private(where, os.fstat(fd))
        found = _decoded(os.read(fd, FILE_BYTES_MAX))
    finally:
        os.close(fd)
    if found is None:
        raise KeysRefused(where, 'it is no TOML; write key_id = "…" and secret = "…"')
    _check_texts(where, found, "is missing")
    return Keys(*(found[name] for name in KEY_NAMES))


def _decoded(data: bytes) -> dict[str, Secret] | None:
    """Return what a key file says, "" for what it does not say; None when it is no TOML.

    Nothing is raised here, and texts are kept nowhere else: a traceback may show locals.
    """
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
        return None
    said = {name: table.get(name) for name in KEY_NAMES}
    return {n: Secret(text.strip() if isinstance(text, str) else "") for n, text in said.items()}


def _check_texts(where: str, found: Mapping[str, Secret], missing: str) -> None:
    """Refuse what is missing, and what no header can carry."""
    for name, secret in found.items():
        if not secret:
            raise KeysRefused(where, f"{name} {missing}")
        if not secret.is_plain:
            raise KeysRefused(where, f"{name} holds other signs than letters, digits and +/=_-")


def _check_private(where: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeysRefused(where, "it is no plain file")
    if found.st_uid != os.geteuid():
        raise KeysRefused(where, f"its owner is user {found.st_uid}, not us")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise KeysRefused(where, f"its mode is {mode}, so others can read it: chmod 600")
