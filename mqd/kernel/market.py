"""Bars and settings as the arrays that the compiled loop reads; shared by all combinations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mqd.core.bar import ActionKind, Ints
from mqd.core.money import Scale, rate_units, to_units
from mqd.core.signal import HOLD
from mqd.errors import NotCompilable
from mqd.execution.acceptance import GTC_NS
from mqd.execution.costs import REGULATORY_TABLE, RegulatoryDay, per_lot_parts
from mqd.execution.tape import tape_of
from mqd.kernel.controls import controls_of, core_of, volumes_known
from mqd.kernel.core import Cores
from mqd.kernel.layout import (
    ACCOUNT,
    ACTION,
    BAR,
    BOOK,
    FRACTION,
    KELLY,
    NEVER,
    NOTIONAL,
    QUANTITY,
    STEP,
    VOLATILITY,
)
from mqd.kernel.settings import Settings, scales_of
from mqd.market_data.bars import Bars
from mqd.market_data.feed import ReplayFeed, Steps
from mqd.market_data.sessions import action_steps, session_steps, unknown_volume
from mqd.portfolio.sizing import (
    FixedNotional,
    FixedQuantity,
    FractionOfEquity,
    Kelly,
    VolatilityTarget,
    whole_step,
)

_AMOUNT_PARTS = 10**6

Records = NDArray[np.void]


class Market(NamedTuple):
    """The read-only half of a ``World``, and what the other half starts from."""

    bars: Bars
    settings: Settings
    scales: dict[str, Scale]
    quantum: Decimal
    ts_close: Ints
    tape: Records
    closes: Ints
    steps: Records
    rows: Ints
    actions: Records
    books: Records
    account: Records
    controls: Records
    core: Cores
    name: str

    @property
    def alone(self) -> bool:
        """Whether there is one symbol only, for which the core has a loop of its own."""
        return len(self.books) == 1


_KEPT: list[Market] = []


def market_of(bars: Bars, settings: Settings, name: str) -> Market:
    """Lay a replay out in records; the strategy's share of equity is set by the caller.

    ``name`` is the strategy's, by which its limits are found.

    The last two are kept, so that one backtest after the other over the same bars lays them out
    once. Raises ``NotCompilable`` for what the compiled loop does not know.
    """
    for kept in () if settings.rules else _KEPT:  # what a rule reads may have changed
        if kept.bars is bars and kept.settings == settings and kept.name == name:
            return kept
    market = _lay_out(bars, settings, name)
    _KEPT[:] = [market, *_KEPT[:1]]
    return market


def _lay_out(bars: Bars, settings: Settings, name: str) -> Market:
    if settings.account != "margin":
        raise NotCompilable("A cash account settles day by day, which only the desk knows.")
    scales, quantum = scales_of(bars, settings.cash)
    steps = ReplayFeed(bars).steps()
    table, actions = _steps(bars, steps, scales)
    account = _account(bars, settings, quantum)
    account["n_steps"] = len(table)
    tape = _tape(bars, settings, scales)
    closes = np.ascontiguousarray(tape["close"][0])
    account["close_max"] = closes.max()
    rows = steps.rows
    controls = controls_of(bars, settings, scales, quantum, name)
    if len(controls):
        rows = np.ascontiguousarray(np.hstack([rows, volumes_known(bars, rows)]))
        account["busy"] = account["ruled"] = 1
    books = _books(bars, settings, scales)
    return Market(
        bars, settings, scales, quantum, _fixed(steps.ts_close), _fixed(tape), _fixed(closes),
        _fixed(table), _fixed(rows), _fixed(actions), _fixed(books), _fixed(account), controls,
        core_of(settings), name,
    )  # fmt: skip


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    """Return what nobody writes to: a market is shared by runs and threads."""
    view = array.view()
    view.setflags(write=False)
    return view


def _tape(bars: Bars, settings: Settings, scales: dict[str, Scale]) -> Records:
    longest = max(len(bars[symbol]) for symbol in bars.symbols)
    tape = np.zeros((len(bars.symbols), longest), dtype=BAR)
    since = np.array([row.since for row in REGULATORY_TABLE], dtype=np.int64)
    share = settings.fills.participation_frac
    for p, symbol in enumerate(bars.symbols):
        bars_of = bars[symbol]
        one = tape_of(bars_of, p, scales[symbol], None if unknown_volume(bars, symbol) else share)
        line = tape[p, : len(bars_of)]
        for name in ("open", "high", "low", "close", "ts_open"):
            line[name] = np.asarray(getattr(one, name))
        line["room"] = np.asarray(one.capacity)
        for name in ("high", "low", "close"):
            line[f"{name}_px"] = getattr(bars_of, name)
        trades = line["room"] >= 0
        for halted, start, end in settings.fills.halts:
            inside = (line["ts_open"] >= start) & (line["ts_open"] < end)
            trades &= ~inside if halted == symbol else True
        line["trades"] = trades
        table = np.array([RegulatoryDay(scales[symbol].quantum).rate(day, scales[symbol])
                          for day in since.tolist()])  # fmt: skip
        row = np.searchsorted(since, np.asarray(one.day), side="right") - 1
        for column, name in enumerate(("sec", "taf", "taf_max", "cat")):
            line[name] = table[row, column]
    return tape


def _steps(bars: Bars, steps: Steps, scales: dict[str, Scale]) -> tuple[Records, Records]:
    n = len(steps.ts_close)
    table = np.zeros(n, dtype=STEP)
    opens = np.full(n, np.iinfo(np.int64).max)
    for p, symbol in enumerate(bars.symbols):
        rows = steps.rows[:, p]
        there = rows >= 0
        opens[there] = np.minimum(opens[there], bars[symbol].ts_open[rows[there]])
    sessions = session_steps(bars, steps)
    table["now"], table["opens"] = steps.ts_close, opens
    table["expires_open"] = _expiry(bars, opens)
    table["expires_close"] = _expiry(bars, steps.ts_close)
    table["ends"], table["days_to_next"] = sessions.ends, sessions.days_to_next
    actions = _actions(bars, steps.ts_close, scales, table)
    busy = np.flatnonzero(table["action_from"] < table["action_to"])
    after = np.searchsorted(busy, np.arange(n), side="right")
    table["next_action"] = np.append(busy, NEVER)[after]
    return table, actions


def _expiry(bars: Bars, sent_ns: Ints) -> Ints:
    """Return when a DAY order sent then ends: at the next close of a session."""
    closes = bars.trading_calendar.closes
    place = np.searchsorted(closes, sent_ns, side="right")
    known = place < len(closes)
    ends: Ints = np.where(known, closes[np.minimum(place, len(closes) - 1)], sent_ns + GTC_NS)
    return ends


def _actions(bars: Bars, ts_close: Ints, scales: dict[str, Scale], table: Records) -> Records:
    lines: list[tuple[int, ...]] = []
    found = action_steps(bars, ts_close)
    ordinals = {
        id(action): i for symbol in bars.symbols for i, action in enumerate(bars[symbol].actions)
    }
    places = {symbol: p for p, symbol in enumerate(bars.symbols)}
    for step in sorted(found):
        table[step]["action_from"] = len(lines)
        for action in found[step]:
            scale = scales[action.symbol]
            per_lot = 0
            if action.kind is ActionKind.DIVIDEND:
                per_lot = int(action.amount * scale.lot / scale.quantum * _AMOUNT_PARTS)
            lines.append(
                (
                    places[action.symbol], int(action.kind is ActionKind.SPLIT),
                    action.numerator, action.denominator, per_lot // _AMOUNT_PARTS,
                    per_lot % _AMOUNT_PARTS, ordinals[id(action)],
                )
            )  # fmt: skip
        table[step]["action_to"] = len(lines)
    return np.array(lines, dtype=ACTION)


def _account(bars: Bars, settings: Settings, quantum: Decimal) -> Records:
    account = np.zeros(1, dtype=ACCOUNT)
    costs, sizer = settings.costs, settings.sizer
    account["multiplier"] = settings.multiplier
    account["fee_rate"] = rate_units(costs.fee_bps)
    account["slippage_rate"] = rate_units(costs.slippage_bps)
    account["borrow_rate"] = rate_units(costs.borrow_bps_per_year)
    account["latency_ns"] = settings.fills.latency_ns
    account["touch"] = settings.fills.touch_fills
    account["all_day"] = bars.calendar == "24/7"
    account["start_cash"] = to_units(settings.cash, quantum, "cash")
    account["cent"] = int(Decimal("0.01") / quantum)
    account["regulatory"] = costs.regulatory
    account["lookback"] = sizer.closes_needed
    band = settings.rebalance_band_frac
    account["band_frac"] = np.nan if band is None else band
    account["bars_per_year"] = bars.bars_per_session * bars.sessions_per_year
    account["quanta_per_unit"] = float(1 / quantum)
    match sizer:
        case FractionOfEquity():
            account["sizer"] = FRACTION
        case FixedQuantity():
            account["sizer"] = QUANTITY
        case FixedNotional():
            account["sizer"] = NOTIONAL
        case VolatilityTarget():
            account["sizer"] = VOLATILITY
            account["goal_frac"], account["most"] = sizer.volatility_frac, sizer.leverage_max
        case Kelly():
            account["sizer"] = KELLY
            account["goal_frac"], account["most"] = sizer.fraction, sizer.cap
        case _:
            raise NotCompilable(f"{sizer!r} is a sizer of your own, which only the desk calls.")
    account["cash"] = account["start_cash"]
    return account


def _books(bars: Bars, settings: Settings, scales: dict[str, Scale]) -> Records:
    books = np.zeros(len(bars.symbols), dtype=BOOK)
    all_day = bars.calendar == "24/7"
    books["by_name"] = np.argsort(np.array(bars.symbols), kind="stable")
    books["place"] = np.arange(len(books))
    books["row"] = books["entry_row"] = -1
    books["sized"] = 1
    books["blocked"] = HOLD
    for symbol, b in zip(bars.symbols, books, strict=True):
        scale = scales[symbol]
        b["lot_quanta"] = scale.tick_lot_quanta
        b["fee_per_lot"] = per_lot_parts(settings.costs.fee_per_share, scale)
        b["short_step"] = 1 if all_day else whole_step(scale)
        b["lot_parts"] = 1 if scale.lot >= 1 else whole_step(scale)
        b["whole"] = 1 if all_day or scale.lot >= 1 else int(1 / scale.lot)
        b["tick_px"] = float(scale.tick)
        b["lots_per_share"] = float(1 / scale.lot)
        b["size_base"] = settings.sizer.size(scale)
    return books
