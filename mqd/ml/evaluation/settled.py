"""Which pairs the evidence that is read daily may count: what was read once stays as it was.

Instants are taken in their order, each when it is over: all its outcomes have come, or the log's
clock has passed it by more than is waited. That clock is the latest end of a label among the lines
so far; lines are only added, so that whatever it has decided stays decided. What comes for an
instant after it was given up (a symbol that no longer trades, bars that were lost and are heard at
the next start) counts among the pairs and not in the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import Ints
from mqd.core.clock import NS_PER_DAY

PATIENCE_DAYS: Final = 30
DAYS_A_BAR: Final = 4
"""A bar of a label is a day at most; weekends and holidays lie between."""


def patience_ns(label: Mapping[str, Any]) -> int:
    """Return how long outcomes of a label are waited for; it depends on nothing that happens."""
    return (PATIENCE_DAYS + DAYS_A_BAR * int(label.get("bars", 1))) * NS_PER_DAY


def log_clock(ends_ns: Ints) -> Ints:
    """Return the log's clock at each outcome, in the order of lines, of the ends of labels."""
    clock: Ints = np.maximum.accumulate(ends_ns) if len(ends_ns) else ends_ns
    return clock


def settled(
    t0_ns: Ints, came_ns: Ints, awaited_ns: Ints, now_ns: int, wait_ns: int
) -> NDArray[np.bool]:
    """Return which pairs count: as of ``t0_ns``, come at ``came_ns`` of the log's clock, which is
    at ``now_ns``; ``awaited_ns`` are the instants of predictions whose outcome has not come."""
    instants, place = np.unique(np.concatenate((t0_ns, awaited_ns)), return_inverse=True)
    own = place[: len(t0_ns)]
    whole = np.full(len(instants), -1, dtype=np.int64)
    np.maximum.at(whole, own, came_ns)
    whole[place[len(t0_ns) :]] = np.iinfo(np.int64).max
    given_up = instants + wait_ns
    is_over = np.where(whole <= given_up, whole <= now_ns, given_up < now_ns)
    taken = np.logical_and.accumulate(is_over) if len(instants) else is_over
    counts: NDArray[np.bool] = taken[own] & (came_ns <= given_up[own])
    return counts
