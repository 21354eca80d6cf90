"""A rehearsal's faults as the venue's configuration says them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mqd.errors import UsageError
from mqd.venue.faults import FaultPlan


def fault_words(given: str | Path | None, seed: int) -> dict[str, Any] | None:
    """Return the words of ``all``, ``random`` or a TOML file with ``[[faults]]`` tables.

    Raises ``UsageError`` for a file that is missing or whose words no fault has.
    """
    if given is None:
        return None
    if str(given) in ("all", "random"):
        return {str(given): seed}
    file = Path(given)
    try:
        words = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"--faults {given}: write all, random or a TOML file ({error})."
        ) from error
    FaultPlan.from_dict(words)
    return words
