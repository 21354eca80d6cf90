"""A process of its own: computes a strategy's features once more and prints their digest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mqd.checks.bars_file import read_bars
from mqd.checks.determinism import digest
from mqd.strategy.loading import resolve


def main(folder: Path) -> str:
    """Return the digest of the task that a check wrote into ``folder``."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    strategy = resolve(task["strategy"])(**task["parameters"])
    return digest(strategy, read_bars(folder))


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
