"""API keys: read once, from a private file or the environment, and shown by nothing.

A key file is TOML with ``key_id`` and ``secret``, owned by us, no link, mode 0600 or tighter.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from mqd.adapters.alpaca.errors import KeysRefused

KEY_NAMES: Final = ("key_id", "secret")
SHOWN: Final = "***"


class Secret:
    """A text that ``reveal`` alone shows: not repr, str, format, pickle, copy or JSON."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text; call it where it is sent, and keep it nowhere."""
        return self._text

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
    texts = [os.environ.pop(name, "") for name in environment]
    for name, text in zip(environment, texts, strict=True):
        if not text.strip():
            raise KeysRefused("the environment", f"{name} is not set")
    return Keys(*(Secret(text.strip()) for text in texts))


def _from_file(file: Path) -> Keys:
    where = str(file)
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise KeysRefused(where, f"the file cannot be opened ({error.strerror})") from None
    with os.fdopen(fd, "rb") as opened:
        _check_private(where, os.fstat(opened.fileno()))
        data = opened.read(65_536)
    try:
        found = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise KeysRefused(where, 'it is no TOML; write key_id = "…" and secret = "…"') from None
    texts = [found.get(name) for name in KEY_NAMES]
    for name, text in zip(KEY_NAMES, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise KeysRefused(where, f"{name} is missing")
    return Keys(*(Secret(str(text).strip()) for text in texts))


def _check_private(where: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeysRefused(where, "it is no plain file")
    if found.st_uid != os.geteuid():
        raise KeysRefused(where, f"its owner is user {found.st_uid}, not us")
    if stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise KeysRefused(where, f"its mode is {mode}, so others can read it: chmod 600")
