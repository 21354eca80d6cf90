"""Account activities: fills, and what changes cash without a fill."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mqd.core.clock import NS_PER_S
from mqd.core.execution_report import ExecutionReport, ReportKind
from mqd.venue.record import OrderRecord
from mqd.venue.text import amount, day_of, local, stamp, uuid_of
from mqd.venue.words import SIDE_WORDS

TRADES = frozenset({"FILL"})
OTHERS = frozenset({"FEE", "DIV", "INT", "JNLC", "SPLIT"})
KNOWN = TRADES | OTHERS | {
    "ACATC", "ACATS", "CFEE", "CSD", "CSW", "DIVCGL", "DIVCGS", "DIVFEE", "DIVFT", "DIVNRA",
    "DIVROC", "DIVTW", "DIVTXEX", "INTNRA", "INTTW", "JNL", "JNLS", "MA", "MISC", "NC", "OPASN",
    "OPCA", "OPCSH", "OPEXC", "OPEXP", "OPTRD", "OPXRC", "PTC", "PTR", "REORG", "SPIN", "SC",
    "SSO", "SSP", "TRANS", "WH", "VOF", "FOPT", "EXTRD", "OCT", "DIVWH", "CIL", "MEM", "SWP",
}  # fmt: skip
KINDS = {"fees": ("FEE", ""), "dividends": ("DIV", "CDIV"), "borrow": ("INT", "BORROW")}


def activity_id(ts_ns: int, *parts: object) -> str:
    """Return an id: New York's local time to the millisecond, and a UUID."""
    millis = ts_ns % NS_PER_S // 1_000_000
    return f"{local(ts_ns):%Y%m%d%H%M%S}{millis:03d}::{uuid_of(*parts)}"


def fill_activity(
    account_id: str, record: OrderRecord, report: ExecutionReport, held_lots: int
) -> dict[str, Any]:
    """Return the activity of one execution; ``held_lots`` is the position before it.

    ``commission`` is this venue's own word: the fee that the simulator charged with it.
    """
    scale = record.order.scale
    short = record.order.side < 0 and held_lots <= 0
    whole = report.kind is ReportKind.FILL
    return {
        "id": activity_id(report.ts_fill, account_id, "fill", report.execution_id),
        "activity_type": "FILL",
        "transaction_time": stamp(report.ts_fill),
        "type": "fill" if whole else "partial_fill",
        "price": amount(scale.px(report.last_ticks)),
        "qty": amount(scale.qty(report.last_lots)),
        "side": "sell_short" if short else SIDE_WORDS[record.order.side],
        "symbol": record.order.symbol,
        "leaves_qty": amount(scale.qty(record.lots - record.lots_filled)),
        "order_id": record.id,
        "cum_qty": amount(scale.qty(record.lots_filled)),
        "order_status": record.status,
        "commission": amount(scale.money(report.fee_quanta)),
    }


def cash_activity(
    account_id: str, ts_ns: int, number: int, kind: tuple[str, str], net: Decimal, **more: str
) -> dict[str, Any]:
    """Return an activity that is no trade; ``net`` is exact, ``kind`` its type and sub-type."""
    type_, sub_type = kind
    return {
        "id": activity_id(ts_ns, account_id, "cash", number),
        "activity_type": type_,
        "activity_sub_type": sub_type,
        "date": day_of(ts_ns),
        "created_at": stamp(ts_ns),
        "net_amount": amount(net),
        "description": more.pop("description", ""),
        "status": "executed",
        "currency": "USD",
        **more,
    }
