"""What commands print: one JSON document or a table on stdout, all else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: NaN and infinities become None, Decimal a text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case Decimal() | PurePath():
            return str(value)
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _ if hasattr(value, "item"):
            return plain(value.item())
        case _ if hasattr(value, "to_dict"):
            return plain(value.to_dict())
        case _:
            return str(value)


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document to stdout."""
    print(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Tell the user something that is not the result: to stderr, after what was printed."""
    sys.stdout.flush()
    print(text, file=sys.stderr)
