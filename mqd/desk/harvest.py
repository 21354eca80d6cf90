"""What is read off a desk that has run: orders, executions, curves, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mqd.core.bar import Ints
from mqd.core.order import Side
from mqd.desk.frames import (
    Fills,
    Orders,
    Units,
    curves,
    fill_frame,
    known_closes,
    order_frame,
    words,
)
from mqd.desk.loop import Desk
from mqd.desk.source import Terms, refused, split_applied
from mqd.kernel.records import Counts
from mqd.portfolio.attribution import Share
from mqd.report.trades import SplitApplied

_ORDER_TEXT = frozenset({"id", "strategy", "type", "time_in_force", "reason", "status"})
_FILL_TEXT = frozenset({"execution_id", "order_id", "strategy", "reason"})
Row = tuple[Any, ...]


class DeskSource(NamedTuple):
    """What a desk left (see ``Source``)."""

    orders: pd.DataFrame
    fills: pd.DataFrame
    owned_fills: pd.DataFrame
    equity: pd.DataFrame
    positions: pd.DataFrame
    splits: Sequence[SplitApplied]
    counts: Counts
    totals: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


def harvest(desk: Desk, terms: Terms) -> DeskSource:
    """Return what a desk left; nothing in it holds the desk."""
    units = Units(desk.parts.valuation.scales)
    equity, positions = _curves(
        desk, units, desk.parts.market.n_steps
    )  # first: it refuses what the other frames cannot hold
    fills = fill_frame(_market_fills(desk), units)
    return DeskSource(
        order_frame(_orders(desk), units), fills, _owned_fills(desk, fills, units), equity,
        positions, _splits(desk, terms.unit), _counts(desk), _totals(desk, terms),
        _notes(desk),
    )  # fmt: skip


def _columns(rows: Sequence[Row], fields: Sequence[str], text: frozenset[str]) -> list[Any]:
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(fields)
    return [
        words(list(column)) if name in text else np.array(column, dtype=np.int64)
        for name, column in zip(fields, values, strict=True)
    ]


def _places(desk: Desk) -> dict[str, int]:
    return {symbol: place for place, symbol in enumerate(desk.parts.market.symbols)}


def _orders(desk: Desk) -> Orders:
    """Return every order, in the order of decision."""
    place = _places(desk)
    rows = [
        (
            order.client_order_id, order.strategy, place[order.symbol], order.side, order.lots,
            str(order.type), order.limit_ticks, order.stop_ticks, str(order.time_in_force),
            str(order.reason), order.decided_ns, str(state.status), state.cum_lots,
            state.booked_lots, state.notional,
        )
        for state in desk.parts.machine.states()
        for order in (state.order,)
    ]  # fmt: skip
    return Orders(*_columns(rows, Orders._fields, _ORDER_TEXT))


def _fill_columns(rows: Sequence[Row]) -> Fills:
    return Fills(*_columns(rows, Fills._fields, _FILL_TEXT))


def _market_fills(desk: Desk) -> Fills:
    """Return every execution in the order of the log."""
    place = _places(desk)
    rows = [
        (
            report.execution_id, order.client_order_id, order.strategy, place[order.symbol],
            order.side, report.last_lots, report.last_ticks, report.fee_quanta, report.ts_fill,
            report.ts_ns, str(order.reason),
        )
        for report, order in desk.parts.hearing.fills
    ]  # fmt: skip
    return _fill_columns(rows)


def _owned_fills(desk: Desk, market_fills: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Return the fills by the strategy they belong to: netted orders split, crosses included."""
    shares = desk.parts.hearing.shares
    if not shares and not desk.crossed:
        return market_fills
    reasons = dict(zip(market_fills["order_id"], market_fills["reason"], strict=True))
    rows = [
        _share_row(desk, share, report.execution_id, (report.ts_fill, report.ts_ns), reason)
        for report, share in shares
        for reason in (reasons[report.client_order_id],)
    ]
    rows += [_share_row(desk, share, "", when, "target") for when, share in desk.crossed]
    rows.sort(key=lambda row: row[Fills._fields.index("ts_known")])
    return fill_frame(_fill_columns(rows), units)


def _share_row(desk: Desk, share: Share, name: str, when: tuple[int, int], reason: str) -> Row:
    ticks = share.lot_quanta // desk.parts.valuation.scales[share.symbol].tick_lot_quanta
    side = Side.BUY if share.lots > 0 else Side.SELL
    return (
        name, "", share.strategy, desk.parts.market.tapes[share.symbol].place, side,
        abs(share.lots), ticks, share.fee, *when, reason,
    )  # fmt: skip


def refuse_amounts(desk: Desk) -> None:
    """Raise ``AmountTooLarge`` when the account has grown too large by the present step."""
    step = desk.parts.market.step
    desk.curve.touch()
    desk.curve.note(step, desk.parts.valuation.ledger)
    _curves(desk, Units(desk.parts.valuation.scales), step + 1)


def _curves(desk: Desk, units: Units, n_steps: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return equity and positions at the first ``n_steps`` closes."""
    market = desk.parts.market
    deposited = -desk.parts.valuation.ledger.deposits
    cash, lots = desk.curve.spread(n_steps, deposited)
    closes: list[Ints] = [
        known_closes(np.asarray(market.tapes[symbol].close), market.last_rows_of(place)[:n_steps])
        for place, symbol in enumerate(market.symbols)
    ]
    return curves(np.asarray(market.ts_close)[:n_steps], cash, lots, closes, units)


def _counts(desk: Desk) -> Counts:
    """Return how often an assumption mattered, and what was charged."""
    parts = desk.parts
    venue, ledger = parts.broker.counts, parts.valuation.ledger
    return Counts(
        venue.ambiguous_bars, venue.capped_fills, venue.trimmed_fills, venue.gap_fills,
        venue.follow_ups, parts.targets.n_zero_sizes, parts.gate.n_denied,
        parts.protection.n_fractional_targets, ledger.fees, ledger.borrow, ledger.dividends,
    )  # fmt: skip


def _splits(desk: Desk, unit: float) -> list[SplitApplied]:
    return [
        split_applied(action, done.lots_before, done.lots_after, done.cash * unit)
        for action, done in desk.split_log
    ]


def _totals(desk: Desk, terms: Terms) -> dict[str, tuple[float, float]]:
    """Return each strategy's profit and fees in USD."""
    valuation, unit = desk.parts.valuation, terms.unit
    names = [trader.name for trader in desk.traders]
    if len(names) == 1:
        pnl = valuation.equity() * unit - terms.starting_equity
        return {names[0]: (pnl, valuation.ledger.fees * unit)}
    books = desk.parts.portfolio.attribution.books
    marks = desk.parts.market.marks()
    values = {s: ticks * valuation.scales[s].tick_lot_quanta for s, ticks in marks.items()}
    return {name: (books[name].pnl(values) * unit, books[name].fees * unit) for name in names}


def _notes(desk: Desk) -> tuple[str, ...]:
    """Return why a strategy did not run compiled, what was refused first, what looked wrong."""
    plain = [
        f"{trader.name} runs as plain Python: {trader.runner.program.reason}"
        for trader in desk.traders
        if trader.runner is not None and not trader.runner.program.compiled
    ]
    gate = desk.parts.gate
    return (*plain, *refused(gate.n_denied, gate.first_denial), *desk.parts.hearing.anomalies)
