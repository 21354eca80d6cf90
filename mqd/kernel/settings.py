"""What a run assumes, and the integer scales that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mqd.core.money import Scale, check_room, run_quantum
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import Sizer
from mqd.risk.declare import Rule
from mqd.risk.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run assumes: account, costs, fills, limits, the user's own rules and sizes."""

    cash: Decimal
    sizer: Sizer
    costs: Costs
    fills: FillModel
    limits: Limits
    rules: tuple[Rule, ...] = ()
    account: str
    multiplier: int
    rebalance_band_frac: float | None


def scales_of(bars: Bars, cash: Decimal) -> tuple[dict[str, Scale], Decimal]:
    """Return every symbol's scale and the money quantum; refuse what 64 bits cannot hold."""
    quantum = run_quantum((bars[symbol].tick, bars[symbol].lot) for symbol in bars.symbols)
    check_room(cash, quantum)
    scales = {
        symbol: Scale.of(bars[symbol].tick, bars[symbol].lot, quantum) for symbol in bars.symbols
    }
    return scales, quantum
