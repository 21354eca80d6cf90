"""What a simulated fill may assume of the market."""

from __future__ import annotations

from dataclasses import dataclass

from mqd.errors import UsageError


@dataclass(slots=True)
class FillCounts:
    """How often an assumption mattered."""

    ambiguous_bars: int = 0
    capped_fills: int = 0
    trimmed_fills: int = 0
    gap_fills: int = 0
    follow_ups: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FillModel:
    """Assumptions of the simulated venue.

    ``participation_frac`` caps a symbol's fills by that share of the bar's volume (shared by all
    our orders). ``touch_fills`` lets a limit fill when the price only touches it. ``latency_ns``
    delays every order; one that arrives after a bar's open has missed that open. ``close_only``
    admits bars that hold closes only (open = high = low = close) and says so in the result.
    ``halts`` are ``(symbol, from_ns, to_ns)``: no fill at a bar that opens inside.
    """

    participation_frac: float = 0.1
    touch_fills: bool = False
    latency_ns: int = 0
    close_only: bool = False
    halts: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self) -> None:
        if not (_is_number(self.participation_frac) and 0 < self.participation_frac <= 1):
            raise UsageError(
                f"FillModel: participation_frac = {self.participation_frac!r}; it must be in"
                " (0, 1]."
            )
        for name in ("touch_fills", "close_only"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"FillModel: {name} = {getattr(self, name)!r}; True or False.")
        if type(self.latency_ns) is not int:
            raise UsageError(
                f"FillModel: latency_ns = {self.latency_ns!r}; it must be whole nanoseconds."
            )
        if self.latency_ns < 0:
            raise UsageError(f"FillModel: latency_ns = {self.latency_ns}; it cannot be negative.")
        for halt in self.halts:
            _check_halt(halt)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_halt(halt: object) -> None:
    match halt:
        case (str(), int() as start, int() as end) if start < end:
            return
        case _:
            raise UsageError(
                f"FillModel: halts has {halt!r}; each must be (symbol, from_ns, to_ns), from_ns"
                " before to_ns."
            )
