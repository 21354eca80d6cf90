"""The progress of a sweep: a bar on stderr, with the rate and the time left."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from typing import Any, Self

from mqd.core.clock import NS_PER_S, WallClock
from mqd.logs import is_watched

FORMAT = "{desc}: |{bar:24}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def peak_mb() -> float:
    """Return the most memory that this process has held so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def rate_text(per_s: float) -> str:
    """Return bar-evaluations a second as text: millions (M), thousands (k) or plain."""
    for size, unit in ((1e6, "M "), (1e3, "k ")):
        if per_s >= size:
            return f"{per_s / size:,.1f} {unit}bar-evaluations/s"
    return f"{per_s:,.0f} bar-evaluations/s"


class Progress:
    """A bar over ``total`` candidates; ``n_bars`` are evaluated for each combination.

    ``shown``: None shows it where somebody looks. Notes are told above the bar, each once.
    """

    def __init__(self, total: int, n_bars: int, shown: bool | None) -> None:
        self._n_bars = n_bars
        self._clock = WallClock()
        self._began = self._clock.monotonic_ns()
        self._told: set[str] = set()
        self._bar: Any = None
        if is_watched() if shown is None else shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc="sweep", bar_format=FORMAT, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def reached(self, seen: int, n_new: int, notes: Sequence[str]) -> None:
        """Move to ``seen`` candidates; ``n_new`` combinations were evaluated by now."""
        if self._bar is None:
            return
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                self._bar.write(note, file=sys.stderr)
        seconds = max(self._clock.monotonic_ns() - self._began, 1) / NS_PER_S
        rate = n_new * self._n_bars / seconds
        self._bar.set_postfix_str(rate_text(rate), refresh=False)
        self._bar.update(seen - self._bar.n)
