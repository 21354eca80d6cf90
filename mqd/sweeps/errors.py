"""Errors of sweeps: wrong grids, files that are taken or another sweep's, a full disk,
workers that die.

ConfigError
├── GridTooLarge
├── EmptyGrid
└── SweepFileDiffers
StateFolderTaken
└── SweepFileTaken
MqdError
├── SweepWriteFailed
└── WorkersLost
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mqd.errors import ConfigError, MqdError, StateFolderTaken


class GridTooLarge(ConfigError):
    """More combinations than a sweep goes through one by one."""

    def __init__(self, count: int, axes: Mapping[str, int], count_max: int) -> None:
        self.count = count
        product = " × ".join(f"{name} {n:,}" for name, n in axes.items())
        super().__init__(
            f"The grid has {count:,} combinations ({product}); a sweep takes at most"
            f" {count_max:,}. Take larger steps, or draw some: search='random', n=10_000."
        )


class EmptyGrid(ConfigError):
    """No combination is left to run."""

    def __init__(self, why: str) -> None:
        super().__init__(f"There is nothing to sweep: {why}.")


class SweepFileDiffers(ConfigError):
    """The file to resume belongs to another sweep; nothing in it was touched."""

    def __init__(self, file: str, differences: Iterable[str]) -> None:
        self.file, self.differences = file, list(differences)
        listed = "\n  ".join(self.differences)
        super().__init__(
            f"{file} holds another sweep and was left as it is. It differs in:\n  {listed}\n"
            "Name another file, or sweep with the words of that one."
        )


class SweepFileTaken(StateFolderTaken):
    """Another sweep writes the same file."""

    def __init__(self, file: str) -> None:
        self.file = file
        MqdError.__init__(
            self, f"Another sweep writes {file}. Wait until it ends, or name another file."
        )


class SweepWriteFailed(MqdError):
    """The disk refused a part of a sweep's results; what was written before is kept."""

    def __init__(self, file: str, n_kept: int, cause: OSError) -> None:
        self.file, self.n_kept = file, n_kept
        kept = (
            f"{n_kept:,} combinations are kept: free the disk, and the same sweep with resume= that"
            " file goes on."
            if n_kept
            else "None are kept: free the disk, or name a file on another one with resume=."
        )
        super().__init__(
            f"{file}: results could not be written ({cause.strerror or cause}). {kept}"
        )


class WorkersLost(MqdError):
    """Workers were lost again and again, and nothing came of what they were asked."""

    def __init__(self, n_left: int, n_tries: int, cause: Exception) -> None:
        self.n_left = n_left
        super().__init__(
            f"The workers were lost {n_tries} times without an answer; {n_left:,} calls are left"
            f" ({type(cause).__name__}: {cause}). Does a worker run out of memory, or lack mqd, the"
            " strategy's module or a file? With resume= what is kept is gone on from."
        )
