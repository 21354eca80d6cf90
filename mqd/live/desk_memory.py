"""What a desk knows, as plain numbers and words: what a checkpoint keeps in place of the log.

Orders are rows, so that a later checkpoint writes those alone that changed. Bars are named by the
instants they close at: a history that is loaded anew may number its rows otherwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from mqd.core.execution_report import Fill
from mqd.core.money import Scale
from mqd.core.order import (
    Order,
    OrderClass,
    OrderStatus,
    OrderType,
    Pending,
    Reason,
    Side,
    TimeInForce,
)
from mqd.desk.loop import Desk
from mqd.desk.protection import REASONS
from mqd.live import carry_over
from mqd.live.market import GrowingMarket
from mqd.orders.state import OrderState

Row = list[Any]
Memory = dict[str, Any]
_SCALE: Final = Order._fields.index("scale")
_N_ORDER: Final = len(Order._fields) - 1
_SUMS: Final = (
    "cash", "deposits", "position_cost", "fees", "borrow", "dividends", "realized",
)  # fmt: skip
_SIDES: Final = {int(one): one for one in Side}
_TYPES: Final = {one.value: one for one in OrderType}
_TIFS: Final = {one.value: one for one in TimeInForce}
_WHYS: Final = {one.value: one for one in Reason}
_CLASSES: Final = {one.value: one for one in OrderClass}
_STATUSES: Final = {one.value: one for one in OrderStatus}
_PENDINGS: Final = {one.value: one for one in Pending}
_new = tuple.__new__


def ground_of(desk: Desk) -> Memory:
    """Return what the numbers stand on: strategies, and tick, lot and quantum of each symbol."""
    scales = {
        symbol: [str(scale.tick), str(scale.lot), str(scale.quantum)]
        for symbol, scale in desk.parts.valuation.scales.items()
    }
    return {"strategies": list(desk.parts.portfolio.strategies), "scales": scales}


def row_of(state: OrderState) -> Row:
    """Return an order's snapshot as one flat row; its scale follows from its symbol."""
    order = state.order
    return [*order[:_SCALE], *order[_SCALE + 1 :], *state[1:]]


def states_of(rows: Iterable[Row], scales: Mapping[str, Scale]) -> Iterator[OrderState]:
    """Yield the snapshots of rows."""
    for row in rows:
        (name, strategy, symbol, side, lots, kind, tif, decided_ns, why, reducing) = row[:10]
        (limit, stop, trail, trail_units, extreme, order_class, group, parent) = row[10:18]
        allocation: tuple[Any, ...] = tuple([(party, part) for party, part in row[18]])
        order: Order = _new(
            Order,
            (
                name, strategy, symbol, _SIDES[side], lots, _TYPES[kind], _TIFS[tif], decided_ns,
                scales[symbol], _WHYS[why], reducing, limit, stop, trail, trail_units, extreme,
                _CLASSES[order_class], group, parent, allocation,
            ),
        )  # fmt: skip
        (status, pending, cum, booked, notional, fills, flags, quarantined, ended) = row[19:28]
        (venue_cum, lowered, busted, venue_order_id, replaced_by) = row[28:]
        yield _new(
            OrderState,
            (
                order, _STATUSES[status], _PENDINGS[pending], cum, booked, notional,
                tuple([_new(Fill, fill) for fill in fills]), flags, quarantined,
                None if ended is None else _STATUSES[ended], venue_cum, lowered, tuple(busted),
                venue_order_id, replaced_by,
            ),
        )  # fmt: skip


def memory_of(desk: Desk, market: GrowingMarket) -> Memory:
    """Return all that a desk knows but its orders."""
    parts = desk.parts
    bases, hearing, ledger = parts.risk.bases, parts.hearing, parts.valuation.ledger
    return {
        "ledger": {name: getattr(ledger, name) for name in _SUMS},
        "lots": ledger.lots, "cost": ledger.cost,
        "machine": parts.machine.memory(),
        "risk": parts.risk.memory(),
        "base": None if bases is None else carry_over.base_of(desk, bases),
        "targets": parts.portfolio.memory(),
        "open": carry_over.open_targets(desk),
        "bare": parts.protection.memory(), "splits": market.split_memory(),
        "holdings": [
            [*slot, *_entry(holding.entry, market, slot[1])]
            for slot, holding in parts.holdings.items() if holding.lots
        ],
        "anomalies": list(hearing.anomalies), "doubts": list(hearing.doubts),
        "orphans": list(hearing.orphans),
    }  # fmt: skip


def _entry(
    entry: tuple[int, float, int], market: GrowingMarket, symbol: str
) -> tuple[int, float, int]:
    """Return an entry with the instant that its bar closes at, or one after the last bar's."""
    row, peak_px, bars = entry
    closes = market.tapes[symbol].ts_close
    last = market.n_rows[symbol] - 1
    if row <= last:
        return int(closes[row]), peak_px, bars
    return (int(closes[last]) + 1 if last >= 0 else 0), peak_px, bars


def remember(
    desk: Desk, market: GrowingMarket, states: Sequence[OrderState], memory: Memory
) -> None:
    """Give a desk that has just been built its orders and what else it knew."""
    parts = desk.parts
    ledger = parts.valuation.ledger
    for name in _SUMS:
        setattr(ledger, name, memory["ledger"][name])
    ledger.lots.update(memory["lots"])
    ledger.cost.update(memory["cost"])
    parts.machine.adopt(states)
    parts.machine.remember(memory["machine"])
    symbols = set()
    for state in parts.machine.states():
        if state.order.symbol not in symbols or not state.is_terminal or state.worst_case_lots:
            symbols.add(state.order.symbol)  # the blotter lists symbols by their first order
            parts.blotter.update(state)
        if not state.is_terminal and state.order.reason in REASONS:
            parts.protection.adopt(state.order)
    parts.protection.remember(memory["bare"])
    parts.risk.remember(memory["risk"], (state.order.client_order_id for state in states))
    if memory["base"] is not None:
        carry_over.take_base(desk, memory["base"])
    parts.portfolio.remember(memory["targets"])
    carry_over.take_open(desk, {"open": memory["open"]})
    for symbol, ex_ns, ratio in memory["splits"]:
        market.note_split(symbol, ex_ns, Fraction(ratio))
    for strategy, symbol, close_ns, peak_px, bars in memory["holdings"]:
        closes = market.tapes[symbol].ts_close
        row = bisect_left(closes, close_ns, 0, market.n_rows[symbol])
        parts.holdings[strategy, symbol].remember(row, peak_px, bars)
    hearing = parts.hearing
    hearing.anomalies[:] = memory["anomalies"]
    hearing.doubts = dict.fromkeys(memory["doubts"])
    hearing.orphans = dict.fromkeys(memory["orphans"])
