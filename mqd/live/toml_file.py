"""A TOML file of settings: each wrong word is refused with the line it stands on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from mqd.errors import did_you_mean
from mqd.live.errors import BadLiveConfig


class TomlFile:
    """The text of a file and its tables; numbers with a point are exact Decimals."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadLiveConfig(self.name, 0, f"the file cannot be read ({error}).") from error
        self._lines = text.splitlines()
        try:
            self.tables = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"at line (\d+)", str(error))
            where = int(line[1]) if line else len(self._lines)
            raise BadLiveConfig(self.name, where, f"this is no TOML: {error}.") from error

    def table(self, name: str) -> dict[str, Any]:
        """Return a table, empty when it is left out; refuse a key of that name that is none."""
        found = self.tables.get(name, {})
        if not isinstance(found, dict):
            raise self.bad("", name, f"{name} must be a table: write [{name}] above its keys.")
        return found

    def refuse_unknown(self, table: str, found: Mapping[str, object], known: set[str]) -> None:
        """Refuse the first key that ``known`` has not."""
        for key in found:
            if key not in known:
                raise self.bad(table, key, f"unknown key {key!r}.{did_you_mean(key, known)}")

    def bad(self, table: str, key: str, what: str) -> BadLiveConfig:
        """Return the error about ``key`` of ``[table]``, with its line."""
        return BadLiveConfig(self.name, self.line_of(table, key), what)

    def line_of(self, table: str, key: str) -> int:
        """Return the line of ``key`` in ``[table]``, of the table's header, or 1; from 1."""
        inside, header_line = "", 1
        wanted = re.compile(rf"""^\s*["']?{re.escape(key)}["']?\s*[=.]""")
        for number, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line)
            if header:
                inside = re.sub(r"[\"'\s]", "", header[1])
                if inside == (table or key):
                    header_line = number
            elif inside == table and wanted.match(line):
                return number
        return header_line
