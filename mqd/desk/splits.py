"""A split in one audited step: resting orders, position, targets, marks and holdings."""

from __future__ import annotations

from fractions import Fraction

from mqd.core.bar import CorporateAction
from mqd.core.order import Order
from mqd.desk import records
from mqd.desk.parts import Parts
from mqd.execution.venue_account import SplitActivity


def apply_split(parts: Parts, action: CorporateAction) -> SplitActivity | None:
    """Cancel what rests on the symbol, change the books, send the targets anew.

    A split changes the unit of quantity: the venue drops resting orders, the desk sends the
    rest of its own targets in the new unit at once (they keep their open), protective
    orders are placed anew, and an event strategy hears of its cancelled orders. Returns what
    it did to the position, None when there was none.
    """
    symbol = action.symbol
    left = _cancel_all(parts, symbol)
    done = parts.broker.act(action)
    held_one = done if isinstance(done, SplitActivity) else None
    if held_one is not None:
        _book(parts, action, held_one)
    parts.portfolio.on_split(symbol, action.numerator, action.denominator)
    parts.market.restate(symbol, action.numerator, action.denominator)
    row = parts.market.row_now(symbol)
    for (_, held), holding in parts.holdings.items():
        if held == symbol:
            holding.split(action.numerator / action.denominator, row)
    parts.targets.split(symbol, action.numerator, action.denominator)
    for order, lots in left:
        scaled = lots * action.numerator // action.denominator
        if scaled:
            parts.targets.reissue(order, scaled)
    parts.hearing.listen()
    return held_one


def _cancel_all(parts: Parts, symbol: str) -> list[tuple[Order, int]]:
    left = []
    for order in parts.broker.open_orders():
        if order.symbol != symbol:
            continue
        state = parts.machine.state(order.client_order_id)
        if state.is_terminal:
            continue
        if order.client_order_id in parts.targets.working:
            left.append((order, state.leaves_lots))
        parts.gate.cancel(order.client_order_id)
        parts.hearing.listen()
    return left


def _book(parts: Parts, action: CorporateAction, done: SplitActivity) -> None:
    ledger, scale = parts.valuation.ledger, parts.valuation.scales[action.symbol]
    cost_change = done.cost_after - ledger.cost[action.symbol]
    realized = done.cash + cost_change
    parts.journal.write(
        "action",
        records.split(
            action,
            (done.lots_before, done.lots_after),
            (done.cash, cost_change, realized),
            (scale.lot, scale.quantum),
        ),
    )
    ledger.book_split(action.symbol, done.lots_after, done.cost_after, done.cash)
    if len(parts.portfolio.strategies) > 1:
        ratio = Fraction(action.numerator, action.denominator)
        parts.portfolio.attribution.split(
            parts.journal.now_ns, action.symbol, ratio, done.lots_after, done.cash
        )
    for strategy in parts.portfolio.strategies:
        parts.protection.moved(strategy, action.symbol)
