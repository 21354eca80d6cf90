"""Bars under stress: falls found in the data, and prices and volumes changed by a stated rule.

Nothing here is random, nothing changes its input, and every result keeps the rules of bars: prices
on the tick and at least one tick, ``low <= open, close <= high``. Splits that the bars carry as
actions are no moves of the price here; a dividend's amount is scaled with the prices around it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from mqd.core.bar import ActionKind, CorporateAction, Floats, Ints, SymbolBars
from mqd.core.clock import NS_PER_DAY, iso
from mqd.errors import EmptyBars
from mqd.market_data.bars import Bars
from mqd.market_data.calendar import day_date
from mqd.market_data.corporate_actions import AMOUNT_STEP
from mqd.market_data.loading import frozen, on_grid

FALL_FRAC_MIN: Final = 0.2
N_FALLS_MAX: Final = 5
N_WARM_UP: Final = 250
N_GAPS: Final = 5
DROUGHT: Final = 10.0
CRASH_FRAC: Final = 0.15
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The equal weight of all symbols: 1 at the first close, one value a step.

    Each step's growth is the mean close-to-close growth of the symbols that have a bar there and
    one before it. ``ts_close`` ns UTC; ``session`` days since 1970; all of shape (n_steps,).
    """

    ts_close: Ints
    session: Ints
    value: Floats


class Fall(NamedTuple):
    """A fall from a peak to a trough of a ``Path``; ``frac`` is negative, -0.25 a quarter lost."""

    frac: float
    peak: int
    trough: int


def split_steps(bars: SymbolBars) -> Floats:
    """Return, for each row, the product of the ratios of the splits up to and including it.

    Prices times this are free of the splits' jumps.
    """
    steps = np.ones(len(bars))
    for action in bars.actions:
        row = int(np.searchsorted(bars.ts_open, action.ts_ex))
        if action.kind is ActionKind.SPLIT and row > 0:
            steps[row:] *= action.numerator / action.denominator
    return steps


def equal_weight(bars: Bars) -> Path:
    """Return the equal-weight path of all symbols; raise ``EmptyBars`` when there is no bar."""
    if not bars.symbols:
        raise EmptyBars(bars.source, "nothing is left to put under stress")
    every = np.concatenate([one.ts_close for one in bars.values()])
    ts_close, first = np.unique(every, return_index=True)
    session = np.concatenate([one.session for one in bars.values()])[first]
    total, count = np.zeros(len(ts_close)), np.zeros(len(ts_close))
    for one in bars.values():
        close = one.close * split_steps(one)
        step = np.searchsorted(ts_close, one.ts_close[1:])
        total[step] += close[1:] / close[:-1]
        count[step] += 1.0
    growth = np.where(count > 0, total / np.maximum(count, 1.0), 1.0)
    return Path(ts_close, session, np.asarray(np.cumprod(growth), dtype=np.float64))


def falls(value: Floats, frac_min: float = FALL_FRAC_MIN, n_max: int = N_FALLS_MAX) -> list[Fall]:
    """Return the deepest falls of at least ``frac_min``, worst first; no two overlap.

    The deepest fall of all comes first, then the deepest of what lies before its peak or after
    its trough, and so on. Among equal peaks the last counts, among equal troughs the first.
    """
    found: list[Fall] = []
    parts = [(_deepest(value, 0, len(value) - 1), 0, len(value) - 1)]
    while parts and len(found) < n_max:
        fall, low, high = heapq.heappop(parts)
        if fall.frac > -frac_min + _ROUNDING:
            break
        found.append(fall)
        for start, end in ((low, fall.peak), (fall.trough, high)):
            heapq.heappush(parts, (_deepest(value, start, end), start, end))
    return found


def _deepest(value: Floats, start: int, end: int) -> Fall:
    part = value[start : end + 1]
    peaks = np.maximum.accumulate(part)
    below = part / peaks - 1.0
    trough = int(np.argmin(below))
    peak = int(np.flatnonzero(part[: trough + 1] == peaks[trough])[-1])
    return Fall(float(below[trough]), start + peak, start + trough)


def cut(bars: Bars, path: Path, fall: Fall, n_warm_up: int = N_WARM_UP) -> Bars:
    """Return the bars of a fall, its trough's bar the last, after ``n_warm_up`` steps.

    Where the data begin later than that, all there are before the peak are taken.
    """
    start = fall.peak - n_warm_up
    first_ns = int(path.ts_close[start - 1]) if start > 0 else bars.first
    return bars.between(first_ns, int(path.ts_close[fall.trough]))


def day_text(bars: Bars, path: Path, step: int) -> str:
    """Return a step as text: the session's date of daily bars, else the minute of its close."""
    if bars.timeframe_ns >= NS_PER_DAY:
        return f"{day_date(path.session[step])}"
    return iso(int(path.ts_close[step]))[:16]


def magnified_gaps(bars: Bars, sign: int, n_gaps: int = N_GAPS) -> Bars | None:
    """Return bars whose largest overnight gaps are twice as wide, or None when there is none.

    A gap is the log of a session's first open over the close before it. Of each symbol the
    ``n_gaps`` largest are taken that fall (``sign`` -1) or rise (+1); all prices from that open
    on are multiplied by the gap once more, so that later returns stay what they were.
    """
    factors = {symbol: _gap_factors(one, sign, n_gaps) for symbol, one in bars.items()}
    if all(bool((factor == 1.0).all()) for factor in factors.values()):
        return None
    return replace(
        bars, by_symbol={symbol: _scaled(one, factors[symbol]) for symbol, one in bars.items()}
    )


def _gap_factors(bars: SymbolBars, sign: int, n_gaps: int) -> Floats:
    steps = split_steps(bars)
    first: Ints = np.flatnonzero(np.diff(bars.session)) + 1
    ratio = bars.open[first] * steps[first] / (bars.close[first - 1] * steps[first - 1])
    size = np.log(ratio) * sign
    largest = np.argsort(-size, kind="stable")[:n_gaps]
    largest = largest[size[largest] > 0]
    factor = np.ones(len(bars))
    factor[first[largest]] = ratio[largest]
    return np.asarray(np.cumprod(factor), dtype=np.float64)


def _scaled(bars: SymbolBars, factor: Floats) -> SymbolBars:
    prices = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
    vwap = None if bars.vwap is None else bars.vwap * factor
    return _with_prices(bars, prices, vwap)


def doubled_volatility(bars: Bars) -> Bars:
    """Return bars whose log returns lie twice as far from their mean, symbol by symbol.

    With ``m`` the mean close-to-close log return ``r``, each becomes ``2 r - m``: the first and
    the last close stay. Inside a bar the logs of high, low, close and vwap over the open
    double; what is left of the return is the gap before the open.
    """
    return replace(
        bars, by_symbol={symbol: _doubled_volatility(one) for symbol, one in bars.items()}
    )


def _doubled_volatility(bars: SymbolBars) -> SymbolBars:
    steps = split_steps(bars)
    close = bars.close * steps
    line = close[0] * (close[-1] / close[0]) ** (np.arange(len(close)) / max(len(close) - 1, 1))
    inside = {name: np.square(getattr(bars, name) / bars.open) for name in ("high", "low", "close")}
    start = close * (close / line) / inside["close"] / steps
    prices = {"open": start} | {name: start * ratio for name, ratio in inside.items()}
    vwap = None if bars.vwap is None else start * np.square(bars.vwap / bars.open)
    return _with_prices(bars, prices, vwap)


def _with_prices(bars: SymbolBars, prices: dict[str, Floats], vwap: Floats | None) -> SymbolBars:
    """Return bars with other prices, rounded to the tick, and dividends in proportion."""
    least = float(bars.tick)
    rounded = {name: on_grid(np.maximum(price, least), bars.tick) for name, price in prices.items()}
    ratio = rounded["open"] / bars.open
    return replace(
        bars,
        **{name: frozen(price) for name, price in rounded.items()},
        vwap=None if vwap is None else frozen(vwap),
        actions=tuple(_restated(action, bars, ratio) for action in bars.actions),
    )


def _restated(action: CorporateAction, bars: SymbolBars, ratio: Floats) -> CorporateAction:
    if action.kind is not ActionKind.DIVIDEND:
        return action
    row = min(int(np.searchsorted(bars.ts_open, action.ts_ex)), len(bars) - 1)
    exact = float(action.amount) * float(ratio[row])
    return action._replace(amount=Decimal(exact).quantize(AMOUNT_STEP))


def drought(bars: Bars) -> Bars:
    """Return bars with a tenth of their volume; trade counts are rounded down."""
    thin = {}
    for symbol, one in bars.items():
        count = one.trade_count
        thin[symbol] = replace(
            one,
            volume=frozen(one.volume / DROUGHT),
            trade_count=None if count is None else frozen(np.floor(count / DROUGHT)),
        )
    return replace(bars, by_symbol=thin)


def crash_step(path: Path) -> int:
    """Return the step of a flash crash: the highest value of the path's later half, not its end."""
    half = len(path.value) // 2
    last = max(len(path.value) - 1, half + 1)
    return half + int(np.argmax(path.value[half:last]))


def flash_crash(bars: Bars, ts_close: int) -> Bars:
    """Return bars whose lows at one close are at most 0.85 of the open; closes stay."""
    crashed = {}
    for symbol, one in bars.items():
        low = one.low.copy()
        here = one.ts_close == ts_close
        deep = on_grid(np.maximum(one.open * (1.0 - CRASH_FRAC), float(one.tick)), one.tick)
        low[here] = np.minimum(low[here], deep[here])
        crashed[symbol] = replace(one, low=frozen(low))
    return replace(bars, by_symbol=crashed)
