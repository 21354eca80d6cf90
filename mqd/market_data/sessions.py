"""Sessions and corporate actions of a replay's steps: what ends with which step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import CorporateAction, Ints, SymbolBars
from mqd.market_data.bars import Bars
from mqd.market_data.feed import Steps

VOLUME_SESSIONS = 20


class SessionSteps(NamedTuple):
    """One value a step, shape (n_steps,).

    ``day`` is the session (days since 1970); ``ends`` is True in the session's last step;
    ``days_to_next`` are the calendar days from the session to the next one, at least 1.
    """

    day: Ints
    ends: NDArray[np.bool_]
    days_to_next: Ints


def session_steps(bars: Bars, steps: Steps) -> SessionSteps:
    """Find each step's session and the last step of each."""
    calendar = bars.trading_calendar
    day = np.full(len(steps.ts_close), -1, dtype=np.int64)
    to_close = np.full(len(steps.ts_close), np.inf)
    for place, symbol in enumerate(bars.symbols):
        rows = steps.rows[:, place]
        there = rows >= 0
        day[there] = np.maximum(day[there], bars[symbol].session[rows[there]])
        to_close[there] = np.minimum(to_close[there], bars[symbol].minutes_to_close[rows[there]])
    ends = np.append(day[1:] != day[:-1], to_close[-1] <= 0)
    following = np.searchsorted(calendar.sessions, day, side="right")
    following = np.minimum(following, len(calendar.sessions) - 1)
    return SessionSteps(day, ends, np.maximum(calendar.sessions[following] - day, 1))


def action_steps(bars: Bars, ts_close: Ints) -> dict[int, list[CorporateAction]]:
    """Return the corporate actions by the step before whose open they take effect.

    Actions before a symbol's first bar or after its last one change nothing and are left out.
    """
    found: dict[int, list[CorporateAction]] = {}
    for symbol in bars.symbols:
        one = bars[symbol]
        for action in one.actions:
            row = int(np.searchsorted(one.ts_open, action.ts_ex))
            if 0 < row < len(one):
                step = int(np.searchsorted(ts_close, one.ts_close[row]))
                found.setdefault(step, []).append(action)
    return found


def unknown_volume(bars: Bars, symbol: str) -> bool:
    """Return True for closes without any volume: data that do not say how much traded."""
    return bars.close_only and not bars[symbol].volume.any()


def session_volumes(one: SymbolBars) -> Ints:
    """Return the mean volume in lots of the last 20 whole sessions at each bar, -1 without one."""
    _, first, place = np.unique(one.session, return_index=True, return_inverse=True)
    sums = np.add.reduceat(one.volume, first)
    whole = place + (one.minutes_to_close <= 0)  # sessions known to be over at each bar
    total = np.concatenate([[0.0], np.cumsum(sums)])
    begin = np.maximum(whole - VOLUME_SESSIONS, 0)
    counted = whole - begin
    mean = (total[whole] - total[begin]) / np.maximum(counted, 1) / float(one.lot)
    volumes: Ints = np.where(counted > 0, np.floor(mean), -1).astype(np.int64)
    return volumes
