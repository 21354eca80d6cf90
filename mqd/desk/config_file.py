"""``config.toml`` of a run folder: what ran, for a human and for the next run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_config(path: Path, start: Mapping[str, Any]) -> None:
    """Write the ``run.start`` record as TOML; entries without a value are left out."""
    plain = {key: value for key, value in start.items() if not _is_table(value)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in start.items():
        if isinstance(value, Mapping):
            lines += _table(f"[{key}]", value)
        elif _is_table(value):
            for entry in value:
                lines += _table(f"[[{key}]]", entry)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _is_table(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _table(head: str, values: Mapping[str, Any]) -> list[str]:
    rows = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    return ["", head, *rows]


def _key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    """Return a TOML value; JSON's texts, numbers, booleans and lists are TOML's."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
