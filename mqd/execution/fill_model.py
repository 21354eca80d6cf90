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
        if not 0 < self.participation_frac <= 1:
            raise UsageError(
                f"FillModel: participation_frac = {self.participation_frac}; it must be in (0, 1]."
            )
        if self.latency_ns < 0:
            raise UsageError(f"FillModel: latency_ns = {self.latency_ns}; it cannot be negative.")
