"""What a run assumes, and the integer scales that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import numpy as np

from mqd.core.bar import SymbolBars
from mqd.core.clock import iso
from mqd.core.money import MOST_QUANTA, Scale, check_room, run_quantum
from mqd.errors import AmountTooLarge, EmptyBars, UnknownSymbol, UsageError
from mqd.event_bus import OrderEventBus
from mqd.execution.costs import Costs
from mqd.execution.fill_model import FillModel
from mqd.market_data.bars import Bars
from mqd.portfolio.sizing import FractionOfEquity, Sizer
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
    for symbol, scale in scales.items():
        _check_prices(bars[symbol], scale)
    return scales, quantum


def _check_prices(bars: SymbolBars, scale: Scale) -> None:
    """Raise ``AmountTooLarge`` for a bar at whose high one lot alone is too much."""
    most = float(MOST_QUANTA * scale.quantum)
    if bars.high.max() * float(scale.lot) > most:
        row = int(np.argmax(bars.high))
        raise AmountTooLarge(f"one lot of {bars.symbol}", iso(int(bars.ts_close[row])), most)


def settings_of(
    bars: Bars,
    *,
    cash: float | Decimal = 100_000,
    sizer: Sizer | None = None,
    costs: Costs | None = None,
    fills: FillModel | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    account: Literal["margin", "cash"] = "margin",
    multiplier: int = 1,
    rebalance_band_frac: float | None = None,
    seed: int = 0,
    bus: OrderEventBus | None = None,
) -> Settings:
    """Return the settings of a run over ``bars``, defaults filled in; refuse wrong words."""
    _check_words(
        sizer=sizer, costs=costs, fills=fills, limits=limits, rules=rules, account=account,
        rebalance_band_frac=rebalance_band_frac, seed=seed, bus=bus,
    )  # fmt: skip
    fills = fills or FillModel()
    amount, times = _cash(cash), _multiplier(multiplier)
    _check_bars(bars, fills)
    return Settings(
        cash=amount, sizer=sizer or FractionOfEquity(),
        costs=_charged(costs or Costs.alpaca(), bars), fills=fills,
        limits=limits or Limits.research(times), rules=tuple(rules), account=account,
        multiplier=times, rebalance_band_frac=rebalance_band_frac,
    )  # fmt: skip


_KINDS: dict[str, tuple[type, str]] = {
    "costs": (Costs, "mqd.Costs(...)"),
    "fills": (FillModel, "mqd.FillModel(...)"),
    "limits": (Limits, "mqd.Limits.from_toml(path)"),
    "bus": (OrderEventBus, "an OrderEventBus"),
}


def _check_words(**words: Any) -> None:
    """Refuse an argument of the wrong kind before anything is made."""
    for name, (kind, wanted) in _KINDS.items():
        if words[name] is not None and not isinstance(words[name], kind):
            raise UsageError(f"{name} = {words[name]!r}; it must be {wanted}, or None.")
    sizer, rules, band = words["sizer"], words["rules"], words["rebalance_band_frac"]
    if sizer is not None and (isinstance(sizer, type) or not hasattr(sizer, "closes_needed")):
        raise UsageError(f"sizer = {sizer!r}; it must be a sizer, such as mqd.FixedQuantity(10).")
    if not isinstance(rules, list | tuple) or not all(callable(rule) for rule in rules):
        raise UsageError(f"rules = {rules!r}; it must be a list of rules (mqd.rule).")
    if words["account"] not in ("margin", "cash"):
        raise UsageError(f"account = {words['account']!r}; it must be 'margin' or 'cash'.")
    if band is not None and not is_number(band):
        raise UsageError(f"rebalance_band_frac = {band!r} must be a number above 0.")
    if type(words["seed"]) is not int:
        raise UsageError(f"seed = {words['seed']!r}; it must be a whole number.")


def _cash(cash: float | Decimal) -> Decimal:
    try:
        amount = Decimal(str(cash))
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise UsageError(f"cash = {cash!r}; it must be an amount above 0.")
    return amount


def _multiplier(multiplier: float) -> int:
    if not is_number(multiplier) or multiplier != multiplier // 1 or not 1 <= multiplier <= 4:
        raise UsageError(f"multiplier = {multiplier!r}; accounts have 1, 2, 3 or 4.")
    return int(multiplier)


def _check_bars(bars: Bars, fills: FillModel) -> None:
    if not isinstance(bars, Bars):
        raise UsageError(
            f"bars is {type(bars).__name__}, not Bars: use mqd.load_bars(path) or"
            " mqd.Bars.from_pandas(frame)."
        )
    if not bars.symbols or all(len(bars[symbol]) == 0 for symbol in bars.symbols):
        raise EmptyBars(bars.source, "nothing is left to replay")
    for symbol, _, _ in fills.halts:
        if symbol not in bars.symbols:
            raise UnknownSymbol(symbol, "the run, for a halt,", bars.symbols)
    if bars.close_only and not fills.close_only:
        raise UsageError(
            f"{bars.source} holds closes only: orders would fill at a price nobody could see."
            " Say fills=mqd.FillModel(close_only=True) to accept that; the result will state it."
        )


def _charged(costs: Costs, bars: Bars) -> Costs:
    """Return what is charged: the regulatory table is that of US equities alone."""
    us = bars.trading_calendar.zone == "America/New_York"
    return costs if us else replace(costs, regulatory=False)


def is_number(value: object) -> bool:
    """Return True for an int or a float that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)
