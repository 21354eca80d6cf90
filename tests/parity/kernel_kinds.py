"""What a run went through, read off its frames: the kinds that the comparison must have met."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

import mqd
from tests.parity.kernel_cases import Case
from tests.parity.twin_cases import Coded, Shares

PROTECTIVE = ("stop_loss", "take_profit", "trailing_stop")
KINDS = frozenset(
    {
        "shared cash", "trim", "partial", *PROTECTIVE, "ambiguous", "gap", "flip", "denial",
        "split", "split long", "split short", "cash in lieu", "split of an order",
        "split of a waiting increase", "dividend", "dividend short", "absent bar", "zero volume",
        "HOLD", "HOLD on a remainder", "skip", "skip on a remainder", "remainder", "state", "band",
        "re-entry blocked", "partial exit", "follow-up", "borrow", "regulatory", "fractional stop",
        "fractional target left out", "latency", "latency beyond a bar", "halt", "expiry", "short",
        "zero size", "masked", "bad weight", "close only", "gtc target", "day exit", "touch",
        "FractionOfEquity", "FixedQuantity", "FixedNotional", "VolatilityTarget", "Kelly",
        "multiplier", "lost increase", "XNYS", "XTKS", "24/7",
    }
)  # fmt: skip
"""What the runs must have met between them."""


class Run(NamedTuple):
    """A case, its result in the desk, and its rows."""

    case: Case
    result: mqd.Result
    orders: list[Any]
    fills: list[Any]

    def closes(self, symbol: str) -> Any:
        """Return the closes' times of a symbol's bars."""
        return self.case.bars[symbol].ts_close


def kinds_of(case: Case, result: mqd.Result) -> set[str]:
    """Return the kinds that a run met."""
    run = Run(
        case, result, list(result.orders.itertuples()), list(result.fills.itertuples())
    )  # fmt: skip
    found = {case.bars.calendar}
    for look in (_fills, _exits, _counts, _orders, _actions, _bars, _settings, _weights):
        found.update(look(run))
    return found


def _fills(run: Run) -> Iterator[str]:
    fills = run.fills
    if len({fill.symbol for fill in fills}) > 1:
        yield "shared cash"
    for fill in fills:
        if fill.reason in PROTECTIVE:
            yield fill.reason
    held = run.result.positions
    for symbol in held:
        signs = np.sign(held[symbol].to_numpy())
        if (signs[1:] * signs[:-1] < 0).any():
            yield "flip"
        if (signs < 0).any():
            yield "short"


def _exits(run: Run) -> Iterator[str]:
    for order in run.orders:
        if order.reason not in PROTECTIVE:
            continue
        if 0 < order.filled_qty < order.qty or _parts(run, order) > 1:
            yield "partial exit"
        if order.time_in_force == "day":
            yield "day exit"
            if order.qty % 1 and order.type != "limit":
                yield "fractional stop"


def _parts(run: Run, order: Any) -> int:
    return sum(fill.order_id == order.id for fill in run.fills)


def _counts(run: Run) -> Iterator[str]:
    """Assumptions that leave no other trace, as the desk counted them."""
    counts = run.result.source.counts
    names = {
        "ambiguous_bars": "ambiguous", "trimmed_fills": "trim", "gap_fills": "gap",
        "follow_ups": "follow-up", "zero_sizes": "zero size",
        "fractional_targets": "fractional target left out",
    }  # fmt: skip
    yield from (kind for name, kind in names.items() if getattr(counts, name))


def _orders(run: Run) -> Iterator[str]:
    targets = [order for order in run.orders if order.reason == "target"]
    for order in targets:
        if order.status == "denied":
            yield "denial"
        if order.status == "expired":
            yield "expiry"
        if order.time_in_force == "gtc":
            yield "gtc target"
        if 0 < order.filled_qty < order.qty:
            yield "partial"
    plan = attrgetter("symbol", "decided")
    for _, group in groupby(sorted(targets, key=plan), key=plan):
        same = list(group)
        if same[0].status == "canceled" and len(same) > 1:
            yield "split of an order"
            if len(same) > 2:
                yield "split of a waiting increase"
    held = run.result.positions
    for order in targets:
        ended = order.status in ("canceled", "expired") and not order.filled_qty
        before = held[order.symbol].get(order.decided, 0.0)
        side = 1 if order.side == "buy" else -1
        if ended and before * side < 0 and order.qty == abs(before):
            yield "lost increase"


def _actions(run: Run) -> Iterator[str]:
    for split in run.result.source.splits:
        yield "split"
        before = run.result.positions[split.symbol]
        index = np.searchsorted(before.index.astype("int64"), split.ts_ns)
        yield "split long" if index and before.iloc[index - 1] > 0 else "split short"
        if split.cash_usd:
            yield "cash in lieu"
    dividends = run.result.costs["dividends"]
    if dividends:
        yield "dividend" if dividends > 0 else "dividend short"


def _bars(run: Run) -> Iterator[str]:
    bars, filled = run.case.bars, {fill.symbol for fill in run.fills}
    if bars.close_only and filled:
        yield "close only"
    for symbol in filled:
        first = min(order.decided.value for order in run.orders if order.symbol == symbol)
        late = run.closes(symbol) > first
        if (bars[symbol].volume[late] == 0).any():
            yield "zero volume"
        if int(late.sum()) < int((run.result.equity.index.astype("int64") > first).sum()):
            yield "absent bar"


def _settings(run: Run) -> Iterator[str]:
    words, model, fills = run.case.words, run.case.words["fills"], run.fills
    if not fills:
        return
    yield "FractionOfEquity" if words["sizer"] is None else type(words["sizer"]).__name__
    costs = run.result.costs
    if costs["borrow"] > 0:
        yield "borrow"
    if costs["fees"] > sum(fill.fee_usd for fill in fills) + 0.005:
        yield "regulatory"
    gross = run.result.equity
    if (gross["gross"] > gross["equity"] * 1.01).any():
        yield "multiplier"
    if model.touch_fills and "take_profit" in {fill.reason for fill in fills}:
        yield "touch"
    decided = {order.id: order for order in run.orders}
    if model.latency_ns and len(fills):
        yield "latency"
        if any(fill.ts_fill - decided[fill.order_id].decided > np.timedelta64(6, "h")
               for fill in fills if run.case.bars.calendar == "24/7"):  # fmt: skip
            yield "latency beyond a bar"
    for symbol, start, end in model.halts:
        for fill in fills:
            rested = decided[fill.order_id].decided.value
            if fill.symbol == symbol and rested < end <= fill.ts_fill.value and (
                run.case.bars[symbol].ts_open[np.searchsorted(
                    run.case.bars[symbol].ts_open, rested)] >= start
            ):  # fmt: skip
                yield "halt"


def _weights(run: Run) -> Iterator[str]:
    """What a strategy of known weights said at the closes at which orders were (not) decided."""
    strategy = run.case.strategy
    if type(strategy).state and run.fills:
        yield "state"
    if not isinstance(strategy, Coded | Shares):
        return
    for symbol in run.case.bars.symbols:
        yield from _said(run, symbol)


def _said(run: Run, symbol: str) -> Iterator[str]:
    closes = run.closes(symbol)
    said = np.asarray(run.case.strategy.features(run.case.bars[symbol])["w"])
    row_of = {int(ts): row for row, ts in enumerate(closes)}
    targets = [o for o in run.orders if o.symbol == symbol and o.reason == "target"]
    decided = {order.decided.value for order in targets}
    if not decided:
        return
    later = said[closes > min(decided)]
    if (later == mqd.HOLD).any():
        yield "HOLD"
    if np.isnan(later).any():
        yield "skip" if isinstance(run.case.strategy, Coded) else "masked"
    alone = run.case.words["rebalance_band_frac"] is None
    for ts in decided:
        row = row_of.get(ts)
        if row is None:
            continue
        if said[row] == mqd.HOLD:
            yield "HOLD on a remainder"
        elif np.isnan(said[row]):
            yield "skip on a remainder"
        elif row and said[row] == said[row - 1] and row - 1 in map(row_of.get, decided):
            yield "remainder"
        elif row > 1 and not alone and said[row] == said[row - 1] == said[row - 2]:
            yield "band"
    for fill in run.fills:
        row = row_of.get(fill.ts_known.value)
        if fill.symbol != symbol or fill.reason not in PROTECTIVE or not row:
            continue
        flat = run.result.positions[symbol].loc[fill.ts_known] == 0
        again = said[row] == said[row - 1] not in (0.0, mqd.HOLD)
        if flat and again and fill.ts_known.value not in decided:
            yield "re-entry blocked"
