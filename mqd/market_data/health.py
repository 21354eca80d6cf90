"""How the live data are: states, bad values a minute, and symbols that fell silent."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from mqd.core.bar import Bar, Quote, Trade, TradeChange
from mqd.core.clock import NS_PER_MINUTE, NS_PER_S

BAD_A_MINUTE_MAX: Final = 10
FUTURE_NS: Final = 2 * NS_PER_S


class HealthState(StrEnum):
    """The worst thing that holds now, in words."""

    STOPPED = "stopped"
    DISCONNECTED = "disconnected"
    MUTE = "mute"
    BAD_VALUES = "bad values"
    GAP = "gap"
    SILENT_SYMBOLS = "silent symbols"
    HEALTHY = "healthy"


@dataclass(frozen=True)
class Health:
    """The state, why, and the counts since the start.

    ``silent`` are the symbols without a heartbeat; ``n_bad_last_minute`` the values dropped in
    the last 60 s. Only ``HEALTHY`` data may open positions.
    """

    state: HealthState
    why: str = ""
    silent: tuple[str, ...] = ()
    n_bad_last_minute: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return self.state is HealthState.HEALTHY


class BadValues:
    """Counts what was dropped, and what of it in the last minute."""

    def __init__(self) -> None:
        self.total = 0
        self.last = ""
        self._times: deque[int] = deque()

    def add(self, why: str, mono_ns: int) -> None:
        """Count one dropped message."""
        self.total, self.last = self.total + 1, why
        self._times.append(mono_ns)

    def last_minute(self, mono_ns: int) -> int:
        """Return how many were dropped in the last 60 s."""
        while self._times and mono_ns - self._times[0] > NS_PER_MINUTE:
            self._times.popleft()
        return len(self._times)


class Unusable(ValueError):
    """A message with a missing or impossible value; the text names it."""


def symbol_of(message: dict[str, Any]) -> str:
    """Return a message's symbol; raise ``Unusable`` without one."""
    symbol = message.get("S")
    if not isinstance(symbol, str) or not symbol:
        raise Unusable("no symbol")
    return symbol


def instant_of(message: dict[str, Any], now_ns: int) -> int:
    """Return ``t`` in ns; raise ``Unusable`` unless it is an int that is not in the future."""
    at = message.get("t")
    if type(at) is not int or at <= 0:
        raise Unusable("no instant")
    if at > now_ns + FUTURE_NS:
        raise Unusable("an instant in the future")
    return at


def number_of(message: dict[str, Any], name: str, *, zero: bool = False) -> float:
    """Return a finite number above 0 (or 0 where ``zero``); raise ``Unusable`` otherwise."""
    value = message.get(name)
    if type(value) is float and 0.0 < value < math.inf:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unusable(f"{name} is {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise Unusable(f"{name} is {number}")
    return number


def decimal_of(message: dict[str, Any], name: str, *, zero: bool = False) -> Decimal:
    """Return a number as the decimal that its shortest text says; raise ``Unusable``."""
    value = message.get(name)
    if type(value) is int and value > 0:
        return Decimal(value)
    return Decimal(repr(number_of(message, name, zero=zero)))


def bar_of(message: dict[str, Any], start_ns: int, end_ns: int) -> Bar:
    """Return a bar; raise ``Unusable`` unless low <= open, close <= high."""
    px = [number_of(message, name) for name in ("o", "h", "l", "c")]
    if not px[2] <= min(px[0], px[3]) <= max(px[0], px[3]) <= px[1]:
        raise Unusable("open or close lies outside low and high")
    volume = number_of(message, "v", zero=True)
    return Bar(symbol_of(message), start_ns, end_ns, px[0], px[1], px[2], px[3], volume)


def quote_of(message: dict[str, Any], now_ns: int) -> Quote:
    """Return a quote; raise ``Unusable``."""
    return Quote(
        symbol_of(message), instant_of(message, now_ns), decimal_of(message, "bp"),
        decimal_of(message, "bs", zero=True), decimal_of(message, "ap"),
        decimal_of(message, "as", zero=True),
    )  # fmt: skip


def trade_of(message: dict[str, Any], now_ns: int) -> Trade:
    """Return a trade; raise ``Unusable``."""
    number = message.get("i")
    return Trade(
        symbol_of(message), instant_of(message, now_ns), decimal_of(message, "p"),
        decimal_of(message, "s"), number if type(number) is int else 0,
    )  # fmt: skip


def change_of(message: dict[str, Any], now_ns: int) -> TradeChange:
    """Return a correction ("c") or a cancel ("x") of a trade; raise ``Unusable``."""
    symbol, at = symbol_of(message), instant_of(message, now_ns)
    if message.get("T") == "x":
        return TradeChange(symbol, at, _id_of(message, "i"))
    corrected = Trade(
        symbol, at, decimal_of(message, "cp"), decimal_of(message, "cs"), _id_of(message, "ci")
    )
    return TradeChange(symbol, at, _id_of(message, "oi"), corrected)


def _id_of(message: dict[str, Any], name: str) -> int:
    number = message.get(name)
    if type(number) is not int or number <= 0:
        raise Unusable(f"{name} is no trade's number")
    return number
