"""From weights to goals inside the compiled loop, the counterpart of ``portfolio.manager``."""

from __future__ import annotations

from math import isnan
from typing import Any

from mqd.core.signal import HOLD
from mqd.kernel.books import is_beyond
from mqd.kernel.layout import KELLY, NOTIONAL, QUANTITY, TOO_LARGE, VOLATILITY, World
from mqd.portfolio.sizing import (
    kelly_scale,
    mean_variance,
    position_weight,
    round_weight,
    target_lots,
    volatility_scale,
    whole_short,
)

_LOTS_MAX = 2.0**62


def find_goal(w: World, p: int, b: Any, equity: int) -> bool:
    """Take in what the rule wants; return True when ``goal`` is to be gone for."""
    weight = b.want
    rounded = weight if weight == HOLD else round_weight(weight)
    if rounded == HOLD or rounded == b.blocked:  # noqa: PLR1714 - compiled as it stands
        if not b.resize or (not b.sized and b.mark <= 0):
            return False
        b.resize = 0
        if not b.sized:
            set_goal(w, p, b, b.weight, equity)
        elif is_beyond(b.goal, b.mark * b.lot_quanta):
            end_by_size(w.account, b)
        return bool(b.sized)
    b.blocked = HOLD
    b.raw = weight
    if rounded == b.weight and not b.resize and not drifted(w, p, b, equity):
        return False
    b.weight = rounded
    b.resize = 0
    set_goal(w, p, b, rounded, equity)
    return bool(b.sized)


def set_goal(w: World, p: int, b: Any, weight: float, equity: int) -> None:
    """Set ``goal`` to the lots that ``weight`` is worth at this close."""
    a = w.account
    if not a.lookback or weight == 0.0:
        set_simple_goal(a, b, weight, equity)
    elif b.row + 1 < a.lookback:
        b.goal = 0
        b.sized = 0
        b.resize = 1
        a.zero_sizes += 1
    else:
        allocation, whole, px = base(w, p, b, weight, equity)
        put_goal(a, b, weight, allocation, whole, px)


def set_simple_goal(a: Any, b: Any, weight: float, equity: int) -> None:
    """Set ``goal`` by a sizer that reads no past closes."""
    if weight == 0.0:
        b.goal = 0
        b.sized = 1
        return
    allocation, whole, px = simple_base(a, b, equity)
    put_goal(a, b, weight, allocation, whole, px)


def put_goal(a: Any, b: Any, weight: float, allocation: float, whole: float, px: float) -> None:
    """Turn a weight into lots, toward zero; end the run when 64 bits cannot hold the target."""
    b.goal = 0
    b.sized = 1
    if abs(weight * allocation * whole) < _LOTS_MAX:
        lots = whole_short(target_lots(weight, allocation, whole, px), b.short_step)
        if not is_beyond(lots, b.mark * b.lot_quanta):
            b.goal = lots
            a.zero_sizes += lots == 0
            return
    end_by_size(a, b)


def end_by_size(a: Any, b: Any) -> None:
    """End the run: a target is worth more than 64 bits may hold."""
    a.status = TOO_LARGE
    a.bad_place = b.place


def simple_base(a: Any, b: Any, equity: int) -> tuple[float, float, float]:
    """Return what a weight of 1 is multiplied with: allocation, equity and price (quanta)."""
    if a.sizer == QUANTITY:
        return 1.0, b.size_base, 1.0
    px = float(b.mark * b.lot_quanta)
    if a.sizer == NOTIONAL:
        return 1.0, b.size_base, px
    return a.share, float(equity), px


def base(w: World, p: int, b: Any, weight: float, equity: int) -> tuple[float, float, float]:
    """Return the same for all sizers: the share is scaled by what the last closes show."""
    a = w.account
    share, whole, px = simple_base(a, b, equity)
    if a.lookback:
        bars = w.tape[p, b.row + 1 - a.lookback : b.row + 1]
        mean, variance = mean_variance(bars.close_px)
        if a.sizer == VOLATILITY:
            share *= volatility_scale(variance, a.bars_per_year, a.goal_frac, a.most)
        if a.sizer == KELLY:
            edge = mean if weight > 0.0 else -mean
            share *= kelly_scale(edge, variance, a.goal_frac, a.most)
    return share, whole, px


def drifted(w: World, p: int, b: Any, equity: int) -> bool:
    """Return True when the position is further from its target than the band allows."""
    band = w.account.band_frac
    if isnan(band) or b.mark <= 0 or b.row + 1 < w.account.lookback:
        return False
    whole = base(w, p, b, b.weight, equity)
    return abs(position_weight(b.lots, whole) - b.weight) > band
