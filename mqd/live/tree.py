"""Whether the code that is about to trade can be found again: a git tree without changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PATIENCE_S = 30.0


def changes_of(root: Path) -> str:
    """Return what is not committed in the repository at ``root``, in a few words; "" for nothing.

    No repository, no git, or a git that fails is a change too: nobody could find the code again.
    """
    git = shutil.which("git")
    if git is None:
        return "git is not installed"
    words = [git, "-C", str(root), "status", "--porcelain", "--untracked-files=normal"]
    try:
        found = subprocess.run(  # noqa: S603 - git itself, on our own tree
            words, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"git does not answer: {error}"
    if found.returncode != 0:
        lines = found.stderr.strip().splitlines()
        return lines[0] if lines else "git fails"
    lines = found.stdout.splitlines()
    first = lines[0][3:] if lines else ""
    return f"{first} and {len(lines) - 1} more" if len(lines) > 1 else first
