"""How large a target is: a weight in, signed lots out.

``round_weight`` and ``target_lots`` are plain Python on scalars: the desk calls them as they
are, a compiled loop calls the same source, and both give the same bits (+ - x / in a fixed
order, no fastmath). Amounts are quanta as float64, exact up to 2**53.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite, sqrt
from typing import NamedTuple, Protocol

from mqd.core.money import Scale
from mqd.errors import UsageError

WEIGHTS_PER_UNIT = 1e6
"""1 / core.signal.WEIGHT_STEP: a whole float, so that the product below rounds only once."""

ROUNDING_GUARD = 1.0 + 2.0**-50
"""Four units in the last place: more than the four roundings before it can take away."""


def round_weight(weight: float) -> float:
    """Return ``weight`` rounded half-even to 1e-6, as the float nearest to that decimal.

    ``weight`` is finite; ``weight * 1e6`` is taken in float64 first. Never -0.0.
    """
    return round(weight * WEIGHTS_PER_UNIT) / WEIGHTS_PER_UNIT


def target_lots(weight: float, allocation: float, equity: float, px: float) -> int:
    """Return ``weight * allocation * equity / px``, computed in that order, toward zero.

    ``allocation`` is the share of equity that a weight of 1 stands for (the strategy's
    allocation, over N symbols for ``decide``); ``equity`` is in quanta at the decision's close;
    ``px`` is in quanta a lot (ticks x quanta in one tick x one lot) at that close. The quotient
    is stretched by 2**-50 before it is cut, so that 0.29 of 100 is 29 although the float
    product is 28.999...; it exceeds the exact quotient by no more than that. 0 when equity or
    price is not above 0, NaN included: a lost account is not turned round.
    """
    if not (equity > 0.0 and px > 0.0):
        return 0
    return int(weight * allocation * equity / px * ROUNDING_GUARD)


def whole_short(lots: int, lots_step: int) -> int:
    """Return ``lots``, a short one cut toward zero to a multiple of ``lots_step``.

    ``lots_step`` is the smallest number of lots that makes whole shares (1 when a lot is one).
    """
    return lots if lots >= 0 else -(-lots // lots_step * lots_step)


def whole_step(scale: Scale) -> int:
    """Return the smallest number of lots that is a whole number of shares."""
    return Fraction(scale.lot).denominator


def mean_variance(closes: Sequence[float]) -> tuple[float, float]:
    """Return mean and variance (ddof 1) of the simple returns of ``closes``, oldest first.

    At least three closes, all positive; summed from left to right.
    """
    count = len(closes) - 1
    total = 0.0
    for i in range(count):
        total += float(closes[i + 1]) / float(closes[i]) - 1.0
    mean = total / count
    squares = 0.0
    for i in range(count):
        gap = float(closes[i + 1]) / float(closes[i]) - 1.0 - mean
        squares += gap * gap
    return mean, squares / (count - 1)


def volatility_scale(variance: float, bars_per_year: float, goal: float, most: float) -> float:
    """Return ``goal`` / annualised volatility, at most ``most`` (also when nothing moved)."""
    realized = sqrt(variance * bars_per_year)
    return most if realized * most <= goal else goal / realized


def kelly_scale(edge: float, variance: float, fraction: float, most: float) -> float:
    """Return ``fraction * edge / variance`` in [0, ``most``]; 0 without an edge."""
    if not edge > 0.0:
        return 0.0
    return most if variance * most <= fraction * edge else fraction * edge / variance


def no_closes(_count: int) -> Sequence[float]:
    """Stand in for a window of closes where the sizer reads none."""
    return ()


class SlotView(NamedTuple):
    """What is known of one strategy's symbol at the decision's close; amounts in quanta.

    ``equity`` of the account; ``share`` of it that a weight of 1 stands for; ``px`` of one
    lot; ``size`` the sizer's own constant for the symbol (``Sizer.size``); ``closes(n)`` the
    last ``n`` closes up to the decision's, oldest first, fewer at the start; ``bars_per_year``
    bars of the base timeframe in a year.
    """

    equity: float
    share: float
    px: float
    size: float = 0.0
    closes: Callable[[int], Sequence[float]] = no_closes
    bars_per_year: float = 252.0


Base = tuple[float, float, float]
"""The last three arguments of ``target_lots``: allocation, equity, px."""


class Sizer(Protocol):
    """Turns weights into lots. Frozen and hashable: part of the identity of a run."""

    @property
    def closes_needed(self) -> int:
        """Closes that must be known before anything can be sized."""
        ...

    def size(self, scale: Scale) -> float:
        """Return this sizer's constant for a symbol, 0.0 when it has none."""
        ...

    def base(self, weight: float, slot: SlotView) -> Base:
        """Return what a weight of 1 is multiplied with: ``(allocation, equity, px)``."""
        ...

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return signed lots for ``weight``, toward zero."""
        ...


def position_weight(lots: int, base: Base) -> float:
    """Return the weight that ``lots`` have on a sizer's base; infinite on a base of nothing."""
    allocation, equity, px = base
    whole = allocation * equity
    if whole > 0.0:
        return float(lots) * px / whole
    return 0.0 if lots == 0 else float("inf") * lots


@dataclass(frozen=True, slots=True)
class FractionOfEquity:
    """Weight x the slot: equity x allocation, over N symbols for ``decide``. The default."""

    closes_needed = 0

    def size(self, scale: Scale) -> float:  # noqa: ARG002
        """Return 0.0: the slot is the size."""
        return 0.0

    def base(self, weight: float, slot: SlotView) -> Base:  # noqa: ARG002
        """Return the slot itself."""
        return slot.share, slot.equity, slot.px

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return signed lots for ``weight`` of the slot."""
        return target_lots(weight, slot.share, slot.equity, slot.px)


@dataclass(frozen=True, slots=True)
class FixedQuantity:
    """Weight x ``qty`` shares or coins, per symbol; allocation and equity play no part."""

    qty: Decimal | int | float | str
    closes_needed = 0

    def __post_init__(self) -> None:
        """Refuse a size that is not a positive number."""
        _decimal(self.qty, "FixedQuantity", "qty")

    def size(self, scale: Scale) -> float:
        """Return the quantity in lots."""
        return float(Fraction(_decimal(self.qty, "FixedQuantity", "qty")) / Fraction(scale.lot))

    def base(self, weight: float, slot: SlotView) -> Base:  # noqa: ARG002
        """Return the quantity: no price enters."""
        return 1.0, slot.size, 1.0

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return ``weight`` x the quantity in lots."""
        return target_lots(weight, 1.0, slot.size, 1.0)


@dataclass(frozen=True, slots=True)
class FixedNotional:
    """Weight x ``notional_usd`` at the decision's close, per symbol."""

    notional_usd: Decimal | int | float | str
    closes_needed = 0

    def __post_init__(self) -> None:
        """Refuse a size that is not a positive number."""
        _decimal(self.notional_usd, "FixedNotional", "notional_usd")

    def size(self, scale: Scale) -> float:
        """Return the notional in quanta."""
        notional = _decimal(self.notional_usd, "FixedNotional", "notional_usd")
        return float(Fraction(notional) / Fraction(scale.quantum))

    def base(self, weight: float, slot: SlotView) -> Base:  # noqa: ARG002
        """Return the notional at the price of the close."""
        return 1.0, slot.size, slot.px

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return the lots that ``weight`` x the notional pays."""
        return target_lots(weight, 1.0, slot.size, slot.px)


@dataclass(frozen=True, slots=True)
class VolatilityTarget:
    """Weight x the slot x target / realised volatility, at most ``leverage_max`` slots.

    Realised volatility is the standard deviation (ddof 1) of the last ``lookback_bars`` simple
    returns up to the decision's close, annualised by the calendar's bars a year. Source: Moreira
    and Muir (2017), Volatility-Managed Portfolios, Journal of Finance 72(4).
    """

    volatility_frac: float = 0.1
    lookback_bars: int = 20
    leverage_max: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that size nothing."""
        _positive(self.volatility_frac, "VolatilityTarget", "volatility_frac")
        _positive(self.leverage_max, "VolatilityTarget", "leverage_max")
        _lookback(self.lookback_bars, "VolatilityTarget")

    @property
    def closes_needed(self) -> int:
        """One close more than returns."""
        return self.lookback_bars + 1

    def size(self, scale: Scale) -> float:  # noqa: ARG002
        """Return 0.0: the slot is the size."""
        return 0.0

    def base(self, weight: float, slot: SlotView) -> Base:  # noqa: ARG002
        """Return the slot, its share scaled by volatility."""
        variance = mean_variance(slot.closes(self.lookback_bars + 1))[1]
        scale = volatility_scale(
            variance, slot.bars_per_year, self.volatility_frac, self.leverage_max
        )
        return slot.share * scale, slot.equity, slot.px

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return signed lots for ``weight`` of the scaled slot."""
        return target_lots(weight, *self.base(weight, slot))


@dataclass(frozen=True, slots=True)
class Kelly:
    """Weight x the slot x a fraction of Kelly's bet, between 0 and ``cap`` slots.

    The bet is mean / variance (ddof 1) of the last ``lookback_bars`` simple returns up to the
    decision's close, the mean taken in the weight's direction, the rate at 0; without an edge
    the size is 0. Sources: Kelly (1956), A New Interpretation of Information Rate, Bell System
    Technical Journal 35; Thorp (2006), The Kelly Criterion in Blackjack, Sports Betting and the
    Stock Market, section 7.1 (f = (m - r) / s**2, here r = 0).
    """

    fraction: float = 0.5
    lookback_bars: int = 60
    cap: float = 1.0

    def __post_init__(self) -> None:
        """Refuse settings that size nothing, and more than the whole bet."""
        _positive(self.fraction, "Kelly", "fraction")
        _positive(self.cap, "Kelly", "cap")
        _lookback(self.lookback_bars, "Kelly")
        if self.fraction > 1.0:
            raise UsageError(f"Kelly: fraction = {self.fraction!r}, but it must be at most 1.")

    @property
    def closes_needed(self) -> int:
        """One close more than returns."""
        return self.lookback_bars + 1

    def size(self, scale: Scale) -> float:  # noqa: ARG002
        """Return 0.0: the slot is the size."""
        return 0.0

    def base(self, weight: float, slot: SlotView) -> Base:
        """Return the slot, its share scaled by the bet in the direction of ``weight``."""
        mean, variance = mean_variance(slot.closes(self.lookback_bars + 1))
        edge = mean if weight > 0.0 else -mean
        share = slot.share * kelly_scale(edge, variance, self.fraction, self.cap)
        return share, slot.equity, slot.px

    def lots(self, weight: float, slot: SlotView) -> int:
        """Return signed lots for ``weight`` of the scaled slot."""
        return target_lots(weight, *self.base(weight, slot))


def _decimal(value: Decimal | float | str, sizer: str, name: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number <= 0:
        raise UsageError(f"{sizer}: {name} = {value!r}, but it must be a number above 0.")
    return number


def _positive(value: float, sizer: str, name: str) -> None:
    number: object = value
    if not (isinstance(number, int | float) and isfinite(number) and number > 0.0):
        raise UsageError(f"{sizer}: {name} = {value!r}, but it must be a number above 0.")


def _lookback(bars: int, sizer: str) -> None:
    number: object = bars
    if not isinstance(number, int | float) or number != int(number) or number < 2:
        raise UsageError(f"{sizer}: lookback_bars = {bars!r}, but it must be an integer of 2 up.")
