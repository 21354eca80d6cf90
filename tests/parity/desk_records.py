"""A desk's run as the records that the compiled loop would have left of it."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import mqd
from mqd import backtesting
from mqd.core.event import Topic
from mqd.desk.loop import Desk
from mqd.event_bus import OrderEventBus
from mqd.kernel.records import REASONS, STATUSES, TIMES_IN_FORCE, TYPES, Counts, Records
from mqd.kernel.settings import Settings
from mqd.risk.declare import RuleSpec, spec_of
from mqd.risk.rules import RULES
from mqd.risk.verdict import Refusal, RefusalCode


class DeskRun(NamedTuple):
    """A run in the desk, and the same run as records."""

    result: mqd.Result
    records: Records
    settings: Settings
    scales: Any


def desk_run(strategy: mqd.Strategy, bars: mqd.Bars, **words: Any) -> DeskRun:
    """Run ``strategy`` in the event engine and convert what it left."""
    kept: list[Any] = []
    refusals: dict[str, Any] = {}
    bus = OrderEventBus()
    bus.subscribe(
        Topic.RISK,
        lambda event: refusals.update({event.payload.order.client_order_id: event.payload}),
        name="test",
    )
    collect = backtesting.collect

    def keep(desk: Desk, *rest: Any) -> mqd.Result:
        kept.extend([desk, rest[2]])
        return collect(desk, *rest)

    with mock.patch.object(backtesting, "collect", keep):
        result = mqd.backtest(strategy, bars, engine="event", bus=bus, **words)
    desk, settings = kept
    records = _records(desk, settings, refusals)
    return DeskRun(result, records, settings, dict(desk.parts.valuation.scales))


def _table(rows: list[Any], n_columns: int) -> Any:
    return np.array(rows, dtype=np.int64).reshape(len(rows), n_columns)


def _bit(refusal: Refusal, specs: list[RuleSpec]) -> int:
    """Return what a refusal adds to the mask; the user's rules share a code and go by name."""
    match refusal.code:
        case RefusalCode.MALFORMED:
            return 0
        case RefusalCode.BUYING_POWER:
            return 1
        case RefusalCode.USER_RULE:
            return 2 << [spec.name for spec in specs].index(refusal.limit)
        case code:
            return 2 << [spec.code for spec in specs].index(code)


def _records(desk: Desk, settings: Settings, refusals: dict[str, Any]) -> Records:
    parts = desk.parts
    symbols = parts.market.symbols
    place = {symbol: i for i, symbol in enumerate(symbols)}
    orders, row_of = [], {}
    for state in parts.machine.states():
        order = state.order
        row_of[order.client_order_id] = len(orders)
        assert state.cum_lots == state.booked_lots
        orders.append(
            (
                order.decided_ns, place[order.symbol], int(order.side), order.lots,
                TYPES.index(order.type), order.limit_ticks, order.stop_ticks,
                TIMES_IN_FORCE.index(order.time_in_force), REASONS.index(order.reason),
                STATUSES.index(state.status), state.cum_lots, state.notional,
            )
        )  # fmt: skip
    fills = [
        (row_of[r.client_order_id], r.last_lots, r.last_ticks, r.fee_quanta, r.ts_fill, r.ts_ns)
        for r, _ in parts.hearing.fills
    ]
    splits = [
        (
            place[action.symbol], parts.market.bars[action.symbol].actions.index(action),
            done.lots_before, done.lots_after, done.cash,
        )
        for action, done in desk.split_log
    ]  # fmt: skip
    own = () if settings.limits.is_research else RULES
    specs = [spec_of(rule) for rule in (*own, *settings.rules)]
    denied = [
        (row_of[name], sum({_bit(refusal, specs) for refusal in denial.refusals}))
        for name, denial in refusals.items()
    ]
    counts, ledger = parts.broker.counts, parts.valuation.ledger
    cash, lots = desk.curve.spread(parts.market.n_steps, -ledger.deposits)
    return Records(
        _table(orders, 12), _table(fills, 6), _table(splits, 5), _table(denied, 2), cash, lots,
        Counts(
            counts.ambiguous_bars, counts.capped_fills, counts.trimmed_fills, counts.gap_fills,
            counts.follow_ups, parts.targets.n_zero_sizes, parts.gate.n_denied,
            parts.protection.n_fractional_targets, ledger.fees, ledger.borrow, ledger.dividends,
        ),
    )  # fmt: skip
