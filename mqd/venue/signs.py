"""Trading statuses and price bands, as the data socket tells them.

A halt of the fill model is told when the first bar inside it opens, and its end when the first bar
after it opens: the matching knows no finer time. Bands lie 5 % around the newest close, as for a
stock of tier 1 above 3 USD under the limit-up limit-down plan; the doubled bands near open and
close, and the mean over five minutes that the plan takes as reference, are left out.
What is told by hand, over the control path, is in ``notices``.
Source: Alpaca's real-time stock data messages "s" and "l"; LULD plan, section V.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Message = dict[str, Any]
Halt = tuple[str, int, int]
BAND_FRAC: Final = 0.05
TAPE: Final = "C"
HALTED: Final = {"sc": "H", "sm": "Trading Halt", "rc": "T12", "rm": "Trading Halted"}
RESUMED: Final = {"sc": "T", "sm": "Trading Resumption", "rc": "", "rm": ""}


class HaltSigns:
    """Tells each halt once when it begins and once when it is over."""

    def __init__(self, halts: Sequence[Halt]) -> None:
        self._coming = sorted(halts, key=lambda halt: halt[1])
        self._running: list[Halt] = []

    def at(self, opens_ns: int) -> list[Message]:
        """Return what is to be told at a step that opens at ``opens_ns``."""
        begun = [halt for halt in self._coming if halt[1] <= opens_ns]
        self._coming = self._coming[len(begun) :]
        running = [*self._running, *begun]
        self._running = [halt for halt in running if opens_ns < halt[2]]
        ended = [halt for halt in running if opens_ns >= halt[2]]
        return [
            *(status_of(halt[0], opens_ns, HALTED) for halt in begun),
            *(status_of(halt[0], opens_ns, RESUMED) for halt in ended),
        ]


def status_of(symbol: str, ts_ns: int, words: Mapping[str, str]) -> Message:
    """Return a trading status; ``words`` are its codes and what they mean."""
    return {"T": "s", "S": symbol, **words, "t": ts_ns, "z": TAPE}


def band_of(symbol: str, ts_ns: int, up: float, down: float) -> Message:
    """Return a price band."""
    return {"T": "l", "S": symbol, "u": up, "d": down, "i": "B", "t": ts_ns, "z": TAPE}


def bands(closes: Iterable[tuple[str, float]], ts_ns: int) -> list[Message]:
    """Return the band of each symbol whose close is given, prices in cents."""
    return [
        band_of(symbol, ts_ns, round(px * (1 + BAND_FRAC), 2), round(px * (1 - BAND_FRAC), 2))
        for symbol, px in closes
    ]
