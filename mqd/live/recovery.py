"""A desk rebuilt from its log: the same stages take the same records in again, and say nothing.

Orders, executions, cash and targets come back by the code that booked them first; the log is
muted meanwhile. What the venue did since is learnt afterwards, by asking for every order that is
not over. Decisions from before are dead: working targets are cancelled and sized at a new close.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.money import Scale, to_units
from mqd.core.order import Order, OrderClass, OrderType, Reason, Side, TimeInForce
from mqd.desk.loop import Desk
from mqd.desk.protection import REASONS
from mqd.live import carry_over, split_booking
from mqd.live.errors import DeskRefused
from mqd.live.market import GrowingMarket
from mqd.log_reader import Record
from mqd.orders.state import OrderState

_EXECUTIONS = frozenset({ReportKind.PARTIAL_FILL.value, ReportKind.FILL.value})
ADOPTED = "adopted"
"""The kind of an ``action`` record by which a person took over a position from the account."""
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}


class Recovered(NamedTuple):
    """What a log held: its last instant, and the orders of ours that are not over.

    ``n_charges`` counts the changes of cash that the venue told of and that were booked,
    ``charges`` names those that have the venue's id. ``since_ns`` is when the desk began on its
    account, None where the log does not say.
    """

    n_records: int
    n_charges: int
    last_ns: int
    open_orders: tuple[OrderState, ...]
    charges: tuple[str, ...]
    since_ns: int | None


def order_of(payload: Mapping[str, Any], ts_ns: int, scales: Mapping[str, Scale]) -> Order:
    """Return the order that an intent record speaks of."""
    scale = scale_of(payload["symbol"], scales)
    reason = Reason(payload["reason"])
    return Order(
        payload["id"], payload["strategy"], payload["symbol"], _SIDES[payload["side"]],
        scale.qty_lots(Decimal(payload["qty"])), OrderType(payload["type"]),
        TimeInForce(payload["tif"]), ts_ns, scale, reason, reason in REASONS,
        limit_ticks=_ticks(payload["limit"], scale), stop_ticks=_ticks(payload["stop"], scale),
        order_class=OrderClass(payload["class"]), group=payload["group"],
        parent=payload["parent"],
        allocation=tuple(
            (name, scale.qty_lots(Decimal(qty))) for name, qty in payload["allocation"]
        ),
    )  # fmt: skip


def scale_of(symbol: str, scales: Mapping[str, Scale]) -> Scale:
    """Return a symbol's scale; raise ``DeskRefused`` for one that is traded no more."""
    if symbol not in scales:
        raise DeskRefused(
            f"the log holds orders of {symbol}, which the configuration does not name; name it"
            " again, or trade the new universe from a state folder of its own"
        )
    return scales[symbol]


def _ticks(px: str | None, scale: Scale) -> int:
    return 0 if px is None else scale.px_ticks(Decimal(px))


def report_of(payload: Mapping[str, Any], ts_ns: int, scale: Scale) -> ExecutionReport:
    """Return the report that a report record speaks of."""
    cum = payload["cum"]
    return ExecutionReport(
        ReportKind(payload["kind"]), payload["id"], payload["symbol"], ts_ns,
        venue_order_id=payload["venue_id"], text=payload["text"],
        cum_lots=-1 if cum is None else scale.qty_lots(Decimal(cum)),
        status=payload.get("status", ""), replaced_by=payload.get("replaced_by", ""),
    )  # fmt: skip


def fill_of(payload: Mapping[str, Any], ts_ns: int, scale: Scale) -> ExecutionReport:
    """Return the execution that a fill record speaks of."""
    return ExecutionReport(
        ReportKind(payload["kind"]), payload["id"], payload["symbol"], ts_ns,
        execution_id=payload["exec_id"], last_lots=scale.qty_lots(Decimal(payload["qty"])),
        last_ticks=scale.px_ticks(Decimal(payload["px"])),
        cum_lots=scale.qty_lots(Decimal(payload["cum"])),
        fee_quanta=to_units(Decimal(payload["fee"]), scale.quantum, "fee"),
        ts_fill=payload["ts_fill"],
    )  # fmt: skip


class Recovery:
    """Feeds a log's records to a desk that has just been built on a market with its history."""

    def __init__(self, desk: Desk, market: GrowingMarket) -> None:
        self._desk, self._market = desk, market
        self._parts = desk.parts
        self._scales = desk.parts.valuation.scales
        self._places = {symbol: place for place, symbol in enumerate(market.symbols)}
        self._rows = [-1] * len(market.symbols)
        self._n = self._n_charges = 0
        self._charges: list[str] = []
        self._since_ns: int | None = None
        self._last_ns = 0
        self._taken_ns: int | None = None
        self._said: dict[tuple[str, str], float] = {}

    def counters(self) -> dict[str, Any]:
        """Return what was counted so far, and what each strategy said last."""
        return {
            "records": self._n, "charges": self._charges, "n_charges": self._n_charges,
            "since_ns": self._since_ns, "last_ns": self._last_ns,
            "said": [(*pair, weight) for pair, weight in self._said.items()],
        }  # fmt: skip

    def go_on_from(self, counters: Mapping[str, Any]) -> None:
        """Take back what `counters` returned: the records before were taken in already."""
        self._n, self._n_charges = counters["records"], counters["n_charges"]
        self._charges = list(counters["charges"])
        self._since_ns, self._last_ns = counters["since_ns"], counters["last_ns"]
        for strategy, symbol, weight in counters["said"]:
            self._say(strategy, symbol, weight)

    def take(self, records: Iterable[Record]) -> Recovered:
        """Take in all records, oldest first, and return what is open."""
        journal = self._parts.journal
        journal.muted = True
        try:
            for record in records:
                self._n += 1
                self._one(record)
        finally:
            journal.muted = False
        self._parts.protection.recovered()
        self._parts.hearing.unfilled.clear()
        self._taken_ns = None
        for symbol in self._market.symbols:
            self._seek(symbol, self._parts.clock.now_ns())
        return Recovered(
            self._n,
            self._n_charges,
            self._last_ns,
            tuple(self._parts.machine.working()),
            tuple(self._charges),
            self._since_ns,
        )

    def _one(self, record: Record) -> None:
        """Take in one record; kinds that tell of the process alone are passed over."""
        payload, ts_ns = record.payload, record.ts_ns
        match record.kind:
            case "intent":
                self._intent(order_of(payload, ts_ns, self._scales), ts_ns)
            case "command":
                self._command(payload)
            case "report" if payload["kind"] in _EXECUTIONS:
                return  # told again; what was booked is a fill record
            case "report":
                scale = scale_of(payload["symbol"], self._scales)
                self._hear(report_of(payload, ts_ns, scale), ts_ns)
            case "fill":
                scale = scale_of(payload["symbol"], self._scales)
                self._hear(fill_of(payload, ts_ns, scale), ts_ns)
            case "cash":
                self._cash(payload)
            case "action":
                self._action(payload, ts_ns)
            case "decision":
                self._decision(payload)
            case "account.since":
                self._since_ns = payload["ns"]
            case carry_over.BASE:
                carry_over.take_base(self._desk, payload)
            case carry_over.OPEN:
                carry_over.take_open(self._desk, payload)
            case carry_over.TAKEN:
                self._taken_ns = payload["ts_close"]
                return  # nothing was heard by it
            case "run.resume":
                self._taken_ns = None
                return
            case _:
                return
        self._last_ns = max(self._last_ns, ts_ns)

    def _refuse_stranger(self, strategy: str) -> None:
        if strategy not in self._parts.portfolio.strategies:
            raise DeskRefused(
                f"the log is of the strategy {strategy}, which the configuration does not name;"
                " name it again, or trade the new one from a state folder of its own"
            )

    def _intent(self, order: Order, ts_ns: int) -> None:
        self._refuse_stranger(order.strategy)
        parts = self._parts
        parts.machine.open(order)
        sent = parts.machine.command(order.client_order_id, OrderCommand.SEND)
        parts.blotter.apply(sent)
        parts.risk.sent(order, ts_ns)
        if order.reason in REASONS:
            parts.protection.adopt(order)

    def _command(self, payload: Mapping[str, Any]) -> None:
        parts = self._parts
        word = OrderCommand(payload["command"])
        if parts.machine.state(payload["id"]).is_terminal:
            return
        parts.blotter.apply(parts.machine.command(payload["id"], word))

    def _hear(self, report: ExecutionReport, ts_ns: int) -> None:
        self._parts.journal.now_ns = ts_ns
        self._seek(report.symbol, ts_ns)
        self._parts.hearing.take([report])

    def _seek(self, symbol: str, ts_ns: int) -> None:
        """Let a symbol's fills fall on the bar that was under way: the next one after those that
        were in, by the clock where the log does not say which were."""
        market = self._market
        closes, n = market.tapes[symbol].ts_close, market.n_rows[symbol]
        if self._taken_ns is None:
            row = bisect_left(closes, ts_ns, 0, n)
        else:
            row = bisect_right(closes, self._taken_ns, 0, n)
        self._rows[self._places[symbol]] = row
        market.present_rows = self._rows

    def _cash(self, payload: Mapping[str, Any]) -> None:
        if payload["account"] == "deposits" and "activity" not in payload:
            return  # the desk is built with its first deposit
        valuation = self._parts.valuation
        amount = to_units(Decimal(payload["amount"]), valuation.quantum, "cash")
        valuation.ledger.book_cash(payload["account"], amount)
        self._n_charges += 1
        if "activity" in payload:
            self._charges.append(payload["activity"])

    def _action(self, payload: Mapping[str, Any], ts_ns: int) -> None:
        """Take in what changed a position without a fill, and the activities that it settles."""
        if payload["kind"] == ADOPTED:
            self._adopted(payload, ts_ns)
        else:
            self._seek(payload["symbol"], ts_ns)
            row = self._rows[self._places[payload["symbol"]]] - 1
            split_booking.take(self._desk, payload, row)
        settled = payload.get("activities", ())
        self._charges += settled
        self._n_charges += len(settled)

    def _adopted(self, payload: Mapping[str, Any], ts_ns: int) -> None:
        """Take over a position that a person took over from the account; no execution was ours."""
        symbol, parts = payload["symbol"], self._parts
        scale, ledger = scale_of(symbol, self._scales), parts.valuation.ledger
        before, after = ledger.lots.get(symbol, 0), scale.qty_lots(Decimal(payload["qty_after"]))
        cost = to_units(Decimal(payload["cost_delta"]), scale.quantum, "cost_delta")
        cash = to_units(Decimal(payload["cash"]), scale.quantum, "cash")
        cost += ledger.cost.get(symbol, 0)
        ledger.book_split(symbol, after, cost, cash)
        self._seek(symbol, ts_ns)
        px = cost / (after * scale.tick_lot_quanta) * float(scale.tick) if after else 0.0
        for (strategy, held), holding in parts.holdings.items():
            if held == symbol:
                holding.moved(before, self._rows[self._places[symbol]], px)
                parts.protection.moved(strategy, symbol)

    def _decision(self, payload: Mapping[str, Any]) -> None:
        strategy, symbol, weight = payload["strategy"], payload["symbol"], payload["weight"]
        scale_of(symbol, self._scales)
        self._refuse_stranger(strategy)
        self._parts.portfolio.restore(strategy, symbol, weight)
        self._say(strategy, symbol, weight)

    def _say(self, strategy: str, symbol: str, weight: float) -> None:
        """Let a strategy's runner know what it said last."""
        self._said[strategy, symbol] = weight
        for trader in self._desk.traders:
            if trader.name == strategy and trader.runner is not None:
                trader.runner.restore(symbol, weight)
