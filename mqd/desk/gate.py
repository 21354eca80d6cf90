"""The one way to the venue: risk, intent log, order state, execution. Nothing goes around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mqd.core.clock import RunClock, iso
from mqd.core.event import Topic
from mqd.core.execution_report import ExecutionReport, OrderCommand, ReportKind
from mqd.core.order import Order, OrderStatus, Pending
from mqd.core.verdict import Approved
from mqd.desk import records
from mqd.desk.journal import Journal
from mqd.desk.market import Market
from mqd.desk.valuation import Valuation
from mqd.execution.engine import OrderExecutionEngine, collared
from mqd.orders.blotter import Blotter
from mqd.orders.state_machine import OrderStateMachine
from mqd.risk.manager import RiskManager
from mqd.risk.verdict import Refusal, Refused
from mqd.risk.views import NO_LIMIT_TICKS, Snapshot, worst_lots
from mqd.transaction_log import Tier


class Denial(NamedTuple):
    """An order that a control refused, with every reason: the payload of a RISK event."""

    order: Order
    refusals: tuple[Refusal, ...]


class OrderGate:
    """Judges, records and sends orders; cancels pass without judgement.

    Where the limits ask for it a market order first becomes a limit order at the collar around
    the last price; without a price it stays what it is, and the rules refuse it.

    ``denials`` are the DENIED orders that their strategies have not heard of yet. While
    ``equity_decided`` is set, research judges buying power by it: a follow-up counts at its
    decision's close, and what its reductions paid at the open is left to the trim of its fill.
    """

    def __init__(
        self,
        clock: RunClock,
        market: Market,
        valuation: Valuation,
        risk: RiskManager,
        machine: OrderStateMachine,
        blotter: Blotter,
        engine: OrderExecutionEngine,
        journal: Journal,
        multiplier: int,
    ) -> None:
        self._clock, self._market, self._valuation = clock, market, valuation
        self._risk, self._machine, self._blotter = risk, machine, blotter
        self._engine, self._journal = engine, journal
        self._multiplier = float(multiplier)
        self._thorough = risk.runs_rules
        self._equity = market.bars.calendar != "24/7"
        self.session = 0
        self.n_denied = 0
        self.first_denial = ""
        self.equity_decided: int | None = None
        self.denials: list[ExecutionReport] = []

    def send(self, order: Order, legs: Sequence[Order] = ()) -> bool:
        """Send an order, or record why it is DENIED; return whether it went out."""
        order, verdict = self.judge(order, legs)
        if not isinstance(verdict, Approved):
            self._deny(order, verdict.refusals)
            return False
        journal, machine = self._journal, self._machine
        seq = 0
        for each in (order, *legs):
            seq = journal.write("intent", records.intent(each), Tier.D0)
            machine.open(each)
            self._blotter.apply(machine.command(each.client_order_id, OrderCommand.SEND))
            self._risk.sent(each, self._clock.now_ns())
            journal.publish(Topic.ORDER, each)
        self._engine.send(verdict, intent_seq=seq, durable_seq=journal.log.durable_seq)
        return True

    @property
    def is_live(self) -> bool:
        """True on a trading desk: a refusal can be of the moment, and is asked again."""
        return self._risk.live is not None

    def judge(self, order: Order, legs: Sequence[Order] = ()) -> tuple[Order, Approved | Refused]:
        """Return an order as it would be sent, and the verdict on it; nothing comes of it."""
        order = self._collared(order)
        return order, self._risk.check(order, legs, self._snapshot(order.symbol))

    def _deny(self, order: Order, refusals: Sequence[Refusal]) -> None:
        self.n_denied += 1
        self._journal.write("denied", records.denied(order, refusals))
        self._machine.open(order)
        self._machine.deny(order.client_order_id)
        self._journal.publish(Topic.RISK, Denial(order, tuple(refusals)))
        text = "; ".join(str(refusal) for refusal in refusals)
        if self.is_live and order.reducing:
            self._journal.write("alert", {"text": f"a reduction was refused: {text}"})
        if self.n_denied == 1:
            what = f"{order.side.name.lower()} {order.qty} {order.symbol}"
            self.first_denial = f"{what} at {iso(self._journal.now_ns)} ({text})"
        self.denials.append(
            ExecutionReport(
                ReportKind.STATUS, order.client_order_id, order.symbol, self._journal.now_ns,
                text=text, status=OrderStatus.DENIED,
            )
        )  # fmt: skip

    def cancel(self, client_order_id: str) -> None:
        """Ask the venue to cancel a working order."""
        self._journal.write("command", records.command(client_order_id, "cancel"), Tier.D0)
        transition = self._machine.command(client_order_id, OrderCommand.CANCEL)
        self._blotter.apply(transition)
        if transition.after is not None and transition.after.pending is Pending.CANCEL:
            self._risk.message(self._clock.now_ns())
            self._engine.cancel(client_order_id)

    def replace(self, client_order_id: str, order: Order) -> bool:
        """Ask the venue to replace a working order by ``order``, judged like a new one."""
        order, verdict = self.judge(order)
        if not isinstance(verdict, Approved):
            self._deny(order, verdict.refusals)
            return False
        journal = self._journal
        journal.write("command", records.command(client_order_id, "replace"), Tier.D0)
        seq = journal.write("intent", records.intent(order), Tier.D0)
        self._blotter.apply(self._machine.command(client_order_id, OrderCommand.REPLACE))
        self._machine.open(order)
        self._blotter.apply(self._machine.command(order.client_order_id, OrderCommand.SEND))
        self._risk.sent(order, self._clock.now_ns())
        self._engine.replace(
            client_order_id, verdict, intent_seq=seq, durable_seq=journal.log.durable_seq
        )
        return True

    def _collared(self, order: Order) -> Order:
        units = self._risk.limits.market_collar_units
        mark = 0 if units is None else self._market.mark(order.symbol)
        if units is None or mark <= 0:
            return order
        return collared(order, mark, units, equity=self._equity)

    def _snapshot(self, symbol: str) -> Snapshot:
        """Fill in what the rules may read, in the integers of the run."""
        valuation, blotter = self._valuation, self._blotter
        scale = valuation.scales[symbol]
        equity, gross, net = valuation.totals()
        if self.equity_decided is not None and not self._thorough:
            equity = self.equity_decided
        basic = Snapshot(
            self._clock.now_ns(), scale, valuation.lots(symbol),
            blotter.open_buy_lots(symbol), blotter.open_sell_lots(symbol),
            valuation.ledger.cash, equity, gross, net,
            self._market.mark(symbol) or -1, self._market.marked_ns(symbol),
            self._multiplier,
        )  # fmt: skip
        if not self._thorough and not blotter.n_open():
            return basic
        adds, buys, sells = self._open_values()
        basic = basic._replace(
            open_gross_quanta=adds, open_buy_quanta=buys, open_sell_quanta=sells,
            session=self.session,
            n_open_symbol=blotter.n_open(symbol), n_open_account=blotter.n_open(),
        )  # fmt: skip
        return self._thorough_snapshot(symbol, basic) if self._thorough else basic

    def _open_values(self) -> tuple[int, int, int]:
        """Return what open orders could add to gross, and the value of open buys and sells."""
        adds = buys = sells = 0
        valuation, blotter = self._valuation, self._blotter
        for symbol in self._market.symbols:
            value = valuation.mark(symbol) * valuation.scales[symbol].tick_lot_quanta
            held = valuation.lots(symbol)
            buy, sell = blotter.open_buy_lots(symbol), blotter.open_sell_lots(symbol)
            adds += (worst_lots(held, buy, sell) - abs(held)) * value
            buys += buy * value
            sells += sell * value
        return adds, buys, sells

    def _thorough_snapshot(self, symbol: str, basic: Snapshot) -> Snapshot:
        sell_min, buy_max = NO_LIMIT_TICKS, 0
        for state in self._blotter.open_orders(symbol):
            order = state.order
            if order.side < 0:
                sell_min = min(sell_min, order.limit_ticks)
            else:
                buy_max = max(buy_max, order.limit_ticks or NO_LIMIT_TICKS)
        row = self._market.row_now(symbol)
        return basic._replace(
            open_sell_ticks_min=sell_min,
            open_buy_ticks_max=buy_max,
            average_volume_lots=self._market.average_volume_lots(symbol, row) if row >= 0 else -1,
            recent_ticks=self._market.recent_ticks(symbol, row) if row >= 0 else (),
            sector_gross_quanta=self._sector_gross(symbol),
        )

    def _sector_gross(self, symbol: str) -> int | None:
        sectors = self._risk.limits.sectors
        sector = sectors.get(symbol)
        valuation, blotter = self._valuation, self._blotter
        total = 0
        for other in self._market.symbols:
            if sectors.get(other) == sector:
                worst = worst_lots(
                    valuation.lots(other), blotter.open_buy_lots(other),
                    blotter.open_sell_lots(other),
                )  # fmt: skip
                total += worst * valuation.mark(other) * valuation.scales[other].tick_lot_quanta
        return total
