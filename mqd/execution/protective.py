"""Where protective orders stand: levels in ticks from the average entry price."""

from __future__ import annotations

from math import floor

_GUARD = 1e-6  # of a tick: 0.95 of 1,000,000 ticks is 950,000 although the float is a hair below


def protective_ticks(avg_ticks: float, frac: float, direction: int, away: int) -> int:
    """Return ``avg_ticks * (1 + direction * frac)`` as a whole tick, rounded against us.

    ``direction`` is +1 for a level above the entry, -1 below; ``away`` the direction in which
    the level is worse for us (both agree: a stop below a long is rounded down, its target up).
    At least one tick. One of the three functions in which float64 enters (+ - x / floor only).
    """
    level = avg_ticks * (1.0 + direction * frac)
    ticks = floor(level + _GUARD) if away < 0 else -floor(-level + _GUARD)
    return ticks if ticks > 0 else 1
