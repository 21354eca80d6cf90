"""The mean volume of a growing market's past sessions, worked out once a session."""

from __future__ import annotations

from collections.abc import Callable

from mqd.core.bar import SymbolBars
from mqd.market_data.sessions import session_volumes


class MeanVolumes:
    """Mean volume in lots of the last 20 whole sessions at each row, -1 without one.

    ``known(symbol)`` returns the rows that have arrived. Within a session the mean does not
    move: only its last bar makes the session a whole one.
    """

    def __init__(self, known: Callable[[str], SymbolBars]) -> None:
        self._known = known
        self._held: dict[str, list[int]] = {}

    def at(self, symbol: str, row: int) -> int:
        """Return the mean at a row that has arrived."""
        held = self._held.get(symbol, [])
        if len(held) <= row:
            held = self._held[symbol] = self._longer(self._known(symbol), held)
        return held[row]

    def _longer(self, bars: SymbolBars, held: list[int]) -> list[int]:
        """Return the means of all rows, those ``held`` among them."""
        if held and _one_session(bars, len(held) - 1):
            return held + held[-1:] * (len(bars) - len(held))
        means: list[int] = session_volumes(bars).tolist()
        return means


def _one_session(bars: SymbolBars, since: int) -> bool:
    """Return whether the rows from ``since`` on lie in one session, before its last bar."""
    alike = bars.session[since:] == bars.session[since]
    return bool(alike.all() and (bars.minutes_to_close[since:] > 0).all())
