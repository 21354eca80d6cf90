"""What the log says of each event: payloads with money, prices and quantities as text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from mqd.accounting import FillEntry
from mqd.core.bar import CorporateAction
from mqd.core.execution_report import ExecutionReport
from mqd.core.money import Scale
from mqd.core.order import Order, Side
from mqd.core.signal import Signal
from mqd.execution.venue_account import CashActivity

Payload = dict[str, Any]
SIDE_WORD = {Side.BUY: "buy", Side.SELL: "sell"}


def text(units: int, unit: Decimal) -> str:
    """Return units as plain decimal text."""
    return f"{units * unit:f}"


def _qty(lots: int, scale: Scale) -> str:
    return str(lots) if scale.whole else f"{lots * scale.lot:f}"


def _px(ticks: int, tick: Decimal) -> str | None:
    return f"{ticks * tick:f}" if ticks else None


def decision(signal: Signal, weight: float) -> Payload:
    """A strategy's target changed to ``weight`` (rounded)."""
    return {
        "strategy": signal.strategy,
        "symbol": signal.symbol,
        "weight": weight,
        "source": signal.source,
    }


def intent(order: Order) -> Payload:
    """An order passed every control; it is sent after this record."""
    scale = order.scale
    return {
        "id": order.client_order_id,
        "strategy": order.strategy,
        "symbol": order.symbol,
        "side": SIDE_WORD[order.side],
        "qty": _qty(order.lots, scale),
        "type": str(order.type),
        "limit": _px(order.limit_ticks, scale.tick),
        "stop": _px(order.stop_ticks, scale.tick),
        "tif": str(order.time_in_force),
        "class": str(order.order_class),
        "reason": str(order.reason),
        "group": order.group,
        "parent": order.parent,
        "allocation": [[name, _qty(lots, scale)] for name, lots in order.allocation],
    }


def denied(order: Order, refusals: Sequence[Any]) -> Payload:
    """An order that a control refused, with every reason."""
    return {
        "id": order.client_order_id,
        "strategy": order.strategy,
        "symbol": order.symbol,
        "side": SIDE_WORD[order.side],
        "qty": _qty(order.lots, order.scale),
        "type": str(order.type),
        "refusals": [
            {"code": str(r.code), "limit": str(r.limit), "observed": str(r.observed)}
            for r in refusals
        ],
    }


def command(client_order_id: str, word: str) -> Payload:
    """We asked the venue to cancel or replace."""
    return {"id": client_order_id, "command": word}


def report(said: ExecutionReport, scale: Scale) -> Payload:
    """A venue's report that is no fill; words that only a live venue says, where it says them."""
    payload: Payload = {
        "kind": str(said.kind),
        "id": said.client_order_id,
        "symbol": said.symbol,
        "venue_id": said.venue_order_id,
        "cum": _qty(said.cum_lots, scale) if said.cum_lots >= 0 else None,
        "text": said.text,
    }
    for name in ("status", "replaced_by"):
        if word := getattr(said, name):
            payload[name] = str(word)
    return payload


def fill(said: ExecutionReport, order: Order, entry: FillEntry) -> Payload:
    """An execution and what it changes in the books."""
    scale = order.scale
    quantum = scale.quantum
    return {
        "ts_fill": said.ts_fill,
        "id": said.client_order_id,
        "exec_id": said.execution_id,
        "symbol": said.symbol,
        "strategy": order.strategy,
        "side": SIDE_WORD[order.side],
        "qty": _qty(said.last_lots, scale),
        "px": f"{said.last_ticks * scale.tick:f}",
        "fee": f"{said.fee_quanta * quantum:f}",
        "kind": str(said.kind),
        "cum": _qty(said.cum_lots, scale),
        "cash": f"{entry.cash * quantum:f}",
        "cost": f"{entry.cost_change * quantum:f}",
        "realized": f"{entry.realized * quantum:f}",
        "position": _qty(entry.lots, scale),
        "position_cost": f"{entry.cost * quantum:f}",
    }


def cash(activity: CashActivity, quantum: Decimal) -> Payload:
    """A change of cash that is no fill, with the venue's id of it where it has one."""
    named = {"activity": activity.activity} if activity.activity else {}
    amount = text(activity.amount, quantum)
    return {"account": activity.account, "symbol": activity.symbol, "amount": amount, **named}


def split(
    action: CorporateAction,
    lots: tuple[int, int],
    quanta: tuple[int, int, int],
    units: tuple[Decimal, Decimal],
) -> Payload:
    """A split: ``lots`` before and after; ``quanta`` cash, cost change, realised."""
    lot, quantum = units
    return {
        "symbol": action.symbol,
        "kind": action.kind.value,
        "ratio": f"{action.numerator}/{action.denominator}",
        "qty_before": text(lots[0], lot),
        "qty_after": text(lots[1], lot),
        "cash": text(quanta[0], quantum),
        "cost_delta": text(quanta[1], quantum),
        "realized": text(quanta[2], quantum),
    }
