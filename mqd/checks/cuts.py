"""Where to cut, and what to put in the place of the future: bars cut short, bars poisoned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from mqd.core.bar import Floats, Ints, SymbolBars
from mqd.market_data.bars import Bars
from mqd.strategy.causality import CUT_BARS_MIN, cut_points, first_rows
from mqd.strategy.feature_columns import Features

PRICES: Final = ("open", "high", "low", "close", "vwap")
AMOUNTS: Final = ("volume", "trade_count")
POISON_FACTOR: Final = 8.0
"""A power of two: poisoned prices stay on the tick grid."""
JUMPS_MAX: Final = 6


def cuts_of(bars: SymbolBars, features: Features, n_cuts: int, seed: int) -> tuple[int, ...]:
    """Return ends of cuts, ascending: ``n_cuts`` at random and those where leaks show.

    The latter: the shortest cut, the middle, one bar before the end; before the largest rise,
    fall, range and volume; at a session's end, after its first and in the middle of it; after
    bars in which a feature jumps. None is shorter than ``CUT_BARS_MIN``.
    """
    n = len(bars)
    if n <= CUT_BARS_MIN:
        return ()
    dice = np.random.default_rng(seed)
    ends = {*cut_points(n, 2), *dice.integers(CUT_BARS_MIN, n, n_cuts).tolist()}
    ends |= {*_extremes(bars), *_session_rows(bars, dice)}
    for column in features.columns[:JUMPS_MAX]:
        ends.update(_jumps(column))
    return tuple(sorted(end for end in ends if CUT_BARS_MIN <= end < n))


def _extremes(bars: SymbolBars) -> Iterator[int]:
    """Yield ends just before the bars that a peek would profit from most."""
    late = slice(CUT_BARS_MIN, None)
    move = np.diff(bars.close, prepend=bars.close[:1])[late] / bars.close[late]
    spread = (bars.high - bars.low)[late] / bars.close[late]
    for values in (move, -move, spread, bars.volume[late]):
        yield CUT_BARS_MIN + int(np.argmax(values))


def _session_rows(bars: SymbolBars, dice: np.random.Generator) -> Iterator[int]:
    """Yield ends around breaks: the last bar of a session, its first, and between them.

    With one bar a session the breaks are those of the calendar that are longer than usual:
    weekends and holidays.
    """
    gap = np.diff(bars.ts_open, prepend=bars.ts_open[:1])
    if len(np.unique(bars.session)) < len(bars):
        starts = np.flatnonzero(np.diff(bars.session, prepend=bars.session[:1]))
    else:
        starts = np.flatnonzero(gap > np.median(gap[1:]))
    starts = starts[starts > CUT_BARS_MIN]
    if not len(starts):
        return
    for start in dice.choice(starts, min(2, len(starts)), replace=False).tolist():
        length = max(int(np.sum(bars.session == bars.session[start])), 4)
        yield from (start, start + 1, start + length // 2)


def _jumps(column: Floats) -> Iterator[int]:
    """Yield ends just after the largest step of a feature, up and down."""
    steps = np.nan_to_num(np.diff(column), nan=0.0, posinf=0.0, neginf=0.0)[CUT_BARS_MIN:]
    if not len(steps):
        return
    for row in (int(np.argmax(steps)), int(np.argmin(steps))):
        if steps[row]:
            yield CUT_BARS_MIN + row + 2


def poisoned(bars: SymbolBars, end: int, seed: int) -> dict[str, SymbolBars]:
    """Return the bars with another future after row ``end``, by what was done to it.

    "times 8": prices and volume eight times higher, "divided by 8", and "shuffled": the same
    bars in another order. Stamps, sessions and the number of bars stay.
    """
    order = np.arange(len(bars))
    order[end:] = end + np.random.default_rng(seed).permutation(len(bars) - end)
    factor = np.ones(len(bars))
    factor[end:] = POISON_FACTOR
    return {
        "times 8": _scaled(bars, factor, factor),
        "divided by 8": _scaled(bars, 1.0 / factor, 1.0 / factor),
        "shuffled": _changed(bars, {name: getattr(bars, name)[order] for name in _known(bars)}),
    }


def levelled(bars: SymbolBars, ratio: float) -> SymbolBars:
    """Return the bars with prices ``ratio`` times as high and volumes as many times lower."""
    by = np.full(len(bars), ratio)
    return _scaled(bars, by, 1.0 / by)


def _known(bars: SymbolBars) -> list[str]:
    return [name for name in (*PRICES, *AMOUNTS) if getattr(bars, name) is not None]


def _scaled(bars: SymbolBars, prices: Floats, amounts: Floats) -> SymbolBars:
    factors = {name: prices if name in PRICES else amounts for name in _known(bars)}
    return _changed(bars, {name: getattr(bars, name) * by for name, by in factors.items()})


def _changed(bars: SymbolBars, columns: dict[str, Floats]) -> SymbolBars:
    for column in columns.values():
        column.setflags(write=False)
    return replace(bars, **columns)  # type: ignore[arg-type]


def until(bars: Bars, ts_ns: int) -> Bars:
    """Return all symbols' bars that have closed by an instant; the calendar stays known."""
    ends = {s: int(np.searchsorted(bars[s].ts_close, ts_ns, side="right")) for s in bars.symbols}
    return with_symbols(bars, {s: first_rows(bars[s], end) for s, end in ends.items()})


def with_symbols(bars: Bars, by_symbol: dict[str, SymbolBars]) -> Bars:
    """Return ``bars`` with other columns and what is known of the calendar unchanged.

    The calendar is no future: a cut must not make another year of it.
    """
    made = replace(bars, by_symbol=by_symbol)
    for name in ("trading_calendar", "bars_per_session", "sessions_per_year"):
        made.__dict__[name] = getattr(bars, name)
    return made


def decision_cuts(bars: Bars, seed: int, n: int) -> list[int]:
    """Return instants (ns) at which every symbol has ``CUT_BARS_MIN`` bars and later ones.

    Each is the close of a bar after which the session either is over by the calendar or goes
    on in the data, so that the end of the session is the same with and without the later bars.
    """
    closes: Ints = np.unique(np.concatenate([bars[s].ts_close for s in bars.symbols]))
    if any(len(bars[s]) <= CUT_BARS_MIN for s in bars.symbols):
        return []
    first = max(int(bars[s].ts_close[CUT_BARS_MIN - 1]) for s in bars.symbols)
    longest = max((bars[s] for s in bars.symbols), key=len)
    goes_on = np.append(longest.session[1:] == longest.session[:-1], False)
    plain = longest.ts_close[goes_on | (longest.minutes_to_close <= 0)]
    allowed = plain[(plain >= first) & (plain < closes[-1])]
    if not len(allowed):
        return []
    picked = np.random.default_rng(seed).choice(allowed, min(n, len(allowed)), replace=False)
    return sorted({*picked.tolist(), int(allowed[-1])})
